"""Encoders: one file each behind one protocol. The output keeps everything of the source beside the video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:
    from pipeline.types import Frame


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """Settings of an output that a user may choose."""

    codec: str = "auto"
    """FFmpeg's name of an encoder (libx264) or a codec (h264); ``auto``: the source's, else libx264."""
    crf: float | None = None
    """Constant quality in the encoder's own scale, lower is better; None for nearly transparent."""
    preset: str | None = None
    """x264's names of speeds, or the encoder's own; None for its usual one."""
    quick: bool = False
    """Where no preset is asked for: a quicker one than the usual."""
    gpu: int | None = None
    """Where the codec is ``auto``: encode on this NVIDIA GPU if it has an encoder (NVENC)."""
    audio: Literal["copy", "aac", "opus", "drop"] = "copy"
    """``aac`` and ``opus`` encode anew what is in another codec; WebM gets Opus where nothing else fits."""
    faststart: bool = True
    """MP4 and MOV: the index stands in front, so that a player on the web can begin at once."""
    keep_streams: bool = True
    """False: other pictures than the processed one stay behind, covers and attached files too."""
    keep_metadata: bool = True
    """False: tags and data of places, devices and people stay behind."""
    keep_hidden: bool = True
    """False: what an edit list hides of other streams stays behind, see ``pipeline.encode.hidden``."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Tags of the container, added to the source's."""


class Encoder(Protocol):
    """A file that is being written. Nothing exists under its name before `finish` has returned.

    The constructor writes nothing. A context manager opens the file on entry and closes it on exit.
    """

    path: Path

    @property
    def lost(self) -> tuple[str, ...]:
        """Sentences about what of the source the output cannot carry."""
        ...

    @property
    def video(self) -> int:
        """Which of the file's video streams holds the frames: 0 for the first, attached pictures aside."""
        ...

    @property
    def lost_sound(self) -> tuple[str, ...]:
        """Those of ``lost`` that are of audio streams."""
        ...

    @property
    def removed(self) -> tuple[str, ...]:
        """Sentences about what of the source was left behind, as the settings ask."""
        ...

    def open(self) -> None:
        """Begin the file, under another name. `close` removes it after any failure."""
        ...

    def write(self, frame: Frame) -> None:
        """Encode one frame; frames come in ascending pts. Raises OutputError."""
        ...

    def complete(self) -> Path:
        """Flush the encoder. Returns where the file lies, not yet under its name. Raises OutputError."""
        ...

    def finish(self) -> None:
        """Call `complete` if nobody has, and rename the file to its name. Raises OutputError."""
        ...

    def close(self) -> None:
        """Remove the file, unless `finish` has returned."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
