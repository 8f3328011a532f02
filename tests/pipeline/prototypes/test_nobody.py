"""A mosaic of nobody: what is painted depends on the choice, the scene and the roll, and on nothing else."""

from __future__ import annotations

import itertools
import math
import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.config import MaskConfig, ProtectConfig
from pipeline.picture.color import conversion
from pipeline.prototypes.pose import UPRIGHT, WIDTH, roll
from pipeline.prototypes.prototype import SHIPPED, TONES, load, shipped
from pipeline.prototypes.scene import DAYLIGHT, Scene, read_scene
from pipeline.prototypes.variation import Variation
from pipeline.stages.pixelize import Pixelizer
from pipeline.stages.surroundings import from_around
from pipeline.types import Box, FaceRegion, Frame, Mask, Reference, TrackedFaces, TrackedRegion
from tests.support.faces_scene import COLOUR, face, noise_frame, stream_info
from tests.support.faces_scene import HEIGHT as H
from tests.support.faces_scene import WIDTH as W

BOX = Box(40, 30, 88, 92)
NOBODY = ProtectConfig()


def _flat(index: int, inside: tuple[int, int, int], outside: tuple[int, int, int] = (200, 128, 128)) -> Frame:
    """Y'CbCr of the face's box and of the rest."""
    frame = noise_frame(index)
    planes = []
    for plane, (a, b) in enumerate(zip(inside, outside, strict=True)):
        step = 2 if plane else 1
        values = torch.full((H // step, W // step), b, dtype=torch.uint8)
        y0, y1, x0, x1 = (int(v) // step for v in (BOX.y0, BOX.y1, BOX.x0, BOX.x1))
        values[y0:y1, x0:x1] = a
        planes.append(values)
    return replace(frame, planes=tuple(planes))


def _region(track: int, box: Box = BOX, **more: object) -> TrackedRegion[FaceRegion]:
    return TrackedRegion(track, face(box), seen=True, born=False, last=False, **more)


def _masks(
    frames: Sequence[Frame], regions: Sequence[TrackedRegion[FaceRegion]], hold: ProtectConfig = NOBODY
) -> list[Mask]:
    pixelizer = Pixelizer(stream_info(len(frames)), MaskConfig(), hold)
    items = (TrackedFaces(f, (r,), {}) for f, r in zip(frames, regions, strict=True))
    return [mask for item in pixelizer(items) for mask in item.masks]


def test_the_shipped_means_are_of_fifty_people_and_more_in_every_tone() -> None:
    means = load(SHIPPED).prototypes
    assert {p.tone for p in means} == set(range(len(TONES)))
    assert min(p.people for p in means) >= 50
    brightness = [float(p.skin.mean()) for p in means]
    assert brightness[0] > brightness[2] > brightness[4]


def test_whatever_lies_under_the_mask_a_fixed_choice_paints_the_same() -> None:
    painted = []
    for inside in ((60, 120, 140), (190, 110, 150)):
        painted += _masks([_flat(0, inside)], [_region(1)], ProtectConfig(nobody="3"))
    assert torch.equal(painted[0].samples, painted[1].samples)
    assert float(painted[0].samples.std()) > 0.02, "it has features"


def test_the_nearest_asks_whether_skin_is_dark_and_the_rest_is_by_lot() -> None:
    def tones(luma: int) -> set[int]:
        given = set()
        for _ in range(20):
            pixelizer = Pixelizer(stream_info(1), MaskConfig(), NOBODY)
            list(pixelizer([TrackedFaces(_flat(0, (luma, 118, 140)), (_region(1),), {})]))
            (one,) = pixelizer.colours.given
            given.add(one.prototype.tone)
        return given

    assert tones(40) == {2}
    assert tones(200) == {0, 1}


def _lots(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Makes the lots come out alike."""
    monkeypatch.setattr(secrets, "randbits", lambda bits: seed)
    monkeypatch.setattr(secrets, "choice", lambda among: among[0])


def test_what_differs_by_lot_and_moves_depends_on_nothing_that_is_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _lots(monkeypatch, 5)
    count, painted = 100, []
    for inside in ((60, 120, 140), (190, 110, 150)):
        frames = [_flat(i, inside) for i in range(count)]
        painted.append(_masks(frames, [_region(1)] * count, ProtectConfig(nobody="random")))
    one, other = ([mask.samples for mask in masks] for masks in painted)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    steps = [float((b - a).abs().max()) * 255 for a, b in itertools.pairwise(one)]
    assert 0 < max(steps) < 4, "calm from frame to frame"
    assert float((one[0] - one[40]).abs().max()) * 255 > 4, "and not frozen"
    _lots(monkeypatch, 6)
    (differs,) = _masks([_flat(0, (60, 120, 140))], [_region(1)], ProtectConfig(nobody="random"))
    assert float((differs.samples - one[0]).abs().max()) * 255 > 10


def test_two_people_of_a_scene_get_two_means() -> None:
    beside = Box(BOX.x0 + 60, BOX.y0, BOX.x1 + 60, BOX.y1)
    for _ in range(8):
        pixelizer = Pixelizer(stream_info(1), MaskConfig(), ProtectConfig(nobody="nearest"))
        list(pixelizer([TrackedFaces(_flat(0, (190, 118, 140)), (_region(1), _region(2, beside)), {})]))
        one, two = pixelizer.colours.given
        assert one.prototype is not two.prototype


def test_a_head_fills_its_mask() -> None:
    """Hair lies above the face and neck below, and the grey border of the mean nowhere."""
    mean = shipped().prototypes[0]
    light = mean.head((9, 9), 1.3, 0.0, Variation(hair=(150, 124, 94)))
    dark = mean.head((9, 9), 1.3, 0.0, Variation(hair=(42, 36, 33)))
    assert (light - dark)[:, 0].min() > 0.1
    assert torch.equal(light[:, 2:7, 4], dark[:, 2:7, 4]) and torch.equal(light[:, 8], dark[:, 8])
    assert float((light[0] - light[2]).min()) > 0.02, "red is above blue everywhere, as in skin and hair"


def test_a_track_that_is_lost_and_found_keeps_its_mean_and_people_keep_theirs_in_other_shots() -> None:
    def chosen(later: int, box: Box, person: int) -> list[list[int]]:
        """Tracks by what they are covered with."""
        frames = _flat(0, (70, 120, 140)), replace(_flat(3, (190, 118, 140)), pts=later)
        regions = _region(1, person=person), _region(2, box, person=person)
        pixelizer = Pixelizer(stream_info(2), MaskConfig(), NOBODY)
        list(pixelizer(TrackedFaces(f, (r,), {}) for f, r in zip(frames, regions, strict=True)))
        return [given.tracks for given in pixelizer.colours.given]

    moved = Box(BOX.x0 + 60, BOX.y0, BOX.x1 + 60, BOX.y1)
    assert chosen(3, BOX, 0) == [[1, 2]], "the same place, a moment later"
    assert chosen(500, moved, 0) == [[1], [2]]
    assert chosen(500, moved, 7) == [[1, 2]]


def test_where_a_face_was_not_seen_what_is_around_is_shown_and_nothing_of_what_is_under_the_mask() -> None:
    around = (180, 120, 135)
    for hold in (ProtectConfig(nobody="1"), ProtectConfig(values="measured")):
        (one,), (other,) = (
            _masks([_flat(0, inside, around)], [_region(1, filled=True)], hold)
            for inside in ((70, 120, 140), (220, 90, 90))
        )
        assert torch.equal(one.samples, other.samples)
        convert = conversion("yuv420p", COLOUR, W, H)
        wanted = convert.samples_to_rgb(torch.tensor([float(x) for x in around]))
        assert (one.samples - wanted.view(3, 1, 1)).abs().max() < 1e-5
    (seen,) = _masks([_flat(0, (70, 120, 140), around)], [_region(1)], ProtectConfig(nobody="1"))
    assert seen.samples.std() > 0.02


def test_a_track_that_may_be_no_face_gets_none_until_it_is_seen_for_sure() -> None:
    weak = replace(_region(1), region=FaceRegion(BOX, 0.3))
    frames = [_flat(i, (70, 120, 140), (180, 120, 135)) for i in range(3)]
    items = [
        TrackedFaces(frames[0], (weak,), {1: Reference(frames[0], BOX, 0.3)}),
        TrackedFaces(frames[1], (weak,), {}),
        TrackedFaces(frames[2], (_region(1),), {}),
    ]
    masks = [masked.masks[0] for masked in Pixelizer(stream_info(3), MaskConfig(), NOBODY)(items)]
    assert [float(mask.samples.std((1, 2)).max()) > 0.02 for mask in masks] == [False, False, True]


def test_a_mask_whose_surroundings_are_covered_shows_what_is_further_away() -> None:
    convert = conversion("yuv420p", COLOUR, W, H)
    frame = _flat(0, (220, 90, 90), (60, 128, 128))
    (shown,) = from_around(frame, [BOX], [(5, 4)], [BOX.scaled(3)], convert)
    wanted = convert.samples_to_rgb(torch.tensor([60.0, 128.0, 128.0]))
    assert (shown - wanted.view(3, 1, 1)).abs().max() < 1e-5


def test_what_is_filled_tells_nothing_of_faces_beside_it_or_at_the_border_of_the_picture() -> None:
    convert = conversion("yuv420p", COLOUR, W, H)
    frame, beside = _flat(0, (220, 90, 90), (60, 128, 128)), Box(10, 40, 36, 80)
    (inside,) = from_around(frame, [beside], [(5, 4)], [beside, BOX], convert)
    assert inside.max() < 0.25, "dark, as all that is free"
    corner = Box(BOX.x0 - 4, BOX.y0 - 4, W + 5, H + 5)
    (inside,) = from_around(frame, [corner], [(5, 4)], [corner], convert)
    assert inside.max() < 0.25, "nothing repeats what lies inside"
    everywhere = Box(-5, -5, W + 5, H + 5)
    (inside,) = from_around(frame, [everywhere], [(5, 4)], [everywhere], convert)
    assert (inside == 0.5).all()


def test_the_record_tells_bits_by_the_choice() -> None:
    for nobody, bits in (("nearest", 1.0), ("random", 0.0), ("2", 0.0)):
        pixelizer = Pixelizer(stream_info(1), MaskConfig(), ProtectConfig(nobody=nobody))
        list(pixelizer([TrackedFaces(_flat(0, (90, 120, 140)), (_region(1),), {})]))
        (given,) = pixelizer.colours.given
        assert sum(t.bits for t in given.told if not t.outside) == pytest.approx(bits)
        assert given.measured == (nobody == "nearest")


@pytest.mark.parametrize("turn", [-40.0, 0.0, 25.0])
def test_roll_is_read_from_landmarks_of_any_size_and_place(turn: float) -> None:
    angle = math.radians(turn)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    marks = (UPRIGHT * (WIDTH, 1.0)) @ rotation.T * 37 + (300, 80)
    assert roll(marks) == pytest.approx(turn, abs=1e-6)


def test_eyes_lie_where_a_turned_face_has_them() -> None:
    """Clockwise by 90 degrees the top of the head lies on the right."""
    upright = shipped().prototypes[0].lattice((9, 9), 1.3, 0.0).mean(0)
    turned = shipped().prototypes[0].lattice((9, 9), 1.3, 90.0).mean(0)
    torch.testing.assert_close(torch.rot90(upright, -1), turned, atol=0.02, rtol=0)


def test_the_roll_changes_in_steps_and_not_for_little() -> None:
    def at(turn: float) -> FaceRegion:
        angle = math.radians(turn)
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        marks = (UPRIGHT * (WIDTH, 1.0)) @ rotation.T * 20 + BOX.centre
        return FaceRegion(BOX, 0.9, marks.astype(np.float32))

    def shown(turns: Sequence[float]) -> int:
        frames = [_flat(i, (90, 120, 140)) for i in range(len(turns))]
        regions = [replace(_region(1), region=at(turn)) for turn in turns]
        masks = _masks(frames, regions, ProtectConfig(nobody="2"))
        return len({mask.samples.numpy().tobytes() for mask in masks})

    assert shown([0, 6, -6, 8, -8, 5] * 2) == 1
    assert shown([0, 30, 30, 30, 30, 30]) == 3  # by way of one step


def test_light_and_tint_are_the_scenes_and_not_the_faces() -> None:
    convert = conversion("yuv420p", COLOUR, W, H)

    def scene(inside: tuple[int, int, int], outside: tuple[int, int, int]) -> Scene:
        masks = [BOX.scaled(1.3)]
        return read_scene(_flat(0, inside, outside), masks, convert)

    bright = scene((60, 90, 180), (200, 128, 128))
    assert bright == scene((230, 180, 90), (200, 128, 128))
    assert bright.light < scene((230, 128, 128), (50, 128, 128)).light
    assert bright.cast == 0 and scene((60, 128, 128), (150, 90, 160)).cast == 1
    assert bright.gray
    assert not scene((60, 90, 180), (18, 126, 127)).gray, "what is dark tells nothing of colours"
    everything = [Box(-10, -10, W + 10, H + 10)]
    assert read_scene(_flat(0, (60, 90, 180)), everything, convert) == DAYLIGHT
