"""Decoding with NVIDIA DALI: NVDEC on a GPU, and the same code on the CPU for VP8, VP9 and MJPEG.

``fn.experimental.readers.video`` reads the file itself, in sequences of a few frames:

- It indexes the packets' times and gives frames by their position in that index, so variable rates work. The
  index leaves out times below zero and needs times. On the CPU pictures are counted, not matched by time.
- It keeps its index for the life of the process under the file's name. Each decoder here reads through a link
  with a name of its own; else a file that was replaced would be read with the index of the old one.
- It gives 8 bits and 4:2:0 only, and enlarges chroma; on the CPU it gives RGB (asked for Y'CbCr it fails).
  `pipeline.decode.chroma_subsample` inverts that and states how exactly. RGB streams come unchanged.
- It chooses the stream itself, and does not report a damaged picture or one of another size.

So a stream is accepted only if none of this applies to it, if DALI counts as many frames as the packet index,
and if its first picture equals FFmpeg's. The time of every frame is checked.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipeline import cuda
from pipeline.decode import ADVICE, UnsuitedError
from pipeline.decode.chroma_subsample import clipped, planes_of_rgb, planes_of_ycbcr
from pipeline.decode.planes import packing, unpack
from pipeline.decode.source import Source, first_picture
from pipeline.errors import InputError, MissingError
from pipeline.notes import warned
from pipeline.types import Frame, StreamInfo

log = logging.getLogger(__name__)

CPU_CODECS = frozenset({"vp8", "vp9", "mjpeg"})
GPU_CODECS = CPU_CODECS | {"h264", "hevc", "av1", "mpeg4"}
_TOLERANCE = {"mjpeg": 2, "mpeg4": 2}
"""Levels of luma that decoders of a codec may differ by: these two leave the rounding of the DCT open
(ITU-T T.81 A.3.3, ISO/IEC 14496-2 annex A). All others say every bit."""
_CHROMA_LEVELS = 2
"""Levels by which NVDEC's first picture may differ, see `pipeline.decode.chroma_subsample`."""
_FRAMING = (
    "Critical error",
    "Error in",
    "Error when",
    "which was used",
    "File ",
    "Traceback",
    "Current pipeline",
)
"""Beginnings of the lines that say where an error happened, not what it is."""
_NAMES = {"libdav1d": "av1", "libaom-av1": "av1"}
SEQUENCE = {"cpu": 2, "cuda": 4}
"""Frames that DALI gives at a time."""
_SECOND_DECIMALS = 1e-6
"""DALI gives times as seconds in doubles."""


