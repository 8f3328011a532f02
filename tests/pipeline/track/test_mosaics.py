"""Laws of tracking on made-up regions; no pixels are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nets.pixelation import Operator
from pipeline.config import TrackConfig
from pipeline.mosaic.sampling import sampling_of
from pipeline.track.mosaics import track
from pipeline.types import Axis, Box, Colour, Found, Frame, Grid, MosaicRegion, Shape, Tracked

SETTINGS = TrackConfig()
COLOUR = Colour("unknown", "unknown", "unknown", "unknown")


def frame(index: int) -> Frame:
    return Frame(
        index, index * 40, (torch.zeros(2, 2, dtype=torch.uint8),), "gray", COLOUR, Fraction(1, 1000), False
    )


def region(
    x: float = 100.0, y: float = 80.0, size: float = 120.0, pitch: float = 12.0, score: float = 0.8
) -> MosaicRegion:
    """A mosaic on its own grid: the box is a whole number of cells."""
    box = Box(x, y, x + size, y + size)
    grid = Grid(Axis(pitch, x), Axis(pitch, y), Operator.AREA, score)
    return MosaicRegion(box, Shape.RECTANGLE, score, grid)


def founds(rows: list[tuple[MosaicRegion, ...]], cuts: tuple[int, ...] = ()) -> list[Found[MosaicRegion]]:
    return [Found(frame(i), regions, i in cuts) for i, regions in enumerate(rows)]


def tracks(tracked: list[Tracked]) -> dict[int, list[int]]:
    """Frames of each track."""
    out: dict[int, list[int]] = {}
    for item in tracked:
        for t in item.regions:
            out.setdefault(t.track, []).append(item.frame.index)
    return out


PLACES = (60.0, 400.0, 800.0)


@pytest.mark.slow
@given(
    rows=st.lists(st.sets(st.integers(0, 2)), min_size=0, max_size=40),
    cuts=st.sets(st.integers(0, 39)),
    look_ahead=st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_every_frame_leaves_once_in_order_and_tracks_have_no_gaps(
    rows: list[set[int]], cuts: set[int], look_ahead: int
) -> None:
    items = founds([tuple(region(PLACES[k]) for k in sorted(row)) for row in rows], tuple(cuts))
    tracked = list(track(items, settings=SETTINGS.model_copy(update={"look_ahead_frames": look_ahead})))
    assert [t.frame for t in tracked] == [i.frame for i in items]
    for number, frames in tracks(tracked).items():
        assert frames == list(range(frames[0], frames[-1] + 1))
        assert not any(frames[0] < c <= frames[-1] for c in cuts)
        flags = [(t.born, t.last, t.seen) for item in tracked for t in item.regions if t.track == number]
        assert [b for b, _, _ in flags] == [True] + [False] * (len(flags) - 1)
        assert [last for _, last, _ in flags] == [False] * (len(flags) - 1) + [True]
        assert flags[0][2] and flags[-1][2]
    numbers = sorted(tracks(tracked))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.slow
@given(st.integers(1, 12), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_no_more_than_the_look_ahead_is_held(look_ahead: int, count: int) -> None:
    taken = 0

    def source() -> Iterator[Found[MosaicRegion]]:
        nonlocal taken
        for item in founds([(region(),)] * count):
            taken += 1
            yield item

    for left, _ in enumerate(
        track(source(), settings=SETTINGS.model_copy(update={"look_ahead_frames": look_ahead}))
    ):
        assert taken - left <= look_ahead + 1


def test_the_first_frames_of_a_track_are_not_lost() -> None:
    rows: list[tuple[MosaicRegion, ...]] = [()] * 5 + [(region(),)] * 20
    assert tracks(list(track(founds(rows), settings=SETTINGS))) == {1: list(range(5, 25))}


def test_a_false_alarm_of_one_frame_is_dropped() -> None:
    rows: list[tuple[MosaicRegion, ...]] = [()] * 20
    rows[7] = (region(score=0.9),)
    assert tracks(list(track(founds(rows), settings=SETTINGS))) == {}


@pytest.mark.parametrize(("score", "born"), [(0.7, True), (0.6, False)])
@pytest.mark.parametrize("first", [0, 7, 18])
def test_two_frames_are_enough_where_they_are_strong(score: float, born: bool, first: int) -> None:
    rows: list[tuple[MosaicRegion, ...]] = [()] * 20
    rows[first] = rows[first + 1] = (region(score=score),)
    assert tracks(list(track(founds(rows), settings=SETTINGS))) == ({1: [first, first + 1]} if born else {})


def test_weak_regions_keep_a_track_alive_but_start_none() -> None:
    weak, strong = (region(score=0.4),), (region(score=0.8),)
    assert tracks(list(track(founds([weak] * 20), settings=SETTINGS))) == {}
    assert tracks(list(track(founds([strong] * 3 + [weak] * 17), settings=SETTINGS))) == {1: list(range(20))}


def test_middling_regions_start_a_track_where_they_repeat_one_grid() -> None:
    same = [(region(score=0.46),)] * 20
    other = [(region(score=0.46, pitch=12.0 + t % 3),) for t in range(20)]
    assert tracks(list(track(founds(same), settings=SETTINGS))) == {1: list(range(20))}
    assert tracks(list(track(founds(other), settings=SETTINGS))) == {}


@pytest.mark.parametrize(("shown_from", "cut", "first"), [(0, None, 5), (6, None, 6), (0, 8, 8)])
def test_a_new_mosaic_is_looked_for_in_the_frames_before(
    shown_from: int, cut: int | None, first: int
) -> None:
    rows: list[tuple[MosaicRegion, ...]] = [()] * 12 + [(region(),)] * 12
    asked: list[int] = []

    def redetect(frame: Frame, found: MosaicRegion) -> MosaicRegion | None:
        asked.append(frame.index)
        return replace(found, score=0.3) if frame.index >= shown_from else None

    items = founds(rows, () if cut is None else (cut,))
    tracked = list(track(items, settings=SETTINGS, redetect=redetect))
    # Frames 0 to 3 have left when frame 12 comes, frame 4 must leave before a second one shows the mosaic.
    assert tracks(tracked) == {1: list(range(first, 24))}
    assert min(asked) >= (cut or 4)


@pytest.mark.parametrize("shown", [{5}, {6, 9}, {7, 8, 11}, {11}])
def test_it_is_looked_for_beyond_frames_that_hardly_show_it(shown: set[int]) -> None:
    rows: list[tuple[MosaicRegion, ...]] = [()] * 12 + [(region(),)] * 12

    def redetect(frame: Frame, found: MosaicRegion) -> MosaicRegion | None:
        return replace(found, score=0.3) if frame.index in shown else None

    tracked = list(track(founds(rows), settings=SETTINGS, redetect=redetect))
    assert tracks(tracked) == {1: list(range(min(shown), 24))}
    regions = [item.regions[0] for item in tracked[min(shown) :]]
    assert [r.seen for r in regions] == [t in shown or t >= 12 for t in range(min(shown), 24)]


def test_it_is_not_looked_for_over_a_longer_gap_than_is_filled() -> None:
    settings = SETTINGS.model_copy(update={"max_gap_frames": 2})
    rows: list[tuple[MosaicRegion, ...]] = [()] * 12 + [(region(),)] * 12

    def redetect(frame: Frame, found: MosaicRegion) -> MosaicRegion | None:
        return replace(found, score=0.3) if frame.index < 9 else None

    assert tracks(list(track(founds(rows), settings=settings, redetect=redetect))) == {1: list(range(12, 24))}


@pytest.mark.parametrize("clean", [set(), {8}, {7, 8, 9}, {10}])
def test_frames_of_a_gap_that_plainly_show_none_are_not_filled(clean: set[int]) -> None:
    rows: list[tuple[MosaicRegion, ...]] = [() if 7 <= t <= 10 else (region(),) for t in range(20)]
    asked: list[int] = []

    def is_clean(frame: Frame, predicted: MosaicRegion) -> bool:
        asked.append(frame.index)
        assert predicted.box == region().box
        return frame.index in clean

    tracked = list(track(founds(rows), settings=SETTINGS, is_clean=is_clean))
    assert tracks(tracked) == {1: [t for t in range(20) if t not in clean]}
    assert asked == [7, 8, 9, 10]
    regions = [t for item in tracked for t in item.regions]
    assert [(t.born, t.last) for t in regions if t.born or t.last] == [(True, False), (False, True)]


@pytest.mark.parametrize(("score", "born"), [(0.9, True), (0.55, False)])
@pytest.mark.parametrize("count", [1, 2])
def test_a_clip_shorter_than_the_proof_needs_strong_regions(score: float, born: bool, count: int) -> None:
    tracked = list(track(founds([(region(score=score),)] * count), settings=SETTINGS))
    assert bool(tracks(tracked)) is born


def test_a_gap_is_filled_between_its_ends() -> None:
    rows: list[tuple[MosaicRegion, ...]] = [(region(x=100.0 + 2 * t),) for t in range(24)]
    for t in range(10, 14):
        rows[t] = ()
    tracked = list(track(founds(rows), settings=SETTINGS))
    assert tracks(tracked) == {1: list(range(24))}
    for t in range(10, 14):
        (filled,) = tracked[t].regions
        assert not filled.seen
        assert filled.region.box.x0 == pytest.approx(100 + 2 * t, abs=1.0)
        assert filled.region.grid is not None
        assert filled.region.grid.x.pitch == pytest.approx(12.0)


def test_a_gap_longer_than_allowed_ends_the_track() -> None:
    rows: list[tuple[MosaicRegion, ...]] = [(region(),)] * 30
    for t in range(10, 10 + SETTINGS.max_gap_frames + 1):
        rows[t] = ()
    assert list(tracks(list(track(founds(rows), settings=SETTINGS)))) == [1, 2]


def test_a_cut_ends_a_track_and_the_next_one_begins() -> None:
    tracked = list(track(founds([(region(),)] * 30, cuts=(12,)), settings=SETTINGS))
    assert tracks(tracked) == {1: list(range(12)), 2: list(range(12, 30))}


def test_two_that_cross_keep_their_identity_by_their_pitch() -> None:
    rows = [
        (region(x=100.0 + 6 * t, pitch=12.0), region(x=280.0 - 6 * t, y=110.0, pitch=20.0)) for t in range(30)
    ]
    tracked = list(track(founds(rows), settings=SETTINGS))
    for item in tracked:
        by_track = {t.track: t.region.grid for t in item.regions}
        assert by_track[1] is not None and by_track[1].x.pitch == pytest.approx(12.0)
        assert by_track[2] is not None and by_track[2].x.pitch == pytest.approx(20.0)


def fixed(x: float, jitter: float, pitch: float = 15.0, phase: float = 4.0) -> MosaicRegion:
    """A mosaic under a grid fixed in the frame; its sides are read with an error of ``jitter``."""
    box = Box(x + jitter, 80.0, x + 160.0 - jitter, 240.0)
    origin = phase + np.floor((box.x0 - phase) / pitch) * pitch
    grid = Grid(Axis(pitch, float(origin)), Axis(pitch, 79.0), Operator.AREA, 0.8)
    return MosaicRegion(box, Shape.RECTANGLE, 0.8, grid)


def test_jitter_goes_and_motion_does_not_lag() -> None:
    rng = np.random.default_rng(0)
    jitter = rng.normal(0.0, 1.5, 60)
    rows: list[tuple[MosaicRegion, ...]] = [(fixed(100.0 + 3 * t, float(jitter[t])),) for t in range(60)]
    tracked = list(track(founds(rows), settings=SETTINGS))
    errors = np.array([item.regions[0].region.box.x0 - (100.0 + 3 * t) for t, item in enumerate(tracked)])
    assert errors[10:-10].std() < 0.7 * jitter[10:-10].std()
    assert abs(errors[10:-10].mean() - jitter[10:-10].mean()) < 0.3


@pytest.mark.parametrize("locked", [False, True])
def test_a_box_that_starts_to_move_is_where_it_was_seen(locked: bool) -> None:
    """A line through the frames around overshoots at the end of a motion that speeds up or stops."""
    places = 100.0 + 28.0 * np.maximum(np.arange(20) - 1, 0)
    rows: list[tuple[MosaicRegion, ...]] = [
        (region(x=float(x)) if locked else fixed(float(x), 0.0),) for x in places
    ]
    for item, x in zip(track(founds(rows), settings=SETTINGS), places, strict=True):
        assert abs(item.regions[0].region.box.x0 - x) <= 6.0


def test_a_fixed_grid_stays_put_and_a_bad_reading_is_overruled() -> None:
    rows: list[tuple[MosaicRegion, ...]] = [(fixed(100.0 + 3 * t, 0.0),) for t in range(40)]
    rows[20] = (fixed(160.0, 0.0, pitch=7.5, phase=1.0),)
    for item in track(founds(rows), settings=SETTINGS):
        grid, box = item.regions[0].region.grid, item.regions[0].region.box
        assert grid is not None
        assert grid.x.pitch == pytest.approx(15.0)
        assert (grid.x.origin - 4.0) % 15.0 == pytest.approx(0.0, abs=1e-6) or (
            grid.x.origin - 4.0
        ) % 15.0 == pytest.approx(15.0, abs=1e-6)
        assert grid.x.origin <= np.floor(box.x0 + 0.5) + 1e-6 < grid.x.origin + 15.0


def test_a_grid_of_a_moving_region_moves_with_it() -> None:
    places = 100 + np.round(8 * np.sin(np.arange(50) / 6)).astype(int)
    rows: list[tuple[MosaicRegion, ...]] = [(region(x=float(x)),) for x in places]
    rows[25] = (region(x=float(places[25]), size=96.0),)  # two columns of cells missed
    for item, x in zip(track(founds(rows), settings=SETTINGS), places, strict=True):
        grid, box = item.regions[0].region.grid, item.regions[0].region.box
        assert grid is not None
        assert (grid.x.origin, grid.x.pitch) == (float(x), 12.0)
        assert (box.x0, box.x1) == pytest.approx((x, x + 120))


@pytest.mark.parametrize("growing", [False, True])
def test_a_box_that_jumps_by_whole_cells_is_where_each_frame_shows_it(growing: bool) -> None:
    """It follows a face in steps of a grid fixed in the frame: no strip of it may stay uncovered."""
    starts = 100.0 + 20.0 * np.floor(np.array([2.3 * np.sin(t / 5) + t / 15 for t in range(60)]))
    starts[33] += 20.0  # there and back
    ends = starts + 120.0 + 20.0 * (growing and np.arange(60) >= 30)
    rows = [(on_lines(a, b),) for a, b in zip(starts, ends, strict=True)]
    rows[20] = (on_lines(starts[20] + 20.0, ends[20]),)  # a flat column missed
    rows[40] = (on_lines(starts[40], ends[40] + 7.0),)  # beyond the last line
    for item, start, end in zip(track(founds(rows), settings=SETTINGS), starts, ends, strict=True):
        grid, box = item.regions[0].region.grid, item.regions[0].region.box
        assert (box.x0, box.x1) == pytest.approx((start, end))
        assert (box.y0, box.y1) == pytest.approx((80.0, 200.0))
        assert grid is not None
        assert (grid.x.pitch, (grid.x.origin - 100.0) % 20.0) == pytest.approx((20.0, 0.0), abs=1e-6)


def on_lines(start: float, end: float) -> MosaicRegion:
    """A mosaic from x ``start`` to ``end`` px on a grid of 20 px."""
    grid = Grid(Axis(20.0, start), Axis(20.0, 80.0), Operator.AREA, 0.8)
    return MosaicRegion(Box(start, 80.0, end, 200.0), Shape.RECTANGLE, 0.8, grid)


def test_two_pitches_as_often_as_each_other_still_give_a_grid() -> None:
    rows: list[tuple[MosaicRegion, ...]] = [(region(pitch=12.0 if t % 2 else 24.0),) for t in range(8)]
    for item in track(founds(rows), settings=SETTINGS):
        grid = item.regions[0].region.grid
        assert grid is not None
        assert grid.x.pitch in (12.0, 24.0)


def test_regions_without_a_grid_are_tracked_too() -> None:
    rows: list[tuple[MosaicRegion, ...]] = [(replace(region(), grid=None),)] * 10
    tracked = list(track(founds(rows), settings=SETTINGS))
    assert tracks(tracked) == {1: list(range(10))}
    assert all(item.regions[0].region.grid is None for item in tracked)


def test_an_empty_clip() -> None:
    assert list(track([], settings=SETTINGS)) == []


def told(odds: list[float]) -> list[Operator]:
    """What each frame's cells are taken for, from what single frames say of them."""
    rows = []
    for each in odds:
        one = region()
        assert one.grid is not None
        rows.append((replace(one, grid=replace(one.grid, operator=sampling_of(each), log_odds=each)),))
    grids = [r.region.grid for item in track(founds(rows), settings=SETTINGS) for r in item.regions]
    assert len(grids) == len(odds)
    return [grid.operator for grid in grids if grid is not None]


