"""Screening: where in a frame could a mosaic be? Cheap enough for every frame of every film.

A stretch of 32 px of a grid's line holds many isolated edges in one column (or row). Such *segments* are
counted per neighbourhood on both axes; footage has few, and rarely both. Summed up over frames
(``multi_frame``) chance evens out, and a line that holds fewer edges is told from it.

Edges of every second row and column are kept where the picture lies. All is counted in integers, so a device
gives what the host gives, to the bit. What comes to the host from a device: the strength of each 16 px block,
profiles of one number a column or row, bands of one a column or row and 16 px.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar, Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from pipeline.mosaic.edges import MIN_EDGE, PixelBox, isolated_edges, transposed
from pipeline.picture.fetch import Fetch, covering, holds
from pipeline.picture.resize import DeviceLuma, Luma

BLOCK_PX = 16
STRIDE_PX = 2
"""Every second row (for vertical edges) or column is looked at: cells are at least 4 px."""
_SEGMENT_EDGES = 5
"""Isolated edges among the 16 pixels looked at in 32 px of one column that make a segment (30 %)."""
_ACCUMULATED_SEGMENT_EDGES = 2.9
"""The same per frame where frames are summed up (18 %); measured on 38 clips and 61 faint mosaics."""
MAX_FRAMES = 12
"""Most frames that can be summed up: 16 edges of each fit into a byte."""
_NEEDED_SEGMENTS = ((4, 5), (8, 9))
"""(window in blocks, segments needed on each axis in it); mosaics in 38 training clips have 7 to 28 in
windows of 64 px and 19 to 91 in 128 px, 34 of the clips without stay at or below 4 and 9."""
_CUTS = ((3.0, 1), (2.0, 1), (1.0, 1), (1.0, 9))
"""(multiple of the need, closing in blocks) at which candidates are cut out; the last joins cells up to 100
px."""


@dataclass(frozen=True, slots=True)
class SampledEdges(ABC):
    """Isolated edges of every second row and column of a picture, or their sums over some pictures.

    The arrays are NumPy's in the host's memory, or tensors on a device.
    """

    vertical: Any
    """(H / STRIDE_PX, W) uint8: along rows"""
    horizontal: Any
    """(W / STRIDE_PX, H) uint8: along columns, turned to lie along rows"""
    size: tuple[int, int]
    """H and W in px"""
    came: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)
    """Of a device: what has come to the host already, of the edges as they are."""

    _count_type: ClassVar[Any]
    """Integers that sums over a band fit into."""
    _real_type: ClassVar[Any]
    """float32; exact for small integers."""

    @abstractmethod
    def copy(self) -> Self: ...

    @abstractmethod
    def across(self, box: PixelBox) -> NDArray[np.float64]:
        """(x1 - x0,): edges of the box per column, in the rows that are looked at."""

    @abstractmethod
    def down(self, box: PixelBox) -> NDArray[np.float64]:
        """(y1 - y0,): the same per row."""

    @abstractmethod
    def bands(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(H / 16, W) and (W / 16, H): edges per column of each 16 px band of rows, per row of each of
        columns, whole bands only."""

    @abstractmethod
    def strength(self, need: int) -> NDArray[np.float32]:
        """Segments, of ``need`` edges each, around each block of 16 px over those needed, of the axis with
        fewer: (H / 16 - 1, W / 16 - 1). Empty below 32 px."""

    @staticmethod
    @abstractmethod
    def _fulfilled(across: Any, down: Any) -> Any:
        """(rows, cols): segments of both axes, (rows, cols) each, in windows around each block over those
        needed, of the axis with fewer; of the window with most."""

    @abstractmethod
    def want(self, fetch: Fetch, need: int | None, *, bands: bool = False) -> None:
        """``strength(need)``, and ``bands`` if that is set, come with ``fetch``."""

    @abstractmethod
    def want_parts(self, fetch: Fetch, parts: Iterable[PixelBox]) -> None:
        """What ``across`` and ``down`` say of boxes within these parts comes with ``fetch``."""

    def add(self, other: Self) -> None:
        """Sums up, into this one."""
        self.came.clear()
        vertical, horizontal = self.vertical, self.horizontal
        vertical += other.vertical
        horizontal += other.horizontal

    def erase(self, box: PixelBox) -> None:
        """Forgets the edges of a region and of its right and lower sides."""
        self.came.clear()
        x0, y0, x1, y1 = box
        self.vertical[y0 // STRIDE_PX : y1 // STRIDE_PX + 1, x0 : x1 + 1] = 0
        self.horizontal[x0 // STRIDE_PX : x1 // STRIDE_PX + 1, y0 : y1 + 1] = 0

    def _strength(self, need: int) -> Any:
        """``strength`` where the edges lie, of 32 px and more."""
        across, down = self._segments(self.vertical, need), self._segments(self.horizontal, need).T
        rows, cols = min(across.shape[0], down.shape[0]), min(across.shape[1], down.shape[1])
        return self._fulfilled(across[:rows, :cols], down[:rows, :cols])

    def _bands(self, edges: Any) -> Any:
        """(H / 16, W): sums of edges, (H / STRIDE_PX, W) uint8, over 16 px each."""
        per_block = BLOCK_PX // STRIDE_PX
        rows = edges.shape[0] // per_block
        whole = edges[: rows * per_block].reshape(rows, per_block, edges.shape[1])
        return whole.sum(1, dtype=self._count_type)

    def _segments(self, edges: Any, need: int) -> Any:
        """(H / 16 - 1, W / 16) float32: segments of vertical lines per 16 px block, of stretches of 32 px.

        ``edges`` (H / STRIDE_PX, W) uint8 are those of every second row; a segment has ``need``.
        """
        cols = edges.shape[1] // BLOCK_PX
        half = self._bands(edges[:, : cols * BLOCK_PX])
        line = half[1:] + half[:-1] >= need
        return line.reshape(len(line), cols, BLOCK_PX).sum(2, dtype=self._real_type)


class HostSampledEdges(SampledEdges):
    """``SampledEdges`` in the host's memory."""

    __slots__ = ()
    _count_type = np.uint8
    _real_type = np.float32

    @staticmethod
    def from_luma(luma: NDArray[np.uint8]) -> HostSampledEdges:
        """Measures ``luma`` (H, W) uint8."""
        height, width = luma.shape
        columns = isolated_edges(transposed(luma[:, ::STRIDE_PX]))
        return HostSampledEdges(isolated_edges(luma[::STRIDE_PX]), columns, (height, width))

    def copy(self) -> HostSampledEdges:
        return HostSampledEdges(self.vertical.copy(), self.horizontal.copy(), self.size)

    def want(self, fetch: Fetch, need: int | None, *, bands: bool = False) -> None:
        pass

    def want_parts(self, fetch: Fetch, parts: Iterable[PixelBox]) -> None:
        pass

    def across(self, box: PixelBox) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        return _profile(self.vertical[y0 // STRIDE_PX : y1 // STRIDE_PX, x0:x1])

    def down(self, box: PixelBox) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        return _profile(self.horizontal[x0 // STRIDE_PX : x1 // STRIDE_PX, y0:y1])

    def bands(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return np.asarray(self._bands(self.vertical)), np.asarray(self._bands(self.horizontal))

    def strength(self, need: int) -> NDArray[np.float32]:
        if min(self.size) < 2 * BLOCK_PX:
            return np.zeros((0, 0), dtype=np.float32)
        return np.asarray(self._strength(need))

    @staticmethod
    def _fulfilled(across: Any, down: Any) -> NDArray[np.float32]:
        out = np.zeros(across.shape, dtype=np.float32)
        both = [np.ascontiguousarray(c) for c in (across, down)]
        for size, segments in _NEEDED_SEGMENTS:
            kernel = np.ones((size, size), dtype=np.float32)  # sums of small integers are exact
            sums = [cv2.filter2D(c, -1, kernel, borderType=cv2.BORDER_CONSTANT) for c in both]
            np.maximum(out, np.minimum(*sums) / np.float32(segments), out=out)
        return out


class DeviceSampledEdges(SampledEdges):
    """``SampledEdges`` on a device."""

    __slots__ = ()
    _count_type = torch.int32
    _real_type = torch.float32

    @staticmethod
    def from_luma(luma: DeviceLuma) -> DeviceSampledEdges:
        """Measures ``luma``, on its device."""
        height, width = luma.shape
        vertical, horizontal = isolated_edges_on_device(luma.plane)
        return DeviceSampledEdges(vertical, horizontal, (height, width))

    def copy(self) -> DeviceSampledEdges:
        return DeviceSampledEdges(self.vertical.clone(), self.horizontal.clone(), self.size)

    def want(self, fetch: Fetch, need: int | None, *, bands: bool = False) -> None:
        if need is not None and need not in self.came and min(self.size) >= 2 * BLOCK_PX:
            fetch.want(self._strength(need), partial(self.came.__setitem__, need))
        if bands and "bands" not in self.came:
            both: dict[int, NDArray[np.uint8]] = {}
            for at, edges in enumerate((self.vertical, self.horizontal)):
                fetch.want(self._bands(edges).to(torch.uint8), partial(both.__setitem__, at))
            self.came["bands"] = both

    def want_parts(self, fetch: Fetch, parts: Iterable[PixelBox]) -> None:
        came = self.came.setdefault("parts", [])
        for box in covering(list(parts)):
            x0, y0, x1, y1 = box
            two: dict[int, NDArray[np.uint8]] = {}
            lines = self.vertical[y0 // STRIDE_PX : y1 // STRIDE_PX, x0:x1]
            fetch.want(lines, partial(two.__setitem__, 0))
            columns = self.horizontal[x0 // STRIDE_PX : x1 // STRIDE_PX, y0:y1]
            fetch.want(columns, partial(two.__setitem__, 1))
            came.append((box, two))

    def across(self, box: PixelBox) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        for part, two in self.came.get("parts", ()):
            if holds(part, box):
                rows = slice(y0 // STRIDE_PX - part[1] // STRIDE_PX, y1 // STRIDE_PX - part[1] // STRIDE_PX)
                return _profile(two[0][rows, x0 - part[0] : x1 - part[0]])
        edges = self.vertical[y0 // STRIDE_PX : y1 // STRIDE_PX, x0:x1]
        return np.asarray(edges.sum(0).cpu().numpy().astype(np.float64))

    def down(self, box: PixelBox) -> NDArray[np.float64]:
        x0, y0, x1, y1 = box
        for part, two in self.came.get("parts", ()):
            if holds(part, box):
                rows = slice(x0 // STRIDE_PX - part[0] // STRIDE_PX, x1 // STRIDE_PX - part[0] // STRIDE_PX)
                return _profile(two[1][rows, y0 - part[1] : y1 - part[1]])
        edges = self.horizontal[x0 // STRIDE_PX : x1 // STRIDE_PX, y0:y1]
        return np.asarray(edges.sum(0).cpu().numpy().astype(np.float64))

    def bands(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        fetch = Fetch()
        self.want(fetch, None, bands=True)
        fetch.now()
        both = self.came["bands"]
        return both[0], both[1]

    def strength(self, need: int) -> NDArray[np.float32]:
        if min(self.size) < 2 * BLOCK_PX:
            return np.zeros((0, 0), dtype=np.float32)
        fetch = Fetch()
        self.want(fetch, need)
        fetch.now()
        return np.asarray(self.came[need], np.float32)

    @staticmethod
    def _fulfilled(across: Any, down: Any) -> Tensor:
        both = torch.stack([across, down]).unsqueeze(1)
        kernels, needed = _windows(both.device)
        sums = F.conv2d(both, kernels, padding=kernels.shape[-1] // 2)[:, :, : both.shape[2], : both.shape[3]]
        return (sums.amin(0) / needed).amax(0)


@lru_cache(maxsize=8)
def _windows(device: torch.device) -> tuple[Tensor, Tensor]:
    """_NEEDED_SEGMENTS as kernels (n, 1, S, S) of ones, each with its middle where OpenCV has a kernel's of
    even size, and the segments (n, 1, 1)."""
    largest = max(size for size, _ in _NEEDED_SEGMENTS)
    kernels = torch.zeros(len(_NEEDED_SEGMENTS), 1, largest, largest)
    for kernel, (size, _) in zip(kernels, _NEEDED_SEGMENTS, strict=True):
        first = largest // 2 - size // 2
        kernel[0, first : first + size, first : first + size] = 1
    needed = torch.tensor([float(segments) for _, segments in _NEEDED_SEGMENTS])[:, None, None]
    return kernels.to(device), needed.to(device)


def _profile(edges: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sums of edges (rows, n) over rows: (n,)."""
    return np.asarray(edges.sum(axis=0, dtype=np.float64))


def isolated_edges_on_device(luma: Tensor) -> tuple[Tensor, Tensor]:
    """``edges.isolated_edges`` of every second row and column of (H, W) uint8: (H / STRIDE_PX, W) and
    (W / STRIDE_PX, H) uint8, 0 or 1. Both lie one behind the other, so that they are computed as one."""
    parts = luma[::STRIDE_PX], luma[:, ::STRIDE_PX].T
    sizes = [part.numel() for part in parts]
    lines = torch.empty(sum(sizes), dtype=torch.int16, device=luma.device)
    for part, laid in zip(parts, lines.split(sizes), strict=True):
        laid.view(part.shape).copy_(part)
    d = (lines[1:] - lines[:-1]).abs_()
    least = torch.maximum(d[:-2], d[2:]).mul_(2).clamp_min_(MIN_EDGE - 1)
    out = _inside(tuple(luma.shape), luma.device).clone()
    out[2:-1].mul_(d[1:-1] > least)
    vertical, horizontal = (x.view(part.shape) for x, part in zip(out.split(sizes), parts, strict=True))
    return vertical, horizontal


@lru_cache(maxsize=8)
def _inside(size: tuple[int, ...], device: torch.device) -> Tensor:
    """Of a picture's (H, W) lines, laid as by ``isolated_edges_on_device``, uint8: 1 where a pixel has two
    before it and one behind it in its line."""
    marked = []
    for count, length in ((size[0], size[1]), (size[1], size[0])):
        line = torch.zeros(length, dtype=torch.uint8)
        line[2:-1] = 1
        marked.append(line.repeat(-(-count // STRIDE_PX)))
    return torch.cat(marked).to(device)


def sample_edges(luma: Luma) -> SampledEdges:
    """Isolated edges of every second row and column of (H, W) uint8, where it lies."""
    if isinstance(luma, DeviceLuma):
        return DeviceSampledEdges.from_luma(luma)
    return HostSampledEdges.from_luma(np.asarray(luma))


def candidates(edges: SampledEdges) -> list[PixelBox]:
    """Boxes in px that may hold mosaics, the tight ones first; often empty.

    The strengths of _CUTS part mosaics from each other and from busy surroundings. Boxes that repeat another
    are left out. They begin at multiples of 16 px.
    """
    return _boxes(candidate_strength(edges), edges.size)


def candidate_strength(edges: SampledEdges) -> NDArray[np.float32]:
    """``SampledEdges.strength`` of one picture; a candidate has 1 and more."""
    return edges.strength(_SEGMENT_EDGES)


def want_candidates(edges: SampledEdges, fetch: Fetch, frames: int | None = None) -> None:
    """What ``candidates``, or ``accumulated_candidates`` of so many frames, are made of comes with
    ``fetch``."""
    edges.want(fetch, _SEGMENT_EDGES if frames is None else _needed(frames))


def _needed(frames: int) -> int:
    return math.ceil(_ACCUMULATED_SEGMENT_EDGES * frames)


def accumulated_candidates(edges: SampledEdges, frames: int) -> list[PixelBox]:
    """The same from edges that are sums over ``frames`` pictures, up to MAX_FRAMES."""
    return _boxes(edges.strength(_needed(frames)), edges.size)


def remaining_candidates(vertical: NDArray[np.uint8], horizontal: NDArray[np.uint8]) -> list[PixelBox]:
    """The same from the isolated edges of both axes, (H, W) uint8, when some have been erased."""
    height, width = vertical.shape
    columns = transposed(horizontal[:, ::STRIDE_PX])
    return candidates(HostSampledEdges(vertical[::STRIDE_PX], columns, (height, width)))


def _boxes(strength: NDArray[np.float32], shape: tuple[int, ...]) -> list[PixelBox]:
    height, width = shape
    boxes: list[PixelBox] = []
    for least, join in _CUTS:
        where = strength >= least
        if not where.any():
            continue
        kernel = np.ones((join + 2, join + 2), dtype=np.uint8)
        joined = cv2.morphologyEx(np.pad(where.astype(np.uint8), join + 2), cv2.MORPH_CLOSE, kernel)
        joined = cv2.dilate(joined, np.ones((3, 3), np.uint8))[join + 2 : -join - 2, join + 2 : -join - 2]
        labels, _ = ndimage.label(joined)
        for rows, cols in ndimage.find_objects(labels):
            box = (
                cols.start * BLOCK_PX,
                rows.start * BLOCK_PX,
                min((cols.stop + 1) * BLOCK_PX, width),
                min((rows.stop + 1) * BLOCK_PX, height),
            )
            if box not in boxes:
                boxes.append(box)
    return boxes
