"""Decoders: one file each behind one protocol, opened by an explicit match."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pipeline.errors import UsageError
from pipeline.types import Frame, StreamInfo


class Decoder(Protocol):
    """A video stream as frames in presentation order. A context manager; passive, no thread."""

    info: StreamInfo

    def frames(self, start_pts: int | None = None, end_pts: int | None = None) -> Iterator[Frame]:
        """Frames with start_pts <= pts < end_pts, each exactly once; ``index`` counts over the whole
        stream. Raises InputError on a stream that breaks off (after the frames that could be read)."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_decoder(path: Path, device: str = "cpu", stream: int | None = None) -> Decoder:
    """Open the decoder of a device. ``stream`` is an index over streams of all kinds, None for the best.

    Raises InputError for a file that cannot be read, UsageError for a device without a decoder.
    """
    match device:
        case "cpu":
            from pipeline.decode.pyav import PyAVDecoder  # noqa: PLC0415

            return PyAVDecoder(path, stream)
        case _:
            raise UsageError(f"device {device} has no decoder; use cpu")
