"""What the networks get to see of a mosaic."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nets.pixelation import axis_index, block_means, replicate
from pipeline.cuda import CPU
from pipeline.picture.cell_samples import laid, place_of, read_samples
from pipeline.stages.crop import crop
from pipeline.types import Box, Crop, MosaicRegion, Shape, Tracked, TrackedRegion
from tests.support.scene import Scene, scene

SIZE, CELLS = 64, 16


def crops_of(shot: Scene, *, cells: int = CELLS, size_px: int = SIZE) -> tuple[Crop, ...]:
    tracked = [Tracked(shot.frame, (shot.tracked(),))]
    (made,) = crop(tracked, info=shot.info, size_px=size_px, cells=cells, margin=1.6)
    assert made.frame is shot.frame
    return made.crops


@settings(deadline=None, max_examples=30)
@given(
    shape=st.sampled_from(list(Shape)),
    pix_fmt=st.sampled_from(["yuv420p", "yuv444p10le", "gbrp", "gray"]),
    rotation=st.sampled_from([0, 90, 180, 270]),
    phase=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
    blocks=st.floats(5, 11),
    corner=st.tuples(st.integers(-10, 60), st.integers(-10, 40)),
)
def test_laws_of_a_crop(
    shape: Shape,
    pix_fmt: str,
    rotation: int,
    phase: tuple[float, float],
    blocks: float,
    corner: tuple[int, int],
) -> None:
    box = (*corner, corner[0] + 96, corner[1] + 96)
    shot = scene(box, blocks, pix_fmt=pix_fmt, shape=shape, rotation=rotation, phase=phase)
    (made,) = crops_of(shot)
    assert made.image.shape == (3, SIZE, SIZE)
    assert made.rows.shape == made.cols.shape == (CELLS, SIZE)
    assert 0 <= made.image.min() <= made.image.max() <= 1
    mosaic = 1 - made.mask
    assert set(mosaic.unique().tolist()) == {0.0, 1.0}

    # Each pixel belongs to the cell of the frame's pixel under its centre; the first cell is number 0.
    grid = shot.region.grid
    assert grid is not None
    centres = torch.arange(SIZE, dtype=torch.float64) + 0.5
    to_frame = torch.from_numpy(made.to_frame)
    shown = (made.cols, made.rows)  # across and down the screen
    for place, axis in enumerate((grid.x, grid.y)):
        along = place if rotation % 180 == 0 else 1 - place
        member, scale = shown[along], to_frame[place, along]
        assert to_frame[place, 1 - along] == 0
        pixel = torch.floor(scale * centres + to_frame[place, 2] + 1e-9 * scale.sign()).long()
        cell = axis_index(1000, axis.pitch, axis.origin + 500)[pixel + 500]
        inside = member.sum(0) > 0
        step = (cell[inside] - cell[inside][0]).abs()
        number = member.argmax(0)[inside]
        assert torch.equal(step, number - number[0])
        assert number[0] == 0

    # Exactly constant in a cell; every pixel of the mosaic has a cell.
    samples = block_means(made.image, made.rows, made.cols, mosaic)
    flat = replicate(samples, made.rows, made.cols)
    assert ((made.image - flat) * mosaic).abs().max() < 1e-6
    assert torch.equal((made.rows.sum(0)[:, None] * made.cols.sum(0)[None]) * mosaic[0], mosaic[0])


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p", "yuv422p10le", "gbrp12le"])
def test_samples_are_the_means_of_the_clean_picture(pix_fmt: str) -> None:
    shot = scene(pix_fmt=pix_fmt)
    (made,) = crops_of(shot)
    grid = shot.region.grid
    assert grid is not None
    box = shot.region.box.pixels(999, 999)
    clean = shot.clean[:, box[1] : box[3], box[0] : box[2]].reshape(3, 8, 12, 8, 12).mean((2, 4))
    came = block_means(made.image, made.rows, made.cols, 1 - made.mask)[:, :8, :8]
    assert (came - clean).abs().max() < 2.0 / 255  # rounding of luma and chroma to 8 bits


def test_outliers_and_ringing_do_not_move_a_sample() -> None:
    shot = scene(pix_fmt="yuv444p")
    grid = shot.region.grid
    assert grid is not None
    place = place_of(shot.region, grid, shot.convert, shot.info.width, shot.info.height)
    assert place is not None
    mosaic, _ = laid([place], (shot.info.width, shot.info.height), shot.convert, CPU)
    before, _ = read_samples([shot.frame], mosaic, shot.convert)
    luma = shot.frame.planes[0].clone()
    luma[30:126:12, 37:133] ^= 15  # the first row of each cell
    luma[36:126:12, 43:133:12] = 255  # one pixel in the middle of each cell
    dirty = replace(shot.frame, planes=(luma, *shot.frame.planes[1:]))
    after, _ = read_samples([dirty], mosaic, shot.convert)
    assert (before - after).abs().max() < 0.5 / 255


def test_surroundings_have_no_share_of_the_mosaic() -> None:
    shot = scene(pix_fmt="gbrp", shape=Shape.ELLIPSE)
    (made,) = crops_of(shot)
    inside = shot.mask[0] > 0
    black = tuple(torch.where(inside, 0, p) for p in shot.frame.planes)
    (other,) = crops_of(replace(shot, frame=replace(shot.frame, planes=black)))
    assert torch.equal(made.mask, other.mask)
    assert torch.equal(made.image * made.mask, other.image * other.mask)
    assert float((other.image * (1 - other.mask)).max()) == 0.0


@pytest.mark.parametrize("rotation", [90, 180, 270])
@pytest.mark.parametrize("shape", list(Shape))
def test_rotated_footage_gives_the_same_crop(rotation: int, shape: Shape) -> None:
    """Footage that is coded sideways shows upright, cells numbered from the upper left."""
    (straight,) = crops_of(scene(pix_fmt="gbrp", shape=shape))
    (turned,) = crops_of(scene(pix_fmt="gbrp", shape=shape, rotation=rotation))
    assert torch.allclose(straight.image, turned.image, atol=1e-5)
    assert torch.equal(straight.mask, turned.mask)
    assert torch.equal(straight.rows, turned.rows)
    assert torch.equal(straight.cols, turned.cols)


def test_beyond_the_picture_its_edge_is_repeated_and_clean() -> None:
    shot = scene((0, 0, 60, 60), 6, pix_fmt="gbrp")
    (made,) = crops_of(shot)
    side = made.to_frame[0, 0] * SIZE
    outside = int((side - 60) / 2 / made.to_frame[0, 0])
    assert bool((made.mask[0, :outside] == 1).all())
    assert torch.allclose(made.image[:, : outside - 2, -4], made.image[:, :1, -4], atol=1e-5)


def test_anamorphic_footage_is_square_as_displayed() -> None:
    shot = scene()
    info = replace(shot.info, sample_aspect=Fraction(4, 3))
    (made,) = crops_of(replace(shot, info=info))
    assert made.to_frame[1, 1] / made.to_frame[0, 0] == pytest.approx(4 / 3, rel=0.02)


def region_of(shot: Scene, width: float) -> MosaicRegion:
    box = shot.region.box
    return replace(shot.region, box=Box(box.x0, box.y0, box.x0 + width, box.y0 + width))


def test_the_scale_rests_while_the_box_hardly_changes() -> None:
    shot = scene()
    widths = [96.0, 97.5, 94.0, 96.0, 120.0, 118.0]
    regions = [TrackedRegion(1, region_of(shot, w), True, i == 0, i == 5) for i, w in enumerate(widths)]
    frames = [Tracked(replace(shot.frame, index=i), (r,)) for i, r in enumerate(regions)]
    made = list(crop(frames, info=shot.info, size_px=SIZE, cells=CELLS, margin=1.6))
    scales = [item.crops[0].to_frame[0, 0] for item in made]
    assert scales[:4] == scales[:1] * 4
    assert scales[4:] == [scales[4]] * 2
    assert scales[4] > scales[0]


@pytest.mark.parametrize(
    ("cells", "grid", "why"), [(16, False, "grid could not be read"), (7, True, "8 x 8 cells")]
)
def test_what_cannot_be_cropped_is_said_once_per_track(
    cells: int, grid: bool, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    shot = scene()
    region = shot.region if grid else replace(shot.region, grid=None)
    frames = [
        Tracked(
            replace(shot.frame, index=i),
            tuple(TrackedRegion(track, region, True, i == 0, i == 3) for track in (1, 2)),
        )
        for i in range(4)
    ]
    with caplog.at_level(logging.WARNING):
        made = list(crop(frames, info=shot.info, size_px=SIZE, cells=cells, margin=1.6))
    assert [item.crops for item in made] == [()] * 4
    assert len(caplog.records) == 2
    assert why in caplog.text


def test_a_region_outside_the_picture_has_no_crop() -> None:
    shot = scene()
    away = replace(shot.region, box=Box(-90.0, -90.0, -10.0, -10.0))
    assert crops_of(replace(shot, region=away)) == ()
