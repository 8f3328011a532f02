"""Laws of line grids and of boxes of whole cells, on profiles and small pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nets.pixelation import axis_index
from pipeline.mosaic.grid_fit import (
    LineGrid,
    best_run,
    fit_line_grid,
    fit_near,
    line_pixels,
    subdivide,
    whole_cells,
)
from pipeline.types import Axis

SIZE, ROWS = 320, 200


def lines(pitch: float, origin: float, start: int, end: int) -> NDArray[np.int64]:
    at = np.ceil(origin + np.arange(-200, 400) * pitch - 1e-6).astype(int)
    return np.asarray(at[(at >= start) & (at <= end)])


def profile(at: NDArray[np.int64], seed: int, noise: float = 2.0) -> NDArray[np.float64]:
    """Steps per pixel: 30 to 140 of the 200 rows on the lines, a few elsewhere."""
    rng = np.random.default_rng(seed)
    out = rng.poisson(noise, SIZE).astype(np.float64)
    out[at] = rng.uniform(30, 140, len(at))
    return out


@given(pitch=st.floats(5.0, 45.0), phase=st.floats(0.0, 45.0), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_pitch_and_every_line_are_found(pitch: float, phase: float, seed: int) -> None:
    at = lines(pitch, phase, 40, 290)
    found = fit_line_grid(profile(at, seed), ROWS, 110.0)
    assert found is not None
    assert found.pitch == pytest.approx(pitch, rel=0.02)
    seen = np.ceil(found.origin + np.arange(len(at)) * found.pitch - 1e-6)
    first = seen[0]
    offset = round((first - at[0]) / pitch)
    assert np.abs(at[max(offset, 0) : max(offset, 0) + 3] - seen[:3]).max() <= 1


@given(pitch=st.integers(6, 40), origin=st.integers(0, 40), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_whole_grid_is_given_in_whole_numbers(pitch: int, origin: int, seed: int) -> None:
    found = fit_line_grid(profile(lines(pitch, origin, 30, 300), seed), ROWS, 110.0)
    assert found is not None
    assert found.pitch == pitch
    assert (found.origin - origin) % pitch == 0


def test_no_line_grid_in_an_empty_profile() -> None:
    assert fit_line_grid(np.zeros(SIZE), ROWS, 110.0) is None
    assert fit_line_grid(np.zeros(5), ROWS, 110.0) is None


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_best_run_is_the_best_of_all_runs(values: list[float]) -> None:
    array = np.array(values)
    start, end, total = best_run(array)
    sums = [array[i:j].sum() for i in range(len(array)) for j in range(i + 1, len(array) + 1)]
    assert total == pytest.approx(max(sums), abs=1e-9)
    assert array[start:end].sum() == pytest.approx(total, abs=1e-9)


@given(
    cells=st.integers(5, 20),
    size=st.integers(60, 240),
    start=st.integers(20, 60),
    off=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_a_resized_box_is_found_from_sides_that_are_a_little_off(
    cells: int, size: int, start: int, off: tuple[float, float], seed: int
) -> None:
    """A little: up to 0.3 cells, 4 px at most. In px, 3 of a cell of 8 would be beyond what is promised."""
    assume(size / cells >= 5)
    pitch = size / cells
    first, last = (int(np.clip(share * pitch, -4, 4)) for share in off)
    at = lines(pitch, start, start, start + size)
    found = whole_cells(profile(at, seed), pitch, start, start + first, start + size + last)
    assert found == (start, start + size, cells)


def test_a_box_that_cuts_its_cells_is_not_resized() -> None:
    at = lines(20.0, 7.0, 40, 260)
    assert whole_cells(profile(at, 1), 20.0, 7.0, 37, 277) is None


@given(pitch=st.floats(4.0, 60.0), origin=st.floats(-200.0, 200.0), size=st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_lines_are_where_the_one_index_map_changes_cell(pitch: float, origin: float, size: int) -> None:
    index = axis_index(size, pitch, origin).numpy()
    assert line_pixels(Axis(pitch, origin), size).tolist() == (np.flatnonzero(np.diff(index)) + 1).tolist()


@pytest.mark.parametrize("by", [-0.04, 0.0, 0.03])
def test_a_grid_of_about_the_pitch_is_found_at_any_phase(by: float) -> None:
    pitch = 12.0 * (1.0 + by)
    found = fit_near(profile(lines(pitch, 5.0, 30, 300), 3), ROWS, Axis(12.0, 0.0))
    assert found is not None
    assert found.pitch == pytest.approx(pitch, rel=0.01)


@pytest.mark.parametrize("pitch", [6.0, 9.0, 24.0, 36.0])
def test_a_multiple_of_the_pitch_is_not_taken_for_it(pitch: float) -> None:
    assert (
        fit_near(profile(lines(pitch, 5.0, 0, SIZE - 1), 3), ROWS, Axis(18.0 if pitch != 24 else 12.0, 0.0))
        is None
    )


def columns(values: list[float], width: int) -> NDArray[np.uint8]:
    """(80, ...) uint8: columns of cells, ``width`` px each."""
    return np.repeat(np.repeat(np.round(values), width)[None], 80, 0).astype(np.uint8)


def test_lines_that_are_hard_to_see_between_clear_ones_are_found() -> None:
    pairs = [60, 63, 90, 93, 60, 63, 120, 117, 80, 83, 40, 43]
    coarse = LineGrid(16.0, 0.0, 7, 1.0, 100.0, 1.0, 0.0)
    found = subdivide(coarse, columns(pairs, 8), 1, (0, 96), 16.0)
    assert (found.pitch, found.lines) == (8.0, 13)
    whole = [60, 60, 90, 90, 60, 60, 120, 120, 80, 80, 40, 40]
    assert subdivide(coarse, columns(whole, 8), 1, (0, 96), 8.0) == coarse
