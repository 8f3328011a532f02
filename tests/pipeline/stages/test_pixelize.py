"""Masks over time: plain ones follow every frame, held ones give one measurement and no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch

from nets.pixelation import Operator
from pipeline.config import MaskConfig, ProtectConfig
from pipeline.picture.color import conversion
from pipeline.picture.grid_paint import measure
from pipeline.stages.held_colours import noise_levels
from pipeline.stages.paint import paint
from pipeline.stages.pixelize import Pixelizer
from pipeline.track.select import Choice, select
from pipeline.types import (
    Axis,
    Box,
    Grid,
    ManualRegion,
    Mask,
    MosaicRegion,
    Reference,
    Shape,
    TrackedFaces,
    TrackedRegion,
)
from tests.support.faces_scene import COLOUR, HEIGHT, WIDTH, face, noise_frame, stream_info

BOX = Box(40, 30, 88, 90)
MEASURED = ProtectConfig(values="measured")


def _items(count: int, track: int = 1, moving: float = 0.0) -> Iterator[TrackedFaces]:
    """A face that moves over pictures of noise; the best sight of it is on frame 2."""
    frames = [noise_frame(i) for i in range(count)]
    for i, frame in enumerate(frames):
        box = Box(BOX.x0 + i * moving, BOX.y0, BOX.x1 + i * moving, BOX.y1)
        region = TrackedRegion(track, face(box), seen=True, born=i == 0, last=i == count - 1)
        references = {track: Reference(frames[min(2, count - 1)], BOX)} if i == 0 else {}
        yield TrackedFaces(frame, (region,), references)


def _masks(
    settings: MaskConfig, items: Iterator[TrackedFaces], hold: ProtectConfig | None = None
) -> list[Mask]:
    return [mask for item in Pixelizer(stream_info(20), settings, hold)(items) for mask in item.masks]


def test_plain_masks_follow_the_picture() -> None:
    masks = _masks(MaskConfig(), _items(6))
    assert all(not torch.equal(a.samples, b.samples) for a, b in pairwise(masks))
    assert len({mask.samples.shape for mask in masks}) == 1


def test_held_colours_are_those_of_the_best_sight_and_move_with_the_face() -> None:
    settings = MaskConfig()
    masks = _masks(settings, _items(8, moving=2.0), MEASURED)
    convert = conversion("yuv420p", COLOUR, WIDTH, HEIGHT)
    cells = masks[0].samples.shape[1], masks[0].samples.shape[2]
    expected = measure(noise_frame(2), [BOX.scaled(settings.scale)], [cells], convert)[0].samples
    for i, mask in enumerate(masks):
        assert torch.equal(mask.samples, expected)
        assert mask.box.centre[0] == pytest.approx(BOX.centre[0] + 2 * i)


def test_many_frames_of_a_held_track_give_one_measurement_many_of_a_plain_one_give_many() -> None:
    for hold, most in ((MEASURED, 1), (ProtectConfig(hold_s=0.2), 3), (None, 15)):
        masks = _masks(MaskConfig(), _items(15, moving=1.0), hold)
        assert len({mask.samples.numpy().tobytes() for mask in masks}) == most


def test_the_record_counts_measurements() -> None:
    pixelizer = Pixelizer(stream_info(20), MaskConfig(), ProtectConfig(hold_s=0.2, epsilon=1.0))
    list(pixelizer(_items(15)))
    assert pixelizer.colours.releases[1].measured == 3


def test_noise_has_the_scale_of_the_paper_for_one_channel_and_is_told() -> None:
    # Fan 2018, Figure 5 and its text: b = 16, m = 16.
    for epsilon, levels in ((0.5, 31.875), (1.0, 15.9375), (5.0, 3.1875)):
        assert noise_levels(16, ProtectConfig(epsilon=epsilon, dp_pixels=16), colours=1) == pytest.approx(
            levels
        )
    pixelizer = Pixelizer(stream_info(20), MaskConfig(blocks=2), ProtectConfig(epsilon=50.0))
    list(pixelizer(_items(3)))
    release = pixelizer.colours.releases[1]
    assert release.noise_levels == pytest.approx(255 * 16 * 3 / (release.block_px**2 * 50.0))


def test_noise_of_a_track_is_drawn_once_and_differs_from_run_to_run() -> None:
    first, again = (_masks(MaskConfig(), _items(6), ProtectConfig(epsilon=100.0)) for _ in range(2))
    assert len({mask.samples.numpy().tobytes() for mask in first}) == 1
    assert not torch.equal(first[0].samples, again[0].samples)


def test_the_noise_is_laplace_of_the_told_scale() -> None:
    plain = _masks(MaskConfig(), _items(1), MEASURED)[0].samples.clamp(0, 1)
    errors = []
    for _ in range(60):
        pixelizer = Pixelizer(stream_info(20), MaskConfig(), ProtectConfig(epsilon=400.0))
        (item,) = pixelizer(_items(1))
        errors.append((item.masks[0].samples - plain).numpy() * 255)
        levels = pixelizer.colours.releases[1].noise_levels
    values = np.concatenate([e.ravel() for e in errors])
    middle = values[np.abs(np.tile(plain.numpy().ravel(), 60) - 0.5) < 0.3]  # away from where it is clamped
    assert levels is not None
    assert np.mean(np.abs(middle)) == pytest.approx(levels, rel=0.15)


def test_solid_depends_on_nothing_of_the_face() -> None:
    assert all(float(mask.samples.abs().max()) == 0 for mask in _masks(MaskConfig(look="solid"), _items(3)))


def test_blur_has_the_values_of_a_mosaic_of_two_fifths_of_its_blocks() -> None:
    asked = MaskConfig(look="blur", blocks=10), MaskConfig(blocks=4)
    blurred, mosaic = (_masks(settings, _items(3)) for settings in asked)
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(blurred, mosaic, strict=True))
    assert all(mask.smooth for mask in blurred)


def test_what_is_pixelated_already_gets_fewer_cells_than_it_has() -> None:
    axis = Axis(6.0, 0.0)
    region = MosaicRegion(BOX, Shape.RECTANGLE, 1.0, Grid(axis, axis, Operator.AREA, 1.0))
    item = TrackedFaces(noise_frame(0), (TrackedRegion(1, region, True, True, True),), {})
    (mask,) = _masks(MaskConfig(blocks=12), iter([item]), MEASURED)
    across_face = mask.samples.shape[2] / 1.3
    assert across_face == pytest.approx(BOX.width / 6 / 2, rel=0.15)


def test_frames_without_faces_pass_as_the_same_object() -> None:
    frames = [noise_frame(i) for i in range(3)]
    items = (TrackedFaces(frame, (), {}) for frame in frames)
    painted = list(paint(Pixelizer(stream_info(3), MaskConfig())(items)))
    assert all(a is b for a, b in zip(frames, painted, strict=True))


def _chosen(choice: Choice, tracks: Sequence[int] = (1,), frame: int = 0) -> list[int]:
    regions = tuple(TrackedRegion(t, face(BOX), True, False, False) for t in tracks)
    (item,) = select([TrackedFaces(noise_frame(frame), regions, {})], choice)
    return [region.track for region in item.regions]


def test_a_choice_by_track_place_and_time() -> None:
    here, there = Box(50, 40, 80, 80), Box(0, 0, 20, 20)
    assert _chosen(Choice(), (1, 2)) == [1, 2]
    assert _chosen(Choice(keep_tracks=frozenset({2})), (1, 2)) == [1]
    assert _chosen(Choice(only_tracks=frozenset({2})), (1, 2)) == [2]
    assert _chosen(Choice(excluded=(ManualRegion(here),))) == []
    assert _chosen(Choice(excluded=(ManualRegion(there),))) == [1]
    assert _chosen(Choice(excluded=(ManualRegion(here, 1.0, None),))) == [1]
    assert _chosen(Choice(during=((1.0, 2.0),)), frame=10) == []
    assert _chosen(Choice(during=((None, 0.5), (1.0, 2.0))), frame=30) == [1]
    assert _chosen(Choice(regions=(ManualRegion(there), ManualRegion(here, 5.0))), ()) == [-1]


def _two(a: Box, b: Box, hold: ProtectConfig | None = None, filled: Sequence[int] = ()) -> tuple[Mask, ...]:
    regions = tuple(
        TrackedRegion(t, face(box), True, False, False, filled=t in filled) for t, box in ((2, b), (1, a))
    )
    (masked,) = Pixelizer(stream_info(1), MaskConfig(), hold)([TrackedFaces(noise_frame(0), regions, {})])
    return masked.masks


def test_masks_over_one_place_show_one_lattice_and_others_their_own() -> None:
    near, far = Box(48, 36, 96, 96), Box(100, 30, 148, 90)
    for hold in (None, MEASURED, ProtectConfig(nobody="2")):
        one, other = _two(BOX, near, hold)
        assert torch.equal(one.samples, other.samples) and one.box == other.box
        one, other = _two(BOX, far, hold)
        assert one.box != other.box


def test_who_is_seen_lies_over_who_is_not_and_the_first_track_over_later_ones() -> None:
    far = Box(75, 30, 123, 90)
    assert [mask.tracked.track for mask in _two(BOX, far)] == [2, 1]
    hold = ProtectConfig(nobody="2")
    assert [mask.tracked.track for mask in _two(BOX, far, hold)] == [2, 1]
    assert [mask.tracked.track for mask in _two(BOX, far, hold, filled=[1])] == [1, 2]


def test_a_small_mask_does_not_lay_its_small_cells_over_a_large_one() -> None:
    masks = _two(Box(60, 50, 84, 80), BOX)
    assert {mask.box for mask in masks} == {BOX.scaled(1.3)}


def test_cells_of_small_faces_have_a_45th_of_the_pictures_height_at_least_while_they_shrink() -> None:
    info = stream_info(40, width=1920, height=1080)
    frame = noise_frame(0)
    for hold in (None, MEASURED, ProtectConfig(nobody="4")):
        pixelizer = Pixelizer(info, MaskConfig(), hold)
        items = []
        for i in range(40):
            side = 300 * 0.92**i
            region = TrackedRegion(1, face(Box(900, 500, 900 + side, 500 + 1.3 * side)), True, i == 0, False)
            items.append(TrackedFaces(frame, (region,), {}))
        changes = 0
        for before, after in pairwise([item.masks[0] for item in pixelizer(items)]):
            rows, columns = after.samples.shape[1:]
            assert min(after.box.height / max(rows, 1), after.box.width / columns) >= 24 or (
                rows,
                columns,
            ) == (1, 1)
            changes += before.samples.shape != after.samples.shape
        assert changes < 12
