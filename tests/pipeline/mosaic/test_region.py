"""One region of a part: the grid that is fitted, and what is said of it in px of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.mosaic.evidence import Evidence
from pipeline.mosaic.outline import outline
from pipeline.mosaic.region import axis_in_box, describe_region, fit_region
from pipeline.types import Shape
from tests.support.mosaics import Mosaic, assert_right, fixed, locked, noisy, pixelate, texture


def part(mosaic: Mosaic, seed: int = 1) -> Evidence:
    return Evidence.from_luma(noisy(pixelate(texture(300, 320, seed, 60.0), mosaic), seed, 0.7))


@pytest.mark.parametrize("shape", Shape)
def test_a_region_is_fitted_outlined_and_put_where_the_part_lies(shape: Shape) -> None:
    mosaic = fixed((60, 50, 240, 230), 14.0, (5.0, 3.0), shape=shape)
    evidence = part(mosaic)
    fit = fit_region(evidence, 110.0)
    assert fit is not None
    outlined = outline(evidence, fit.grid, fit.bounds)
    assert outlined[1] is shape
    region = describe_region(evidence, fit.grid, outlined, fit.bounds.strips, 0.7, (160, 80))
    moved = fixed((220, 130, 400, 310), 14.0, (5.0 + 160, 3.0 + 80), shape=shape)
    assert_right(region, moved)
    assert (region.shape, region.score) == (shape, 0.7)


def test_a_box_of_whole_cells_sets_pitch_and_phase() -> None:
    mosaic = locked((60, 50, 211, 230), (12, 10))
    evidence = part(mosaic)
    fit = fit_region(evidence, 110.0)
    assert fit is not None
    across, _ = evidence.profiles(fit.bounds.box)
    sides = fit.bounds.box[0], fit.bounds.box[2]
    axis, whole = axis_in_box(across, fit.grid.x, sides, True)
    assert (whole, axis.origin) == ((60, 211), 60.0)
    assert axis.pitch == pytest.approx(151 / 12)
    free, same = axis_in_box(across, fit.grid.x, sides, False)
    assert same == sides
    assert 0.0 <= (sides[0] - free.origin) / free.pitch + 1e-6 < 1.0


def test_no_region_is_fitted_without_edges() -> None:
    assert fit_region(Evidence.from_luma(np.full((100, 100), 90, np.uint8)), 110.0) is None