def test_what_cells_are_taken_for_does_not_change_from_frame_to_frame() -> None:
    """Means that a third of the frames, in a run, take for point samples."""
    assert set(told([2.0 if 20 <= t < 33 else -2.0 for t in range(40)])) == {Operator.AREA}


def test_few_sure_frames_outweigh_many_that_hardly_lean() -> None:
    assert set(told([-0.2, 6.0, -0.2, -0.3, 5.0, -0.1, -0.2, -0.3] * 4)) == {Operator.CENTRE}


def test_frames_that_know_nothing_leave_it_to_those_that_do() -> None:
    assert set(told([0.0] * 8 + [3.0] + [0.0] * 30)) == {Operator.CENTRE}


def test_what_cells_are_taken_for_changes_once_where_later_frames_are_clear() -> None:
    """A face that turns to the camera: nine frames mislead, those after them do not."""
    operators = told([1.0] * 9 + [-4.0] * 60)
    changes = sum(a is not b for a, b in pairwise(operators))
    assert (operators[0], operators[-1], changes) == (Operator.CENTRE, Operator.AREA, 1)


def test_evidence_about_nothing_changes_nothing() -> None:
    """The sum crosses 0 again and again."""
    assert len(set(told([0.3] * 9 + [-0.6, 0.6] * 30))) == 1
