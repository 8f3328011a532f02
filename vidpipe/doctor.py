"""What works on this machine, proven by doing it: coding a frame, running a network, asking a device.

Used by ``vidpipe doctor``. Each check stands alone: one that fails costs nothing but its own line.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pipeline.errors import VidpipeError

if TYPE_CHECKING:
    from av import VideoCodecContext

_SIZE_PX = 256
"""Of the frame that is coded; NVENC refuses less than 145 px."""

# Encoder, decoder of the same format, pixel format, options that keep the library from printing.
_CODECS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("libx264", "h264", "yuv420p", {}),
    ("libx265", "hevc", "yuv420p", {"x265-params": "log-level=none"}),
    ("libvpx-vp9", "vp9", "yuv420p", {}),
    ("libsvtav1", "libdav1d", "yuv420p", {}),
    ("prores_ks", "prores", "yuv422p10le", {}),
    ("mpeg4", "mpeg4", "yuv420p", {}),
    ("mjpeg", "mjpeg", "yuvj420p", {}),
    ("h264_nvenc", "h264", "yuv420p", {}),
    ("hevc_nvenc", "hevc", "yuv420p", {}),
)
_LIBRARIES = ("torch", "av", "numpy", "onnx", "onnxruntime", "openvino", "opencv-python-headless")
_FLAVOURS = {
    "onnxruntime": ("onnxruntime-gpu",),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
"""Other packages that bring the same library."""
_EITHER = {
    "onnxruntime": "not needed beside OpenVINO; pip install 'vidpipe[cpu]' for it",
    "openvino": "not needed beside ONNX Runtime; pip install openvino for it (x86-64)",
}
"""Of these one is enough: ``works`` asks for an engine that runs. What to do where one is missing."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    group: str
    """system, codec, engine, device"""
    name: str
    ok: bool
    needed: bool
    """``vidpipe run`` cannot work without it."""
    detail: str
    """What was seen: a version, a result, an error."""
    fix: str = ""
    """What to do where it is not ok."""


_OPTIONAL = (
    ("decord", "train", "vidpipe pack"),
    ("face-alignment", "faces", "--finder s3fd and blazeface"),
    ("dlib-bin", "people", "people across shots, --keep-face"),
    ("fsspec", "remote", "batch on object stores"),
    ("ray", "ray", "batch on a cluster"),
)
"""Package, the extra that brings it, and what asks for it."""


def examine() -> Iterator[Check]:
    """All checks, in the order in which they should be read, each as soon as it is done."""
    yield from _versions()
    for encoder, decoder, pix_fmt, options in _CODECS:
        yield _codec(encoder, decoder, pix_fmt, options)
    yield from _engines()
    yield from _faces()
    yield _cuda()
    yield _dali()
    yield _nvdec()
    yield _presence("TensorRT", "tensorrt", "pip install 'vidpipe[trt]' (a machine with an NVIDIA GPU)")
    yield _presence("TensorRT for RTX", "tensorrt_rtx", "pip install 'vidpipe[rtx]' (Linux, x86-64)")
    for package, extra, why in _OPTIONAL:
        yield _optional(package, extra, why)


def works(checks: Sequence[Check]) -> bool:
    """Whether ``vidpipe run`` can work here: everything needed is there, and one engine runs."""
    engines = [check for check in checks if check.group == "engine" and check.name in _EITHER]
    return all(check.ok for check in checks if check.needed) and any(check.ok for check in engines)


