"""``vidpipe curves RUN OUT.png``: the learning curves of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli import options

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of vidpipe train.", show_default=False)]
Target = Annotated[
    Path, typer.Argument(metavar="OUT.png", help="Picture to write, .png or .svg.", show_default=False)
]


def curves(run: Run, target: Target, debug: options.Debug = False) -> None:
    """Draw what a training run has logged: its gain and its losses."""
    del debug  # vidpipe.cli.main reads it
    from train.curves import draw, read

    draw(read(run), target)
    typer.echo(target)
