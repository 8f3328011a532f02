"""The container that an output's name asks for. Imports PyAV alone: a wrong name is told of at once."""

from __future__ import annotations

from pathlib import Path

import av

from pipeline.errors import OutputError

BLURAY_SUFFIXES = {".m2ts", ".mts"}


def container_format(path: Path) -> str:
    """FFmpeg's name of the container that a file name asks for. Raises OutputError."""
    try:
        with av.open(f"x{path.suffix}", "w") as guess:  # nothing is opened before a header is written
            name, many = guess.format.name, guess.format.no_file
    except ValueError as error:
        what = f"no container is called {path.suffix}" if path.suffix else "it has no suffix"
        raise OutputError(f"{path}: {what}; end the name in .mp4, .mkv, .mov or .webm") from error
    if name.startswith("mxf"):
        raise OutputError(
            f"{path}: MXF is read and not written; end the name in .mov, which takes the same sound"
        )
    if many:  # playlists and series of pictures, which FFmpeg writes past us
        raise OutputError(f"{path}: {name} is more than one file; end the name in .mp4, .mkv, .mov or .webm")
    return name
