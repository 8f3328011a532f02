"""A closed list of people against covered faces: who is seen is named, who is not is not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.faces import Face
from pipeline.types import Box
from train.evaluation.people import INNER, OUTER, Covering, Cuts, Person, read_people
from train.evaluation.recognise import (
    Row,
    Task,
    Trial,
    View,
    beyond_ring,
    found,
    in_mask,
    in_ring,
    measure,
    nearest,
    network,
    page,
    pooled,
    wilson,
)

PEOPLE = 6
STEPS = 40
"""Of the network's training: few people are soon learned"""
SOLID = Covering("pixelize", {"mask.look": "solid"})


def texture(random: np.random.Generator, side: int = 160) -> np.ndarray:
    """(side, side, 3): as much in it as a face has at 6 blocks."""
    coarse = random.uniform(20, 235, (7, 7, 3)).astype(np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 255)


@pytest.fixture(scope="module")
def people() -> list[Person]:
    """Each has one texture, shown twice: darker and elsewhere the second time."""
    out = []
    for n in range(PEOPLE):
        random = np.random.default_rng([3, n])
        face = texture(random)
        other = np.roll(face, (2, -3), (0, 1)) * 0.8 + random.normal(0, 4, face.shape)
        first, second = (p.clip(0, 255).astype(np.uint8) for p in (face, other))
        out.append(Person(str(n), first, second, Box(35, 25, 125, 135), Box(32, 27, 122, 137)))
    return out


@pytest.mark.slow
def test_who_is_seen_is_named_and_who_is_covered_is_not(people: list[Person], tmp_path: Path) -> None:
    trial = Trial.of(people, tmp_path, 2, 3, 0)
    tasks = [Task("uncovered", Covering(None)), Task("pixelize", Covering("pixelize")), Task("solid", SOLID)]
    rows = {row.name: row.results for row in measure(trial, tasks, steps=STEPS)}
    for attacker in ("nearest", "network"):
        for frames in ("one frame", "all frames"):
            key = f"{attacker}, {frames}, top 1"
            assert rows["uncovered"][key].mean >= 0.8
            assert rows["pixelize"][key].mean >= 0.6, "six blocks say who it is"
            assert rows["solid"][key].mean <= 3 / PEOPLE, "chance is 1 / 6"
    kept = list(tmp_path.glob("cuts-*.npz"))
    times = {p: p.stat().st_mtime_ns for p in kept}
    again = measure(trial, tasks[2:], steps=STEPS)
    assert len(kept) == 3 and times == {p: p.stat().st_mtime_ns for p in kept}, "covered once"
    assert again[0].results == rows["solid"], "seeds are fixed"
    assert "| solid | " in page(again, "Who") and "6 people; chance: top 1 16.7 %" in page(again, "Who")


def test_masks_that_are_measured_once_show_the_same_on_all_frames_of_the_film(
    people: list[Person], tmp_path: Path
) -> None:
    held = Covering("protect", {"protect.values": "measured"})
    listed, filmed = Trial.of(people[:2], tmp_path, 3, 3, 0).cuts(held)

    def change(cuts: Cuts) -> float:
        masks = cuts.masks[:, :, 24:-24, 20:-20].astype(float)
        return float(np.abs(np.diff(masks, axis=1)).mean())

    assert change(filmed) < 3
    assert change(listed) > 6, "each picture of the list is measured anew"


def cuts_of(seed: int, noise: float, alike: bool) -> Cuts:
    """Twelve people of whom the ring tells, and the mask only where they are not ``alike`` in it."""
    random, own = np.random.default_rng(seed), np.random.default_rng(1)
    rings = np.stack([[texture(own, 44)[: OUTER[1]]] for _ in range(12)])[:, :, :44]
    rings = np.stack([[cv2.resize(r[0], OUTER[::-1])] for r in rings])
    masks = np.stack([[texture(np.random.default_rng(9 if alike else n), 48)] for n in range(12)])
    masks = np.stack([[cv2.resize(m[0], INNER[::-1])] for m in masks])
    rings, masks = (a + random.normal(0, noise, a.shape) for a in (rings, masks))
    return Cuts(masks.clip(0, 255).astype(np.uint8), rings.clip(0, 255).astype(np.uint8))


