"""``vidpipe pack CLIPS OUT.npy``: face clips become a file to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli import options

Clips = Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of clips.", show_default=False)]
Target = Annotated[Path, typer.Argument(metavar="OUT.npy", help="File to write.", show_default=False)]


def pack(
    clips: Clips,
    target: Target,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Cut clips into runs of frames that show a face, for vidpipe train and eval --clips."""
    del debug  # vidpipe.cli.main reads it
    from rich.console import Console

    from train.data.pack import LENGTH
    from train.data.pack import pack as run
    from vidpipe.cli.log import prepare

    prepare(Console(stderr=True), max(verbose, 1), quiet)
    typer.echo(f"{target}: {len(run(clips, target))} segments of {LENGTH} frames")
