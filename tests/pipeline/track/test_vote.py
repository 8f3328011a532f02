"""Both sides of an axis from the frames around, on made-up boxes and strips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.track.vote import theil_sen, vote_bounds
from pipeline.types import Strips

PITCH = 5.0
CELLS = 12
TIMES = np.arange(-8.0, 9.0)


def strips(start: float, log_odds_at_start: float = 3.0) -> Strips:
    """Of a mosaic of CELLS cells from ``start`` px on, with six strips beside it on both sides."""
    ends = start + PITCH * np.arange(-6, CELLS + 7)
    log_odds = np.full(CELLS + 12, -3.0)
    log_odds[6 : 6 + CELLS] = 3.0
    log_odds[6:8] = log_odds_at_start
    return Strips(ends, log_odds)


def test_frames_that_hardly_lean_do_not_outvote_those_that_are_sure() -> None:
    """Two columns are missed on two of three frames, by chance; the third frame sees them clearly."""
    short = np.arange(len(TIMES)) % 3 != 0
    starts = np.where(short, 110.0, 100.0)
    ends = np.full(len(TIMES), 160.0)
    told = [strips(100.0, -0.3 if s else 2.0) for s in short]
    assert vote_bounds(TIMES, starts, ends, told) == pytest.approx((100.0, 160.0))
    assert vote_bounds(TIMES, starts, ends)[0] > 107.0  # what the boxes alone say


def test_a_box_that_one_frame_takes_in_too_much_is_cut_again() -> None:
    starts = np.where(np.abs(TIMES) < 2, 85.0, 100.0)
    told = [strips(100.0) for _ in TIMES]
    assert vote_bounds(TIMES, starts, np.full(len(TIMES), 160.0), told)[0] == pytest.approx(100.0)


@pytest.mark.parametrize(("amplitude", "period"), [(20.0, 24.0), (40.0, 24.0), (20.0, 12.0)])
def test_a_shaken_mosaic_is_followed_though_every_third_frame_misses_columns(
    amplitude: float, period: float
) -> None:
    for now in range(12, 36):
        at = np.arange(now - 8.0, now + 9.0)
        path = 100.0 + np.round(amplitude * np.sin(2 * np.pi * at / period))
        starts = path + np.where(at % 3 == 0, 10.0, 0.0)
        told = [strips(p, -0.5 if t % 3 == 0 else 2.0) for p, t in zip(path, at, strict=True)]
        found = vote_bounds(TIMES, starts, path + 60.0, told)
        assert found == pytest.approx((path[8], path[8] + 60.0), abs=3.0)


def test_a_side_that_is_not_seen_before_a_wall_is_not_led_over_the_picture() -> None:
    """Without strips: it turns where its left side lies on a flat wall, and only the right one is seen."""
    path = 100.0 + 10.0 * np.abs(TIMES)
    starts = np.maximum(path, 135.0)
    _, end = vote_bounds(TIMES, starts, path + 150.0)
    assert end < 280.0  # 250 in truth; 285 if it went with the left side


@given(seed=st.integers(0, 10_000), speed=st.floats(-10.0, 10.0), growth=st.floats(-1.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_the_end_of_a_track_is_where_its_motion_leads(seed: int, speed: float, growth: float) -> None:
    """Frames on one side only; the boxes jitter by a pixel."""
    rng = np.random.default_rng(seed)
    times = np.arange(-8.0, 1.0)
    starts = 100.0 + (speed - growth / 2) * times + rng.normal(0.0, 1.0, len(times))
    ends = 160.0 + (speed + growth / 2) * times + rng.normal(0.0, 1.0, len(times))
    assert vote_bounds(times, starts, ends) == pytest.approx((100.0, 160.0), abs=4.0)


def test_ends_are_no_further_off_than_a_frame_itself() -> None:
    """A line through the last frames alone doubles what one of them is off."""
    rng = np.random.default_rng(0)
    times = np.arange(-8.0, 1.0)
    off = []
    for _ in range(200):
        starts, ends = rng.normal(100.0, 1.0, len(times)), rng.normal(160.0, 1.0, len(times))
        off.append(vote_bounds(times, starts, ends)[0] - 100.0)
    assert np.std(off) < 0.7


@pytest.mark.parametrize("speed", [-8.0, 8.0])
def test_a_track_that_ends_on_frames_that_miss_columns_goes_on_as_it_went(speed: float) -> None:
    times = np.arange(-8.0, 1.0)
    ends = 160.0 + speed * times
    starts = ends - 60.0 + np.where(times > -2, 12.0, 0.0)
    assert vote_bounds(times, starts, ends) == pytest.approx((100.0, 160.0), abs=1.0)


@pytest.mark.parametrize("now", [0, 5])
def test_a_frame_without_a_box_lies_between_those_that_have_one(now: int) -> None:
    times = np.array([t for t in range(-8, 9) if abs(t - now) > 2], dtype=np.float64)
    starts = 100.0 + 3.0 * times
    assert vote_bounds(times, starts, starts + 60.0) == pytest.approx((100.0, 160.0))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_frames(n: int) -> None:
    times = np.arange(float(n))
    told = [strips(100.0)] * n
    found = vote_bounds(times, np.full(n, 100.0), np.full(n, 160.0), told)
    assert found == pytest.approx((100.0, 160.0))


def test_strips_that_do_not_hold_the_middle_tell_nothing() -> None:
    away = Strips(np.array([500.0, 505.0, 510.0]), np.array([2.0, 2.0]))
    boxes = np.full(len(TIMES), 100.0), np.full(len(TIMES), 160.0)
    assert vote_bounds(TIMES, *boxes, [away] * len(TIMES)) == pytest.approx((100.0, 160.0))


@given(st.floats(-20.0, 20.0), st.floats(-500.0, 500.0), st.sets(st.integers(0, 16), max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_line_is_that_of_most_frames(slope: float, start: float, wrong: set[int]) -> None:
    values: NDArray[np.float64] = slope * TIMES + start
    values[sorted(wrong)] += 50.0
    assert theil_sen(TIMES, values) == pytest.approx((slope, start), abs=1e-6)