def test_a_ring_is_looked_at_without_the_mask() -> None:
    listed, filmed = cuts_of(5, 6, alike=True), cuts_of(6, 6, alike=True)
    assert found(nearest(in_ring(listed), in_ring(filmed))[:, 0], 1).mean() == 1
    assert found(nearest(in_mask(listed), in_mask(filmed))[:, 0], 1).mean() < 0.5
    inside = in_ring(filmed).weight[26:-26, 22:-22]
    assert not inside.any() and in_ring(filmed).weight.mean() > 0.25
    corners = beyond_ring(filmed).weight
    assert not (corners * in_ring(filmed).weight).any() and 0.15 < corners.mean() < 0.25


@pytest.mark.parametrize("attacker", [nearest, partial(network, steps=STEPS)])
def test_what_lies_outside_the_view_tells_nothing(attacker: object) -> None:
    listed, filmed = (in_mask(cuts_of(s, 4, alike=False)) for s in (5, 6))
    assert callable(attacker)
    whole = attacker(listed, filmed)
    assert found(whole[:, 0], 1).mean() >= 0.9
    outside = (filmed.weight == 0)[:, :, None]
    changed = View(np.where(outside, 1 - filmed.pixels, filmed.pixels), filmed.weight)
    assert np.allclose(attacker(listed, changed), whole)


def test_ties_are_drawn() -> None:
    assert found(np.zeros((4, 4)), 1).tolist() == [0.25] * 4
    assert found(np.array([[2.0, 1.0, 1.0], [3.0, 2.0, 2.0], [0.0, 1.0, 2.0]]), 2).tolist() == [1, 0.5, 1]


def test_an_interval_of_none_is_not_empty() -> None:
    none = wilson(0, 60)
    assert (none.low, none.high) == pytest.approx((0.0, 0.0602), abs=1e-4)
    half = wilson(30, 60)
    assert (half.mean, half.low, half.high) == pytest.approx((0.5, 0.3774, 0.6226), abs=1e-4)


class Finds:
    """A detector that sees a face in every picture that is not black."""

    name, calls, device = "finds", 1, None

    def __call__(self, picture: np.ndarray, min_score: float) -> list[Face]:
        return [Face(1.0, Box(80, 60, 240, 260), None)] if picture.any() else []


def test_people_are_folders_with_two_pictures_of_a_face(tmp_path: Path) -> None:
    bright, black = np.full((64, 48, 3), 99, np.uint8), np.zeros((64, 48, 3), np.uint8)
    for name, pictures in {"a": [bright] * 2, "b": [bright], "c": [bright, black], "d": [bright] * 3}.items():
        (tmp_path / name).mkdir()
        for n, picture in enumerate(pictures):
            cv2.imwrite(str(tmp_path / name / f"{n}.png"), picture)
    known = read_people(tmp_path, 9, Finds())  # type: ignore[arg-type]
    assert [p.name for p in known] == ["a", "d"]
    assert known[0].listed_box == Box(12, 12, 36, 52)
    with pytest.raises(InputError, match="has 1 people with two pictures"):
        read_people(tmp_path, 1, Finds())  # type: ignore[arg-type]


def test_several_trials_are_pooled_over_people() -> None:
    key = "nearest, one frame, top 1"
    sure, never = [1.0] * 10 + [0.0] * 10, [0.0] * 20
    rows = [
        Row("solid", 20, {key: wilson(sum(of), 20)}, {key: list(of)}) for of in (sure, never, sure, never)
    ]
    found = pooled(rows).results[key]
    assert found.mean == 0.25
    assert found.low < 0.2 and found.high > 0.3, "four trials of a person are no four people"
    assert pooled(rows[:1]) is rows[0]
