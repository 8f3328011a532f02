"""A decoder of a GPU that PyAV takes over from where it fails."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.decode import ADVICE
from pipeline.decode.pyav import PyAVDecoder
from pipeline.errors import InputError
from pipeline.notes import warned

if TYPE_CHECKING:
    from pipeline.decode import Decoder
    from pipeline.decode.source import Source
    from pipeline.types import Frame, StreamInfo

log = logging.getLogger(__name__)


class RelayDecoder:
    """``first``, and from the frame on at which it raises InputError, PyAV on the CPU, with a warning.

    Frames are told by their place in the same index of packets, so none is lost or comes twice. A file that
    PyAV cannot read there either raises PyAV's error, which names the frame.
    """

    def __init__(self, first: Decoder) -> None:
        self._first = first
        self._second: PyAVDecoder | None = None
        self.name = first.name
        self.source: Source = first.source

    @property
    def info(self) -> StreamInfo:
        return self.source.info

    def frames(self, start_pts: int | None = None, end_pts: int | None = None) -> Iterator[Frame]:
        """As `pipeline.decode.Decoder`."""
        pts = self.info.pts
        due = 0 if start_pts is None else bisect_left(pts, start_pts)
        end = len(pts) if end_pts is None else bisect_left(pts, end_pts)
        if self._second is None:
            try:
                for frame in self._first.frames(start_pts, end_pts):
                    due = frame.index + 1
                    yield frame
                    del frame  # else it stays alive while the next one is made
            except InputError as error:
                reason = str(error).removesuffix(ADVICE).removeprefix(f"{self.info.path}: ")
                self._second = PyAVDecoder(self.source)
                warned(
                    log,
                    "%s: %s stopped at frame %d (%s); PyAV decodes from there on, every sample exact",
                    self.info.path.name,
                    self.name,
                    due,
                    reason,
                )
        if self._second is not None and due < end:
            yield from self._second.frames(pts[due], end_pts)

    def close(self) -> None:
        self._first.close()
        if self._second is not None:
            self._second.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
