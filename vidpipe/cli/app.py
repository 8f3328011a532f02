"""The list of commands. Of a command line that names one, the others are not imported."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from vidpipe import __version__
from vidpipe.cli.command import SectionedCommand

COMMANDS = {
    "reconstruct": "run.reconstruct",
    "pixelize": "run.pixelize",
    "protect": "run.protect",
    "run": "run.run",
    "batch": "batch.batch",
    "bench": "bench.bench",
    "pack": "pack.pack",
    "train": "train.train",
    "prototypes": "prototypes.prototypes",
    "curves": "curves.curves",
    "eval": "eval.evaluate",
    "export": "export.export",
    "doctor": "doctor.doctor",
}
"""Name -> module of this package and function in it, in the order of the help."""
_SECTIONED = "run"
"""The module whose commands list their options by section."""


def app(arguments: Sequence[str]) -> typer.Typer:
    """The parser for a command line: of the command that it names, or of all."""
    made = typer.Typer(
        name="vidpipe",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    made.callback()(vidpipe)
    for name in arguments[:1] if arguments[:1] and arguments[0] in COMMANDS else COMMANDS:
        module, function = COMMANDS[name].split(".")
        kind = SectionedCommand if module == _SECTIONED else None
        made.command(name, cls=kind)(getattr(import_module(f"vidpipe.cli.{module}"), function))
    return made


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vidpipe {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, exit."),
]


def vidpipe(version: Version = False) -> None:
    """Reconstruct pixelated faces in video (a model's guess, no evidence of identity), or cover faces."""
    del version  # its callback has done all
