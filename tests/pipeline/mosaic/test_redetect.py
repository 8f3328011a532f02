"""Mosaics that are expected from the frame before: found again where they went, gone where they are gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.mosaic import single_scale
from pipeline.mosaic.single_scale import find_at_scale
from pipeline.types import Axis, Box, Grid, MosaicRegion
from tests.support.mosaics import Mosaic, assert_right, fixed, locked, noisy, pixelate, texture

pytestmark = pytest.mark.slow

SETTINGS = FindConfig()
MOSAIC = locked((120, 90, 312, 306), (12, 12))


def shown(mosaic: Mosaic, seed: int, sigma: float = 1.0, contrast: float = 40.0) -> NDArray[np.uint8]:
    """A picture of 460 x 500 px with the mosaic."""
    return noisy(pixelate(texture(460, 500, seed, contrast), mosaic), seed, sigma)


def expect(mosaic: Mosaic) -> MosaicRegion:
    """The region as found on a clear picture."""
    (region,) = find_at_scale(shown(mosaic, 1), SETTINGS)
    return region


@given(dx=st.integers(-20, 20), dy=st.integers(-20, 20), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_region_that_moved_with_its_grid_is_found_where_it_is(dx: int, dy: int, seed: int) -> None:
    moved = locked((120 + dx, 90 + dy, 312 + dx, 306 + dy), (12, 12))
    (region,) = find_at_scale(shown(moved, seed), SETTINGS, [expect(MOSAIC)])
    assert_right(region, moved)


@given(
    pitch=st.floats(7.0, 30.0), dx=st.integers(-15, 15), grown=st.integers(0, 8), seed=st.integers(0, 1000)
)
@settings(max_examples=20, deadline=None)
def test_a_region_that_moved_over_a_fixed_grid_is_found_where_it_is(
    pitch: float, dx: int, grown: int, seed: int
) -> None:
    before = fixed((120, 90, 312, 306), pitch, (3.0, 5.0))
    after = fixed((120 + dx, 90, 312 + dx + grown, 306 + grown), pitch, (3.0, 5.0))
    (region,) = find_at_scale(shown(after, seed), SETTINGS, [expect(before)])
    assert_right(region, after)


@pytest.mark.parametrize("by", [-3, -1, 0, 2, 4])
def test_a_resized_region_is_found_without_searching_the_picture(
    by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [expect(MOSAIC)]
    monkeypatch.setattr(single_scale, "candidates", lambda edges: [])
    resized = locked((120 - by, 90, 312 + by, 306 + by), (12, 12))
    (region,) = find_at_scale(shown(resized, 2), SETTINGS, expected)
    assert_right(region, resized)


@pytest.mark.parametrize("contrast", [5.0, 20.0, 60.0])
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_a_mosaic_that_is_gone_is_not_found_again(contrast: float, sigma: float) -> None:
    expected = [expect(MOSAIC)]
    for seed in range(6):
        assert find_at_scale(noisy(texture(460, 500, seed, contrast), seed, sigma), SETTINGS, expected) == []


def test_nothing_is_expected_of_a_flat_picture_or_of_noise() -> None:
    flat = np.full((460, 500), 90, dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (460, 500), dtype=np.uint8)
    assert find_at_scale(flat, SETTINGS, [expect(MOSAIC)]) == []
    assert find_at_scale(noise, SETTINGS, [expect(MOSAIC)]) == []


def test_a_faint_mosaic_is_kept_that_would_not_be_found() -> None:
    expected = [expect(MOSAIC)]
    kept = found = 0
    for seed in range(10):
        picture = shown(MOSAIC, seed, sigma=2.5, contrast=8.0)
        found += bool(find_at_scale(picture, SETTINGS))
        kept += any(r.box.iou(Box(*MOSAIC.box)) > 0.8 for r in find_at_scale(picture, SETTINGS, expected))
    assert kept > found


def test_a_new_mosaic_is_found_beside_an_expected_one() -> None:
    new = locked((350, 200, 480, 340), (10, 10))
    picture = noisy(pixelate(shown(MOSAIC, 3, sigma=0.0), new), 3)
    regions = find_at_scale(picture, SETTINGS, [expect(MOSAIC)])
    assert len(regions) == 2
    for mosaic in (MOSAIC, new):
        assert_right(max(regions, key=lambda r: r.box.iou(Box(*mosaic.box))), mosaic)


@pytest.mark.parametrize("blocks", [6, 8, 16, 24])
def test_another_grid_in_the_same_place_is_read_anew(blocks: int) -> None:
    other = locked(MOSAIC.box, (blocks, blocks))
    (region,) = find_at_scale(shown(other, 4), SETTINGS, [expect(MOSAIC)])
    assert_right(region, other)


@pytest.mark.parametrize("times", [2, 3])
def test_a_grid_misread_as_a_multiple_is_not_kept(times: int) -> None:
    right = expect(MOSAIC)
    assert right.grid is not None
    coarse = Grid(
        Axis(right.grid.x.pitch * times, right.grid.x.origin),
        Axis(right.grid.y.pitch * times, right.grid.y.origin),
        right.grid.operator,
        right.grid.confidence,
    )
    (region,) = find_at_scale(shown(MOSAIC, 5), SETTINGS, [replace(right, grid=coarse)])
    assert_right(region, MOSAIC)


@pytest.mark.parametrize("box", [Box(-40, -30, 60, 70), Box(470, 430, 560, 520), Box(600, 600, 700, 700)])
def test_expected_at_or_beyond_the_border(box: Box) -> None:
    region = replace(expect(MOSAIC), box=box)
    assert find_at_scale(texture(460, 500, 1), SETTINGS, [region]) == []


def test_a_region_without_a_grid_is_not_expected() -> None:
    assert find_at_scale(texture(460, 500, 1), SETTINGS, [replace(expect(MOSAIC), grid=None)]) == []


def level(mosaic: Mosaic, seed: int, share: float) -> NDArray[np.uint8]:
    """The same with cells that differ by ``share`` from left to right of what they do up and down."""
    x0, y0, x1, y1 = mosaic.box
    picture = shown(mosaic, seed, sigma=0.0)
    part = picture[y0:y1, x0:x1].astype(np.float64)
    mean = part.mean(axis=1, keepdims=True)
    picture[y0:y1, x0:x1] = np.clip(np.rint(mean + (part - mean) * share), 0, 255).astype(np.uint8)
    return noisy(picture, seed, 1.0)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("seed", range(1, 7))
def test_a_mosaic_is_kept_where_one_axis_hardly_shows_its_lines(seed: int, turned: bool) -> None:
    picture, mosaic = level(MOSAIC, seed, 0.05), MOSAIC
    if turned:
        picture = np.ascontiguousarray(picture.T)
        mosaic = locked((90, 120, 306, 312), (12, 12))
    assert find_at_scale(picture, SETTINGS) == []
    (region,) = find_at_scale(picture, SETTINGS, [expect(mosaic)])
    assert_right(region, mosaic)


@pytest.mark.parametrize("seed", range(4))
def test_blinds_of_the_same_pitch_are_no_mosaic_that_was_there(seed: int) -> None:
    picture = texture(460, 500, seed)
    rows = np.random.default_rng(seed).integers(70, 180, 12).astype(np.uint8)
    picture[90:306, 120:312] = np.repeat(rows, 18)[:, None]
    assert find_at_scale(noisy(picture, seed, 1.0), SETTINGS, [expect(MOSAIC)]) == []
