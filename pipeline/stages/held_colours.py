"""Colours that are measured once per track, where its face is seen best, and held.

However many frames are released, one measurement is. With ``epsilon`` the colours are noised once before they
are held, after Fan, "Image Pixelization with Differential Privacy" (DBSec 2018): Laplace noise of scale
255 m / (b^2 epsilon) per value.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.answers import answered
from pipeline.config import MaskConfig, ProtectConfig
from pipeline.picture.color import Conversion
from pipeline.picture.grid_paint import Measured, measure
from pipeline.picture.wanted import Cells, Wanted
from pipeline.stages.lattices import Lattices
from pipeline.types import Box, Frame, Region, TrackedFaces, TrackedRegion

_FORGET_S = 5.0
"""Colours are held so long after a region was last there: a track that pauses is not measured anew."""


@dataclass(slots=True)
class Release:
    """What has been measured of one track, for the report."""

    measured: int = 0
    """times"""
    block_px: float = 0.0
    """side of the smallest cell where it was measured last, root of its pixels"""
    noise_levels: float | None = None
    """scale of the Laplace noise, of 0..255; None without"""


@dataclass(slots=True)
class _Held:
    samples: Tensor
    since_s: float
    last_s: float


def noise_levels(block_px: float, hold: ProtectConfig, colours: int) -> float:
    """Scale of the Laplace noise in grey levels of 255, so that epsilon holds for all colours together.

    Changing m pixels by up to 255 in each of ``colours`` channels moves the means of cells of b x b pixels by
    at most 255 m / b^2 in sum, per channel. One channel gives the paper's scale.
    """
    if hold.epsilon is None:
        raise ValueError("no epsilon, no noise")
    return 255.0 * hold.dp_pixels * colours / (block_px**2 * hold.epsilon)


class HeldColours:
    """Of all tracks of a run, with the record of what was measured."""

    of_nobody = False

    def __init__(self, settings: MaskConfig, hold: ProtectConfig, lattices: Lattices) -> None:
        self._settings = settings
        self._hold = hold
        self._lattices = lattices
        self._held: dict[int, _Held] = {}
        self.releases: dict[int, Release] = {}
        """By track."""
        # Noise that can be predicted can be subtracted: its seed is never stored.
        self._random = np.random.default_rng(secrets.randbits(128))

    def begin(self, item: TrackedFaces, convert: Conversion) -> None:
        """Measures the tracks that are born on this frame where they are seen best, and forgets old ones."""
        now_s = _seconds(item)
        for track in [t for t, held in self._held.items() if t > 0 and now_s - held.last_s > _FORGET_S]:
            del self._held[track]
        for tracked in item.regions:
            reference = item.references.get(tracked.track)
            if reference is not None and tracked.track not in self._held:
                self._measure(tracked, reference.frame, reference.box, now_s, convert)

    def samples(self, wanted: Wanted) -> Tensor:
        """(3, R, C)"""
        item, tracked, cells = wanted.item, wanted.tracked, wanted.cells
        now_s, hold_s, face = _seconds(item), self._hold.hold_s, tracked.region.box
        held = self._held.get(tracked.track)
        if held is None or (hold_s is not None and now_s - held.since_s >= hold_s):
            held = self._measure(tracked, item.frame, face, now_s, wanted.convert)
        if cells != tuple(held.samples.shape[1:]):  # it has become too small for them
            held.samples = F.adaptive_avg_pool2d(held.samples, cells)
        held.last_s = now_s
        return held.samples

    def _measure(
        self, tracked: TrackedRegion[Region], frame: Frame, face: Box, now_s: float, convert: Conversion
    ) -> _Held:
        cells = self._lattices.cells(tracked, face, refine=False)
        samples = self._release(tracked.track, frame, face, cells, convert)
        held = self._held[tracked.track] = _Held(samples, now_s, now_s)
        return held

    def _release(self, track: int, frame: Frame, face: Box, cells: Cells, convert: Conversion) -> Tensor:
        """Measures a face once, with its noise."""
        box = face.scaled(1.0 if track < 0 else self._settings.scale)
        (measured,) = measure(frame, [box], [cells], convert)
        samples = measured.samples
        release = self.releases.setdefault(track, Release())
        release.measured += 1
        release.block_px = max(measured.least_pixels, 1) ** 0.5
        if self._hold.epsilon is not None:
            release.noise_levels = noise_levels(release.block_px, self._hold, convert.format.colour_planes)
            noised = partial(self._noised, measured, release.noise_levels)
            samples = torch.from_numpy(answered(f"noised {track} {release.measured}", noised))
        return samples

    def _noised(self, measured: Measured, levels: float) -> NDArray[np.float32]:
        samples = measured.samples
        noise = self._random.laplace(0.0, levels / 255, tuple(samples.shape))
        # A mean that several cells show is noised once, or they could be averaged.
        noise = noise[:, measured.rows][:, :, measured.columns]
        samples = (samples.clamp(0, 1) + torch.from_numpy(noise).float()).clamp(0, 1)
        # Values of 8 bits, as the paper's: the low bits of floating-point noise tell about what it hides.
        return np.asarray((samples * 255).round() / 255, np.float32)


def _seconds(item: TrackedFaces) -> float:
    return float(item.frame.pts * item.frame.time_base)
