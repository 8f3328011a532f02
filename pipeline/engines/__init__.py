"""Engines: a network as a file, run by one library, behind one protocol."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, get_args

from torch import Tensor
from torch.cuda import is_available as has_gpu  # not ``torch``: that name is our module's, once it is loaded

from nets.fusion import SUPPORT
from nets.observation import CHANNELS
from pipeline.errors import InputError, MissingError, UsageError
from pipeline.notes import decided

log = logging.getLogger(__name__)

Library = Literal["openvino", "onnxruntime", "torch", "tensorrt"]
SUFFIXES: dict[Library, tuple[str, ...]] = {
    "openvino": (".onnx", ".xml"),
    "onnxruntime": (".onnx",),
    "torch": (".pt2",),
    "tensorrt": (".engine",),
}
"""Suffixes of the files that a library opens."""
Precision = Literal["fp32", "fp16", "bf16", "int8"]

CONTRACT = (
    "grid: cell = floor(i * n / size); picture: RGB in [0, 1]; features: 3 blocks - 0.5, 3 base - 0.5, "
    "1 mask, 2 place in the cell in [-1, 1], 2 pitch / 32 px, 1 means; fused: base is the window's, then 3 "
    "own base less that, 2 misfit * 8, 1 density; residual: RGB over the base; "
    "trust: in [0, 1]"
)
"""Meaning and ranges of the inputs and outputs that a network file was made for. A file that names another
contract is outdated. Change it with ``nets.observation``."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Inputs and outputs of a network, read from the metadata of its file.

    The file holds the learned part of the network only. What it reads from the mosaic and how its answer
    is held to the mosaic (``nets.observation``) is computed around it, in float32, at any precision of the
    engine.

    Inputs, float32, batch B free: ``features`` (B, F, ``channels``, S, S) in about [-1, 1] and ``mask``
    (B, F, 1, S, S), 1 clean, F being ``frames``: those of the window, or of its core alone, see
    ``fused``. Outputs, float32: ``residual`` (B, C, 3, S, S), RGB over the
    interpolated cells, and ``trust`` (B, C) in [0, 1], for the ``core`` frames in the middle of the
    window, C = T - 2 * context.
    """

    net: str
    """idn, nar; pixelizer-block, pixelizer-pixel, whose picture is a lattice (``nets.pixelizer_io``) and
    whose
    ``residual`` is what is added to it"""
    version: str
    """of the weights, by their model card; ``unversioned`` without one"""
    weights_sha256: str
    window: int
    """T, frames that go in"""
    context: int
    """frames at either end that are only looked at"""
    size_px: int
    """S"""
    cells: int
    """N, the most cells per axis that the network was trained for"""
    fused: bool = False
    """whether ``features`` hold, of core frames alone, what the whole window shows of each: nets.fusion"""
    precision: str = "fp32"
    """fp32, fp16, bf16 or int8: what is written into the graph; inputs and outputs are float32 always"""
    batch_min: int = 1
    """fewest windows that the file takes in one call; engines pad a smaller batch"""
    batch_max: int = 1024
    """most of them; engines split a larger batch"""
    contract: str = CONTRACT

    @property
    def core(self) -> int:
        return self.window - 2 * self.context

    @property
    def frames(self) -> int:
        """F, frames of a window that the engine is fed."""
        return self.core if self.fused else self.window

    @property
    def channels(self) -> int:
        """Channels of ``features``."""
        return CHANNELS + SUPPORT if self.fused else CHANNELS


class Engine(Protocol):
    """A network that runs. Outputs belong to the caller: an engine copies what its library reuses. They lie
    where the inputs do, on the CPU or on the engine's device."""

    spec: EngineSpec
    name: str
    """Library, device and precision, e.g. ``openvino CPU bf16``."""
    calls: int
    """Calls of ``infer`` that may run at a time, each in its own thread; with 1 all belong in one thread."""

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
    def close(self) -> None: ...


