"""Means of many faces: balanced, symmetric, and never of a few."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage

from pipeline.errors import InputError
from pipeline.prototypes.prototype import SIDE, TONES, load
from tests.support.portrait import FACE
from train.prototypes import LEAST_PEOPLE, VARIANTS, Aligned, average, contact_sheet, faces_of, make

ENOUGH = VARIANTS * LEAST_PEOPLE


def _people(count: int, tone: int, source: str = "a") -> list[Aligned]:
    """Noise around a level of its own for each tone; the right half is brighter."""
    draw = np.random.default_rng(tone)
    out = []
    for i in range(count):
        level = (200, 140, 80)[tone] + draw.normal(0, 10)
        picture = level + draw.normal(0, 20, (SIDE, SIDE, 3)) + np.linspace(-15, 15, SIDE)[:, None]
        inside = np.ones((SIDE, SIDE), np.float32)
        out.append(
            Aligned(source, f"{source}{tone}-{i}", picture.astype(np.float32), inside, (60, 30, 0)[tone])
        )
    return out


def test_a_mean_is_of_half_a_tone_symmetric_and_nobodys_noise(tmp_path: Path) -> None:
    faces = [face for tone in range(3) for face in _people(ENOUGH, tone)]
    average(faces).save(tmp_path / "means.safetensors")
    means = load(tmp_path / "means.safetensors").prototypes
    assert [p.tone for p in means] == [tone for tone in range(len(TONES)) for _ in range(VARIANTS)]
    assert {p.people for p in means} == {LEAST_PEOPLE}
    for prototype in means:
        middle = prototype.picture[12:20, 12:20]
        assert np.abs(middle - middle[:, ::-1]).max() <= 1, "rounded"
        assert middle.std() < 8, "of 20"
    contact_sheet(load(tmp_path / "means.safetensors"), tmp_path / "sheet.png", [(10, 8), (3, 3)])
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] == 3 * 64


def test_fewer_people_than_fifty_a_mean_are_refused() -> None:
    faces = [face for tone in range(3) for face in _people(ENOUGH - (tone == 1), tone)]
    with pytest.raises(InputError, match=f"{ENOUGH - 1} people of tone medium"):
        average(faces)


def test_a_source_with_many_pictures_does_not_outweigh_the_others() -> None:
    few, many = (_people(count, 0, name) for count, name in ((ENOUGH // 2, "few"), (8 * ENOUGH, "many")))
    brighter = [Aligned(f.source, f.person, f.picture * 0.5, f.inside, f.angle) for f in many]
    rest = [face for tone in (1, 2) for face in _people(ENOUGH, tone)]
    one_source = average([*brighter, *rest]).prototypes[1]
    both = average([*few, *brighter, *rest]).prototypes[1]
    assert float(both.picture[16, 16].mean()) > float(one_source.picture[16, 16].mean()) + 15


def test_a_person_is_averaged_once_and_what_is_no_face_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    (folder / "a").mkdir(parents=True)
    x0, y0, x1, y1 = FACE
    side = round(1.6 * (y1 - y0))
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    crop = skimage.data.astronaut()[top : top + side, left : left + side]
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(folder / "a" / name), crop[..., ::-1])
    cv2.imwrite(str(folder / "a" / "3.png"), np.full((256, 256, 3), 90, np.uint8))
    (tmp_path / "faces.csv").write_text("file,identity\na/1.png,x\na/2.png,x\na/3.png,y\n")
    (face,) = faces_of(folder)
    assert (face.source, face.person) == ("a", "x")
    assert face.angle > 10
    dark, light = (face.picture[rows, 11].mean() for rows in (slice(12, 14), slice(16, 18)))
    assert dark < light - 20, "an eye and a cheek lie where the means have theirs"
    with pytest.raises(InputError, match="1 people of tone"):
        make(folder, tmp_path / "out.safetensors", ["a"])
