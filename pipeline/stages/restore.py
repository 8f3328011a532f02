"""Windows -> patches: a mosaic is observed, an engine runs the network, its answer is held to the mosaic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from nets.observation import Observation, compose, observe
from nets.pixelation import Operator
from pipeline.cuda import let_go
from pipeline.engines import Engine
from pipeline.engines.batching import engine_inputs
from pipeline.errors import CheckError, InputError
from pipeline.flow import lookahead_items, spread
from pipeline.notes import warned
from pipeline.types import Batch, Crop, Frame, Patch, Window

log = logging.getLogger(__name__)

_AHEAD = 1
"""Batches that are taken ahead for each that is restored at a time: they are large."""


def restore(
    batches: Iterable[Batch[Window]], *, engine: Engine, batch_size: int, kept: int = 0
) -> Iterator[Batch[Patch]]:
    """Restores the core of every window; frames go on with the patches that belong to them. Batches whose
    frames all have an index below ``kept`` go on without: nobody looks at their pictures.

    At most ``batch_size`` windows go into one call of the engine, fewer from then on where a GPU's memory
    does not hold them. As many batches are restored at a time as the engine takes calls, each in a thread of
    its own; ``batches_held`` of them are in here. Windows must be of the engine's T, S and N, else
    ValueError. Raises InputError where the network does not give what its metadata promise, CheckError where
    it gives NaN or infinity, torch.OutOfMemoryError where there is no room for one window.
    """
    jobs = _jobs(batches, _Restorer(engine, batch_size), kept)
    for frames, patches in spread(jobs, engine.calls, "restore", ahead=_AHEAD):
        yield Batch(frames, tuple(patches or ()))
        del frames, patches  # else they stay alive while the next batch is made


def _jobs(
    batches: Iterable[Batch[Window]], restorer: _Restorer, kept: int
) -> Iterator[tuple[tuple[Frame, ...], Callable[[], list[Patch]] | None]]:
    for batch in batches:
        is_due = batch.items and batch.frames[-1].index >= kept
        yield batch.frames, partial(restorer, batch.items) if is_due else None
        del batch


def batches_held(calls: int) -> int:
    """The most batches that ``restore`` holds for an engine that takes so many calls at a time."""
    return lookahead_items(calls, _AHEAD)


@dataclass(slots=True)
class _Restorer:
    engine: Engine
    batch_size: int

    def __call__(self, windows: tuple[Window, ...]) -> list[Patch]:
        patches: list[Patch] = []
        done = 0
        while done < len(windows):
            part = windows[done : done + self.batch_size]
            try:
                patches += _restore(part, self.engine)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self.batch_size = len(part) // 2
                warned(
                    log,
                    "the GPU's memory does not hold %d windows at a time; from here on it gets %d",
                    len(part),
                    self.batch_size,
                )
                let_go()
                continue
            done += len(part)
        return patches


def _restore(windows: tuple[Window, ...], engine: Engine) -> list[Patch]:
    spec = engine.spec
    for window in windows:
        first = window.crops[0]
        came = len(window.crops), first.image.shape[-1], first.rows.shape[0]
        wanted = spec.window, spec.size_px, spec.cells
        if came != wanted:
            raise ValueError(f"window of (T, S, N) = {came}; {spec.net} {spec.version} takes {wanted}")
    crops = list({id(c): c for w in windows for c in w.crops}.values())  # windows share crops, edges repeat
    place = {id(c): i for i, c in enumerate(crops)}
    observation = _observe(crops)
    where = observation.base.device
    taken = torch.tensor([place[id(c)] for w in windows for c in w.crops]).to(where)
    inputs, of_core = engine_inputs(
        Observation(*(getattr(observation, f.name)[taken] for f in fields(Observation))), spec
    )
    outputs = engine.infer(inputs)
    size, count = spec.size_px, len(windows)
    residual = _checked(outputs, "residual", (count, spec.core, 3, size, size), engine)
    trust = _checked(outputs, "trust", (count, spec.core), engine).clamp(0, 1)
    _check_finite(outputs, engine)

    owned = torch.tensor(
        [w * spec.core + at - spec.context for w, window in enumerate(windows) for at in window.core]
    ).to(where)
    owners = [window.crops[at] for window in windows for at in window.core]
    of_owned = Observation(*(getattr(of_core, f.name)[owned] for f in fields(Observation)))
    images = torch.stack([c.image for c in owners])
    held = trust.flatten()[owned]
    pixels = compose(of_owned, images, residual.flatten(0, 1)[owned], held).clamp(0, 1)
    how_far = (held * of_owned.means).cpu().tolist()
    return [Patch(*parts) for parts in zip(owners, pixels.unbind(0), how_far, strict=True)]


def _holds_means(crop: Crop) -> bool:
    """Whether the finder takes the mosaic's cells for means of their pixels."""
    grid = crop.tracked.region.grid
    return grid is None or grid.operator in (Operator.AREA, Operator.LINEAR)


def _observe(crops: list[Crop]) -> Observation:
    """What networks read from K crops: (K, ...)."""
    return observe(
        torch.stack([c.image for c in crops]),
        torch.stack([c.mask for c in crops]),
        torch.stack([c.rows for c in crops]),
        torch.stack([c.cols for c in crops]),
        torch.tensor([float(_holds_means(c)) for c in crops]).to(crops[0].image.device),
    )


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


def _check_finite(outputs: dict[str, Tensor], engine: Engine) -> None:
    finite = torch.stack([torch.isfinite(outputs[name]).all() for name in ("residual", "trust")])
    for name, holds in zip(("residual", "trust"), finite.cpu().tolist(), strict=True):
        if not holds:
            which = f"{engine.spec.net} {engine.spec.version} on {engine.name}"
            raise CheckError(f"{which}: {name} holds NaN or infinity; try --engine onnxruntime (float32)")
