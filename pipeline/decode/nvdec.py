"""Decoding with NVDEC through FFmpeg: native planes on the GPU, every sample as the codec's standard says.

PyAV gives FFmpeg's CUDA frames by DLPack: NV12 for 8 bits, P010 and P016 for more. Their planes are picked
apart on the device, so nothing is computed and nothing crosses to the host. FFmpeg takes the CUDA context
that is the thread's (``current_ctx``): that of PyTorch, which FFmpeg would refuse as the *primary* one,
because it was begun with other flags. Both work on its default stream, so what FFmpeg has written is there
when it is read.

Taken are the codecs whose decoders have no freedom, in whole files. The first picture must equal that of
FFmpeg on the CPU, in every sample. No GPU has run it.
"""

from __future__ import annotations

from typing import Any

import torch
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from pipeline import cuda
from pipeline.decode import UnsuitedError
from pipeline.decode.open import open_input
from pipeline.decode.planes import bit_depth, unpack
from pipeline.decode.pyav import PyAVDecoder
from pipeline.decode.source import Source, first_picture
from pipeline.errors import InputError
from pipeline.types import Frame

CODECS = frozenset({"h264", "hevc", "vp8", "vp9"})
"""Which NVDEC has, FFmpeg hands to it, and whose standards say every bit. AV1 is decoded by libdav1d,
since PyAV takes FFmpeg's first decoder of a codec."""
FORMATS = ("yuv420p", "yuvj420p", "yuv420p10le", "yuv420p12le")


class NvdecDecoder(PyAVDecoder):
    """A video stream as frames on a GPU, see `pipeline.decode.Decoder`.

    ``device`` is cuda:N. FFmpeg keeps some pictures of the stream on the GPU; each is copied at once. Raises
    UnsuitedError, with the reason, where the GPU would not give this stream, or not in every sample.
    """

    name = "PyAV on NVDEC"

    def __init__(self, source: Source, device: str) -> None:
        super().__init__(source)
        self._device = torch.device(device)
        self._sample_bits = bit_depth(self._planar)
        reason = unsuited(source)
        if reason:
            raise UnsuitedError(f"{source.path}: {reason}")
        self._try_out()

    def _container(self) -> InputContainer:
        cuda.make_current(self._device)
        options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
        asked = HWAccel("cuda", str(self._device.index or 0), options=options, is_hw_owned=True)
        return open_input(self.info.path, hwaccel=asked)

    def _context(self, stream: VideoStream) -> VideoCodecContext:
        context = stream.codec_context
        if not context.is_hwaccel:
            raise UnsuitedError(f"{self.info.path}: FFmpeg decodes {context.name} on the CPU alone")
        context.thread_type = "SLICE"  # NVDEC is no quicker by FFmpeg's threads
        return context

    def _frame(self, index: int, picture: VideoFrame) -> Frame:
        info = self.info
        self._check_format(index, (picture.width, picture.height, info.pix_fmt))
        planes = native_planes(picture, self._sample_bits)
        cuda.settle(self._device)  # FFmpeg may write to the picture again once we let it go
        return self._made(index, picture, planes)

    def _try_out(self) -> None:
        """Decodes the first picture and compares it with FFmpeg's own. Raises UnsuitedError."""
        path, reference = self.info.path, first_picture(self.source)
        try:
            first = next(self.frames())
        except (InputError, FFmpegError, RuntimeError, NotImplementedError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].removeprefix(f"{path}: ")
            raise UnsuitedError(f"{path}: NVDEC gives no picture ({reason})") from error
        theirs = unpack(reference)
        if first.pts != reference.pts or any(
            not torch.equal(ours.cpu(), plane) for ours, plane in zip(first.planes, theirs, strict=True)
        ):
            raise UnsuitedError(f"{path}: NVDEC's first picture is not that of FFmpeg's own decoder")


def native_planes(picture: VideoFrame, bits: int) -> tuple[Tensor, ...]:
    """Luma and both chroma planes of NV12, P010 or P016, on its device, in memory of our own: (rows, columns)
    uint8, or uint16 of ``bits`` each."""
    # The capsule, because torch would ask with its stream, which PyAV refuses.
    luma, both = (from_dlpack(plane.__dlpack__()) for plane in picture.planes)
    return tuple(_low(plane, bits) for plane in (luma, both[..., 0], both[..., 1]))


def _low(plane: Tensor, bits: int) -> Tensor:
    """A contiguous copy; samples of 16 bits, which lie in the upper ``bits``, in the lower ones."""
    if plane.dtype == torch.uint8:
        return plane.clone(memory_format=torch.contiguous_format)
    shifted = (plane.contiguous().view(torch.int16) >> (16 - bits)) & ((1 << bits) - 1)
    return shifted.view(torch.uint16)


def unsuited(source: Source) -> str:
    """Why NVDEC is not asked for this stream; empty where it is."""
    info, packets = source.info, source.packets
    no_gpu = cuda.why_none()
    reasons: tuple[tuple[Any, str], ...] = (
        (no_gpu, no_gpu),
        ("cuda" not in hwdevices_available(), "this FFmpeg knows no CUDA"),
        (
            info.codec not in CODECS,
            f"NVDEC is not asked for {info.codec}, every bit of which no standard says",
        ),
        (info.pix_fmt not in FORMATS, f"NVDEC does not give {info.pix_fmt}"),
        (info.width % 2 or info.height % 2, f"its size of {info.width}x{info.height} px is odd"),
        (info.interlaced, "it is interlaced"),
        (
            packets.breaks_off is not None or packets.lacking or packets.broken_end is not None,
            "it is damaged, and NVDEC does not tell where",
        ),
    )
    return next((reason for applies, reason in reasons if applies), "")
