"""What the two files of a run tell before anything heavy is imported and any network is opened."""

from __future__ import annotations

from pathlib import Path

from pipeline.decode.open import choose_stream, open_input
from pipeline.encode.container_name import container_format
from pipeline.notes import silent


def check_files(source: Path, target: Path | None) -> None:
    """Raises OutputError for a container that is not written, InputError for a file that is no video.

    A preview writes none and has no ``target``.
    """
    if target is not None:
        container_format(target)
    with silent(), open_input(source) as container:
        choose_stream(container, source, None)
