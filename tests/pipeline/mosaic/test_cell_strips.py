"""Sides of mosaics in small cells, moved by whole cells."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.mosaic.cell_strips import settle_on_strips, strip_features
from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.evidence import Evidence, PartGrid
from pipeline.mosaic.grid_fit import LineGrid
from pipeline.types import Box
from tests.support.mosaics import Mosaic, fixed, noisy, pixelate, texture

MOSAIC = fixed((60, 50, 120, 125), 5.0, (0.0, 0.0))


def grid_over(mosaic: Mosaic, evidence: Evidence) -> PartGrid:
    x, y = (LineGrid(a.pitch, a.origin % a.pitch, 10, 1.0, 1.0, 1.0, 0.0) for a in (mosaic.x, mosaic.y))
    return PartGrid.over(evidence, x, y)


def picture(seed: int, mosaic: Mosaic = MOSAIC) -> Evidence:
    return Evidence.from_luma(noisy(pixelate(texture(180, 200, seed, 60.0), mosaic), seed, 1.0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "off", [(15, 0, 0, 0), (0, 20, 0, 0), (0, 0, -15, -10), (-20, 0, 0, 15), (-10, -10, 10, 10)]
)
def test_sides_that_are_cells_off_go_where_the_cells_end(off: PixelBox, seed: int) -> None:
    evidence = picture(seed)
    x0, y0, x1, y1 = (b + o for b, o in zip(MOSAIC.box, off, strict=True))
    settled, _ = settle_on_strips(evidence.luma, grid_over(MOSAIC, evidence), (x0, y0, x1, y1))
    assert np.abs(np.subtract(settled, MOSAIC.box)).max() <= 5


@pytest.mark.parametrize("seed", range(4))
def test_long_edges_of_the_surroundings_on_two_rows_are_no_cells(seed: int) -> None:
    flat = np.full((180, 200), 120, dtype=np.uint8)
    flat[75:100] = 150  # a band over the whole picture, its edges on rows of the grid
    flat[50:125, 60:120] = texture(75, 60, seed, 60.0)
    evidence = Evidence.from_luma(noisy(pixelate(flat, MOSAIC), seed, 0.7))
    wide = (35, 50, 145, 125)
    settled, _ = settle_on_strips(evidence.luma, grid_over(MOSAIC, evidence), wide)
    assert Box(*wide).iou(Box(*MOSAIC.box)) < 0.55
    assert Box(*settled).iou(Box(*MOSAIC.box)) > 0.7


def test_wide_cells_stay() -> None:
    mosaic = fixed((60, 50, 120, 125), 12.0, (0.0, 2.0))
    evidence = picture(0, mosaic)
    assert settle_on_strips(evidence.luma, grid_over(mosaic, evidence), (72, 50, 120, 125))[0] == (
        72,
        50,
        120,
        125,
    )


@pytest.mark.parametrize("box", [(0, 0, 200, 180), (0, 0, 11, 11), (180, 170, 200, 180), (60, 50, 64, 125)])
def test_boxes_at_borders_and_tiny_ones_stay_in_the_picture(box: PixelBox) -> None:
    evidence = picture(1)
    (x0, y0, x1, y1), _ = settle_on_strips(evidence.luma, grid_over(MOSAIC, evidence), box)
    assert 0 <= x0 < x1 <= 200
    assert 0 <= y0 < y1 <= 180


def test_nothing_is_known_without_rows() -> None:
    luma = texture(180, 200, 0, 60.0)
    at = np.arange(60, 121, 5)
    assert strip_features(luma, np.array([], dtype=np.int64), (50, 125), at, (2, 10)) is None
    assert strip_features(luma, np.arange(0, 180), (50, 125), at, (2, 10)) is None
