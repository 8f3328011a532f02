"""The sidecar's tracks: bounded, complete, and true to what passed by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nets.pixelation import Operator
from pipeline.run.sidecar import BOXES_PER_TRACK, MosaicRecorder, file_record
from pipeline.types import (
    Axis,
    Box,
    Colour,
    Crop,
    Cropped,
    Frame,
    Grid,
    MosaicRegion,
    Samples,
    Shape,
    Tracked,
    TrackedRegion,
)

TIME_BASE = Fraction(1, 1000)
GRID = Grid(Axis(10.5, 3.0), Axis(9.0, 1.0), Operator.AREA, 0.9)


def _frame(index: int) -> Frame:
    planes = (torch.zeros(4, 4, dtype=torch.uint8),)
    return Frame(
        index, index * 40, planes, "gray", Colour("bt709", "tv", "bt709", "bt709"), TIME_BASE, index == 0
    )


def _tracked(index: int, tracks: set[int], unseen: set[int]) -> Tracked:
    box = Box(index, 0, index + 10, 10)
    region = MosaicRegion(box, Shape.RECTANGLE, 1.0, GRID)
    regions = tuple(
        TrackedRegion(track, region, seen=track not in unseen, born=False, last=False)
        for track in sorted(tracks)
    )
    return Tracked(_frame(index), regions)


frames = st.lists(
    st.tuples(st.sets(st.integers(1, 3)), st.sets(st.integers(1, 3))), max_size=4 * BOXES_PER_TRACK
)


@given(frames)
def test_the_log_counts_every_frame_of_every_track_and_hands_all_on(
    script: list[tuple[set[int], set[int]]],
) -> None:
    items = [_tracked(index, tracks, unseen) for index, (tracks, unseen) in enumerate(script)]
    log = MosaicRecorder()
    assert list(log.listen(iter(items))) == items
    records = log.records(TIME_BASE)
    assert [record.track for record in records] == sorted({t for tracks, _ in script for t in tracks})
    for record in records:
        at = [index for index, (tracks, _) in enumerate(script) if record.track in tracks]
        filled = sum(record.track in script[index][1] for index in at)
        assert (record.frames_seen, record.frames_filled) == (len(at) - filled, filled)
        assert (record.first_pts, record.last_pts) == (at[0] * 40, at[-1] * 40)
        assert (record.first_s, record.last_s) == pytest.approx((at[0] * 0.04, at[-1] * 0.04))
        assert record.boxes[0].pts == record.first_pts
        assert len(record.boxes) <= BOXES_PER_TRACK
        assert [box.pts for box in record.boxes] == sorted({box.pts for box in record.boxes})
        assert record.grid is not None
        assert (record.grid.x.pitch_px, record.grid.y.origin_px) == (10.5, 1.0)


def test_a_long_track_keeps_boxes_from_all_of_its_life() -> None:
    count = 40 * BOXES_PER_TRACK
    log = MosaicRecorder()

    def items() -> Iterator[Tracked]:
        for index in range(count):
            yield _tracked(index, {1}, set())

    for _ in log.listen(items()):
        pass
    (record,) = log.records(TIME_BASE)
    gaps = [b.pts - a.pts for a, b in zip(record.boxes, record.boxes[1:], strict=False)]
    assert BOXES_PER_TRACK / 2 <= len(record.boxes) <= BOXES_PER_TRACK
    assert max(gaps) == min(gaps)
    assert record.last_pts - record.boxes[-1].pts <= max(gaps)


def test_a_file_record_has_the_hash_of_the_content(tmp_path: Path) -> None:
    content = b"frames" * 100_000
    path = tmp_path / "temporary"
    path.write_bytes(content)
    record = file_record(path, "out.mp4")
    assert (record.name, record.size_bytes) == ("out.mp4", len(content))
    assert record.sha256 == hashlib.sha256(content).hexdigest()


def test_what_was_restored_is_told_from_what_was_found() -> None:
    items = [_tracked(index, {1, 2}, set()) for index in range(5)]
    log = MosaicRecorder()
    cropped = [
        Cropped(item.frame, tuple(_crop(region) for region in item.regions if region.track == 1))
        for item in log.listen(iter(items))
    ]
    assert list(log.listen_restored(iter(cropped))) == cropped
    assert {record.track: record.frames_restored for record in log.records(TIME_BASE)} == {1: 5, 2: 0}
    assert log.frames_restored == 5


def _crop(tracked: TrackedRegion[MosaicRegion]) -> Crop:
    empty = torch.zeros(0)
    return Crop(tracked, 0, empty, empty, empty, empty, Samples(empty, 0.0), np.zeros((2, 3)))
