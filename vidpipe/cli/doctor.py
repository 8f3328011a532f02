"""``vidpipe doctor [--json]``: what works on this machine, proven by trying it, and how to get the rest.

With ``--clean FOLDER``: the files that killed runs have left there are removed, and nothing else is done.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline import leftovers
from pipeline.errors import InputError
from pipeline.text import printable
from vidpipe.cli.options import Json

CANNOT_RUN = 5


Clean = Annotated[
    Path | None,
    typer.Option(
        "--clean",
        metavar="FOLDER",
        help="Remove what killed runs have left in a folder, and do nothing else.",
        show_default=False,
    ),
]


def doctor(as_json: Json = False, clean: Clean = None) -> None:
    """Try decoders, encoders, engines and devices. Exit code 5 when `vidpipe run` could not work here."""
    if clean is not None:
        _clean(clean, as_json)
        return
    from vidpipe.doctor import examine, works

    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            mark = "ok  " if check.ok else "MISS" if check.needed else "-   "
            typer.echo(f"{mark} {check.group:<7} {check.name:<24} {check.detail}")
            if check.fix:
                typer.echo(f"{'':<37} fix: {check.fix}")
    able = works(checks)
    if as_json:
        typer.echo(json.dumps({"works": able, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        typer.echo("vidpipe run works here" if able else "vidpipe run cannot work here: see the lines above")
    if not able:
        raise typer.Exit(CANNOT_RUN)


def _clean(folder: Path, as_json: bool) -> None:
    """Raises InputError for what is no folder."""
    if not folder.is_dir():
        raise InputError(f"--clean {folder} is no folder")
    gone = [printable(str(path)) for path in leftovers.clean(folder)]
    if as_json:
        typer.echo(json.dumps({"removed": gone}))
        return
    for path in gone:
        typer.echo(f"removed {path}")
    typer.echo(f"{len(gone)} removed from {printable(str(folder))}")
