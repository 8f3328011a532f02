"""What the two files of a run tell before anything heavy is imported and any network is opened."""

from __future__ import annotations

from pathlib import Path

from pipeline.decode.open import choose_stream, open_input
from pipeline.encode.container_name import container_format
from pipeline.encode.encoder_names import check_preset, encoders_named
from pipeline.encode.takes import encoders_for, lost_sound, ways_out
from pipeline.errors import UsageError
from pipeline.machine import require_room
from pipeline.notes import silent


def check_files(
    source: Path,
    target: Path | None,
    codec: str = "auto",
    preset: str | None = None,
    audio: str = "copy",
) -> None:
    """Raises OutputError for a container that is not written or an encoder that is not there or does not fit
    it, UsageError for a preset that no encoder has and for sound that would be lost unasked, InputError for a
    file that is no video, MissingError where the process may not have the memory that any run takes.

    A preview writes none and has no ``target``. ``codec``, ``preset`` and ``audio`` as in ``EncodeSettings``.
    """
    require_room(str(source))
    container = None if target is None else container_format(target)
    if codec != "auto" and container is None:
        encoders_named(codec)
    elif codec != "auto" and container is not None:
        encoders_for(codec, container)
    if preset is not None:
        check_preset(preset, codec)
    with silent(), open_input(source) as opened:
        choose_stream(opened, source, None)
    if target is not None:
        check_sound(source, target, audio)


def check_sound(source: Path, target: Path, audio: str) -> None:
    """Raises UsageError where the output would lose sound that nobody asked to lose, or cannot have it in the
    codec that is asked for."""
    with silent(), open_input(source) as opened:
        for sentence in lost_sound(opened, target, audio):
            raise UsageError(f"{target.name}: {sentence}; {ways_out(opened, target)}")