class DaliDecoder:
    """A video stream as frames on a device, see `pipeline.decode.Decoder`.

    ``device`` is cpu or cuda:N. Memory is bounded: a sequence here, a dozen in DALI, which reads ahead in
    a thread of its own. Raises MissingError where the device or its decoder of the codec is
    missing, UnsuitedError for a stream that would not come out right, InputError for a file that nobody
    can read.
    """

    name = "DALI"

    def __init__(self, source: Source, device: str = "cpu") -> None:
        self.source, path = source, source.path
        self._device = torch.device(device)
        self._closed = False
        self._planar = packing(self.info.pix_fmt).planar
        self._converts_to_rgb = self._device.type == "cpu" and self._planar != "gbrp"
        reason = _unsuited(source, self._device.type) or _times_unsuited(source)
        if reason:
            raise UnsuitedError(f"{path}: {reason}{ADVICE}")
        self._folder = TemporaryDirectory(prefix="vidpipe-dali-")
        try:
            self._link = Path(self._folder.name) / f"input{path.suffix if path.suffix.isascii() else ''}"
            self._link.symlink_to(path.absolute())
            self._try_out()
        except BaseException:
            self._folder.cleanup()
            raise

    @property
    def info(self) -> StreamInfo:
        return self.source.info

    def frames(self, start_pts: int | None = None, end_pts: int | None = None) -> Iterator[Frame]:
        """Frames with start_pts <= pts < end_pts, each exactly once. Raises InputError where DALI fails."""
        info = self.info
        first = 0 if start_pts is None else bisect_left(info.pts, start_pts)
        end = len(info.pts) if end_pts is None else bisect_left(info.pts, end_pts)
        if first >= end:
            return
        due = first
        length = SEQUENCE[self._device.type]
        reader = self._reader(length, (first, end))
        while due < end:
            pictures = self._next(reader, due, min(length, end - due))
            planes = self._planes(pictures)
            del pictures
            for place in range(len(planes[0])):
                if self._closed:
                    raise ValueError("the decoder is closed")
                yield Frame(
                    index=due,
                    pts=info.pts[due],
                    planes=tuple(plane[place].clone() for plane in planes),
                    pix_fmt=self._planar,
                    colour=info.colour,
                    time_base=info.time_base,
                    key=info.pts[due] in self._keys,
                )
                due += 1

    def close(self) -> None:
        """No more frames: iterators that are still open raise ValueError."""
        self._closed = True
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _keys(self) -> frozenset[int]:
        return frozenset(self.source.packets.keys[:, 0].tolist())

    def _reader(self, sequence: int, span: tuple[int, int] | None = None) -> Any:
        """A built pipeline with the reader named ``video``; ``span`` is a half-open range of frames."""
        from nvidia import dali  # noqa: PLC0415
        from nvidia.dali import fn, types  # noqa: PLC0415

        on_cpu = self._device.type == "cpu"
        source: dict[str, Any] = {"filenames": [str(self._link)]}
        if span is not None:
            listing = self._link.with_name(f"frames-{span[0]}-{span[1]}")
            listing.write_text(f"{self._link} 0 {span[0]} {span[1]}\n")
            source = {"file_list": str(listing), "file_list_format": "frames", "file_list_include_end": False}
        pipeline = dali.Pipeline(
            batch_size=1,
            num_threads=1,
            device_id=None if on_cpu else self._device.index or 0,
            prefetch_queue_depth=1,
        )
        with pipeline:
            read: Any = fn.experimental.readers.video  # its stub returns None
            pictures, *rest = read(
                **source,
                name="video",
                device="cpu" if on_cpu else "gpu",
                sequence_length=sequence,
                image_type=types.RGB if on_cpu else types.YCbCr,
                enable_frame_num="sequence",
                enable_timestamps=True,
                pad_mode="constant",
            )
            pipeline.set_outputs(pictures, *rest[-2:])
        try:
            pipeline.build()
        except RuntimeError as error:
            raise self.error(error) from error
        return pipeline

    def _next(self, reader: Any, due: int, count: int) -> Tensor:
        """The next ``count`` pictures (N, H, W, 3), in DALI's memory; they must be frames ``due`` and on."""
        info = self.info
        try:
            pictures, numbers, seconds = reader.run()
        except RuntimeError as error:
            raise self.error(error, due) from error
        got = np.array(numbers.as_cpu().at(0))[:count]
        when = np.array(seconds.as_cpu().at(0))[:count]
        wanted = range(due, due + count)
        times = [float((info.pts[index] - info.pts[0]) * info.time_base) for index in wanted]
        if got.tolist() != list(wanted) or not np.allclose(when, times, rtol=0, atol=_SECOND_DECIMALS):
            raise UnsuitedError(
                f"{info.path}: DALI gives frames {got.tolist()} at {when.tolist()} s where frames "
                f"{list(wanted)} at {times} s are due{ADVICE}"
            )
        tensor: Tensor = from_dlpack(pictures[0])
        if tuple(tensor.shape[1:]) != (info.height, info.width, 3):
            raise UnsuitedError(
                f"{info.path}: DALI gives pictures of {tensor.shape[2]}x{tensor.shape[1]} px, "
                f"not {info.width}x{info.height}{ADVICE}"
            )
        return tensor[:count]

    def _planes(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Native planes (N, rows, columns) in memory of our own, complete when this returns."""
        if self._planar == "gbrp":
            planes = tuple(plane.contiguous() for plane in pictures.unbind(-1))
        elif self._converts_to_rgb:
            planes = planes_of_rgb(pictures, full_range=self.info.pix_fmt == "yuvj420p")
        else:
            planes = planes_of_ycbcr(pictures)
        cuda.settle(self._device)  # DALI may write to the pictures again once we let them go
        return planes

    def _try_out(self) -> None:
        """Decodes the first picture and compares it with FFmpeg's. Raises UnsuitedError or MissingError."""
        info = self.info
        reader = self._reader(1)
        count = reader.epoch_size("video")
        if count != len(info.pts):
            raise UnsuitedError(f"{info.path}: DALI counts {count} frames, not {len(info.pts)}{ADVICE}")
        reference = first_picture(self.source)
        if reference.pts != info.pts[0]:
            raise UnsuitedError(f"{info.path}: its first frames need a key frame that it lacks{ADVICE}")
        pictures = self._next(reader, 0, 1)
        luma, *chroma = (
            (ours[0].cpu().short() - theirs.short()).abs()
            for ours, theirs in zip(self._planes(pictures), unpack(reference), strict=True)
        )
        sure = ~clipped(pictures[0]) if self._converts_to_rgb else torch.ones_like(luma).bool()
        off = int(luma[sure].max()) if bool(sure.any()) else 0
        if off > _TOLERANCE.get(_codec(info), 0):
            raise UnsuitedError(
                f"{info.path}: DALI's first picture differs from FFmpeg's by {off} levels of luma{ADVICE}"
            )
        off_by = f"chroma by up to {_most(chroma)} levels in {_share(chroma):.1%} of the samples"
        if self._converts_to_rgb:
            off_by = f"luma by up to {_most([luma])} levels in {_share([luma]):.1%} of the pixels, {off_by}"
        elif _most(chroma) > _CHROMA_LEVELS:
            raise UnsuitedError(f"{info.path}: DALI's first picture differs from FFmpeg's, {off_by}{ADVICE}")
        if _most([luma, *chroma]):
            warned(
                log, "%s: DALI gives no native planes; its first picture is off, %s", info.path.name, off_by
            )

    def error(self, error: RuntimeError, due: int | None = None) -> InputError | MissingError:
        """One line for an error of DALI. ``due``: index of the frame that was wanted, None: of none yet."""
        text, path = _reason(error), self.info.path
        if any(word in str(error).lower() for word in ("out of memory", "memory allocation")):
            return cuda.memory_full(self._device)
        if due is None and self._device.type == "cuda" and ("CUDA" in text or "driver" in text):
            return MissingError(f"decoder dali on {self._device}: {text}{ADVICE}")
        if "not supported on this GPU" in text:
            what = f"{_codec(self.info)} {self.info.pix_fmt}"
            return MissingError(f"{path}: NVDEC of this GPU does not decode {what}{ADVICE}")
        if due is None:
            return UnsuitedError(f"{path}: DALI cannot open it ({text}){ADVICE}")
        return InputError(f"{path}: DALI fails at frame {due} or soon after ({text}){ADVICE}")


def check_library() -> None:
    """Raises MissingError where DALI is not installed."""
    try:
        import nvidia.dali  # noqa: F401, PLC0415
    except (ImportError, OSError) as error:
        raise MissingError(
            f"decoder dali: NVIDIA DALI cannot be imported ({str(error).splitlines()[0]}); "
            f"pip install 'vidpipe[dali]' (Linux){ADVICE}"
        ) from error


def _codec(info: StreamInfo) -> str:
    return _NAMES.get(info.codec, info.codec)


def _times_unsuited(source: Source) -> str:
    """Why frames could not be told by their place in DALI's index; empty where they can."""
    if source.packets.breaks_off is not None:
        return f"it is damaged or cut off ({source.packets.breaks_off}), and DALI does not tell where"
    if source.packets.derived:
        return "it has no usable times, which DALI needs"
    if not source.packets.regular or source.packets.pieces:
        return "its packets are not one picture each, and DALI counts packets"
    if source.info.pts[0] < 0:
        return "it begins before time zero, and DALI leaves such frames out"
    return ""


def _unsuited(source: Source, kind: str) -> str:
    """Why DALI would not give this stream right on a ``kind`` of device; empty where it would."""
    info, streams = source.info, source.video_streams
    codec = _codec(info)
    if codec not in (CPU_CODECS if kind == "cpu" else GPU_CODECS):
        raise MissingError(f"{info.path}: DALI does not decode {codec} on the {kind.upper()}{ADVICE}")
    is_rgb = kind == "cpu" and info.pix_fmt == "gbrp"
    full_range = info.pix_fmt == "yuv420p" and info.colour.range == "pc"
    reasons = (
        (
            not is_rgb and info.pix_fmt not in {"yuv420p", "yuvj420p"},
            f"DALI would not keep its {info.pix_fmt}, only 8 bits and 4:2:0",
        ),
        (
            kind == "cpu" and full_range,
            "it has full range, which DALI on the CPU takes for limited range",
        ),
        (
            not is_rgb and bool(info.width % 2 or info.height % 2),
            f"its size of {info.width}x{info.height} px is odd, and DALI would not keep its chroma",
        ),
        (info.interlaced, "it is interlaced, and DALI does not keep fields"),
        (streams > 1, f"it has {streams} video streams, and DALI takes which it likes"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _most(differences: list[Tensor]) -> int:
    return max(int(plane.max()) for plane in differences)


def _share(differences: list[Tensor]) -> float:
    """Share of samples that differ, 0..1."""
    return sum(int((plane > 0).sum()) for plane in differences) / sum(plane.numel() for plane in differences)


def _reason(error: RuntimeError) -> str:
    """The one sentence of DALI's many lines that names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    asserted = [line for line in lines if line.startswith("Assert on")]
    plain = [line for line in lines if not line.startswith(_FRAMING)]
    sentence = (asserted or plain or ["no reason given"])[0]
    return sentence.rpartition("failed: ")[2].partition(". ")[0].rstrip(".:")
