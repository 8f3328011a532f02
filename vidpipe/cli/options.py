"""Option types, each defined once. What a value may be is checked by ``pipeline.config``, not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.config import Given

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
Codec = Annotated[
    str | None,
    typer.Option("--codec", metavar="NAME", help="FFmpeg's name of an encoder.", show_default=False),
]
Crf = Annotated[
    float | None, typer.Option("--crf", metavar="N", help="Quality, lower is better.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="Speed of the encoder.", show_default=False)
]
Audio = Annotated[
    str | None,
    typer.Option("--audio", metavar="copy|drop", help="What happens to audio.", show_default=False),
]

_SETTINGS = {
    "device": "device",
    "net": "restore.net",
    "engine": "restore.engine",
    "codec": "encode.codec",
    "crf": "encode.crf",
    "preset": "encode.preset",
    "audio": "encode.audio",
}
"""Flag -> the setting that it overrides."""


def given(**flags: str | float | None) -> dict[str, Given]:
    """The settings that flags have set, under their dotted names."""
    from pipeline.config import Given

    return {_SETTINGS[flag]: Given(value, f"--{flag}") for flag, value in flags.items() if value is not None}
