"""Mosaics on numpy pictures, with the truth about them: for tests and for ``benchmarks/mosaics.py``.

The grid is that of ``nets.pixelation``: cell k spans the pixels from ``ceil(origin + k * pitch)`` on.
The whole grid is pixelated and then cut out by the region, as an editor's mosaic effect under a mask
does it; a region on its own grid is the special case where nothing is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from nets.pixelation import Operator, cell_edges
from pipeline.types import Axis, Box, MosaicRegion, Shape


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Truth about one mosaic on one picture."""

    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in px, half-open"""
    x: Axis
    y: Axis
    shape: Shape = Shape.RECTANGLE
    operator: Operator = Operator.AREA

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width), True inside the mosaic."""
        x0, y0, x1, y1 = self.box
        inside = np.zeros((height, width), dtype=bool)
        inside[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
        if self.shape is Shape.ELLIPSE:
            u = (np.arange(width) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
            v = (np.arange(height) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
            inside &= u[None, :] ** 2 + v[:, None] ** 2 <= 1.0
        return inside


def locked(
    box: tuple[int, int, int, int],
    blocks: tuple[int, int],
    *,
    shape: Shape = Shape.RECTANGLE,
    operator: Operator = Operator.AREA,
) -> Mosaic:
    """``blocks`` (across, down) cells over the box: cell = floor(i * n / size), as resizing gives it."""
    x0, y0, x1, y1 = box
    x, y = Axis((x1 - x0) / blocks[0], x0), Axis((y1 - y0) / blocks[1], y0)
    return Mosaic(box, x, y, shape, operator)


def fixed(
    box: tuple[int, int, int, int],
    pitch: float,
    phase: tuple[float, float] = (0.0, 0.0),
    *,
    shape: Shape = Shape.RECTANGLE,
    operator: Operator = Operator.AREA,
) -> Mosaic:
    """Square cells on a grid through ``phase`` (x, y in px of the picture), cut by the box."""
    origin = [p + np.floor((b - p) / pitch) * pitch for p, b in zip(phase, box, strict=False)]
    return Mosaic(box, Axis(pitch, float(origin[0])), Axis(pitch, float(origin[1])), shape, operator)


def _cell_bounds(axis: Axis, end: int, size: int) -> NDArray[np.int64]:
    """Bounds of the cells from cell 0 to the one that holds pixel ``end`` - 1, cut to the picture."""
    cells = int(np.ceil((end - axis.origin) / axis.pitch)) + 1
    return np.unique(np.clip(cell_edges(axis.pitch, axis.origin, 0, cells), 0, size))


def _sample(
    plane: NDArray[np.float64], rows: NDArray[np.int64], cols: NDArray[np.int64], operator: Operator
) -> NDArray[np.float64]:
    """(H, W) and the bounds of R x C cells that fill it -> (R, C), one value per cell."""
    r, h, c, w = rows[:-1], np.diff(rows), cols[:-1], np.diff(cols)
    if operator in (Operator.AREA, Operator.LINEAR):
        gamma = 2.2 if operator is Operator.LINEAR else 1.0
        sums = np.add.reduceat(np.add.reduceat(plane**gamma, r, axis=0), c, axis=1)
        return np.asarray((sums / (h[:, None] * w[None, :])) ** (1 / gamma))
    if operator is Operator.CORNER:
        return plane[np.ix_(r, c)]
    middle_r, middle_c = r + h // 2, c + w // 2
    if operator is Operator.CENTRE:
        return plane[np.ix_(middle_r, middle_c)]
    before_r, before_c = np.maximum(middle_r - 1, r), np.maximum(middle_c - 1, c)
    near = [plane[np.ix_(a, b)] for a in (before_r, middle_r) for b in (before_c, middle_c)]
    return np.asarray(np.sum(near, axis=0) / 4)


def pixelate(picture: NDArray[np.uint8], mosaic: Mosaic) -> NDArray[np.uint8]:
    """A copy of (H, W) or (H, W, C) with the mosaic drawn in."""
    height, width = picture.shape[:2]
    rows, cols = _cell_bounds(mosaic.y, mosaic.box[3], height), _cell_bounds(mosaic.x, mosaic.box[2], width)
    part = np.s_[rows[0] : rows[-1], cols[0] : cols[-1]]
    planes = np.moveaxis(np.atleast_3d(picture[part]).astype(np.float64), -1, 0)
    cells = [_sample(p, rows - rows[0], cols - cols[0], mosaic.operator) for p in planes]
    drawn = [np.repeat(np.repeat(c, np.diff(rows), axis=0), np.diff(cols), axis=1) for c in cells]
    inside = mosaic.mask(height, width)[part]
    out = picture.copy()
    out[part][inside] = np.round(np.stack(drawn, axis=-1)).reshape(out[part].shape)[inside]
    return out


def texture(height: int, width: int, seed: int, contrast: float = 40.0) -> NDArray[np.uint8]:
    """(height, width) natural-looking grey picture: noise with an amplitude spectrum of 1/f, slightly
    blurred.

    ``contrast`` is its standard deviation in grey levels around 120.
    """
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    f = np.hypot(fy, fx)
    f[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.standard_normal((height, width))) / f**1.2 * np.exp(-((f / 0.2) ** 2))
    spectrum[0, 0] = 0.0
    field = np.real(np.fft.ifft2(spectrum))
    return np.asarray(np.clip(120 + contrast * field / max(field.std(), 1e-9), 0, 255), np.uint8)


def noisy(picture: NDArray[np.uint8], seed: int, sigma: float = 1.0) -> NDArray[np.uint8]:
    """As a good codec leaves it: noise of ``sigma`` grey levels."""
    noise = np.random.default_rng(seed).normal(0.0, sigma, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def iou(region: MosaicRegion, mosaic: Mosaic) -> float:
    """Overlap of what was found with the truth, 0..1."""
    return region.box.iou(Box(*mosaic.box))


def phase_error_px(true: Axis, seen: Axis, start: float) -> float:
    """Distance of the first true line after ``start`` to the nearest line seen."""
    line = true.origin + np.ceil((start - true.origin) / true.pitch) * true.pitch
    cells = (line - seen.origin) / seen.pitch
    return float(abs(cells - round(cells)) * seen.pitch)


def assert_right(region: MosaicRegion, mosaic: Mosaic) -> None:
    """Place, pitch and phase of what was found are those of the truth."""
    assert iou(region, mosaic) > 0.8
    assert region.grid is not None
    for true, seen, start in (
        (mosaic.x, region.grid.x, mosaic.box[0]),
        (mosaic.y, region.grid.y, mosaic.box[1]),
    ):
        assert seen.pitch == pytest.approx(true.pitch, rel=0.02)
        # Pixels are whole: grids that round to the same pixels differ by up to a pixel, and a bit far out.
        assert phase_error_px(true, seen, start) <= 1.25
