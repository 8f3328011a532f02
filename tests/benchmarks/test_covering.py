"""Masks against made-up labels: what is missed, false or trembling; and the labels that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.covering import plain, table
from benchmarks.covering_measure import Figures, Painted, measure, share_covered, shares
from benchmarks.face_labels import ClipLabels, Span, as_text, labels_for, read_labels, sha256_of
from pipeline.types import Box
from tests.support import ROOT

FRAMES = 10
FACE = (40.0, 30.0, 70.0, 70.0)
LABELS = ROOT / "benchmarks" / "labels"


def labels(*spans: Span) -> ClipLabels:
    return ClipLabels(clip="a.mp4", sha256="0" * 64, frames=FRAMES, width=200, height=100, spans=list(spans))


def still(**state: object) -> Span:
    keys = [(0, *FACE), (FRAMES - 1, *FACE)]
    return Span.model_validate({"person": 1, "keys": keys, **state})


def masks(box: Box | None = None, track: int = 1) -> list[list[Painted]]:
    """The same mask on every frame."""
    return [[Painted(box or Box(*FACE), 1.3, track=track)] for _ in range(FRAMES)]


def test_a_face_under_its_mask_is_covered_and_nothing_is_for_nothing() -> None:
    figures = measure(labels(still()), masks())
    assert figures.faces[32] == figures.covered[32] == FRAMES
    assert figures.frames_uncovered == figures.false_masks == figures.false_tracks == 0
    assert figures.painted_area > 0
    assert figures.false_area == 0
    assert (figures.people, figures.tracks, figures.all_tracks) == (1, 1, 1)


def test_a_missed_face_is_counted() -> None:
    painted = masks()
    painted[3] = []
    painted[4] = [Painted(Box(55, 30, 85, 70), 1.3)]  # half of it is seen
    figures = measure(labels(still()), painted)
    assert figures.faces[32] - figures.covered[32] == 2
    assert figures.frames_uncovered == 2
    assert [place.frame for place in figures.uncovered] == [3, 4]


def test_a_false_mask_is_counted_with_its_area() -> None:
    painted = masks()
    painted[2].append(Painted(Box(140, 30, 180, 70), 1.0, track=2))
    figures = measure(labels(still()), painted)
    assert (figures.false_masks, figures.frames_false, figures.false_tracks) == (1, 1, 1)
    assert figures.false_area == pytest.approx(3.1416 * 20 * 20 / (200 * 100), rel=0.02)
    assert [place.frame for place in figures.false] == [2]
    assert figures.frames_uncovered == 0


def test_hidden_and_hard_faces_may_be_covered_or_not() -> None:
    for state in ({"visible": False}, {"hard": "back"}):
        bare = measure(labels(still(**state)), [[] for _ in range(FRAMES)])
        assert bare.frames_uncovered == bare.faces.total() == 0
        covered = measure(labels(still(**state)), masks())
        assert covered.false_masks == 0
        assert (bare.others_covered, covered.others_covered) == (0, FRAMES)


def test_in_a_crowd_masks_do_not_count() -> None:
    figures = measure(labels(still(hard="crowd")), masks(Box(45, 35, 60, 60)))
    assert figures.false_masks == figures.others == 0


def test_jitter_of_a_still_mask_is_none_and_of_one_that_trembles_is_its_second_difference() -> None:
    assert shares(measure(labels(still()), masks()))["jitter of place"] == 0
    moved = [[Painted(Box(*FACE).scaled(1.0), 1.3)] for _ in range(FRAMES)]
    for painted in moved[::2]:
        box = painted[0].box
        painted[0] = Painted(Box(box.x0 + 3, box.y0, box.x1 + 3, box.y1), 1.3)
    figures = measure(labels(still()), moved)
    assert shares(figures)["jitter of place"] == pytest.approx(6 / (30 * 40) ** 0.5)
    assert shares(figures)["jitter of size"] == 0
    # A motion at one speed is none.
    along = [[Painted(Box(FACE[0] + t, FACE[1], FACE[2] + t, FACE[3]), 1.3)] for t in range(FRAMES)]
    assert shares(measure(labels(still()), along))["jitter of place"] == pytest.approx(0)


def test_a_person_with_a_new_track_has_two() -> None:
    painted = masks()[:5] + masks(track=7)[5:]
    figures = measure(labels(still()), painted)
    assert shares(figures)["tracks per person"] == 2


def test_several_masks_cover_a_face_together() -> None:
    face, size = Box(*FACE), (200, 100)
    halves = [
        Painted(Box(38, 28, 55, 72), 1.0, ellipse=False),
        Painted(Box(55, 28, 72, 72), 1.0, ellipse=False),
    ]
    assert share_covered(face, halves, size) == 1
    assert share_covered(face, halves[:1], size) == pytest.approx(0.5, abs=0.02)
    # Of a face at the edge only what the picture shows can be covered.
    assert share_covered(Box(-30, 30, 30, 70), [Painted(Box(0, 30, 30, 70), 1.0, ellipse=False)], size) == 1


def test_boxes_between_keys_are_linear() -> None:
    span = Span(person=1, keys=[(2, 0.0, 0.0, 10.0, 10.0), (6, 8.0, 4.0, 18.0, 14.0)])
    assert span.box(4) == Box(4, 2, 14, 12)
    assert span.box(1) is None
    assert span.box(7) is None


@pytest.mark.parametrize(
    "keys",
    [
        [(3, *FACE), (3, *FACE)],
        [(0, 5.0, 5.0, 5.0, 9.0)],
        [(0, *FACE), (FRAMES, *FACE)],
        [(0, 210.0, 5.0, 230.0, 9.0)],
    ],
    ids=["not ascending", "no area", "after the end", "outside"],
)
def test_labels_that_cannot_be_are_refused(keys: list[tuple[int, float, float, float, float]]) -> None:
    with pytest.raises(ValidationError):
        labels(Span(person=1, keys=keys))


def test_one_person_is_once_on_a_frame() -> None:
    with pytest.raises(ValidationError, match="twice"):
        labels(still(), Span(person=1, keys=[(5, *FACE)]))


def test_labels_of_another_file_are_refused(tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"one")
    made = labels(still()).model_copy(update={"sha256": sha256_of(clip)})
    (tmp_path / "a.json").write_text(as_text(made), encoding="utf-8")
    assert labels_for(clip, tmp_path) == made
    clip.write_bytes(b"another")
    with pytest.raises(ValueError, match="not the file"):
        labels_for(clip, tmp_path)


def test_kept_labels_are_valid() -> None:
    kept = [read_labels(path) for path in sorted(LABELS.glob("*.json"))]
    assert len(kept) == 46
    for one in kept:
        assert one.people >= 1, one.clip
        seen = {frame for span in one.spans for frame in (span.keys[0][0], span.keys[-1][0])}
        assert {0, one.frames - 1} <= seen, f"{one.clip} is not labelled from end to end"


@pytest.mark.shared
def test_kept_labels_are_those_of_the_clips(shared: Path) -> None:
    for clip in sorted((shared / "data" / "videos" / "test").glob("*.mp4")):
        labels_for(clip, LABELS)


def test_the_table_has_a_column_for_each_tool() -> None:
    one = measure(labels(still()), masks())
    rows = table({"a": one, "b": Figures(frames=1)}).splitlines()
    assert rows[0] == "| | a | b |"
    assert "| recall | 100.00 % | - |" in rows


def test_sums_are_written_as_json() -> None:
    written = json.loads(json.dumps(plain(measure(labels(still()), masks()))))
    assert written["covered"] == {"32": FRAMES}
    assert written["frames"] == FRAMES
    assert "uncovered" not in written