def _versions() -> Iterator[Check]:
    detail = (
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )
    yield Check("system", "python", ok=True, needed=True, detail=detail)
    for library in _LIBRARIES:
        found = {
            name: version for name in (library, *_FLAVOURS.get(library, ())) if (version := _version(name))
        }
        detail = ", ".join(v if name == library else f"{v} ({name})" for name, v in found.items())
        if len(found) > 1 and library == "onnxruntime":
            fix = f"both are in one folder: pip uninstall {' '.join(found)}, then install one of them again"
            yield Check("system", library, ok=False, needed=False, detail=detail, fix=fix)
        elif found:
            yield Check("system", library, ok=True, needed=True, detail=detail)
        else:
            needed = library not in {*_EITHER, *_FLAVOURS}
            fix = _EITHER.get(library, f"pip install {library}")
            yield Check("system", library, ok=False, needed=needed, detail="not installed", fix=fix)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _attempt(
    group: str, name: str, needed: bool, fix: str, do: Callable[[], str], known: tuple[type[Exception], ...]
) -> Check:
    """``do`` returns what it saw; of the ``known`` errors the first line becomes the detail."""
    try:
        return Check(group, name, ok=True, needed=needed, detail=do())
    except known as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Check(group, name, ok=False, needed=needed, detail=lines[0], fix=fix)


def _codec(encoder: str, decoder: str, pix_fmt: str, options: dict[str, str]) -> Check:
    import av

    # SVT-AV1 prints its settings to stderr and listens to nothing but this.
    os.environ.setdefault("SVT_LOG", "1")

    def code_one_frame() -> str:
        writer = cast("VideoCodecContext", av.CodecContext.create(encoder, "w"))
        writer.width = writer.height = _SIZE_PX
        writer.pix_fmt = pix_fmt
        writer.time_base, writer.framerate = Fraction(1, 25), Fraction(25)
        writer.options = options
        frame = av.VideoFrame(_SIZE_PX, _SIZE_PX, pix_fmt)
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts = 0
        packets = writer.encode(frame) + writer.encode(None)
        reader = cast("VideoCodecContext", av.CodecContext.create(decoder, "r"))
        if writer.extradata:
            reader.extradata = writer.extradata
        pictures = [picture for packet in packets for picture in reader.decode(packet)] + reader.decode(None)
        if len(pictures) != 1:
            raise ValueError(f"one frame went in, {len(pictures)} came out")
        return f"one {pix_fmt} frame encoded, and decoded by {decoder}"

    hardware = encoder.endswith("nvenc")
    fix = (
        "needs an NVIDIA GPU with NVENC (H100 and A100 have none)" if hardware else "pip install --upgrade av"
    )
    known = (av.FFmpegError, ValueError, OSError)
    return _attempt("codec", encoder, encoder == "libx264", fix, code_one_frame, known)


def _engines() -> Iterator[Check]:
    """The network that ``run`` would take, on every library, with one empty window."""
    import torch

    from export.select import default_net, engine_file
    from pipeline.engines import Library, open_engine
    from pipeline.engines.spec import input_shapes

    try:
        network = engine_file(default_net())
    except VidpipeError as error:
        yield Check("engine", "network", ok=False, needed=True, detail=str(error), fix="reinstall vidpipe")
        return

    def infer(library: Library) -> str:
        with closing(open_engine(network, device="cpu", library=library)) as engine:
            shapes = input_shapes(engine.spec, batch=1)
            outputs = engine.infer({name: torch.zeros(shape) for name, shape in shapes.items()})
            if not all(output.isfinite().all() for output in outputs.values()):
                raise ValueError("the network gave numbers that are not finite")
            return f"{engine.spec.net} {engine.spec.version} ran on {engine.name}"

    known = (VidpipeError, RuntimeError, ValueError, OSError)
    libraries: tuple[Library, ...] = ("openvino", "onnxruntime")
    for library in libraries:
        there = importlib.util.find_spec(library) is not None
        fix = f"pip install --upgrade {library}" if there else _EITHER[library]
        yield _attempt("engine", library, False, fix, partial(infer, library), known)


def _cuda() -> Check:
    import torch

    def ask() -> str:
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        if not names:
            raise RuntimeError(f"torch {torch.__version__} sees no CUDA device")
        return ", ".join(names)

    fix = "not needed; for one: an NVIDIA driver and a CUDA build of torch"
    return _attempt("device", "cuda", False, fix, ask, (RuntimeError, OSError))


