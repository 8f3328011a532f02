"""Decoders: one file each behind one protocol, opened by an explicit match."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from pipeline.errors import InputError, MissingError, UsageError
from pipeline.notes import decided

if TYPE_CHECKING:  # a file is looked at (``pipeline.decode.open``) before what is heavy is imported
    from pipeline.decode.source import Source
    from pipeline.types import Frame, StreamInfo

log = logging.getLogger(__name__)

DecoderName = Literal["auto", "exact", "pyav", "dali"]
OFF_BY = "luma exact, chroma off by up to 2 of 255 levels; --decoder exact keeps every sample"
"""What decoding by DALI on a GPU changes."""
ADVICE = "; use --decoder pyav"
"""The end of errors that PyAV on the CPU helps against."""


class UnsuitedError(InputError):
    """A file that another decoder can read."""


class Decoder(Protocol):
    """A video stream as frames in presentation order. A context manager; passive."""

    name: str
    """For people: PyAV or DALI."""
    source: Source

    @property
    def info(self) -> StreamInfo:
        """``source.info``"""
        ...

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
    source: Source | Path | str,
    device: str = "cpu",
    stream: int | None = None,
    decoder: DecoderName = "auto",
) -> Decoder:
    """Opens a decoder of a file, by its path or as `pipeline.decode.source.open_source` gave it.

    ``stream`` is an index over streams of all kinds, None for the best; it belongs to a path, a Source has
    chosen already. ``device`` is cpu or cuda:N. PyAV's frames always lie on the CPU, DALI's on the device.
    ``auto`` on a GPU is DALI where that decodes the file right but for a level or two of chroma, which its
    reader enlarges (`pipeline.decode.chroma_subsample`). Else, and for ``exact``, it is NVDEC through PyAV
    (`pipeline.decode.nvdec`) where that gives every sample; else, and for ``pyav``, PyAV on the CPU. Where a
    decoder of a GPU that was not asked for by name fails at a frame, PyAV goes on from there.

    Raises InputError for a file that cannot be read, UsageError for a device without a decoder, MissingError
    where DALI was asked for and is missing or does not decode the codec.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UsageError(f"device {device} has no decoder; use cpu or cuda:N")
    if decoder == "dali":
        from pipeline.decode.dali import DaliDecoder, check_library  # noqa: PLC0415

        check_library()
        opened = DaliDecoder(_opened(source, stream), device)
        decided(log, "decoder: DALI on %s, as asked", device)
        return opened
    source = _opened(source, stream)
    reason = {"pyav": "as asked", "exact": "every sample exact, as asked"}.get(decoder, "for the CPU")
    if decoder != "pyav" and device != "cpu":
        on_device = _on_device(source, device, exact=decoder == "exact")
        if not isinstance(on_device, str):
            return on_device
        asked = f"{reason}; " if decoder == "exact" else ""
        reason = f"{asked}sent to {device} from pinned memory; {on_device}"
    from pipeline.decode.pyav import PyAVDecoder  # noqa: PLC0415

    decided(log, "decoder: PyAV, %s", reason)
    return PyAVDecoder(source)


def _on_device(source: Source, device: str, *, exact: bool) -> Decoder | str:
    """DALI, unless every sample must be ``exact``; else NVDEC; or why neither decodes this file there."""
    from pipeline.decode.dali import DaliDecoder, check_library  # noqa: PLC0415
    from pipeline.decode.nvdec import NvdecDecoder  # noqa: PLC0415
    from pipeline.decode.relay import RelayDecoder  # noqa: PLC0415

    reasons = []
    if not exact:
        try:
            check_library()
            relay = RelayDecoder(DaliDecoder(source, device))
        except (MissingError, UnsuitedError) as error:
            reasons.append(f"not DALI there: {str(error).removesuffix(ADVICE)}")
        else:
            decided(log, "decoder: DALI on %s: %s", device, OFF_BY)
            return relay
    try:
        relay = RelayDecoder(NvdecDecoder(source, device))
    except UnsuitedError as error:
        reasons.append(f"not NVDEC through PyAV: {error}")
        return "; ".join(reasons)
    why = "".join(f"; {reason}" for reason in reasons)
    decided(log, "decoder: PyAV on %s's NVDEC: every sample exact%s", device, why)
    return relay


def _opened(source: Source | Path | str, stream: int | None) -> Source:
    from pipeline.decode.source import open_source  # noqa: PLC0415

    return open_source(Path(source), stream) if isinstance(source, Path | str) else source
