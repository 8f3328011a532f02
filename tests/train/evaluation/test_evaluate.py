"""Scenes are the same for all methods, clean ones are exact, and the tables say what was measured."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nets import pixelation
from nets.checkpoint import build, save
from nets.nar import NAR
from pipeline.errors import InputError, UsageError
from train.data.pictures import Segments, Stills
from train.evaluation import report
from train.evaluation.conditions import LONGEST, TRAVEL, Condition, Scene, scenes, travel, travelled
from train.evaluation.evaluate import Judges, evaluate
from train.evaluation.methods import BICUBIC, PROJECTED, TRIVIAL, Fused, labels, read_networks
from train.evaluation.suite import Suite

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL: dict[str, object] = {"width": 8, "widths": [16, 24], "tail": 8}


def stills(count: int = 4, size: int = 128) -> Stills:
    coarse = torch.rand(count, 3, 13, 13, generator=torch.Generator().manual_seed(1))
    fine = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return Stills((fine.clamp(0, 1) * 255).to(torch.uint8))


def draw(name: str, source: Stills | Segments | None = None, judged: int = 1, seed: int = 0) -> list[Scene]:
    return list(scenes(source or stills(), Condition.parse(name), 4, 64, judged, seed))


@pytest.mark.parametrize(
    "name", ["clean-8", "wild", "wild-12", "clean-10-moving", "wild-moving", "clean-9.5-noise5-gamma1.4"]
)
def test_a_condition_is_named_as_it_is_read(name: str) -> None:
    assert Condition.parse(name).name == name


@pytest.mark.parametrize(
    "name",
    ["clean", "dirty-8", "clean-8-", "clean-1", "wild-moving-8", "clean-8-gamma9", "clean-8-noise99", ""],
)
def test_an_unknown_condition(name: str) -> None:
    with pytest.raises(UsageError, match="wanted"):
        Condition.parse(name)


def test_a_scene_depends_on_seed_and_picture_alone() -> None:
    one, two, other = draw("wild-10-moving"), draw("wild-10-moving"), draw("wild-10-moving", seed=1)
    assert all(torch.equal(a.image, b.image) and a.index == b.index for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0].image, other[0].image)
    assert sorted(s.index for s in one) == [0, 1, 2, 3]
    few = next(iter(scenes(stills(), Condition.parse("wild-10-moving"), 1, 64, 1, 0)))
    assert torch.equal(few.image, one[0].image)  # a smaller test is a part of a larger one


def test_clean_cells_are_means_of_the_truth() -> None:
    for scene in draw("clean-8"):
        weight = scene.weight
        means = pixelation.block_means(scene.truth, scene.rows, scene.cols)
        blocks = pixelation.replicate(means, scene.rows, scene.cols)
        # Cells are read at 128 px, the truth is at 64: their edges differ by half a pixel.
        assert float(((blocks - scene.image).abs() * weight).sum() / weight.sum() / 3) < 0.02
        assert torch.equal(scene.image * scene.mask, scene.truth * scene.mask)
        across = float(scene.weight.amax(-2).sum()) / float(scene.cols.sum(-1).max())
        assert 6.5 < across < 10.5  # 8 cells, with borders cut or widened, in whole pixels


def test_a_face_travels_a_cell_or_more() -> None:
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        shift = travel(LONGEST, 8, (0.12, 0.12), generator)[:, :, 2]
        near = shift[6:11]
        reach = float((near.amax(0) - near.amin(0)).amax()) / 0.12
        assert TRAVEL[0] - 1e-3 <= reach <= TRAVEL[1] + 1e-3
        assert torch.equal(shift[8], torch.zeros(2))


def test_placements_say_where_a_moving_still_is_and_cells_hold_its_means() -> None:
    for scene in draw("clean-10-moving", judged=2):
        assert len(scene.truth) == LONGEST + 1 and scene.judged == (7, 8) and scene.placement is not None
        # What the placement says is where the picture is.
        still = stills().pictures[scene.index].float()[None] / 255
        grid = F.affine_grid(scene.placement[:1], [1, 3, 128, 128], align_corners=False)
        seen = F.grid_sample(still, grid, "bilinear", "reflection", align_corners=False)
        seen = F.interpolate(seen, (64, 64), mode="area")
        assert torch.allclose(seen[0], scene.truth[0], atol=1e-5)
        means = pixelation.block_means(scene.truth, scene.rows, scene.cols)
        error = (pixelation.replicate(means, scene.rows, scene.cols) - scene.image).abs() * scene.weight
        assert float(error.sum() / scene.weight.sum() / 3) < 0.02


def test_frames_about_a_judged_one_end_with_the_clip() -> None:
    scene = draw("clean-10-moving", judged=2)[0]
    assert list(scene.around(8, 1)) == [8]
    assert list(scene.around(8, 5)) == [6, 7, 8, 9, 10]
    assert all(len(scene.around(frame, LONGEST)) == LONGEST for frame in scene.judged)
    assert len(draw("clean-10")[0].around(0, 16)) == 1


def test_projection_never_loses_on_clean_cells() -> None:
    for scene in draw("clean-8", stills(size=64)):
        truth, weight = scene.truth[list(scene.judged)], scene.weight
        error = [float(((m(scene) - truth) ** 2 * weight).sum()) for m in (BICUBIC, PROJECTED)]
        assert error[1] <= error[0] * 1.001


def test_networks_and_baselines_share_scenes_and_a_report(tmp_path: Path) -> None:
    seed: dict[str, object] = {**SMALL, "core": 2, "context": 1, "blocks": 1}
    for net, config in (("idn", SMALL), ("nar", SMALL), ("nar-seed", seed)):
        torch.manual_seed(3)
        save(tmp_path / f"{net}.safetensors", build(net, config))
    files = [str(tmp_path / f"{n}.safetensors") for n in ("idn", "nar", "nar-seed")]
    networks = read_networks(files, [1, 5], CPU)
    windowed = ["nar, 1 frame", "nar, 5 frames", "nar-seed, 1 frame", "nar-seed, 5 frames"]
    assert [n.name for n in networks] == ["idn", *windowed]
    assert [n.facts()["window_frames"] for n in networks] == [1, 16, 16, 4, 4]
    outcome = evaluate(
        stills(), Condition.parse("clean-10-moving"), [*TRIVIAL, *networks], Judges(), 2, 2, 128, show=1
    )
    summary = {name: s.summary() for name, s in outcome.scores.items()}
    assert set(summary["idn"]) == {"psnr", "gain", "psnr_frame", "ssim", "ssim_frame", "warp"}
    # An untrained network of ours adds nothing to the interpolation but the projection.
    assert summary["idn"]["gain"].mean == pytest.approx(summary["bicubic + projection"]["gain"].mean, abs=0.3)
    assert summary["bicubic"]["gain"].mean == 0
    table = report.markdown(outcome)
    assert len(table.splitlines()) == 10 and "| nar, 5 frames |" in table and table.count("**") >= 2
    loaded = json.loads(json.dumps(report.to_json(outcome)))
    assert len(loaded["methods"]["idn"]["psnr"]["each"]) == 2
    report.sheet(outcome, tmp_path / "sheet.png")
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture is not None and picture.shape[1] == 9 * report.CELL_PX


def test_a_window_shows_only_the_frames_that_may_be_seen(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = build("nar-seed", {**SMALL, "core": 2, "context": 1, "blocks": 1})
    save(tmp_path / "nar.safetensors", net)
    one, five = read_networks([str(tmp_path / "nar.safetensors")], [1, 5], CPU)
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        config = net.config

        def forward(self, image: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, None]:
            seen.append(image)
            return image[:, 1:3], None

    scene = draw("clean-10-moving")[0]
    for method in (one, five):
        spied = type(method)(method.name, Spy(), method.path, method.frames, CPU)
        assert torch.equal(spied(scene)[0], scene.image[scene.judged[0]])
    judged = scene.judged[0]
    assert all(torch.equal(f, scene.image[judged]) for f in seen[0][0])
    assert torch.equal(seen[1][0], scene.image[judged - 2 : judged + 2])


def test_fusion_alone_is_what_an_open_gate_lets_through(tmp_path: Path) -> None:
    net = build("nar", {**SMALL, "core": 2, "context": 1})
    assert isinstance(net, NAR)
    restorer = net.restorer
    with torch.no_grad():
        restorer.tail_last.weight.zero_()
        restorer.tail_last.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 30.0]))
        restorer.trust.bias.fill_(-30.0)
    save(tmp_path / "nar.safetensors", net)
    (open_gate,) = read_networks([str(tmp_path / "nar.safetensors")], [5], CPU)
    scene = draw("clean-10-moving", judged=2)[0]
    fused, hidden = Fused(5)(scene), scene.weight[list(scene.judged)]
    assert torch.allclose(fused, open_gate(scene), atol=1e-5)
    error = [((m(scene) - scene.truth[list(scene.judged)]) ** 2 * hidden).sum() for m in (BICUBIC, Fused(5))]
    assert error[1] < error[0]
    moving = [Condition.parse("clean-10-moving")]
    suite = Suite({"faces": stills()}, moving, [open_gate], Judges(), [1, 5], count=1)
    (_, outcome), *_ = suite.outcomes()
    assert "fusion alone, 5 frames" in outcome.scores and "fusion alone, 1 frames" not in outcome.scores


def test_files_are_told_apart() -> None:
    assert labels([Path("a/idn.safetensors"), Path("b/idn.safetensors")]) == ["a/idn", "b/idn"]
    assert labels([Path("x/idn.safetensors"), Path("x/nar.safetensors")]) == ["idn", "nar"]
    with pytest.raises(InputError, match="nowhere"):
        read_networks(["nowhere.safetensors"], [1], CPU)


def test_real_clips_move_by_themselves(tmp_path: Path) -> None:
    run = np.random.default_rng(0).integers(0, 255, (2, 12, 64, 64, 3), dtype=np.uint8)
    np.save(tmp_path / "clips.npy", run)
    drawn: Iterator[Scene] = iter(draw("clean-8", Segments.load(tmp_path / "clips.npy"), judged=2))
    scene = next(drawn)
    assert len(scene.truth) == 12 and scene.judged == (5, 6) and scene.placement is None


def test_of_clips_only_those_that_move_count(tmp_path: Path) -> None:
    still = stills(1, 96).pictures[0].permute(1, 2, 0).numpy()
    standing = np.stack([still] * 12)
    walking = np.stack([np.roll(still, 2 * t, axis=1) for t in range(12)])
    np.save(tmp_path / "both.npy", np.stack([standing, walking]))
    np.save(tmp_path / "still.npy", standing[None])
    source = Segments.load(tmp_path / "both.npy")
    assert len(draw("clean-10", source)) == 2
    moving = draw("clean-10-moving", source)
    assert [s.index for s in moving] == [1]
    assert travelled(moving[0]) == pytest.approx(22 * 64 / 96 / float(moving[0].cols.sum(-1).max()), rel=0.15)
    with pytest.raises(InputError, match="none of 1 clips"):
        draw("clean-10-moving", Segments.load(tmp_path / "still.npy"))


def test_noise_and_gamma_come_after_pixelation() -> None:
    clean, noisy, bright = (draw(n)[0] for n in ("clean-8", "clean-8-noise10", "clean-8-gamma0.5"))
    assert torch.equal(clean.truth, noisy.truth) and torch.equal(clean.mask, noisy.mask)
    inside = (clean.image > 0.2) & (clean.image < 0.8)
    assert float((noisy.image - clean.image)[inside].std()) * 255 == pytest.approx(10, rel=0.1)
    assert torch.allclose(bright.truth, clean.truth**0.5) and torch.allclose(bright.image, clean.image**0.5)


def test_frechet_distances_stand_in_the_table() -> None:
    class Means:
        def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.mean((2, 3))

    judges = Judges(inception=Means())  # type: ignore[arg-type]
    outcome = evaluate(stills(), Condition.parse("clean-8"), TRIVIAL, judges, 4, size_px=64)
    of = {name: scores.summary() for name, scores in outcome.scores.items()}
    assert all(of[m.name]["fid"].mean >= 0 and "fd_vgg" not in of[m.name] for m in TRIVIAL)
    assert len({of[m.name]["fid"].mean for m in TRIVIAL}) == len(TRIVIAL)
