"""Windows -> patches: a mosaic is observed, an engine runs the network, its answer is held to the mosaic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch

from pipeline.cuda import let_go
from pipeline.engines import Engine
from pipeline.flow import lookahead_items, spread
from pipeline.notes import warned
from pipeline.stages.restore_windows import Graphs, restore_windows
from pipeline.types import Batch, Frame, Patch, Window

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


class _Restorer:
    def __init__(self, engine: Engine, batch_size: int) -> None:
        self.engine, self.batch_size = engine, batch_size
        self._graphs = Graphs(engine)

    def _part(self, windows: tuple[Window, ...]) -> list[Patch]:
        if windows[0].crops[0].image.device.type == "cpu":
            return restore_windows(windows, self.engine)
        return self._graphs(windows)

    def __call__(self, windows: tuple[Window, ...]) -> list[Patch]:
        _check_sizes(windows, self.engine)
        patches: list[Patch] = []
        done = 0
        while done < len(windows):
            part = windows[done : done + self.batch_size]
            try:
                patches += self._part(part)
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


def _check_sizes(windows: tuple[Window, ...], engine: Engine) -> None:
    spec = engine.spec
    for window in windows:
        first = window.crops[0]
        came = len(window.crops), first.image.shape[-1], first.rows.shape[0]
        wanted = spec.window, spec.size_px, spec.cells
        if came != wanted:
            raise ValueError(f"window of (T, S, N) = {came}; {spec.net} {spec.version} takes {wanted}")
