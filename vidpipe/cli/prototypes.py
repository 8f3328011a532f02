"""``vidpipe prototypes FACES -o FILE``: means of faces for ``run --mode protect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli import options

Faces = Annotated[
    Path, typer.Argument(metavar="FACES", help="Folder of face pictures, by source.", show_default=False)
]
Target = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help=".safetensors file to write.", show_default=False),
]
Sources = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="NAME", help="Subfolder that is read; default all.", show_default=False),
]
Sheet = Annotated[
    Path | None,
    typer.Option("--sheet", metavar="PNG", help="Contact sheet of the means.", show_default=False),
]
LATTICES = ((10, 8), (5, 4), (3, 3))
"""(rows, columns) of the lattices on the sheet"""


def prototypes(
    faces: Faces,
    output: Target,
    source: Sources = None,
    sheet: Sheet = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Average faces by skin tone, at least 50 people each, into what protect paints over faces."""
    del debug  # vidpipe.cli.main reads it
    from rich.console import Console

    from nets.checkpoint import sha256
    from train.prototypes import contact_sheet, make
    from vidpipe.cli.log import prepare

    prepare(Console(stderr=True), max(verbose, 1), quiet)
    made = make(faces, output, source or ())
    if sheet is not None:
        contact_sheet(made, sheet, LATTICES)
    people = ", ".join(str(prototype.people) for prototype in made.prototypes)
    typer.echo(f"{output}: {len(made.prototypes)} means of {people} people, sha256 {sha256(output)}")