def open_engine(
    path: Path,
    *,
    device: str = "auto",
    library: Library | Literal["auto"] = "auto",
    threads: int | None = None,
    calls: int = 1,
) -> Engine:
    """Opens a network file: .onnx with OpenVINO or ONNX Runtime, .xml (OpenVINO's IR) with OpenVINO, .pt2
    (``torch.export``) with PyTorch, .engine with TensorRT or TensorRT for RTX, whichever built it.

    ``device`` is "auto", "cpu" or "cuda:N"; ``threads`` of the CPU, None for the library's choice, which
    ``calls`` at a time share (on a GPU and with PyTorch it is one at a time). What "auto" chose is logged
    with the reason. Raises InputError for a file that is missing or not ours, UsageError for a combination
    that cannot be, MissingError for a library or device not on this machine.
    """
    if not re.fullmatch(r"auto|cpu|cuda:\d+", device):
        raise UsageError(f"device {device!r}: wanted auto, cpu or cuda:N such as cuda:0")
    if library not in (*get_args(Library), "auto"):
        raise UsageError(f"engine {library!r}: wanted auto, {', '.join(get_args(Library))}")
    if not path.is_file():
        raise InputError(f"{path}: no such network file")
    chosen, why = _choose_library(path, device) if library == "auto" else (library, "as asked")
    if path.suffix not in SUFFIXES[chosen]:
        runs = "; ".join(f"{name} runs {' and '.join(suffixes)}" for name, suffixes in SUFFIXES.items())
        raise UsageError(f"{path}: not a file of the engine {chosen}; {runs}")
    if chosen != "tensorrt" and find_spec(chosen) is None:  # of that, the file says which library it wants
        raise MissingError(f"engine {chosen}: the library is not installed; pip install {chosen}")
    place = _choose_device(chosen) if device == "auto" else device
    engine: Engine
    match chosen:
        case "openvino":
            if place != "cpu":
                raise UsageError(
                    f"engine openvino runs on the CPU, device {place} was asked; use onnxruntime"
                )
            from pipeline.engines.openvino import OpenVinoEngine  # noqa: PLC0415  heavy, maybe not installed

            engine = OpenVinoEngine(path, threads, calls)
        case "onnxruntime":
            from pipeline.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415

            engine = OnnxRuntimeEngine(path, place, threads, calls)
        case "torch":
            from pipeline.engines.torch import open_torch  # noqa: PLC0415

            engine = open_torch(path, place)
        case "tensorrt":
            from pipeline.engines.tensorrt import TensorRtEngine  # noqa: PLC0415

            engine = TensorRtEngine(path, place)
    decided(log, "%s runs on %s: %s", path.name, engine.name, why)
    return engine


def graph_library(engine: str) -> Literal["auto", "openvino", "onnxruntime"]:
    """The library for ONNX files under a setting that may name TensorRT, which runs engine files only."""
    match engine:
        case "openvino" | "onnxruntime":
            return engine
        case _:
            return "auto"


def _choose_library(path: Path, device: str) -> tuple[Library, str]:
    if path.suffix == ".pt2":
        return "torch", "a .pt2 file"
    if path.suffix == ".xml":
        return "openvino", "an .xml file"
    if path.suffix == ".engine":
        return "tensorrt", "an .engine file"
    if device.startswith("cuda") or (device == "auto" and onnxruntime_has_gpu()):
        return "onnxruntime", "on a GPU"
    if find_spec("openvino") is not None:
        return "openvino", "the fastest on a CPU"
    return "onnxruntime", "openvino is not installed"


def _choose_device(library: Library) -> str:
    if library == "tensorrt":
        return "cuda:0"
    gpu = onnxruntime_has_gpu() if library == "onnxruntime" else library == "torch" and has_gpu()
    return "cuda:0" if gpu else "cpu"


def onnxruntime_has_gpu() -> bool:
    """Whether ONNX Runtime can use a GPU of this machine."""
    if find_spec("onnxruntime") is None or not has_gpu():
        return False
    from pipeline.engines.onnxruntime import has_cuda  # noqa: PLC0415

    return has_cuda()
