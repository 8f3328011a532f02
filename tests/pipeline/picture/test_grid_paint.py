"""Cells over a box: measured as means, painted over luma and chroma, nothing else touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nets.pixelation import axis_index, block_means, membership
from pipeline.picture.color import conversion
from pipeline.picture.grid_paint import cells_across, measure, paint
from pipeline.types import Box, Frame, Mask, Region, Shape, TrackedRegion
from tests.support.faces_scene import COLOUR, HEIGHT, WIDTH, face, noise_frame

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv420p10le", "gray", "gbrp", "yuva420p"]
BOX = Box(33.4, 21.7, 90.2, 88.9)


def _tracked(box: Box) -> TrackedRegion[Region]:
    return TrackedRegion(1, face(box), seen=True, born=False, last=False)


def _painted(frame: Frame, box: Box, shape: Shape, cells: tuple[int, int], smooth: bool = False) -> Frame:
    convert = conversion(frame.pix_fmt, COLOUR, WIDTH, HEIGHT)
    samples = measure(frame, [box], [cells], convert)[0].samples
    copy = Frame(
        frame.index,
        frame.pts,
        tuple(p.clone() for p in frame.planes),
        frame.pix_fmt,
        COLOUR,
        frame.time_base,
        True,
    )
    paint(copy, [Mask(_tracked(box), box, shape, samples, smooth)], convert)
    return copy


def _inside(box: Box, shape: Shape) -> NDArray[np.bool_]:
    """Pixels of which any part lies in the box, or whose centre lies in the ellipse."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    if shape is Shape.RECTANGLE:
        return np.asarray((x + 1 > box.x0) & (x < box.x1) & (y + 1 > box.y0) & (y < box.y1))
    (cx, cy), w, h = box.centre, box.width / 2, box.height / 2
    return np.asarray(((x + 0.5 - cx) / w) ** 2 + ((y + 0.5 - cy) / h) ** 2 < 1)


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("smooth", [False, True])
def test_all_planes_are_covered_inside_and_untouched_outside(
    pix_fmt: str, shape: Shape, smooth: bool
) -> None:
    frame = noise_frame(1, pix_fmt)
    painted = _painted(frame, BOX, shape, (5, 4), smooth)
    inside = _inside(BOX, shape)
    convert = conversion(pix_fmt, COLOUR, WIDTH, HEIGHT)
    step_y, step_x = convert.format.step_y, convert.format.step_x
    for index in range(convert.format.colour_planes):
        before, after = frame.planes[index].numpy(), painted.planes[index].numpy()
        must = inside
        if index and (step_y, step_x) != (1, 1):
            padded = np.pad(inside, ((0, -HEIGHT % step_y), (0, -WIDTH % step_x)))
            must = np.asarray(padded.reshape(before.shape[0], step_y, before.shape[1], step_x).any((1, 3)))
        # Random samples keep their value by chance only.
        assert np.mean(before[must] == after[must]) < 0.05
        if shape is Shape.RECTANGLE:
            assert np.array_equal(before[~must], after[~must])
        outer = np.zeros(before.shape, bool)
        sy, sx = (step_y, step_x) if index else (1, 1)
        outer[int(BOX.y0) // sy : -(-89 // sy), int(BOX.x0) // sx : -(-91 // sx)] = True
        assert np.array_equal(before[~outer], after[~outer])
    for index in range(convert.format.colour_planes, len(frame.planes)):
        assert torch.equal(frame.planes[index], painted.planes[index])


def test_a_mosaic_holds_one_value_per_cell_and_it_is_the_mean() -> None:
    frame = noise_frame(2, "gray")
    rows, columns = 6, 4
    painted = _painted(frame, BOX, Shape.RECTANGLE, (rows, columns)).planes[0].numpy().astype(float)
    y = axis_index(HEIGHT, BOX.height / rows, BOX.y0).clamp(0, rows - 1)
    x = axis_index(WIDTH, BOX.width / columns, BOX.x0).clamp(0, columns - 1)
    inside = torch.from_numpy(_inside(BOX, Shape.RECTANGLE)).float()
    means = block_means(
        frame.planes[0].float().unsqueeze(0), membership(y, rows), membership(x, columns), inside.unsqueeze(0)
    )[0]
    for r in range(rows):
        for c in range(columns):
            cell = painted[(y == r).numpy()][:, (x == c).numpy()][
                inside.numpy()[(y == r).numpy()][:, (x == c).numpy()] > 0
            ]
            assert len(set(cell)) == 1
            assert cell[0] == pytest.approx(float(means[r, c]), abs=0.51)


@pytest.mark.parametrize("box", [Box(-20, -30, 25, 30), Box(140, 100, 200, 160), Box(-5, -5, 165, 125)])
def test_a_box_may_reach_beyond_the_picture(box: Box) -> None:
    frame = noise_frame(3)
    painted = _painted(frame, box, Shape.RECTANGLE, (6, 5))
    inside = _inside(box, Shape.RECTANGLE)
    assert np.mean(painted.planes[0].numpy()[inside] == frame.planes[0].numpy()[inside]) < 0.05


def test_a_box_outside_the_picture_paints_nothing() -> None:
    frame = noise_frame(4)
    painted = _painted(frame, Box(500, 500, 540, 540), Shape.ELLIPSE, (6, 5))
    assert all(torch.equal(a, b) for a, b in zip(frame.planes, painted.planes, strict=True))


def test_cells_that_the_picture_cuts_show_their_neighbour_so_that_no_mean_is_over_few_pixels() -> None:
    frame = noise_frame(5)
    convert = conversion(frame.pix_fmt, COLOUR, WIDTH, HEIGHT)
    (measured,) = measure(frame, [Box(-31, 10, 49, 90)], [(8, 8)], convert)  # of column 3 one pixel is left
    assert measured.columns.tolist() == [4, 4, 4, 4, 4, 5, 6, 7] or measured.columns[3] == 3
    assert measured.least_pixels >= 10 * 10 // 4


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_boxes_measured_and_painted_together_are_what_each_is_alone(pix_fmt: str) -> None:
    frame = noise_frame(6, pix_fmt)
    convert = conversion(frame.pix_fmt, COLOUR, WIDTH, HEIGHT)
    boxes = [
        BOX,
        Box(-31, 10, 49, 90),
        Box(500, 500, 540, 540),
        Box(3.5, 60.2, 8, 64.1),
        Box(-5, -5, 165, 125),
    ]
    cells = [(5, 4), (8, 8), (6, 5), (7, 9), (1, 1)]
    together = measure(frame, boxes, cells, convert)
    alone = [measure(frame, [box], [n], convert)[0] for box, n in zip(boxes, cells, strict=True)]
    for one, other, n in zip(together, alone, cells, strict=True):
        assert one.samples.shape == (3, *n)
        torch.testing.assert_close(one.samples, other.samples, rtol=0, atol=1e-6)
        assert one.rows.tolist() == other.rows.tolist()
        assert one.columns.tolist() == other.columns.tolist()
        assert one.least_pixels == other.least_pixels
    masks = [
        Mask(_tracked(box), box, shape, one.samples, smooth=False)
        for box, one, shape in zip(boxes, alone, [*Shape, *Shape, Shape.ELLIPSE], strict=True)
    ]
    at_once, in_turn = (replace(frame, planes=tuple(p.clone() for p in frame.planes)) for _ in range(2))
    paint(at_once, masks, convert)
    for mask in masks:
        paint(in_turn, [mask], convert)
    assert all(torch.equal(a, b) for a, b in zip(at_once.planes, in_turn.planes, strict=True))


def test_strength_is_told_in_blocks_across_the_face_at_any_size() -> None:
    for size in (40, 80, 400, 1000):
        rows, columns = cells_across(Box(0, 0, size, 1.25 * size), blocks=6, mask_scale=1.3)
        assert columns == round(6 * 1.3)
        assert rows == round(6 * 1.3 * 1.25)
    assert cells_across(Box(0, 0, 12, 15), 6, 1.3) == (4, 3)  # cells of 4 px and more, not of 2
    assert cells_across(Box(0, 0, 40, 50), 6, 1.3, least_px=24) == (2, 2)


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("smooth", [False, True])
def test_a_lattice_is_shown_in_another_place_than_its_own(pix_fmt: str, shape: Shape, smooth: bool) -> None:
    """Its outer cells go on there, and nothing outside of that place changes."""
    frame, area = noise_frame(1, pix_fmt), Box(70, 50, 140, 110)
    convert = conversion(pix_fmt, COLOUR, WIDTH, HEIGHT)
    samples = measure(frame, [BOX], [(5, 4)], convert)[0].samples
    painted = replace(frame, planes=tuple(p.clone() for p in frame.planes))
    paint(painted, [Mask(_tracked(area), BOX, shape, samples, smooth, area=area)], convert)
    changed = (painted.planes[0] != frame.planes[0]).numpy()
    inside = _inside(area, shape)
    assert changed[inside].mean() > 0.9
    assert not changed[~_inside(area, Shape.RECTANGLE)].any()
    if not smooth:
        code = convert.samples_from_rgb(samples[:, -1, -1])[0]
        assert int(painted.planes[0][85, 120]) == int(code), "the last cell, far beyond the lattice"
