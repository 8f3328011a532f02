"""What the two files of a run tell before anything heavy is imported and any network is opened."""

from __future__ import annotations

from pathlib import Path

from pipeline.decode.open import choose_stream, open_input
from pipeline.encode.container_name import container_format
from pipeline.encode.encoder_names import check_preset, encoders_named
from pipeline.machine import require_room
from pipeline.notes import silent


def check_files(source: Path, target: Path | None, codec: str = "auto", preset: str | None = None) -> None:
    """Raises OutputError for a container that is not written or an encoder that is not there, UsageError for
    a preset that no encoder has, InputError for a file that is no video, MissingError where the process may
    not have the memory that any run takes.

    A preview writes none and has no ``target``. ``codec`` and ``preset`` as in ``EncodeSettings``.
    """
    require_room(str(source))
    if target is not None:
        container_format(target)
    if codec != "auto":
        encoders_named(codec)
    if preset is not None:
        check_preset(preset, codec)
    with silent(), open_input(source) as container:
        choose_stream(container, source, None)
