"""Tracked frames -> frames with one canonical crop per mosaic: the networks' view of it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.pixelation import membership, replicate
from pipeline.notes import warned
from pipeline.picture.cell_samples import (
    Cells,
    Place,
    among,
    index_from,
    laid,
    outside,
    place_of,
    read_samples,
    stacked_planes,
    together,
    within,
)
from pipeline.picture.color import Conversion, conversion
from pipeline.picture.geometry import View, pixels_under, upright, upright_cells, view_around
from pipeline.types import (
    Axis,
    Crop,
    Cropped,
    Extent,
    Frame,
    MosaicRegion,
    Samples,
    StreamInfo,
    Tracked,
    TrackedRegion,
)

log = logging.getLogger(__name__)

# A track's crop keeps its side until the box asks for one that differs by more than this share, so that
# the canonical scale does not flicker with the box; the margin leaves room for it.
_STEADY = 0.04
_TOGETHER = 8
"""Frames of a device that are cropped in one go: as many as a window of NAR restores."""


def crop(
    tracked: Iterable[Tracked], *, info: StreamInfo, size_px: int, cells: int, margin: float
) -> Iterator[Cropped]:
    """Makes a crop of ``size_px`` (S) with up to ``cells`` (N) cells per axis of every mosaic.

    The crop shows ``margin`` x the longer side of the box, upright and with square pixels. A region that
    cannot be cropped (grid unknown, more than ``cells`` cells, outside the picture) goes on without;
    this is logged once per track and its pixels stay as they are. Frames of a device are cropped
    ``frames_held`` at a time, in the calls of one. Raises InputError for a pixel format or colour matrix that
    is not handled.
    """
    sides: dict[int, float] = {}
    skipped: set[int] = set()
    held: list[tuple[Frame, list[_Due]]] = []
    for item in tracked:
        due = []
        for tracked_region in item.regions:
            track = tracked_region.track
            wanted = margin * _longer_side(tracked_region, info.sample_aspect)
            side = sides.get(track)
            if side is None or abs(wanted / side - 1) > _STEADY:
                side = sides[track] = wanted
            box = tracked_region.region.box
            view = view_around(box, side, info.sample_aspect, info.rotation, info.mirrored)
            made = _due(item.frame, tracked_region, view, size_px, cells)
            if isinstance(made, _Due):
                due.append(made)
            elif track not in skipped:
                skipped.add(track)
                warned(log, "track %d, frame %d: not restored: %s", track, item.frame.index, made)
            if tracked_region.last:
                sides.pop(track)
                skipped.discard(track)
        held.append((item.frame, due))
        del item
        if len(held) >= frames_held(held[0][0].device):
            yield from _cropped(held, size_px, cells)
    yield from _cropped(held, size_px, cells)


def frames_held(device: torch.device) -> int:
    """The most frames of a device that ``crop`` holds at one time."""
    return 1 if device.type == "cpu" else _TOGETHER


def _longer_side(tracked: TrackedRegion[MosaicRegion], sample_aspect: Fraction) -> float:
    """In lines of the picture."""
    box = tracked.region.box
    return max(box.width * float(sample_aspect), box.height)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The rectangle of the picture, on whole chroma blocks, that a view is made of."""

    corner: tuple[int, int]
    size: tuple[int, int]
    """Width and height."""
    inside: tuple[int, int]
    """px in it, across and down, where the view, or what of it lies in the picture, begins."""
    beyond: tuple[int, int, int, int]
    """px of the view left, right, above and below the picture."""


@dataclass(frozen=True, slots=True)
class _Due:
    """A mosaic to be cropped."""

    frame: Frame
    tracked: TrackedRegion[MosaicRegion]
    convert: Conversion
    view: View
    place: Place
    cut: _Cut
    vectors: tuple[Tensor, ...]
    """Of the host, over canonical pixels: how far columns and rows lie out; the cells of rows and columns,
    and of those turned upright where they are not"""
    extent: Extent

    @property
    def key(self) -> tuple[object, ...]:
        """Those whose keys are alike are cropped in one go."""
        planes = tuple((plane.shape, plane.dtype) for plane in self.frame.planes)
        alone = None if together(self.place, self.convert) else id(self)
        where = self.frame.device
        exact = self.cut.beyond, (self.cut.inside if any(self.cut.beyond) else None)
        return self.convert, planes, where, self.view.width, self.view.height, self.cut.size, exact, alone


