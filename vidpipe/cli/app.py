"""The list of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from vidpipe import __version__
from vidpipe.cli.bench import bench
from vidpipe.cli.curves import curves
from vidpipe.cli.doctor import doctor
from vidpipe.cli.eval import evaluate
from vidpipe.cli.export import export
from vidpipe.cli.pack import pack
from vidpipe.cli.prototypes import prototypes
from vidpipe.cli.run import run
from vidpipe.cli.train import train

app = typer.Typer(
    name="vidpipe",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(bench)
app.command()(pack)
app.command()(train)
app.command()(prototypes)
app.command()(curves)
app.command("eval")(evaluate)
app.command()(export)
app.command()(doctor)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vidpipe {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, exit."),
]


@app.callback()
def vidpipe(version: Version = False) -> None:
    """Reconstruct pixelated faces in video (a model's guess, no evidence of identity), or cover faces."""
    del version  # its callback has done all
