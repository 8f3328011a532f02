"""One number per person across shots, from a track's birth on; and who is left because of a photo."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from pipeline.config import FacesConfig, PeopleConfig
from pipeline.errors import InputError
from pipeline.faces import open_detector
from pipeline.people.network import AROUND, SIDE_PX, DlibNetwork
from pipeline.people.photos import PHOTO_SIZE_PX, KeptByPhoto, Photo, read_photo
from pipeline.people.recognition import Looker, Recognition
from pipeline.picture.cutout import cut_out, cut_out_of_picture
from pipeline.picture.geometry import as_coded
from pipeline.track.faces import track_faces
from pipeline.types import Box, FaceRegion, Found, Frame, Reference, Region, TrackedFaces, TrackedRegion
from tests.support.faces_scene import stream_info
from tests.support.people import PORTRAIT, SHOT, SIZE, boxes, frame, needs_dlib, picture, shot_of, write_photo

FACES = FacesConfig(every_s=0, fine_every_s=0, fill_before_s=0.1, fill_after_s=0.1)


def _tracked(score: float = 0.9) -> Iterator[TrackedFaces]:
    """The clip's faces as a detector would find them, in tracks."""

    def found() -> Iterator[Found[Region]]:
        for index in range(3 * SHOT):
            regions = tuple(FaceRegion(box, score) for box in boxes(index).values())
            yield Found(frame(index), regions, index % SHOT == 0)

    return track_faces(found(), settings=FACES, info=stream_info(3 * SHOT, 0, *SIZE))


@pytest.fixture(scope="module")
def network() -> DlibNetwork:
    return DlibNetwork()


@pytest.fixture(scope="module")
def looker(network: DlibNetwork) -> Looker:
    return Looker(network, 0, min_px=32)


def _people(items: Iterator[TrackedFaces]) -> dict[tuple[int, str], set[int]]:
    """By shot and by who it is: the persons' numbers."""
    seen = defaultdict(set)
    for item in items:
        for tracked in item.regions:
            x = tracked.region.box.centre[0]
            near = min(boxes(item.frame.index).items(), key=lambda pair: abs(pair[1].centre[0] - x))
            seen[shot_of(item.frame.index), near[0]].add(tracked.person)
    return dict(seen)


@needs_dlib
def test_a_person_has_one_number_in_all_shots(looker: Looker) -> None:
    recognition = Recognition(looker, PeopleConfig())
    assert _people(recognition(_tracked())) == {
        (0, "portrait"): {1},
        (1, "drawn"): {2},
        (2, "portrait"): {1},
        (2, "drawn"): {2},
    }
    assert recognition.joined() == {1: 1, 2: 2}


@needs_dlib
def test_a_face_that_is_weak_or_small_is_a_person_of_its_own(network: DlibNetwork, looker: Looker) -> None:
    weak = _people(Recognition(looker, PeopleConfig())(_tracked(score=0.4)))
    assert sorted(person for people in weak.values() for person in people) == [1, 2, 3, 4]
    small = Recognition(Looker(network, 0, min_px=200), PeopleConfig())
    assert len({person for people in _people(small(_tracked())).values() for person in people}) == 4


@needs_dlib
def test_who_is_on_a_photo_is_left_where_it_is_sure_and_nobody_else(
    network: DlibNetwork, looker: Looker, tmp_path: Path
) -> None:
    detector = open_detector("centerface", PHOTO_SIZE_PX, threads=1)
    photo = read_photo(write_photo(tmp_path / "she.png"), detector, network)
    kept = KeptByPhoto([photo], looker, PeopleConfig().sure)
    covered = [{t.track for t in item.regions} for item in kept(_tracked())]
    assert covered == SHOT * [set()] + SHOT * [{2}] + SHOT * [{4}]
    assert {track: match.photo for track, match in kept.matches.items()} == {1: "she.png", 3: "she.png"}
    assert all(match.distance < PeopleConfig().sure for match in kept.matches.values())
    assert kept.nearest is not None
    assert kept.nearest.distance == min(match.distance for match in kept.matches.values())


@needs_dlib
def test_a_track_that_passes_to_somebody_else_is_covered_again(looker: Looker) -> None:
    """One track, from the portrait's place to the drawing's within a shot, as a tracker may err."""
    portrait = Photo("she.png", looker.look(frame(0), boxes(0)["portrait"]))
    kept = KeptByPhoto([portrait], looker, PeopleConfig().sure)
    shown = ((0, "portrait", True), (1, "portrait", False), (2, "portrait", True), (3, "portrait", False),
             (2 * SHOT + 4, "drawn", True), (2 * SHOT + 5, "drawn", False))  # fmt: skip

    def items() -> Iterator[TrackedFaces]:
        for index, name, seen in shown:
            one = TrackedRegion(7, FaceRegion(boxes(index)[name], 0.9), seen=seen, born=not index, last=False)
            where = Reference(frame(0), boxes(0)["portrait"], 0.9)
            yield TrackedFaces(frame(index), (one,), {} if index else {7: where})

    covered = [bool(item.regions) for item in kept(items())]
    assert covered == [False, False, False, True, True, True], "between two looks both must be sure"


@needs_dlib
def test_a_photo_without_a_face_or_with_two_is_refused(network: DlibNetwork, tmp_path: Path) -> None:
    detector = open_detector("centerface", PHOTO_SIZE_PX, threads=1)
    (tmp_path / "text.png").write_text("no photo")
    with pytest.raises(InputError, match="cannot be read"):
        read_photo(tmp_path / "text.png", detector, network)
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.png")
    with pytest.raises(InputError, match="no face"):
        read_photo(tmp_path / "coffee.png", detector, network)
    whole = Image.new("RGB", PHOTO_SIZE_PX)
    whole.paste(Image.fromarray(picture(2 * SHOT)))
    whole.save(tmp_path / "two.png")
    with pytest.raises(InputError, match="2 faces"):
        read_photo(tmp_path / "two.png", detector, network)


@pytest.mark.parametrize("box", [Box(*map(float, PORTRAIT)), Box(-20, -10, 60, 80), Box(460, 470, 540, 540)])
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_cutout_is_centred_upright_and_black_beyond_the_picture(box: Box, rotation: int) -> None:
    rgb = skimage.data.astronaut()
    coded = as_coded(torch.from_numpy(rgb.copy()).permute(2, 0, 1), rotation)
    one = frame(0)
    turned = Frame(0, 0, tuple(p.contiguous() for p in coded.unbind(0)), "gbrp", one.colour,
                   one.time_base, True)  # fmt: skip
    place = box if rotation == 0 else Box(512 - box.y1, box.x0, 512 - box.y0, box.x1)
    here = cut_out(turned, place, around=AROUND, side_px=SIDE_PX, rotation=rotation)
    there = cut_out_of_picture(rgb, box, around=AROUND, side_px=SIDE_PX)
    assert np.abs(here.astype(int) - there).mean() < 10
    assert (here[:4, :4] == 0).all() == (box.x0 < 0)
    assert (here[-4:, -4:] == 0).all() == (box.x0 > 400)
