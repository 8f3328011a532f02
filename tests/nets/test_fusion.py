"""Frames of a window seen together: what they gain, and what must not cost anything."""

from __future__ import annotations

from dataclasses import replace

import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation as px
from nets.fusion import SUPPORT, fuse, support
from nets.measurement import MeasurementOperator, Part
from nets.observation import CHANNELS, Observation, observe
from nets.pixelation import Operator
from nets.registration import grid_of, similarity

SIZE = 96
CELL = 8.0


def portrait() -> Tensor:
    """(3, 160, 160): a face, RGB in [0, 1]."""
    whole = torch.from_numpy(skimage.data.astronaut()[10:234, 112:336].copy()).permute(2, 0, 1).float() / 255
    return F.interpolate(whole[None], (160, 160), mode="area")[0]


def filmed(
    shifts: list[tuple[float, float]], operator: Operator = Operator.AREA
) -> tuple[Tensor, Observation]:
    """A face that moves by ``shifts`` px under a mosaic that stands still: truth (T, 3, S, S), observed."""
    T = len(shifts)
    like = torch.zeros(T, 3, 160, 160)
    moved = similarity(torch.tensor([(0.0, 0.0, x / 80, y / 80) for x, y in shifts]))
    pictures = portrait().expand(T, -1, -1, -1)
    truth = F.grid_sample(pictures, grid_of(moved, like), "bilinear", "border", align_corners=False)
    truth = truth[..., 32:128, 32:128]
    index = px.axis_index(SIZE, CELL, 20.0)
    index = torch.where((index >= 0) & (index < 7), index, -1)
    rows = px.membership(index, 16).expand(T, -1, -1)
    inside = (index >= 0).float()
    weight = (inside[:, None] * inside[None]).expand(T, 1, -1, -1)
    samples = torch.round(px.sample(truth, rows, rows, operator) * 255) / 255
    image = torch.where(weight > 0, px.replicate(samples, rows, rows), truth)
    means = torch.full((T,), float(operator is Operator.AREA))
    return truth, observe(image, 1 - weight, rows, rows, means)


def gain_db(picture: Tensor, truth: Tensor, obs: Observation, at: int) -> float:
    """What a picture (3, S, S) of frame ``at`` has over the interpolation of that frame, in the mosaic."""
    weight = obs.weight[at]

    def error(x: Tensor) -> Tensor:
        return ((x - truth[at]) ** 2 * weight).sum()

    return float(10 * torch.log10(error(obs.base[at]) / error(picture)))


PATH = [(0.0, 0.0), (2.4, 1.1), (4.3, 3.2), (6.1, 5.9), (8.7, 6.8)]


def test_five_frames_of_a_moving_face_show_more_than_one() -> None:
    truth, obs = filmed(PATH)
    fused = fuse(obs, 5)
    for at in range(5):
        assert gain_db(fused.picture[0, at], truth, obs, at) > 2.5


def test_point_samples_gain_too() -> None:
    truth, obs = filmed(PATH, Operator.CENTRE)
    fused = fuse(obs, 5)
    for at in range(5):
        assert gain_db(fused.picture[0, at], truth, obs, at) > 0.3


def test_a_frame_that_shows_something_else_does_no_harm() -> None:
    truth, obs = filmed(PATH)
    alone = gain_db(fuse(obs, 5).picture[0, 2], truth, obs, 2)
    parts = [obs.base, obs.samples]
    for part in parts:
        part[4] = 1 - part[4]  # a negative
    spoilt = replace(obs, base=parts[0], samples=parts[1])
    assert gain_db(fuse(spoilt, 5).picture[0, 2], truth, spoilt, 2) > alone - 1.0


def test_what_one_mosaic_hides_another_frame_may_show() -> None:
    """The mosaic covers 56 px; a face that moves by 40 px leaves most of it bare."""
    truth, obs = filmed([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)])
    shown = obs.base.clone()
    shown[0] = truth[0]
    weight = obs.weight.clone()
    weight[0, :, 48:] = 0
    half = replace(obs, base=torch.where(weight > 0, obs.base, truth), weight=weight)
    fused = fuse(half, 3).picture[0, 1]
    lower = (slice(None), slice(56, 72), slice(30, 66))
    before = (half.base[1] - truth[1])[lower].abs().mean()
    after = (fused - truth[1])[lower].abs().mean()
    assert float(after) < 0.25 * float(before)


def test_what_a_frame_shows_is_not_believed_against_the_cells() -> None:
    """Where a head turns, neighbours show the wall that it now hides."""
    truth, obs = filmed([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)])
    weight = obs.weight.clone()
    weight[::2, :, 48:] = 0
    wall = torch.where(weight > 0, obs.base, torch.ones_like(truth))
    wall[1] = obs.base[1]
    fused = fuse(replace(obs, base=wall, weight=weight), 3).picture[0, 1]
    lower = (slice(None), slice(56, 72), slice(30, 66))
    before = (obs.base[1] - truth[1])[lower].abs().mean()
    assert float((fused - truth[1])[lower].abs().mean()) < 1.1 * float(before)
    assert float((fused - obs.base[1])[lower].abs().max()) < 0.4


