"""Mosaics that were scaled after they were made, and what only looks like one in a smaller picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.mosaic.finder import (
    find_mosaics_in_picture,
    is_clean_in_picture,
    read_grid_in_picture,
    redetect_in_picture,
)
from pipeline.mosaic.single_scale import find_at_scale
from pipeline.types import Axis, Box, MosaicRegion
from tests.support.mosaics import Mosaic, fixed, locked, noisy, phase_error_px, pixelate, texture

pytestmark = pytest.mark.slow

SETTINGS = FindConfig()
SCALES = [(0.5, cv2.INTER_CUBIC), (1.5, cv2.INTER_CUBIC), (2.0, cv2.INTER_LANCZOS4), (3.0, cv2.INTER_LINEAR)]


def scaled(picture: NDArray[np.uint8], by: float, how: int) -> NDArray[np.uint8]:
    size = round(picture.shape[1] * by), round(picture.shape[0] * by)
    return noisy(np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8), 1, 1.0)


def assert_right(region: MosaicRegion, mosaic: Mosaic, by: float) -> None:
    assert region.box.iou(Box(*(v * by for v in mosaic.box))) > 0.9
    assert region.grid is not None
    for true, seen, start in (
        (mosaic.x, region.grid.x, mosaic.box[0]),
        (mosaic.y, region.grid.y, mosaic.box[1]),
    ):
        assert seen.pitch == pytest.approx(true.pitch * by, rel=0.02)
        here = Axis(true.pitch * by, true.origin * by)
        assert phase_error_px(here, seen, start * by) <= 1.25 * max(by, 1.0)


@pytest.mark.parametrize(("by", "how"), SCALES)
@pytest.mark.parametrize("x", [60, 61, 63])
def test_a_mosaic_is_found_though_scaling_has_spread_its_edges(by: float, how: int, x: int) -> None:
    cell = 22 if by < 1 else 9
    mosaic = locked((x, 50, x + 12 * cell, 50 + 10 * cell), (12, 10))
    size = (50 + 14 * cell, 60 + 16 * cell)
    picture = scaled(pixelate(texture(*size, x), mosaic), by, how)
    (region,) = find_mosaics_in_picture(picture, SETTINGS)
    assert_right(region, mosaic, by)
    repeated = redetect_in_picture(picture, region, SETTINGS)
    assert repeated is not None
    assert repeated.scale == region.scale
    assert_right(repeated, mosaic, by)
    assert not is_clean_in_picture(picture, region)
    assert is_clean_in_picture(scaled(texture(*size, x), by, how), region)
    grid = read_grid_in_picture(picture, region.box, SETTINGS)
    assert grid is not None
    assert grid.x.pitch == pytest.approx(cell * by, rel=0.02)


@pytest.mark.parametrize("pitch", [16, 20, 24])
def test_every_other_line_may_be_sharp(pitch: int) -> None:
    """Of cells of odd width at half the size; those of twice the width would be read."""
    cell = 2 * pitch + 1
    mosaic = fixed((61, 50, 61 + 12 * cell, 50 + 10 * cell), cell, (61.0, 50.0))
    picture = pixelate(texture(100 + 10 * cell, 120 + 12 * cell, pitch), mosaic)
    (region,) = find_mosaics_in_picture(scaled(picture, 0.5, cv2.INTER_CUBIC), SETTINGS)
    assert_right(region, mosaic, 0.5)


def test_one_at_its_own_size_goes_first() -> None:
    mosaic = locked((60, 50, 220, 210), (10, 10))
    picture = noisy(pixelate(texture(300, 340, 3), mosaic), 1, 1.0)
    (region,), (alone,) = find_mosaics_in_picture(picture, SETTINGS), find_at_scale(picture, SETTINGS)
    assert (region.scale, region.box, region.grid) == (1, alone.box, alone.grid)


def test_one_that_is_known_is_looked_for_when_no_new_ones_are() -> None:
    mosaic = locked((60, 50, 168, 158), (12, 12))
    picture = scaled(pixelate(texture(240, 260, 3), mosaic), 2.0, cv2.INTER_CUBIC)
    (region,) = find_mosaics_in_picture(picture, SETTINGS)
    assert region.scale > 1
    assert find_mosaics_in_picture(picture, SETTINGS, smaller=False) == []
    assert len(find_mosaics_in_picture(picture, SETTINGS, [region], smaller=False)) == 1
    assert find_mosaics_in_picture(texture(480, 520, 4), SETTINGS, [region], smaller=False) == []


def bricks(joint: int) -> NDArray[np.uint8]:
    """Flat bricks of 24 x 12 px, every other row by half a brick, with joints."""
    values = np.random.default_rng(1).integers(110, 150, (50, 26))
    rows = [
        np.repeat(np.roll(np.repeat(v, 24), 12 * (k % 2))[None], 12, axis=0) for k, v in enumerate(values)
    ]
    for k, row in enumerate(rows):
        row[:joint] = 190
        for j in range(joint):
            row[:, 12 * (k % 2) + j :: 24] = 190
    return np.concatenate(rows)[:480, :600].astype(np.uint8)


def gingham(pitch: int, sigma: float) -> NDArray[np.uint8]:
    """Checks of three tones on cloth with folds."""
    rows, cols = np.mgrid[:480, :600] // pitch % 2
    folds = 1 + 0.3 * np.sin(np.mgrid[:480, :600][1] / 37.0)
    return np.asarray(cv2.GaussianBlur((90 + 50 * (rows + cols)) * folds, (0, 0), sigma), np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(bricks(1), id="bricks"),
        pytest.param(bricks(2), id="bricks, wide joints"),
        *(pytest.param(gingham(p, s), id=f"gingham-{p}-{s}") for p in (10, 16) for s in (0.5, 0.8, 1.5)),
        *(pytest.param(scaled(texture(240, 300, s), 2.0, cv2.INTER_CUBIC), id=f"soft-{s}") for s in range(3)),
    ],
)
def test_no_false_alarm(picture: NDArray[np.uint8]) -> None:
    assert [r for r in find_mosaics_in_picture(noisy(picture, 1, 1.0), SETTINGS) if r.score >= 0.5] == []
