"""Laws of the comb and of boxes of whole cells, on profiles without a picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.mosaic.line_grid import best_run, fit
from pipeline.mosaic.resized_lines import whole_cells

SIZE, LINES = 320, 200


def teeth(pitch: float, origin: float, start: int, end: int) -> NDArray[np.int64]:
    at = np.ceil(origin + np.arange(-200, 400) * pitch - 1e-6).astype(int)
    return np.asarray(at[(at >= start) & (at <= end)])


def profile(at: NDArray[np.int64], seed: int, noise: float = 2.0) -> NDArray[np.float64]:
    """Steps per pixel: 30 to 140 of the 200 lines on the teeth, a few elsewhere."""
    rng = np.random.default_rng(seed)
    out = rng.poisson(noise, SIZE).astype(np.float64)
    out[at] = rng.uniform(30, 140, len(at))
    return out


@given(pitch=st.floats(5.0, 45.0), phase=st.floats(0.0, 45.0), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_pitch_and_every_tooth_are_found(pitch: float, phase: float, seed: int) -> None:
    at = teeth(pitch, phase, 40, 290)
    comb = fit(profile(at, seed), LINES, 110.0)
    assert comb is not None
    assert comb.pitch == pytest.approx(pitch, rel=0.02)
    seen = np.ceil(comb.origin + np.arange(len(at)) * comb.pitch - 1e-6)
    first = seen[0]
    offset = round((first - at[0]) / pitch)
    assert np.abs(at[max(offset, 0) : max(offset, 0) + 3] - seen[:3]).max() <= 1


@given(pitch=st.integers(6, 40), origin=st.integers(0, 40), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_whole_lattice_is_given_in_whole_numbers(pitch: int, origin: int, seed: int) -> None:
    comb = fit(profile(teeth(pitch, origin, 30, 300), seed), LINES, 110.0)
    assert comb is not None
    assert comb.pitch == pitch
    assert (comb.origin - origin) % pitch == 0


def test_no_comb_in_an_empty_profile() -> None:
    assert fit(np.zeros(SIZE), LINES, 110.0) is None
    assert fit(np.zeros(5), LINES, 110.0) is None


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
    at = teeth(pitch, start, start, start + size)
    found = whole_cells(profile(at, seed), pitch, start, start + first, start + size + last)
    assert found == (start, start + size, cells)


def test_a_box_that_cuts_its_cells_is_not_resized() -> None:
    at = teeth(20.0, 7.0, 40, 260)
    assert whole_cells(profile(at, 1), 20.0, 7.0, 37, 277) is None
