"""Tracked faces -> masks: what is painted over each face, plain or held still over time.

*Plain* (``hold`` None): the colours of each frame's own cells, as every pixelizer does it. A face that moves
under its cells shows them something new on every frame, and frames add up (NAR, arXiv 2009.13856).

*Held*: the lattice is locked to the face and its colours are measured once, where the face is seen best; what
is painted later is the same colours in another place. However many frames are released, one measurement is.
With ``epsilon`` those colours are noised once before they are held, after Fan, "Image Pixelization with
Differential Privacy" (DBSec 2018): Laplace noise of scale 255 m / (b^2 epsilon) per value.

A perturbation that is trained against a network (``pipeline.stages.perturb``) lies between this stage and
``paint``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.config import MaskConfig, ProtectConfig
from pipeline.picture.color import Conversion, conversion
from pipeline.picture.grid_paint import cells_across, measure
from pipeline.types import (
    Box,
    Frame,
    Mask,
    Masked,
    MosaicRegion,
    Region,
    Shape,
    StreamInfo,
    TrackedFaces,
    TrackedRegion,
)

_OF_A_MOSAIC = 0.5
"""A mosaic that is pixelated again gets at most this share of the cells that it has."""
_OF_A_BLUR = 0.4
"""A blur gets at most this share of the cells of the mosaic that it is as strong as: between their colours it
interpolates, and a detector sees through 4 interpolated cells what it sees through 10 blocks."""
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
    cells: tuple[int, int]
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


class Pixelizer:
    """The stage, with the record of what it measured. With ``hold`` colours are measured once and held."""

    def __init__(self, info: StreamInfo, settings: MaskConfig, hold: ProtectConfig | None = None) -> None:
        self._info = info
        self._settings = settings
        self._hold = hold
        self._shape = Shape.ELLIPSE if settings.shape == "ellipse" else Shape.RECTANGLE
        self._held: dict[int, _Held] = {}
        self._cells: dict[int, tuple[int, int]] = {}
        self.releases: dict[int, Release] = {}
        """By track; empty for looks and modes that hold nothing."""
        # Noise that can be predicted can be subtracted: its seed is never stored.
        self._random = np.random.default_rng(secrets.randbits(128))

    def __call__(self, items: Iterable[TrackedFaces]) -> Iterator[Masked]:
        """Frames in order with a mask per region. Raises InputError for colours that are not handled."""
        for item in items:
            frame = item.frame
            height, width = frame.planes[0].shape
            convert = conversion(frame.pix_fmt, frame.colour, width, height)
            boxes = [self._box(tracked) for tracked in item.regions]
            colours = self._colours(item, boxes, convert)
            masks = zip(item.regions, boxes, colours, strict=True)
            yield Masked(frame, tuple(self._mask(*mask) for mask in masks))
            self._forget(float(frame.pts * frame.time_base))

    def _box(self, tracked: TrackedRegion[Region]) -> Box:
        return tracked.region.box.scaled(1.0 if tracked.track < 0 else self._settings.scale)

    def _mask(self, tracked: TrackedRegion[Region], box: Box, samples: Tensor) -> Mask:
        settings = self._settings
        shape = Shape.RECTANGLE if tracked.track < 0 else self._shape
        return Mask(tracked, box, shape, samples, smooth=settings.look == "blur")

    def _colours(self, item: TrackedFaces, boxes: list[Box], convert: Conversion) -> list[Tensor]:
        """Of each region."""
        settings, regions = self._settings, item.regions
        if settings.look == "solid":
            return [torch.zeros(3, 1, 1)] * len(regions)
        if self._hold is not None:
            return [self._held_samples(item, tracked, convert, self._hold) for tracked in regions]
        for tracked in regions:
            if tracked.track not in self._cells:
                self._cells[tracked.track] = self._lattice(tracked, tracked.region.box)
        cells = [self._cells[tracked.track] for tracked in regions]
        return [measured.samples for measured in measure(item.frame, boxes, cells, convert)]

    def _lattice(self, tracked: TrackedRegion[Region], face: Box) -> tuple[int, int]:
        """(rows, columns) over the mask of a track whose face has this box."""
        settings, region = self._settings, tracked.region
        scale = 1.0 if tracked.track < 0 else settings.scale
        aspect = float(self._info.sample_aspect)
        blocks = settings.blocks
        if settings.look == "blur":
            blocks = max(1, int(blocks * _OF_A_BLUR))
        if isinstance(region, MosaicRegion) and region.grid is not None:
            grid = region.grid
            across = min(face.width / grid.x.pitch, face.height / grid.y.pitch)
            blocks = max(1, min(blocks, int(across * _OF_A_MOSAIC)))
        return cells_across(face, blocks, scale, aspect)

    def _held_samples(
        self, item: TrackedFaces, tracked: TrackedRegion[Region], convert: Conversion, hold: ProtectConfig
    ) -> Tensor:
        now_s = float(item.frame.pts * item.frame.time_base)
        held = self._held.get(tracked.track)
        if held is not None and (hold.hold_s is None or now_s - held.since_s < hold.hold_s):
            held.last_s = now_s
            return held.samples
        frame, face = item.frame, tracked.region.box
        reference = item.references.get(tracked.track)
        if held is None and reference is not None:
            frame, face = reference.frame, reference.box
        cells = held.cells if held is not None else self._lattice(tracked, face)
        samples = self._release(tracked.track, frame, face, cells, convert, hold)
        self._held[tracked.track] = _Held(samples, cells, now_s, now_s)
        return samples

    def _release(
        self,
        track: int,
        frame: Frame,
        face: Box,
        cells: tuple[int, int],
        convert: Conversion,
        hold: ProtectConfig,
    ) -> Tensor:
        """Measures a face once, with its noise."""
        box = face.scaled(1.0 if track < 0 else self._settings.scale)
        (measured,) = measure(frame, [box], [cells], convert)
        samples = measured.samples
        release = self.releases.setdefault(track, Release())
        release.measured += 1
        release.block_px = max(measured.least_pixels, 1) ** 0.5
        if hold.epsilon is not None:
            release.noise_levels = noise_levels(release.block_px, hold, convert.format.colour_planes)
            noise = self._random.laplace(0.0, release.noise_levels / 255, tuple(samples.shape))
            # A mean that several cells show is noised once, or they could be averaged.
            noise = noise[:, measured.rows][:, :, measured.columns]
            samples = (samples.clamp(0, 1) + torch.from_numpy(noise).float()).clamp(0, 1)
            # Values of 8 bits, as the paper's: the low bits of floating-point noise tell about what it hides.
            samples = (samples * 255).round() / 255
        return samples

    def _forget(self, now_s: float) -> None:
        for track in [t for t, held in self._held.items() if t > 0 and now_s - held.last_s > _FORGET_S]:
            del self._held[track]
