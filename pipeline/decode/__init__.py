"""Decoders: one file each behind one protocol, opened by an explicit match."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

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
