"""People of a report: numbered by time on screen, put together by hand, chosen by number."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageError
from pipeline.run.people_records import numbered, of_people, put_together
from pipeline.run.track_records import FaceTrackRecord
from pipeline.track.select import Choice
from pipeline.types import Box, FaceRegion, TrackedRegion
from tests.support.faces_scene import RATE, stream_info

INFO = stream_info(200)


def _track(
    track: int, first: int, frames: int, person: int = 0, score: float = 0.9, decision: str = "covered"
) -> FaceTrackRecord:
    """Seen on its first and its last frame but five, which are filled."""
    seen = [i in (0, frames - 6) for i in range(frames)]
    return FaceTrackRecord(
        track=track,
        person=person,
        score=score,
        kind="face",
        first_s=first / RATE,
        last_s=(first + frames - 1) / RATE,
        frames_seen=2,
        frames_filled=frames - 2,
        frames_covered=frames,
        decision=decision,
        grid=None,
        reference_frame=None,
        reference_box=None,
        first_frame=first,
        boxes=[(0.0, 0.0, 9.0, 9.0, int(s)) for s in seen],
    )


def test_the_longest_on_screen_is_the_first_and_the_unsure_come_last() -> None:
    tracks = [
        _track(1, 0, 30),
        _track(2, 0, 25, person=7),
        _track(3, 50, 25, person=7),
        _track(4, 0, 100, score=0.3),
        _track(5, 80, 20, person=8),
    ]
    told, people = numbered(tracks, INFO, joined={7: 7, 8: 8})
    assert [(p.person, p.tracks) for p in people] == [(1, [2, 3]), (2, [1]), (3, [5]), (4, [4])]
    assert [t.person for t in told] == [2, 1, 1, 4, 3]
    assert people[0].seconds == pytest.approx(2 * 20 / RATE)
    assert people[0].appearances == 2
    assert [t.track for t in told] == [1, 2, 3, 4, 5], "the tracks stay in order"


def test_time_on_screen_counts_frames_once_and_joined_people_are_one() -> None:
    told, people = numbered([_track(1, 0, 30, 1), _track(2, 10, 30, 2)], INFO, joined={1: 1, 2: 1})
    assert [p.tracks for p in people] == [[1, 2]]
    assert people[0].seconds == pytest.approx(35 / RATE)
    assert people[0].appearances == 1
    assert {t.person for t in told} == {1}


def test_what_is_drawn_by_hand_is_nobody_and_numbers_may_stay() -> None:
    by_hand = _track(-1, 0, 100)
    told, people = numbered([by_hand, _track(1, 0, 20, 5), _track(2, 0, 40, 6)], INFO, keep_numbers=True)
    assert [p.person for p in people] == [5, 6]
    assert [t.person for t in told] == [0, 5, 6]


def test_one_who_is_left_in_one_shot_is_covered_in_part_and_the_nearest_photo_is_told() -> None:
    tracks = [_track(1, 0, 20, 1, decision="left"), _track(2, 40, 20, 1)]
    _, (person,) = numbered(tracks, INFO, photos={1: ("she.jpg", 0.3)})
    assert (person.decision, person.photo, person.distance) == ("covered in part", "she.jpg", 0.3)


def test_people_are_put_together_by_hand() -> None:
    tracks = [_track(n, 0, 20, n) for n in (1, 2, 3, 4)]
    assert [t.person for t in put_together(tracks, [(3, 1), (4, 2)])] == [3, 4, 3, 4]
    assert [t.person for t in put_together(tracks, [(2, 1), (4, 2)])] == [4, 4, 3, 4]
    with pytest.raises(UsageError, match=r"--same 9: there is no such person; there are 1, 2, 3, 4"):
        put_together(tracks, [(1, 9)])


def test_in_a_report_without_people_every_track_is_a_person_of_its_number() -> None:
    assert [t.person for t in of_people([_track(4, 0, 20), _track(-1, 0, 20)])] == [4, 0]
    assert [t.person for t in of_people([_track(4, 0, 20, 2), _track(-1, 0, 20)])] == [2, 0]


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        (Choice(), set()),
        (Choice(keep=frozenset({2})), {(2, 2), (3, 2)}),
        (Choice(keep_tracks=frozenset({3})), {(3, 2)}),
        (Choice(only=frozenset({2})), {(1, 1), (4, 3)}),
        (Choice(only=frozenset(), only_tracks=frozenset({4})), {(1, 1), (2, 2), (3, 2)}),
        (Choice(only=frozenset({1}), only_tracks=frozenset({4})), {(2, 2), (3, 2)}),
    ],
)
def test_people_and_single_tracks_are_chosen(choice: Choice, left: set[tuple[int, int]]) -> None:
    region = FaceRegion(Box(0, 0, 9, 9), 0.9)
    regions = [
        TrackedRegion(track, region, seen=True, born=False, last=False, person=person)
        for track, person in ((1, 1), (2, 2), (3, 2), (4, 3))
    ]
    assert {(t.track, t.person) for t in regions if choice.spares(t, 0.0)} == left
