"""Option types, each defined once. What a value may be is checked by ``pipeline.config``, not here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Input = Annotated[Path, typer.Argument(help="Video file to read.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings as in pipeline.yaml.", show_default=False),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="auto|cpu|cuda:N", help="Where networks run.", show_default=False),
]
Net = Annotated[
    str | None, typer.Option("--net", metavar="auto|nar|idn", help="Restoring network.", show_default=False)
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="auto|openvino|onnxruntime", help="Library that runs it.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, and nothing else, to stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; twice for everything.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
