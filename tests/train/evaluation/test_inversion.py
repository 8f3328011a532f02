"""Inversion without learning: exact operators, and more frames tell more."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse

from nets import pixelation
from tests.train.evaluation.test_evaluate import stills
from train.evaluation.conditions import Condition, Scene, scenes
from train.evaluation.inversion import Inversion, bilinear, estimate, invert, solve, whole_cells
from train.evaluation.methods import BICUBIC, Method
from train.metrics import psnr

pytestmark = pytest.mark.slow


def draw(count: int = 3) -> list[Scene]:
    source = stills(count, 128)
    return list(scenes(source, Condition.parse("clean-8-moving"), count, 64, 1, 0))


def gain(method: Method, drawn: list[Scene]) -> float:
    def db(m: Method, scene: Scene) -> float:
        judged = list(scene.judged)
        return float(psnr(m(scene), scene.truth[judged], scene.weight[judged]).mean())

    return float(np.mean([db(method, s) - db(BICUBIC, s) for s in drawn]))


def test_bilinear_sampling_is_that_of_grid_sample() -> None:
    generator = torch.Generator().manual_seed(1)
    picture = torch.rand(1, 1, 16, 16, generator=generator)
    places = torch.rand(16, 16, 2, generator=generator) * 18 - 1.5
    wanted = F.grid_sample(
        picture, ((places + 0.5) / 16 * 2 - 1)[None], padding_mode="border", align_corners=False
    )
    got = bilinear(places.numpy()) @ picture.numpy().ravel()
    assert np.allclose(got, wanted.numpy().ravel(), atol=1e-5)


def test_rows_of_cells_are_block_means() -> None:
    scene = draw(1)[0]
    rows, cols, weight = scene.rows[0], scene.cols[0], scene.weight[0]
    everywhere = np.ones(64 * 64, bool)
    cells, kept, counts = whole_cells(rows, cols, everywhere, weight.numpy().ravel() > 0)
    means = pixelation.block_means(scene.truth[0], rows, cols).flatten(1).numpy()[:, kept]
    assert np.allclose(cells @ scene.truth[0].flatten(1).numpy().T, means.T, atol=1e-5)
    assert counts.min() >= 1
    left = everywhere.copy()
    left[: 64 * 30] = False  # the upper part was not seen
    assert whole_cells(rows, cols, left, weight.numpy().ravel() > 0)[1].sum() < kept.sum()


def test_an_exact_measurement_is_solved() -> None:
    """With every pixel measured there is nothing to guess."""
    scene = draw(1)[0]
    truth = scene.truth[0].permute(1, 2, 0).numpy()
    hidden = scene.weight[0].numpy().ravel() > 0
    y, x = np.mgrid[:64, :64].astype(np.float32)
    sampling = bilinear(np.stack([x, y], -1))
    start = truth + 0.3 * hidden.reshape(64, 64, 1)
    values, counts, own = truth.reshape(-1, 3), np.ones(64 * 64, np.float32), np.ones(64 * 64, bool)
    solved = solve(start, hidden, sampling, values, counts, own, strength=0.0)
    assert np.abs(solved - truth).max() < 0.01


def test_frames_that_do_not_fit_are_doubted() -> None:
    """A second frame that says something else moves the answer less than its share."""
    scene = draw(1)[0]
    truth = scene.truth[0].permute(1, 2, 0).numpy()
    hidden = scene.weight[0].numpy().ravel() > 0
    y, x = np.mgrid[:64, :64].astype(np.float32)
    sampling = bilinear(np.stack([x, y], -1))
    both = sparse.vstack([sampling, sampling]).tocsr()
    values = np.concatenate([truth.reshape(-1, 3), truth.reshape(-1, 3) + 0.3])
    counts, own = np.ones(2 * 64 * 64, np.float32), np.repeat([True, False], 64 * 64)
    doubted = solve(truth, hidden, both, values, counts, own, strength=0.0) - truth
    trusted = solve(truth, hidden, both, values, counts, np.ones_like(own), strength=0.0) - truth
    inside = hidden.reshape(64, 64)
    assert trusted[inside].mean() > 0.14 and abs(doubted[inside].mean()) < 0.02


def test_motion_is_found_to_a_fraction_of_a_cell() -> None:
    for scene in draw(2):
        assert scene.placement is not None
        frame, other = scene.judged[0], scene.judged[0] + 2
        full = torch.cat([scene.placement, torch.tensor([0.0, 0, 1]).expand(len(scene.truth), 1, 3)], 1)
        affine = (torch.linalg.inv(full[frame]) @ full[other])[:2]
        true = (F.affine_grid(affine[None], [1, 1, 64, 64], align_corners=False)[0] + 1) * 32 - 0.5
        hidden = scene.weight[frame, 0].numpy()
        warp, sure = estimate(
            scene.truth[other], scene.truth[frame], hidden, 5.0, np.eye(2, 3, dtype=np.float32)
        )
        y, x = np.mgrid[:64, :64].astype(np.float32)
        found = torch.from_numpy(np.stack([x, y], -1) @ warp[:, :2].T + warp[:, 2])
        assert sure > 0.9
        inside = scene.weight[frame, 0] > 0
        assert float((found - true)[inside].norm(dim=-1).mean()) < 0.3  # px, of cells of 5


def test_more_frames_tell_more() -> None:
    drawn = draw()
    one, five, sixteen = (gain(Inversion(n, "known"), drawn) for n in (1, 5, 16))
    assert one + 1 < five < sixteen and five > 1
    assert gain(Inversion(5, "estimated"), drawn) > one


def test_clean_pixels_stay() -> None:
    scene = draw(1)[0]
    judged = list(scene.judged)
    restored = Inversion(5, "known")(scene)
    assert torch.equal(restored * scene.mask[judged], scene.image[judged] * scene.mask[judged])


@pytest.mark.parametrize(("windows", "count"), [([1], 1), ([1, 5], 3), ([5, 16], 4)])
def test_names_are_distinct(windows: list[int], count: int) -> None:
    assert len({m.name for m in invert(windows)}) == count