def test_frames_that_say_the_same_leave_no_hard_edges() -> None:
    """Five times the same cells are no finer a picture: it must not step at their edges."""
    truth, obs = filmed([(0.0, 0.0)] * 5)
    picture = fuse(obs, 5).picture[0, 2]
    steps = (picture[:, 28:68, 29:69] - picture[:, 28:68, 28:68]).abs().mean((0, 1))
    at_edges = (torch.arange(29, 69) - 20) % int(CELL) == 0
    assert float(steps[at_edges].mean()) < 3 * float(steps[~at_edges].mean())
    assert gain_db(picture, truth, obs, 2) > 0


def test_a_frame_that_differs_keeps_to_its_own_samples() -> None:
    """A mouth opens in one frame: what the others agree upon is not what that frame shows."""
    truth, obs = filmed(PATH)
    spoken = [x.clone() for x in (obs.base, obs.samples)]
    spoken[1][4, :, 4, 2:5] = 0.1
    image = px.replicate(spoken[1][4], obs.rows[4], obs.cols[4])
    spoken[0][4] = observe(
        torch.where(obs.weight[4] > 0, image, truth[4])[None],
        1 - obs.weight[4:],
        obs.rows[4:],
        obs.cols[4:],
    ).base[0]
    changed = replace(obs, base=spoken[0], samples=spoken[1])
    fused = fuse(changed, 5).picture[0, 4]
    mouth = px.block_means(fused, obs.rows[4], obs.cols[4], obs.weight[4])[:, 4, 3]
    assert float((mouth - 0.1).abs().max()) < 0.15


def test_clean_pixels_stay_and_windows_do_not_mix() -> None:
    _, obs = filmed(PATH)
    _, other = filmed(PATH[::-1], Operator.AREA)
    both = Observation(
        *(torch.cat([a, b]) for a, b in zip(vars(obs).values(), vars(other).values(), strict=True))
    )
    together, alone = fuse(both, 5), fuse(obs, 5)
    assert torch.allclose(together.picture[0], alone.picture[0], atol=1e-5)
    clean = obs.weight == 0
    assert torch.equal(alone.picture[0][clean.expand(-1, 3, -1, -1)], obs.base[clean.expand(-1, 3, -1, -1)])
    assert not alone.misfit[0][clean.expand(-1, 2, -1, -1)].any()


def test_features_are_those_of_an_idn_and_what_the_window_adds() -> None:
    _, obs = filmed(PATH)
    read = support(obs, 5, [1, 3])
    assert read.features.shape == (2, CHANNELS + SUPPORT, SIZE, SIZE)
    assert torch.equal(read.features[:, :CHANNELS], obs.features[[1, 3]])
    assert torch.equal(read.base, obs.base[[1, 3]])
    common = read.base + read.features[:, CHANNELS : CHANNELS + 3]
    assert torch.allclose(common, fuse(obs, 5).picture[0, [1, 3]], atol=1e-6)
    of_one = support(obs, 1, [0])
    assert torch.equal(of_one.features[:, :CHANNELS], obs.features)
    assert not of_one.features[:, CHANNELS:].any()


def test_a_frame_that_shows_more_than_the_reference_keeps_its_own_there() -> None:
    """Far frames see places that lie outside of the reference's part of the picture."""
    truth, obs = filmed([(0.0, 0.0), (9.0, 0.0), (18.0, 0.0), (18.0, 0.0), (18.0, 0.0)])
    fused = fuse(obs, 5).picture[0, 0]
    assert gain_db(fused, truth, obs, 0) > 0
    side = (slice(None), slice(24, 72), slice(20, 28))
    beside = [float((x[side] - truth[0][side]).abs().max()) for x in (fused, obs.base[0])]
    assert beside[0] < 1.2 * beside[1]


def test_a_part_known_beforehand_gives_what_one_looked_up_gives() -> None:
    """A larger one, too, in which sizes are rounded up: what is fused differs by less than a level."""
    _, obs = filmed(PATH)
    found = MeasurementOperator(obs, 5)
    rows, cols = (torch.arange(SIZE)[part] for part in found.part)
    alike = fuse(obs, 5, Part(rows, cols, found.samples.shape[-1]))
    whole = fuse(obs, 5)
    assert torch.allclose(alike.picture, whole.picture, atol=1e-5)
    assert torch.allclose(alike.density, whole.density, atol=1e-5)
    wider = torch.arange(int(rows[0]) - 6, int(rows[-1]) + 7)
    rounded = fuse(obs, 5, Part(wider, wider, 16))
    apart = (rounded.picture - whole.picture).abs() * obs.weight.unsqueeze(0)
    assert apart.mean() < 1 / 255
    for at in range(5):
        assert gain_db(rounded.picture[0, at], filmed(PATH)[0], obs, at) > 2.5
