"""A batch of windows through an engine: observed, answered, held to the mosaics.

On the CPU each crop is observed once, however many windows share it. On a GPU everything around the engine is
two CUDA graphs per size, one before it and one after it, so that a batch is a few launches; sizes are rounded
up to a few, and nothing is asked of the device but a word at the end: whether the answer is finite, and how
far each patch is held.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nets.measurement import Part
from nets.observation import Observation, compose, observe
from nets.pixelation import Operator
from pipeline import cuda
from pipeline.engines import Engine, EngineSpec
from pipeline.engines.batching import engine_inputs, fitting
from pipeline.errors import CheckError, InputError
from pipeline.types import Crop, Patch, Window

_PART_STEP_PX, _CELLS_STEP = 16, 8
"""The part of the crops that mosaics span, and their cells, are rounded up to multiples of these."""
_MARGIN_PX = 4
"""Border about the mosaics, as ``nets.measurement`` leaves one."""
_MOST_GRAPHS = 8
"""Sizes whose graphs are kept: each has memory of its own."""


def restore_windows(windows: tuple[Window, ...], engine: Engine) -> list[Patch]:
    """The patches of the cores of windows of the engine's sizes, in order."""
    spec = engine.spec
    crops = list({id(c): c for w in windows for c in w.crops}.values())  # windows share crops, edges repeat
    place = {id(c): i for i, c in enumerate(crops)}
    observation = _observed(crops)
    where = observation.base.device
    taken = torch.tensor([place[id(c)] for w in windows for c in w.crops]).to(where)
    inputs, of_core = engine_inputs(_some(observation, taken), spec)
    residual, trust = _answered(engine, inputs, len(windows))
    owners, places = _owners(windows, spec)
    at = torch.tensor(places).to(where)
    of_owned, held = _some(of_core, at), trust.clamp(0, 1).flatten()[at]
    images = torch.stack([c.image for c in owners])
    pixels = compose(of_owned, images, residual.flatten(0, 1)[at], held).clamp(0, 1)
    _check_finite([bool(torch.isfinite(x).all()) for x in (residual, trust)], engine)
    how_far = (held * of_owned.means).cpu().tolist()
    return [Patch(*parts) for parts in zip(owners, pixels.unbind(0), how_far, strict=True)]


@dataclass(frozen=True, slots=True)
class _Size:
    windows: int
    part_px: int
    """Height and width of the part of the crops that mosaics span."""
    cells: int


@dataclass(frozen=True, slots=True)
class _Program:
    """The graphs of one size, and the tensors that they read and fill."""

    crops: tuple[Tensor, Tensor, Tensor, Tensor]
    """image, mask, rows and cols of all frames of the windows"""
    numbers: Tensor
    """(M + 2,) float32: which mosaics hold means; first row and column of the part"""
    inputs: dict[str, Tensor]
    """of the engine"""
    answer: tuple[Tensor, Tensor]
    """its residual and trust"""
    read: Callable[[], object]
    write: Callable[[], tuple[Tensor, Tensor]]
    """Gives the pixels of all cores, and two flags and how far each is held."""