def _cropped(held: list[tuple[Frame, list[_Due]]], size_px: int, cells: int) -> Iterator[Cropped]:
    """Crops frames that were held, and forgets them."""
    groups: dict[tuple[object, ...], list[_Due]] = defaultdict(list)
    for _, due in held:
        for one in due:
            groups[one.key].append(one)
    made = {
        id(one): crop
        for group in groups.values()
        for one, crop in zip(group, _crops(group, size_px, cells), strict=True)
    }
    del groups
    while held:
        frame, due = held.pop(0)
        yield Cropped(frame, tuple(made.pop(id(one)) for one in due))
        del frame, due


def crop_region(
    frame: Frame, tracked: TrackedRegion[MosaicRegion], view: View, size_px: int, cells: int
) -> Crop | str:
    """The crop of one region that ``view`` shows, or why there is none. Sizes as in ``crop``; training reads
    decoded mosaics through it as well."""
    due = _due(frame, tracked, view, size_px, cells)
    return due if isinstance(due, str) else _crops([due], size_px, cells)[0]


def _due(
    frame: Frame, tracked: TrackedRegion[MosaicRegion], view: View, size_px: int, cells: int
) -> _Due | str:
    """What the host knows of a crop, or why there is none."""
    region = tracked.region
    if region.grid is None:
        return "its grid could not be read"
    height, width = frame.planes[0].shape
    convert = conversion(frame.pix_fmt, frame.colour, width, height)
    place = place_of(region, region.grid, convert, width, height)
    if place is None:
        return "it lies outside the picture"
    counts = place.counts
    if max(counts) > cells:
        return f"it has {counts[1]} x {counts[0]} cells, the networks read {cells} x {cells}"
    under_x, under_y = (pixels_under(0, length, size_px) for length in (view.width, view.height))
    x, y = under_x + view.x0, under_y + view.y0
    columns, lines = outside(region, x, y)
    columns[(x < 0) | (x >= width)] = 2.0
    lines[(y < 0) | (y >= height)] = 2.0
    rows = _cells_under(region.grid.y, place.first[0], counts[0], view.y0, view.height, under_y)
    cols = _cells_under(region.grid.x, place.first[1], counts[1], view.x0, view.width, under_x)
    turned = upright_cells(rows, cols, counts, view.rotation, view.mirrored)
    vectors = columns, lines, rows, cols, *(() if turned[0] is rows and turned[1] is cols else turned)
    cut = _cut(view, convert, width, height)
    return _Due(frame, tracked, convert, view, place, cut, vectors, _extent(columns, lines, counts, view))


