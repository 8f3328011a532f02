"""Laws of the block operator."""

import cv2
import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nets import pixelation as px
from nets.pixelation import Operator

grids = st.tuples(st.floats(3.0, 17.0), st.floats(-9.0, 9.0), st.integers(20, 48), st.integers(0, 2**31 - 1))


def member(size: int, pitch: float, origin: float) -> torch.Tensor:
    index = px.axis_index(size, pitch, origin)
    return px.membership(index - index.min(), 40)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(8, 300))
def test_a_box_of_n_blocks_has_the_widths_of_floor(blocks: int, size: int) -> None:
    got = px.axis_index(size, size / blocks, 0.0)
    assert got.tolist() == [i * blocks // size for i in range(size)]


@settings(deadline=None)
@given(st.floats(1.5, 40.0), st.floats(-50.0, 50.0))
def test_edges_are_where_the_index_changes(pitch: float, origin: float) -> None:
    index = px.axis_index(200, pitch, origin).tolist()
    edges = px.cell_edges(pitch, origin, index[0], index[-1] - index[0] + 1)
    changes = [i for i in range(1, 200) if index[i] != index[i - 1]]
    assert [e for e in edges if 0 < e < 200] == changes


@settings(deadline=None, max_examples=50)
@given(grids)
def test_means_of_replicated_samples_are_the_samples(grid: tuple[float, float, int, int]) -> None:
    pitch, origin, size, seed = grid
    torch.manual_seed(seed)
    rows, cols = member(size, pitch, origin), member(size, pitch * 1.1, origin)
    means = px.block_means(torch.rand(3, size, size), rows, cols)
    again = px.block_means(px.replicate(means, rows, cols), rows, cols)
    torch.testing.assert_close(again, means, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=50)
@given(grids)
def test_projection_is_consistent_and_never_raises_the_error(grid: tuple[float, float, int, int]) -> None:
    pitch, origin, size, seed = grid
    torch.manual_seed(seed)
    rows, cols = member(size, pitch, origin), member(size, pitch, origin + 1)
    truth, guess = torch.rand(3, size, size), torch.rand(3, size, size)
    everywhere = torch.ones(1, size, size)
    samples = px.block_means(truth, rows, cols)
    out = px.project(guess, samples, rows, cols, everywhere)
    torch.testing.assert_close(px.block_means(out, rows, cols), samples, atol=1e-5, rtol=0)
    assert float(((out - truth) ** 2).sum()) <= float(((guess - truth) ** 2).sum()) + 1e-4


def test_projection_leaves_clean_pixels_and_cut_cells_alone() -> None:
    rows = cols = member(32, 8.0, 0.0)
    weight = torch.zeros(1, 32, 32)
    weight[:, 4:24, 8:24] = 1  # the first row of cells is cut
    guess = torch.rand(3, 32, 32)
    out = px.project(guess, torch.zeros(3, 40, 40), rows, cols, weight)
    changed = (out != guess).any(0)
    assert not changed[weight[0] == 0].any()
    assert not changed[:8].any()
    assert changed[8:24, 8:24].all()


def test_slack_is_a_dead_zone() -> None:
    rows = cols = member(16, 8.0, 0.0)
    guess = torch.full((1, 16, 16), 0.5)
    everywhere = torch.ones(1, 16, 16)
    near = px.project(guess, torch.full((1, 40, 40), 0.52), rows, cols, everywhere, slack=0.03)
    assert torch.equal(near, guess)
    far = px.project(guess, torch.full((1, 40, 40), 0.6), rows, cols, everywhere, slack=0.03)
    torch.testing.assert_close(far, torch.full((1, 16, 16), 0.57))


def test_area_is_the_mean_that_opencv_takes() -> None:
    picture = np.random.default_rng(1).random((40, 40, 3), dtype=np.float32)
    small = cv2.resize(picture, (5, 5), interpolation=cv2.INTER_AREA)
    wanted = cv2.resize(small, (40, 40), interpolation=cv2.INTER_NEAREST)
    rows = member(40, 8.0, 0.0)
    x = torch.from_numpy(picture).permute(2, 0, 1)
    got = px.pixelate(x, rows, rows, torch.ones(1, 40, 40))
    np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), wanted, atol=1e-5)


def test_point_samples_are_pixels_of_the_picture() -> None:
    x = torch.rand(3, 40, 40)
    rows = member(40, 8.0, 0.0)
    corner = px.sample(x, rows, rows, Operator.CORNER)[:, :5, :5]
    centre = px.sample(x, rows, rows, Operator.CENTRE)[:, :5, :5]
    torch.testing.assert_close(corner, x[:, ::8, ::8])
    torch.testing.assert_close(centre, x[:, 4::8, 4::8])
    pillow_like = (x[:, 3::8, 3::8] + x[:, 3::8, 4::8] + x[:, 4::8, 3::8] + x[:, 4::8, 4::8]) / 4
    torch.testing.assert_close(px.sample(x, rows, rows, Operator.BILINEAR)[:, :5, :5], pillow_like)


@settings(deadline=None, max_examples=30)
@given(grids)
@example((7.0, 1.0, 44, 0))  # the last cell is cut
def test_interpolation_keeps_a_constant_and_reproduces_a_ramp(grid: tuple[float, float, int, int]) -> None:
    pitch, origin, size, _ = grid
    rows = cols = member(size, pitch, origin)
    present = (px.coverage(rows, cols, torch.ones(1, size, size)) > 0).float()
    flat = px.interpolate(torch.full((1, 40, 40), 0.3), rows, cols, present)
    torch.testing.assert_close(flat, torch.full((1, size, size), 0.3), atol=1e-5, rtol=0)
    ramp = torch.arange(size, dtype=torch.float32).expand(1, size, size) / size
    smooth = px.interpolate(px.block_means(ramp, rows, cols), rows, cols, present)
    inner = slice(int(2.5 * pitch) + 1, size - int(2.5 * pitch) - 1)
    # Cells differ in width by a pixel, so an even kernel is off by up to half of one.
    assert (
        float((smooth - ramp)[..., inner].abs().sum()) == 0
        or float((smooth - ramp)[..., inner].abs().max()) < 0.8 / size
    )
