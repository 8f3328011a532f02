"""Tracked frames -> frames with one canonical crop per mosaic: the networks' view of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.pixelation import membership, replicate
from pipeline.notes import warned
from pipeline.picture.cell_samples import Cells, cells_of, cut_planes, index_from, read_samples, sent
from pipeline.picture.color import Conversion, conversion
from pipeline.picture.geometry import View, pixels_under, upright, upright_membership, view_around
from pipeline.types import Axis, Crop, Cropped, Frame, MosaicRegion, StreamInfo, Tracked, TrackedRegion

log = logging.getLogger(__name__)

# A track's crop keeps its side until the box asks for one that differs by more than this share, so that
# the canonical scale does not flicker with the box; the margin leaves room for it.
_STEADY = 0.04


def crop(
    tracked: Iterable[Tracked], *, info: StreamInfo, size_px: int, cells: int, margin: float
) -> Iterator[Cropped]:
    """Makes a crop of ``size_px`` (S) with up to ``cells`` (N) cells per axis of every mosaic.

    The crop shows ``margin`` x the longer side of the box, upright and with square pixels. A region that
    cannot be cropped (grid unknown, more than ``cells`` cells, outside the picture) goes on without;
    this is logged once per track and its pixels stay as they are. Raises InputError for a pixel format
    or colour matrix that is not handled.
    """
    sides: dict[int, float] = {}
    skipped: set[int] = set()
    for item in tracked:
        crops = []
        for tracked_region in item.regions:
            track = tracked_region.track
            wanted = margin * _longer_side(tracked_region, info.sample_aspect)
            side = sides.get(track)
            if side is None or abs(wanted / side - 1) > _STEADY:
                side = sides[track] = wanted
            box = tracked_region.region.box
            view = view_around(box, side, info.sample_aspect, info.rotation, info.mirrored)
            made = crop_region(item.frame, tracked_region, view, size_px, cells)
            if isinstance(made, Crop):
                crops.append(made)
            elif track not in skipped:
                skipped.add(track)
                warned(log, "track %d, frame %d: not restored: %s", track, item.frame.index, made)
            if tracked_region.last:
                sides.pop(track)
                skipped.discard(track)
        yield Cropped(item.frame, tuple(crops))


def _longer_side(tracked: TrackedRegion[MosaicRegion], sample_aspect: Fraction) -> float:
    """In lines of the picture."""
    box = tracked.region.box
    return max(box.width * float(sample_aspect), box.height)


def crop_region(
    frame: Frame, tracked: TrackedRegion[MosaicRegion], view: View, size_px: int, cells: int
) -> Crop | str:
    """The crop of one region that ``view`` shows, or why there is none. Sizes as in ``crop``; training reads
    decoded mosaics through it as well."""
    region = tracked.region
    if region.grid is None:
        return "its grid could not be read"
    height, width = frame.planes[0].shape
    convert = conversion(frame.pix_fmt, frame.colour, width, height)
    mosaic = cells_of(region, region.grid, convert, width, height, frame.device)
    if mosaic is None:
        return "it lies outside the picture"
    counts = mosaic.rows.shape[0], mosaic.cols.shape[0]
    if max(counts) > cells:
        return f"it has {counts[1]} x {counts[0]} cells, the networks read {cells} x {cells}"
    samples = read_samples(frame, mosaic, convert)
    rows = _membership(region.grid.y, mosaic.first[0], counts[0], view.y0, view.height, size_px, cells)
    cols = _membership(region.grid.x, mosaic.first[1], counts[1], view.x0, view.width, size_px, cells)
    rows, cols = sent((rows, cols), frame.device)
    surroundings, clean = _surroundings(frame, convert, mosaic, view, size_px)
    blocks = replicate(samples.values, rows[: counts[0]], cols[: counts[1]])
    image = torch.where(clean > 0, surroundings, blocks)
    rows, cols = upright_membership(rows, cols, counts, view.rotation, view.mirrored)
    return Crop(
        tracked=tracked,
        frame_index=frame.index,
        image=upright(image, view.rotation, view.mirrored).contiguous(),
        mask=upright(clean, view.rotation, view.mirrored).contiguous(),
        rows=rows,
        cols=cols,
        samples=samples,
        to_frame=view.to_frame(size_px),
    )


def _membership(
    axis: Axis, first: int, count: int, start: int, length: int, size_px: int, cells: int
) -> Tensor:
    """(cells, size_px): the cell of each canonical pixel is that of the picture pixel under its centre."""
    index = index_from(axis, start, length)[pixels_under(0, length, size_px)] - first
    return membership(torch.where(index < count, index, -1), cells)


def _surroundings(
    frame: Frame, convert: Conversion, mosaic: Cells, view: View, size_px: int
) -> tuple[Tensor, Tensor]:
    """RGB (3, S, S) of the clean pixels, resized without a share of any mosaic pixel, and clean (1, S, S).

    In coded orientation. Outside the picture its edge is repeated and counts as clean.
    """
    height, width = frame.planes[0].shape
    step_x, step_y = convert.format.step_x, convert.format.step_y
    x0, y0 = max(view.x0, 0), max(view.y0, 0)
    x1, y1 = min(view.x0 + view.width, width), min(view.y0 + view.height, height)
    # One chroma sample more on each side is what the interpolation of chroma reads.
    left, top = max(x0 // step_x - 1, 0) * step_x, max(y0 // step_y - 1, 0) * step_y
    right, bottom = min((-(-x1 // step_x) + 1) * step_x, width), min((-(-y1 // step_y) + 1) * step_y, height)
    rgb = convert.to_rgb(cut_planes(frame, convert, left, top, right, bottom)).clamp_(0, 1)
    inside = (..., slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    outside = (x0 - view.x0, view.x0 + view.width - x1, y0 - view.y0, view.y0 + view.height - y1)
    rgb = rgb[inside].unsqueeze(0)
    if any(outside):
        rgb = F.pad(rgb, outside, mode="replicate")
    both = torch.ones(1, 4, view.height, view.width, device=frame.device)  # RGB times clean, clean
    clean = both[:, 3:]
    _place(clean, 1 - mosaic.mask, mosaic.x0 - view.x0, mosaic.y0 - view.y0)
    torch.mul(rgb, clean, out=both[:, :3])
    small = F.interpolate(both, (size_px, size_px), mode="bilinear", antialias=True, align_corners=False)[0]
    rows = pixels_under(0, view.height, size_px).unsqueeze(1)
    cols = pixels_under(0, view.width, size_px).unsqueeze(0)
    rows, cols = sent((rows, cols), frame.device)
    return small[:3] / small[3:].clamp_min(1e-6), clean[0][:, rows, cols]


def _place(target: Tensor, source: Tensor, x: int, y: int) -> None:
    """Writes the part of ``source`` that falls on ``target`` when its corner lies at (x, y)."""
    height, width = target.shape[-2:]
    y0, x0 = max(y, 0), max(x, 0)
    y1, x1 = min(y + source.shape[-2], height), min(x + source.shape[-1], width)
    if y1 > y0 and x1 > x0:
        target[..., y0:y1, x0:x1] = source[..., y0 - y : y1 - y, x0 - x : x1 - x]
