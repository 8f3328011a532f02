"""Bounds of a mosaic, to the pixel, on made-up pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.mosaic.bounds import find_bounds, refine_bounds
from pipeline.mosaic.evidence import Evidence, PartGrid
from pipeline.mosaic.grid_fit import LineGrid
from tests.support.mosaics import Mosaic, fixed, noisy, pixelate, texture


def grid_over(picture: np.ndarray, mosaic: Mosaic) -> PartGrid:
    x, y = (LineGrid(a.pitch, a.origin, 10, 1.0, 1.0, 0.5, 0.0) for a in (mosaic.x, mosaic.y))
    return PartGrid.over(Evidence.from_luma(picture), x, y)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("off", [-5, -2, 0, 2, 5])
def test_sides_go_to_where_the_cells_end(off: int, seed: int) -> None:
    mosaic = fixed((93, 81, 217, 229), 9.0, (4.0, 2.0))
    picture = noisy(pixelate(texture(320, 320, seed, 60.0), mosaic), seed)
    x0, y0, x1, y1 = mosaic.box
    seen = refine_bounds(picture, grid_over(picture, mosaic), (x0 - off, y0 - off, x1 + off, y1 + off))
    assert np.abs(np.subtract(seen, mosaic.box)).max() <= 2


def test_sides_stay_where_nothing_is_known() -> None:
    mosaic = fixed((93, 81, 217, 229), 9.0)
    flat = np.full((320, 320), 90, dtype=np.uint8)
    assert refine_bounds(flat, grid_over(flat, mosaic), (95, 83, 215, 226)) == (95, 83, 215, 226)


def test_a_side_on_the_border_of_the_picture_stays() -> None:
    mosaic = fixed((0, 81, 217, 320), 9.0)
    picture = noisy(pixelate(texture(320, 320, 2, 60.0), mosaic), 2)
    x0, _, _, y1 = refine_bounds(picture, grid_over(picture, mosaic), mosaic.box)
    assert (x0, y1) == (0, 320)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pitch", [6.0, 12.0, 17.5])
def test_bounds_are_those_of_the_mosaic_that_a_grid_explains(pitch: float, seed: int) -> None:
    mosaic = fixed((93, 81, 217, 229), pitch, (4.0, 2.0))
    evidence = Evidence.from_luma(noisy(pixelate(texture(320, 320, seed, 60.0), mosaic), seed))
    x, y = (LineGrid(a.pitch, a.origin, 10, 1.0, 1.0, 0.5, 0.0) for a in (mosaic.x, mosaic.y))
    found = find_bounds(evidence, PartGrid.over(evidence, x, y))
    assert found is not None
    assert np.abs(np.subtract(found.box, mosaic.box)).max() <= max(2, pitch / 2)
    assert found.on > 10 * found.off
    assert found.ripple < 0.5
    assert (found.strips == (None, None)) == (pitch > 7.5)


def test_a_picture_without_edges_has_no_bounds() -> None:
    evidence = Evidence.from_luma(np.full((200, 200), 90, dtype=np.uint8))
    grid = LineGrid(10.0, 40.0, 10, 1.0, 1.0, 0.5, 0.0)
    assert find_bounds(evidence, PartGrid.over(evidence, grid, grid)) is None