class Graphs:
    """``restore_windows`` on a device. Calls from several threads come in turn."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._programs: OrderedDict[_Size, _Program] = OrderedDict()
        self._turn = threading.Lock()

    def __call__(self, windows: tuple[Window, ...]) -> list[Patch]:
        engine, spec = self._engine, self._engine.spec
        count = fitting(len(windows), spec)
        filled = windows + windows[-1:] * (count - len(windows))
        crops = [crop for window in filled for crop in window.crops]
        part_px, cells, first = _fitting_part(crops, spec)
        with self._turn:
            program = self._program(_Size(count, part_px, cells), crops[0].image.device)
            for held, name in zip(program.crops, ("image", "mask", "rows", "cols"), strict=True):
                torch.stack([getattr(crop, name) for crop in crops], out=held)
            numbers = torch.tensor([*(float(_holds_means(c)) for c in crops), *map(float, first)])
            program.numbers.copy_(cuda.pinned_to(numbers, program.numbers.device))
            program.read()
            some = {name: x[: len(windows)] for name, x in program.inputs.items()}
            for held, given in zip(program.answer, _answered(engine, some, len(windows)), strict=True):
                held[: len(windows)].copy_(given)
                if count > len(windows):  # what was there before may be of no use
                    held[len(windows) :].zero_()
            pixels, said = program.write()
            pixels, said = pixels.clone(), said.cpu()
        words = said.tolist()
        _check_finite([bool(word) for word in words[:2]], engine)
        owners, places = _owners(windows, spec)
        return [Patch(crop, pixels[at], words[2 + at]) for crop, at in zip(owners, places, strict=True)]

    def _program(self, size: _Size, device: torch.device) -> _Program:
        if size not in self._programs:
            while len(self._programs) >= _MOST_GRAPHS:
                self._programs.popitem(last=False)
            self._programs[size] = _captured(size, self._engine, device)
        self._programs.move_to_end(size)
        return self._programs[size]


def _captured(size: _Size, engine: Engine, device: torch.device) -> _Program:
    spec = engine.spec
    frames, edge, most = size.windows * spec.window, spec.size_px, spec.cells
    crops = (
        torch.zeros(frames, 3, edge, edge, device=device),
        torch.ones(frames, 1, edge, edge, device=device),
        torch.zeros(frames, most, edge, device=device),
        torch.zeros(frames, most, edge, device=device),
    )
    numbers = torch.zeros(frames + 2, device=device)
    answer = (
        torch.zeros(size.windows, spec.core, 3, edge, edge, device=device),
        torch.zeros(size.windows, spec.core, device=device),
    )

    def read() -> tuple[Tensor, ...]:
        first = numbers[frames:].round().long()
        along = torch.arange(size.part_px, device=device)
        part = Part(first[0] + along, first[1] + along, size.cells)
        obs = observe(*crops, numbers[:frames])
        inputs, of_core = engine_inputs(obs, spec, part)
        images = crops[0].unflatten(0, (-1, spec.window))[:, spec.context : spec.context + spec.core]
        parts = (getattr(of_core, f.name) for f in fields(Observation))
        return inputs["features"], inputs["mask"], images.flatten(0, 1), *parts

    prepared = cuda.captured(read, device, f"{engine.name}, before the network")
    features, mask, images, *parts = prepared()
    of_core = Observation(*parts)

    def write() -> tuple[Tensor, Tensor]:
        residual, trust = answer
        held = trust.clamp(0, 1).flatten()
        pixels = compose(of_core, images, residual.flatten(0, 1), held).clamp(0, 1)
        finite = [torch.isfinite(x).all().to(torch.float32).unsqueeze(0) for x in answer]
        return pixels, torch.cat([*finite, held * of_core.means])

    written = cuda.captured(write, device, f"{engine.name}, after the network")
    return _Program(crops, numbers, {"features": features, "mask": mask}, answer, prepared, written)


def _fitting_part(crops: list[Crop], spec: EngineSpec) -> tuple[int, int, tuple[int, int]]:
    """The part of the crops in which all their mosaics lie: px along either axis, the most cells, the first
    row and column."""
    extents = [crop.extent for crop in crops if crop.extent is not None]
    size = spec.size_px
    if len(extents) < len(crops):
        return size, spec.cells, (0, 0)
    top, left = min(e.top for e in extents), min(e.left for e in extents)
    bottom, right = max(e.bottom for e in extents), max(e.right for e in extents)
    longer = max(bottom - top, right - left) + 2 * _MARGIN_PX
    part_px = min(-(-longer // _PART_STEP_PX) * _PART_STEP_PX, size)
    cells = min(-(-max(e.cells for e in extents) // _CELLS_STEP) * _CELLS_STEP, spec.cells)
    first = ((low + high - part_px) // 2 for low, high in ((top, bottom), (left, right)))
    row, column = (min(max(at, 0), size - part_px) for at in first)
    return part_px, cells, (row, column)


def _owners(windows: tuple[Window, ...], spec: EngineSpec) -> tuple[list[Crop], list[int]]:
    """The crops that windows restore, and where each is among the frames of all cores."""
    owners = [window.crops[at] for window in windows for at in window.core]
    places = [w * spec.core + at - spec.context for w, window in enumerate(windows) for at in window.core]
    return owners, places


def _some(obs: Observation, at: Tensor) -> Observation:
    return Observation(*(getattr(obs, f.name)[at] for f in fields(Observation)))


def _holds_means(crop: Crop) -> bool:
    """Whether the finder takes the mosaic's cells for means of their pixels."""
    grid = crop.tracked.region.grid
    return grid is None or grid.operator in (Operator.AREA, Operator.LINEAR)


def _observed(crops: list[Crop]) -> Observation:
    """What networks read from K crops: (K, ...)."""
    return observe(
        torch.stack([c.image for c in crops]),
        torch.stack([c.mask for c in crops]),
        torch.stack([c.rows for c in crops]),
        torch.stack([c.cols for c in crops]),
        torch.tensor([float(_holds_means(c)) for c in crops]).to(crops[0].image.device),
    )


def _answered(engine: Engine, inputs: dict[str, Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The engine's residual and trust for ``count`` windows. Raises InputError for other shapes."""
    spec = engine.spec
    outputs = engine.infer(inputs)
    residual = _checked(outputs, "residual", (count, spec.core, 3, spec.size_px, spec.size_px), engine)
    return residual, _checked(outputs, "trust", (count, spec.core), engine)


def _checked(outputs: dict[str, Tensor], name: str, shape: tuple[int, ...], engine: Engine) -> Tensor:
    which = f"{engine.spec.net} {engine.spec.version} on {engine.name}"
    if name not in outputs:
        raise InputError(
            f"{which}: no output {name!r}, only {sorted(outputs)}; delete its file, it is made anew"
        )
    value = outputs[name]
    if tuple(value.shape) != shape:
        raise InputError(
            f"{which}: {name} is {tuple(value.shape)}, its metadata promise {shape}; "
            "delete its file, it is made anew"
        )
    return value


def _check_finite(finite: list[bool], engine: Engine) -> None:
    """Raises CheckError where residual or trust, in this order, is not."""
    for name, holds in zip(("residual", "trust"), finite, strict=True):
        if not holds:
            which = f"{engine.spec.net} {engine.spec.version} on {engine.name}"
            raise CheckError(f"{which}: {name} holds NaN or infinity; try --engine onnxruntime (float32)")
