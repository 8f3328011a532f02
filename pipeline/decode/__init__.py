"""Decoders: one file each behind one protocol, opened by an explicit match."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from pipeline.errors import MissingError, UsageError
from pipeline.types import Frame, StreamInfo

log = logging.getLogger(__name__)

DecoderName = Literal["auto", "pyav", "dali"]


class Decoder(Protocol):
    """A video stream as frames in presentation order. A context manager; passive."""

    name: str
    """For people: PyAV or DALI."""
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


def open_decoder(
    path: Path, device: str = "cpu", stream: int | None = None, decoder: DecoderName = "auto"
) -> Decoder:
    """Open a decoder. ``stream`` is an index over streams of all kinds, None for the best.

    ``device`` is cpu or cuda:N. PyAV's frames always lie on the CPU, DALI's on the device. ``auto`` takes
    DALI on a GPU for streams that it gives right, else PyAV, and logs which and why. Raises InputError for a
    file that cannot be read, UsageError for a device without a decoder, MissingError where DALI was asked for
    and is missing or does not decode the codec.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UsageError(f"device {device} has no decoder; use cpu or cuda:N")
    if decoder == "pyav" or (decoder == "auto" and device == "cpu"):
        log.info("decoder: PyAV, %s", "as asked" if decoder == "pyav" else "for the CPU")
        return _pyav(path, stream)
    from pipeline.decode.dali import ADVICE, DaliDecoder, UnsuitedError  # noqa: PLC0415

    try:
        opened = DaliDecoder(path, device, stream)
    except (MissingError, UnsuitedError) as error:
        if decoder == "dali":
            raise
        log.info("decoder: PyAV on the CPU, because %s", str(error).removesuffix(ADVICE))
        return _pyav(path, stream)
    why = "as asked" if decoder == "dali" else "which gives this stream right"
    log.info("decoder: DALI on %s, %s", device, why)
    return opened


def _pyav(path: Path, stream: int | None) -> Decoder:
    from pipeline.decode.pyav import PyAVDecoder  # noqa: PLC0415

    return PyAVDecoder(path, stream)
