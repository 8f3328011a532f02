"""The labelling aid: from proposals and decisions to labels."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.types import Box
from tools.label_faces import chained, labels_of

LEFT, RIGHT = Box(10, 10, 30, 40), Box(60, 10, 80, 40)


def content(**more: Any) -> dict[str, Any]:
    """20 frames with key frames at 0, 5, 10 and 19, two chains of boxes that stand still."""
    rows = [[f, c, 0.9, b.x0, b.y0, b.x1, b.y1] for f in (0, 5, 10, 19) for c, b in ((1, LEFT), (2, RIGHT))]
    return {"clip": "a.mp4", "sha256": "0" * 64, "frames": 20, "width": 100, "height": 50, "cuts": [],
            "proposals": rows, **more}  # fmt: skip


def person(**decided: Any) -> dict[str, Any]:
    return {"people": {"1": {"chains": [1], **decided}}, "none": "rest"}


def test_boxes_that_overlap_are_one_chain_until_a_cut() -> None:
    moved = Box(14, 10, 34, 40)
    keys = [(0, [(0.9, LEFT), (0.8, RIGHT)]), (5, [(0.7, RIGHT), (0.9, moved)]), (10, [(0.9, moved)])]
    assert [(p.frame, p.chain) for p in chained(keys, [])] == [(0, 1), (0, 2), (5, 2), (5, 1), (10, 1)]
    assert [p.chain for p in chained(keys, [10])] == [1, 2, 2, 1, 3]


def test_an_undecided_chain_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing is decided of the chains \[2\]"):
        labels_of(content(), person() | {"none": []})
    assert labels_of(content(), person()).people == 1


def test_a_person_has_boxes_from_end_to_end() -> None:
    (span,) = labels_of(content(), person()).spans
    assert [key[0] for key in span.keys] == [0, 5, 10, 19]
    assert span.box(7) == LEFT


def test_a_box_by_hand_comes_before_a_proposal_and_a_dropped_one_is_interpolated() -> None:
    by_hand = labels_of(content(), person(boxes={"5": [20, 10, 40, 40]}))
    assert by_hand.on_frame(5)[0].box == Box(20, 10, 40, 40)
    dropped = labels_of(content(), person(boxes={"0": [0, 10, 20, 40]}, drop=[5]))
    assert dropped.on_frame(5)[0].box == Box(5, 10, 25, 40)


def test_states_split_spans_at_their_frames() -> None:
    labels = labels_of(content(), person(gone=[[3, 6]], back=[[12, 14]], hidden=[[19, 19]]))
    there = [bool(labels.on_frame(frame)) for frame in range(20)]
    assert there == [not 3 <= frame <= 6 for frame in range(20)]
    must = [any(face.required for face in labels.on_frame(frame)) for frame in range(20)]
    assert must == [not (3 <= f <= 6 or 12 <= f <= 14 or f == 19) for f in range(20)]


def test_a_span_ends_at_a_cut_and_is_not_drawn_across() -> None:
    labels = labels_of(content(cuts=[8]), person(boxes={"10": [50, 10, 70, 40]}))
    assert labels.on_frame(7)[0].box == LEFT
    assert labels.on_frame(8) == []
    assert labels.on_frame(10)[0].box.x0 == 50