def _extent(columns: Tensor, lines: Tensor, counts: tuple[int, int], view: View) -> Extent:
    """Of a mosaic whose canonical columns and lines lie so far out, turned upright."""
    size = len(lines)
    spans = []
    for along, other in ((lines, columns), (columns, lines)):
        at = torch.nonzero(along + other.min() <= 1).flatten().tolist() or [0, size - 1]
        spans.append((at[0], at[-1] + 1))
    (top, bottom), (left, right) = spans
    for _ in range(view.rotation // 90):
        top, bottom, left, right = size - right, size - left, top, bottom
    if view.mirrored:
        left, right = size - right, size - left
    return Extent(top, bottom, left, right, max(counts))


def _cells_under(axis: Axis, first: int, count: int, start: int, length: int, under: Tensor) -> Tensor:
    """(S,) float64: the cell of each canonical pixel is that of the picture pixel under its centre; -1 where
    that has none of the mosaic's."""
    return among(index_from(axis, start, length)[under] - first, count)


def _cut(view: View, convert: Conversion, width: int, height: int) -> _Cut:
    """One chroma sample more on each side than the view has is what the interpolation of chroma reads. Views
    of one size have cuts of one size but at the picture's sides."""
    step_x, step_y = convert.format.step_x, convert.format.step_y
    left, top = (view.x0 // step_x - 1) * step_x, (view.y0 // step_y - 1) * step_y
    wide, high = (-(-view.width // step_x) + 3) * step_x, (-(-view.height // step_y) + 3) * step_y
    if left >= 0 and top >= 0 and left + wide <= width and top + high <= height:
        return _Cut((left, top), (wide, high), (view.x0 - left, view.y0 - top), (0, 0, 0, 0))
    x0, y0 = max(view.x0, 0), max(view.y0, 0)
    x1, y1 = min(view.x0 + view.width, width), min(view.y0 + view.height, height)
    left, top = max(x0 // step_x - 1, 0) * step_x, max(y0 // step_y - 1, 0) * step_y
    right, bottom = min((-(-x1 // step_x) + 1) * step_x, width), min((-(-y1 // step_y) + 1) * step_y, height)
    beyond = (x0 - view.x0, view.x0 + view.width - x1, y0 - view.y0, view.y0 + view.height - y1)
    return _Cut((left, top), (right - left, bottom - top), (x0 - left, y0 - top), beyond)


def _crops(group: list[_Due], size_px: int, cells: int) -> list[Crop]:
    """The crops of mosaics of K frames whose keys are alike."""
    convert, view, where = group[0].convert, group[0].view, group[0].frame.device
    height, width = group[0].frame.planes[0].shape
    frames = [one.frame for one in group]
    mosaics, vectors = laid(
        [one.place for one in group], (width, height), convert, where, [one.vectors for one in group]
    )
    columns, lines, coded_rows, coded_cols, *turned = vectors
    rows, cols = membership(coded_rows, cells), membership(coded_cols, cells)
    values, noise = read_samples(frames, mosaics, convert)
    surroundings = _surroundings(group, mosaics, size_px)
    clean = 1 - within(columns, lines)
    blocks = replicate(values, rows[:, : values.shape[-2]], cols[:, : values.shape[-1]])
    image = torch.where(clean > 0, surroundings, blocks)
    image, clean = (upright(x, view.rotation, view.mirrored).contiguous() for x in (image, clean))
    if turned:
        rows, cols = (membership(x, cells) for x in turned)
    return [
        Crop(
            tracked=one.tracked,
            frame_index=one.frame.index,
            image=image[at],
            mask=clean[at],
            rows=rows[at],
            cols=cols[at],
            samples=Samples(values[at, :, : one.place.counts[0], : one.place.counts[1]], noise[at]),
            to_frame=one.view.to_frame(size_px),
            extent=one.extent,
        )
        for at, one in enumerate(group)
    ]


def _surroundings(group: list[_Due], mosaics: Cells, size_px: int) -> Tensor:
    """RGB (K, 3, S, S) of the clean pixels, resized without a share of any mosaic pixel.

    In coded orientation. Outside the picture its edge is repeated and counts as clean.
    """
    convert, view, cut = group[0].convert, group[0].view, group[0].cut
    planes = stacked_planes(
        [one.frame for one in group], convert, [one.cut.corner for one in group], *cut.size
    )
    rgb = convert.to_rgb(planes).clamp_(0, 1)
    left, right, above, below = cut.beyond
    size = view.height - above - below, view.width - left - right
    parts = []
    for at, one in enumerate(group):
        x, y = one.cut.inside
        parts.append(rgb[:, at, y : y + size[0], x : x + size[1]])
    shown = torch.stack(parts) if len(parts) > 1 else parts[0].unsqueeze(0)
    if any(cut.beyond):
        shown = F.pad(shown, cut.beyond, mode="replicate")
    both = torch.ones(len(group), 4, view.height, view.width, device=shown.device)  # RGB times clean, clean
    clean = both[:, 3:]
    unseen = 1 - mosaics.mask
    for at, (one, (x, y)) in enumerate(zip(group, mosaics.corners, strict=True)):
        _place(clean[at], unseen[at], x - one.view.x0, y - one.view.y0)
    torch.mul(shown, clean, out=both[:, :3])
    small = F.interpolate(both, (size_px, size_px), mode="bilinear", antialias=True, align_corners=False)
    return small[:, :3] / small[:, 3:].clamp_min(1e-6)


def _place(target: Tensor, source: Tensor, x: int, y: int) -> None:
    """Writes the part of ``source`` that falls on ``target`` when its corner lies at (x, y)."""
    height, width = target.shape[-2:]
    y0, x0 = max(y, 0), max(x, 0)
    y1, x1 = min(y + source.shape[-2], height), min(x + source.shape[-1], width)
    if y1 > y0 and x1 > x0:
        target[..., y0:y1, x0:x1] = source[..., y0 - y : y1 - y, x0 - x : x1 - x]
