"""NVIDIA GPUs: which one a run takes, and how frames get there and back.

The only file that knows streams, events, graphs and pinned memory. Stages compute on the device's default
stream, from any thread; copies run on streams of their own, and wait and are waited for by events; so does
a library that wants a stream of its own (``OwnStream``). A device that is no GPU (the CPU, or the tests'
pretended one) has none of these: the same functions copy at once.
"""

from __future__ import annotations

import ctypes
import logging
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from pipeline.errors import MissingError, UsageError
from pipeline.notes import decided, warned
from pipeline.types import Frame

log = logging.getLogger(__name__)

T = TypeVar("T")

CPU = torch.device("cpu")
HOST = "use --device cpu"


def place(device: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means here; what auto chose is logged.

    Raises MissingError for a GPU that cannot be used, with the reason; UsageError for any other word.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"device {device!r}: wanted auto, cpu, cuda or cuda:N such as cuda:0")
    if device == "cpu":
        return CPU
    reason = why_none()
    if device == "auto":
        decided(log, "device: %s", f"the CPU: {reason}" if reason else _described(torch.device("cuda:0")))
        return CPU if reason else _ready(0)
    if reason:
        raise MissingError(f"device {device}: {reason}; {HOST}")
    index = int(device.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise MissingError(f"device {device}: this machine has GPUs 0 to {last}; choose one, or {HOST}")
    return _ready(index)


def why_none() -> str:
    """Why no GPU can be used; empty where one can."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return ""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if any("too old" in str(warning.message) for warning in caught):
        return f"the NVIDIA driver is too old for torch {torch.__version__} (CUDA {torch.version.cuda})"
    if not _has_driver():
        return "there is no NVIDIA driver"
    reason = " ".join(str(caught[0].message).split()) if caught else "the driver shows no GPU"
    return f"CUDA cannot begin ({reason})"


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _ready(index: int) -> torch.device:
    """The GPU, begun. What is measured is computed in float32, not in TF32."""
    device = torch.device("cuda", index)
    try:
        torch.zeros(1, device=device)
    except torch.OutOfMemoryError as error:
        raise memory_full(device) from error
    except RuntimeError as error:  # busy in exclusive mode, fallen off the bus, ...
        raise MissingError(f"device {device}: {_first_line(error)}; {HOST}") from error
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return device


def _described(device: torch.device) -> str:
    properties = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return f"{device}, {properties.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def memory_full(device: torch.device | str) -> MissingError:
    """The error that a run ends with where the GPU has no memory left for one window or frame."""
    said = ""
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(device)
        said = f" ({free / 2**20:.0f} of {total / 2**20:.0f} MiB are free)"
    return MissingError(
        f"device {device}: its memory is full{said}; end what else runs on it, lower decode.prefetch_frames "
        f"and window.batch_frames, or {HOST}"
    )


@contextmanager
def memory_errors(device: torch.device) -> Iterator[None]:
    """Turns PyTorch's error of a full GPU into that of ``memory_full``."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise memory_full(device) from error


def let_go() -> None:
    """Gives back what PyTorch keeps for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def captured(call: Callable[[], T], device: torch.device, name: str) -> Callable[[], T]:
    """``call``, whose tensors stay where they are, as a CUDA graph: it fills the tensors of its first answer
    again and again. Where it cannot be captured, it is called each time, with a warning; on a device that
    is no GPU, without."""
    if device.type != "cuda":
        return call
    with torch.cuda.device(device):
        side, compute = torch.cuda.Stream(device), torch.cuda.default_stream(device)
        side.wait_stream(compute)
        with torch.cuda.stream(side):
            for _ in range(2):  # what libraries do once for a shape is no part of the graph
                call()
        compute.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads go on with work of their own meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                answer = call()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            _no_graph(name, error)
            return call

    def replay() -> T:
        graph.replay()
        return answer

    return replay


class OwnStream:
    """A stream for a library that wants one to itself, ordered after what its caller has computed and before
    what the caller computes next."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)

    @property
    def handle(self) -> int:
        """The stream's handle in CUDA."""
        return int(self._stream.cuda_stream)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within, what is computed is computed on this stream."""
        caller = torch.cuda.current_stream(self.device)
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            self._stream.wait_stream(caller)
            yield
        caller.wait_stream(self._stream)

    def reads(self, x: Tensor) -> None:
        """The caller may let go of ``x`` while it is still read in a turn."""
        x.record_stream(self._stream)

    def gives(self, x: Tensor) -> None:
        """``x``, made in a turn, is the caller's."""
        x.record_stream(torch.cuda.current_stream(self.device))

    def captured(self, call: Callable[[], None], name: str) -> Callable[[], None]:
        """``call``, made in a turn, as a CUDA graph to replay in a turn. Where it cannot be captured, it is
        ``call`` itself, with a warning."""
        call()  # what the library does once for a shape is no part of the graph
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                call()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            _no_graph(name, error)
            return call
        return graph.replay

    def wait(self) -> None:
        """Until all turns are done."""
        self._stream.synchronize()


def _no_graph(name: str, error: Exception) -> None:
    warned(log, "%s: no CUDA graph (%s); each call is launched by itself", name, _first_line(error))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def make_current(device: torch.device) -> None:
    """Makes the GPU's context that of this thread, for a library that takes the one that it finds."""
    torch.cuda.synchronize(device)


def settle(device: torch.device) -> None:
    """Waits until the device has computed all that it was given, so that what it read may be written to."""
    if device.type == "cuda":
        torch.cuda.default_stream(device).synchronize()


class _Lane:
    """A stream for copies of one direction."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def up(self, plane: Tensor) -> Tensor:
        """A plane of the host on the device, for the default stream to use."""
        if self._stream is None:
            return plane.to(self.device)
        pinned = plane if plane.is_pinned() else plane.contiguous().pin_memory()
        compute = torch.cuda.default_stream(self.device)
        with torch.cuda.stream(self._stream):
            copied = pinned.to(self.device, non_blocking=True)
        compute.wait_stream(self._stream)
        copied.record_stream(compute)
        return copied

    def down(self, planes: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], torch.cuda.Event | None]:
        """Planes in pinned memory, and what tells that they have arrived."""
        if self._stream is None:
            return _in_one_copy(planes), None
        self._stream.wait_stream(torch.cuda.default_stream(self.device))
        with torch.cuda.stream(self._stream):
            pinned = tuple(torch.empty(p.shape, dtype=p.dtype, pin_memory=True) for p in planes)
            for target, plane in zip(pinned, planes, strict=True):
                target.copy_(plane, non_blocking=True)
                plane.record_stream(self._stream)
            event = torch.cuda.Event()
            event.record(self._stream)
        return pinned, event


def _in_one_copy(planes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Planes of one dtype on the host, waited for once."""
    host = torch.cat([plane.flatten() for plane in planes]).cpu()
    parts = host.split([plane.numel() for plane in planes])
    return tuple(part.view(plane.shape) for part, plane in zip(parts, planes, strict=True))


def sent(frame: Frame, device: torch.device) -> Frame:
    """One frame on a device, copied at once; the same object where it lies there."""
    if frame.device == device:
        return frame
    return replace(frame, planes=tuple(plane.to(device) for plane in frame.planes))


def pinned_to(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; from the host through pinned memory, without waiting for it."""
    if x.device == device:
        return x
    pinned = x.pin_memory() if x.device.type == "cpu" and device.type == "cuda" else x
    return pinned.to(device, non_blocking=True)


def to_device(frames: Iterable[Frame], device: torch.device) -> Iterator[Frame]:
    """Frames on a device; those that lie there pass as the same object."""
    lane: _Lane | None = None
    for frame in frames:
        if frame.device == device:
            yield frame
            continue
        lane = lane or _Lane(device)
        yield replace(frame, planes=tuple(lane.up(plane) for plane in frame.planes))
        del frame  # else it stays alive while the next one is made


def to_host(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Frames in the host's memory, in order; those that lie there pass as the same object.

    One frame of a device is held back, so that its copy runs while the next one is computed.
    """
    lane: _Lane | None = None
    coming: deque[tuple[Frame, torch.cuda.Event | None]] = deque()
    for frame in frames:
        if frame.device.type == "cpu":
            while coming:
                yield _arrived(coming)
            yield frame
            continue
        lane = lane or _Lane(frame.device)
        planes, event = lane.down(frame.planes)
        coming.append((replace(frame, planes=planes), event))
        del frame, planes
        while len(coming) > 1:
            yield _arrived(coming)
    while coming:
        yield _arrived(coming)


def _arrived(coming: deque[tuple[Frame, torch.cuda.Event | None]]) -> Frame:
    frame, event = coming.popleft()
    if event is not None:
        event.synchronize()
    return frame
