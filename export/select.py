"""Selects the network and the engine file of a run, and starts the build of a better one.

On a CPU it is the network's ONNX file. On an NVIDIA GPU it is a TensorRT engine of this user, if there is
one for these weights, this GPU and this library. If there is none, one is built; where that takes no longer
than BUILD_FIRST_S the run waits for it. Else the build goes on in the background and the run with the next
best engine, to its end: one file is made by one engine, and its sidecar names it. The next run, or a
batch's next file, asks the cache again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from time import perf_counter

import torch

from export import cache
from export.background import Building, begin
from export.calibration import faces_or_noise
from export.convert import export, identity_of
from export.networks import find
from export.spec import RTX_CAPABILITIES, Request, Target
from nets.registry import WEIGHTS, shipped_restorers
from pipeline.engines import Precision, onnxruntime_has_gpu, tensorrt_library
from pipeline.errors import MissingError
from pipeline.notes import decided, warned

log = logging.getLogger(__name__)

PRECISION: Precision = "fp16"
"""Precision of the engines that a run builds by itself: half the time and memory of fp32."""

ENGINE_FILES = (".onnx", ".engine")
"""What ``vidpipe export --output`` makes and a run takes as its network."""
BUILD_FIRST_S = 30.0
"""A run waits so long for an engine that is not in the cache; TensorRT-RTX builds one in seconds. What takes
longer goes on in the background."""


CHOICE = WEIGHTS / "default.json"
"""``{"net": "nar", "why": "..."}``, written by who trains and compares the shipped weights."""


def default_net() -> str:
    """The network that ``--net auto`` means: the better one by the weights' own comparison. Logs why.

    Raises MissingError.
    """
    try:
        choice = json.loads(CHOICE.read_text(encoding="utf-8"))
        net, why = str(choice["net"]), choice["why"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(f"{CHOICE} names no default network ({error}); choose one with --net") from error
    if net not in shipped_restorers():
        raise MissingError(f"{CHOICE} names the network {net!r}; wanted {' or '.join(shipped_restorers())}")
    decided(log, "--net auto is %s: %s", net, why)
    return net


def engine_file(net: str, weights: Path | None = None) -> Path:
    """The ONNX file of a network, exported and compared with PyTorch now if the cache has none.

    ``net`` is a shipped network, whose own weights are taken unless ``weights`` names others. Raises
    MissingError, InputError (weights that cannot be read), OutputError (a cache that cannot be written) and
    CheckError.
    """
    return export(Request(str(weights or net), "onnx"), faces_or_noise).file


def engine_for(net: str, engine: str, device: str) -> Path:
    """The file to open for a network, for the settings ``engine`` and ``device`` of a run; what was chosen is
    logged. A file that vidpipe export made (`ENGINE_FILES`) is itself. ``tensorrt`` and ``tensorrt-rtx`` are
    built now if need be, which may take minutes. Raises the errors of ``export.convert.export``."""
    if Path(net).suffix in ENGINE_FILES:
        return Path(net)
    asked: dict[str, Target] = {"torch": "torch", "tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt-rtx"}
    if engine in asked:
        if engine != "torch" and not _capability(device):
            raise MissingError(
                f"--engine {engine} wants an NVIDIA GPU that PyTorch sees, and device {device} is none here; "
                "use --engine auto"
            )
        return export(_request(net, asked[engine]), faces_or_noise).file
    capability = _capability(device) if engine == "auto" else ""
    target = _target(capability)
    if target is None:
        return _next_best(net, capability)
    identity = identity_of(_request(net, target), find(net), None)
    kept = cache.find(identity)
    if kept is not None:
        decided(log, "%s: its %s engine is in the cache: %s", net, target, kept.file)
        return kept.file
    begun = perf_counter()
    building = begin(net, target, PRECISION, cache.key_of(identity))
    if isinstance(building, Building):
        what = "%s: building its %s engine for this GPU, once; a run waits for up to %g s"
        log.warning(what, net, target, BUILD_FIRST_S)
        building.wait(BUILD_FIRST_S)
        if built := cache.find(identity):
            took_s = perf_counter() - begun
            decided(log, "%s: its %s engine was built in %.0f s: %s", net, target, took_s, built.file)
            return built.file
        building = building.progress()
    why = "%s: no %s engine for this GPU yet: %s; this run uses the next best engine, the next asks again"
    warned(log, why, net, target, building)
    return _next_best(net, capability)


def _next_best(net: str, capability: str) -> Path:
    """The ONNX file; for a GPU that ONNX Runtime cannot use here, PyTorch's program."""
    if not capability or onnxruntime_has_gpu():
        return engine_file(net)
    decided(log, "%s: onnxruntime has no CUDA here, so PyTorch runs it on the GPU", net)
    return export(_request(net, "torch"), faces_or_noise).file


def _request(net: str, target: Target) -> Request:
    return Request(net, target, PRECISION)


def _capability(device: str) -> str:
    """Compute capability of the GPU that a run would use, e.g. 8.9; empty for the CPU."""
    if device == "cpu" or not torch.cuda.is_available():
        return ""
    index = int(device.removeprefix("cuda:")) if device.startswith("cuda:") else 0
    major, minor = torch.cuda.get_device_capability(index)
    return f"{major}.{minor}"


def _target(capability: str) -> Target | None:
    """``tensorrt`` where it is installed, else ``tensorrt-rtx`` for the GPUs that it knows."""
    if capability and tensorrt_library.is_installed("tensorrt"):
        return "tensorrt"
    if capability in RTX_CAPABILITIES and tensorrt_library.is_installed("tensorrt_rtx"):
        return "tensorrt-rtx"
    return None
