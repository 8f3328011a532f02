"""The last pixels of a mosaic, on made-up pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.mosaic.evidence import Evidence, Lattice
from pipeline.mosaic.line_grid import Comb
from pipeline.mosaic.pixel_sides import refine
from tests.support.mosaics import Mosaic, fixed, noisy, pixelate, texture


def lattice(picture: np.ndarray, mosaic: Mosaic) -> Lattice:
    x, y = (Comb(a.pitch, a.origin, 10, 1.0, 1.0, 0.5, 0.0) for a in (mosaic.x, mosaic.y))
    return Lattice.over(Evidence.of(picture), x, y)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("off", [-5, -2, 0, 2, 5])
def test_sides_go_to_where_the_cells_end(off: int, seed: int) -> None:
    mosaic = fixed((93, 81, 217, 229), 9.0, (4.0, 2.0))
    picture = noisy(pixelate(texture(320, 320, seed, 60.0), mosaic), seed)
    x0, y0, x1, y1 = mosaic.box
    seen = refine(picture, lattice(picture, mosaic), (x0 - off, y0 - off, x1 + off, y1 + off))
    assert np.abs(np.subtract(seen, mosaic.box)).max() <= 2


def test_sides_stay_where_nothing_is_known() -> None:
    mosaic = fixed((93, 81, 217, 229), 9.0)
    flat = np.full((320, 320), 90, dtype=np.uint8)
    assert refine(flat, lattice(flat, mosaic), (95, 83, 215, 226)) == (95, 83, 215, 226)


def test_a_side_on_the_border_of_the_picture_stays() -> None:
    mosaic = fixed((0, 81, 217, 320), 9.0)
    picture = noisy(pixelate(texture(320, 320, 2, 60.0), mosaic), 2)
    x0, _, _, y1 = refine(picture, lattice(picture, mosaic), mosaic.box)
    assert (x0, y1) == (0, 320)
