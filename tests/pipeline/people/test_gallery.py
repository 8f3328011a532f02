"""Who is who among looks: the nearest below a distance, never two on one frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.people.gallery import Gallery


def _look(*at: float) -> NDArray[np.float64]:
    return np.array([*at, *[0.0] * (128 - len(at))])


def test_the_nearest_below_the_distance_is_the_same_person_else_somebody_new() -> None:
    gallery = Gallery(same=0.5)
    assert gallery.person_of(_look(0), ()) == 1
    assert gallery.person_of(_look(1), ()) == 2
    assert gallery.person_of(_look(0.4), ()) == 1
    assert gallery.person_of(_look(0.8), ()) == 2
    assert gallery.person_of(_look(5), ()) == 3
    assert gallery.person_of(None, ()) == 4, "who was not looked at is nobody else"


def test_who_is_on_the_frame_already_is_somebody_else() -> None:
    gallery = Gallery(same=0.5)
    assert gallery.person_of(_look(0), ()) == 1
    assert gallery.person_of(_look(0.1), {1}) == 2


def test_further_looks_join_people_but_never_those_who_were_seen_together() -> None:
    def three(together: list[int]) -> dict[int, int]:
        gallery = Gallery(same=0.5)
        for place in (0.0, 1.0, 2.0):
            gallery.person_of(_look(place), ())
        for _ in range(11):
            gallery.add(2, _look(0.1))  # the first look at 2 was a bad one
        gallery.seen_together(together)
        return gallery.joined()

    assert three([]) == {1: 1, 2: 1, 3: 3}
    assert three([1, 2]) == {1: 1, 2: 2, 3: 3}


def test_a_group_keeps_apart_from_whom_any_of_its_members_was_seen_with() -> None:
    gallery = Gallery(same=0.5)
    for place in (0.0, 0.2, 0.1):
        gallery.person_of(_look(place), {1, 2, 3})
    gallery.seen_together([1, 3])
    joined = gallery.joined()
    assert joined[1] != joined[3]
    assert sorted(joined) == [1, 2, 3]
