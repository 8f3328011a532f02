"""Masks -> masks whose colours are changed against a restoring network, once as long as they hold.

After ``pixelize`` and before ``paint``. The network (nets.pixelizer) reads the colours that would be released
and nothing else; what it adds is kept with them, so that more frames show no second change.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from nets.pixelizer_io import Perturb, add, answer, read, subdivision
from pipeline.engines import Engine
from pipeline.errors import CheckError, InputError
from pipeline.notes import warned
from pipeline.types import Mask, Masked

log = logging.getLogger(__name__)

PREFIX = "pixelizer-"
"""Of the names of networks that do this; then block or pixel."""


@dataclass(slots=True)
class _Changed:
    plain: Tensor
    samples: Tensor
    fine: int


class Perturber:
    """The stage, with the record of what it changed. Raises InputError for an engine of another network."""

    def __init__(self, engine: Engine) -> None:
        spec = engine.spec
        if not spec.net.startswith(PREFIX) or spec.net.removeprefix(PREFIX) not in ("block", "pixel"):
            raise InputError(
                f"the engine of {spec.net} changes no mosaics; wanted one of pixelizer-block or -pixel"
            )
        self._engine = engine
        self._kind = cast("Perturb", spec.net.removeprefix(PREFIX))
        self._changed: dict[int, _Changed] = {}
        self.levels: dict[int, float] = {}
        """By track: mean absolute change of its colours, of 0..255; tracks without one are not changed."""

    def __call__(self, items: Iterable[Masked]) -> Iterator[Masked]:
        """Frames in order, their masks changed."""
        for item in items:
            yield replace(item, masks=tuple(self._mask(mask) for mask in item.masks))

    def _mask(self, mask: Mask) -> Mask:
        track = mask.tracked.track
        if mask.tracked.filled:  # the frame's own means, which change with every frame
            return mask
        changed = self._changed.get(track)
        if changed is None or changed.plain is not mask.samples:
            changed = self._changed[track] = self._change(track, mask.samples)
        return replace(mask, samples=changed.samples, fine=changed.fine)

    def _change(self, track: int, samples: Tensor) -> _Changed:
        spec, cells = self._engine.spec, (samples.shape[1], samples.shape[2])
        fine = subdivision(self._kind, spec.size_px, cells)
        if fine == 0 or cells == (1, 1):
            warned(
                log,
                "track %d: its %d x %d cells are not perturbed; %s takes 2 to %d across",
                *(track, *cells, spec.net, spec.size_px),
            )
            return _Changed(samples, samples, 1)
        features, mask = read([samples.clamp(0, 1)], self._kind, spec.size_px)
        outputs = self._engine.infer({"features": features.unsqueeze(1), "mask": mask.unsqueeze(1)})
        delta = answer(outputs["residual"][0, 0], self._kind, cells)
        if not bool(torch.isfinite(delta).all()):
            raise CheckError(f"{spec.net} on {self._engine.name}: its answer holds NaN or infinity")
        self.levels[track] = float(delta.abs().mean()) * 255
        return _Changed(samples, add(samples.clamp(0, 1), delta), fine)