def _one_frame(folder: str, encoder: str, suffix: str) -> Path:
    """A gray clip of one frame."""
    import av

    clip = Path(folder) / f"one{suffix}"
    with av.open(str(clip), "w") as out:
        stream = out.add_stream(encoder, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = _SIZE_PX
        stream.pix_fmt = "yuv420p"
        grey = av.VideoFrame(_SIZE_PX, _SIZE_PX, "yuv420p")
        for plane in grey.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        grey.pts = 0
        out.mux(stream.encode(grey) + stream.encode(None))
    return clip


def _dali() -> Check:
    """A VP9 frame through the decoder on the CPU, which compares it with FFmpeg's."""
    import av

    def decode() -> str:
        from importlib.metadata import version

        from pipeline.decode import open_decoder

        with (
            tempfile.TemporaryDirectory() as folder,
            open_decoder(_one_frame(folder, "libvpx-vp9", ".webm"), decoder="dali") as decoder,
        ):
            seen = sum(1 for _ in decoder.frames())
        return f"version {version('nvidia-dali-cuda120')}, {seen} VP9 frame decoded on the CPU as FFmpeg does"

    fix = "not needed; for one: pip install 'vidpipe[dali]' (Linux, x86-64)"
    known = (VidpipeError, RuntimeError, OSError, av.FFmpegError)
    return _attempt("device", "DALI", False, fix, decode, known)


def _nvdec() -> Check:
    """An H.264 frame through NVDEC by PyAV, which compares it with FFmpeg's: what ``--decoder exact`` is."""
    import av

    def decode() -> str:
        from pipeline.decode.nvdec import NvdecDecoder
        from pipeline.decode.source import open_source

        with (
            tempfile.TemporaryDirectory() as folder,
            NvdecDecoder(open_source(_one_frame(folder, "libx264", ".mp4")), "cuda:0") as decoder,
        ):
            seen = sum(1 for _ in decoder.frames())
        return f"{seen} H.264 frame decoded on cuda:0 as FFmpeg does"

    fix = "not needed; for one: an NVIDIA driver (in a container with NVIDIA_DRIVER_CAPABILITIES=video)"
    known = (VidpipeError, RuntimeError, OSError, av.FFmpegError)
    check = _attempt("device", "NVDEC through PyAV", False, fix, decode, known)
    return check if check.ok else replace(check, detail=check.detail.rpartition(".mp4: ")[2])


def _faces() -> Iterator[Check]:
    """The finder that covers faces, on an empty picture; on a GPU compared with the CPU's."""
    import numpy as np

    from pipeline import cuda
    from pipeline.config import FacesConfig
    from pipeline.faces import detector_kind, open_detector

    kind = detector_kind(FacesConfig().finder)

    def look() -> str:
        finder = open_detector(kind.name, (64, 64))
        finder(np.zeros((64, 64, 3), np.uint8), 0.5)
        return finder.name

    def compare() -> str:
        finder = open_detector(kind.name, (416, 256), device=cuda.place("cuda:0"))
        return f"{finder.name}: sees the drawn faces that the CPU sees"

    known = (VidpipeError, RuntimeError, OSError)
    fix = f"pip install {kind.package or '--force-reinstall --no-deps vidpipe'}"
    yield _attempt("engine", "face finder", False, fix, look, known)
    if kind.runs_on_gpu and not cuda.why_none():
        fix = "run --mode pixelize and protect with --device cpu"
        yield _attempt("device", "face finder on cuda:0", False, fix, compare, known)


def _presence(name: str, module: str, fix: str) -> Check:
    def load() -> str:
        return f"version {importlib.import_module(module).__version__}"

    return _attempt("device", name, False, fix, load, (ImportError, OSError))


def _optional(package: str, extra: str, why: str) -> Check:
    """Not imported: that would take seconds."""

    def ask() -> str:
        return f"version {importlib.metadata.version(package)}, for {why}"

    fix = f"only for {why}: pip install 'vidpipe[{extra}]'"
    return _attempt("package", package, False, fix, ask, (importlib.metadata.PackageNotFoundError,))
