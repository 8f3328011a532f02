"""Data, degradation and the loop: deterministic, resumable, geometrically right."""

import csv
import logging
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nets import pixelation
from nets.checkpoint import CheckpointError, load
from pipeline.errors import InputError, OutputError
from train.adversary import Adversary
from train.data.degrade import Degradation, degrade
from train.data.pictures import Segments, Stills, draw_clips
from train.loop import train
from train.networks import Batch, motion_loss
from train.recipe import RestoreRecipe
from train.restore_task import RestoreTask

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL = {"width": 8, "widths": [16, 24], "tail": 8}


def stills(size: int = 64) -> Stills:
    """Smooth random pictures: neighbours resemble each other, as in photographs."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(6, 3, 9, 9, generator=generator)
    fine = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return Stills((fine.clamp(0, 1) * 255).to(torch.uint8))


def task(recipe: RestoreRecipe) -> RestoreTask:
    return RestoreTask(recipe, (stills(128), None), CPU)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_draw_depends_on_its_generator_alone() -> None:
    one = draw_clips((stills(), None), 3, 4, 0.5, generator())
    two = draw_clips((stills(), None), 3, 4, 0.5, generator())
    assert torch.equal(one.frames, two.frames) and one.still.all()


def test_placements_say_where_the_still_is() -> None:
    """Sampling neighbour k at P_k^-1 P_c u gives the target: the truth that nar's affines learn."""
    clips = draw_clips((stills(96), None), 2, 5, 0.0, generator(8))
    full = torch.cat([clips.placement, torch.tensor([0.0, 0, 1]).expand(2, 5, 1, 3)], 2)
    to_neighbour = (torch.linalg.inv(full[:, 4]) @ full[:, 2])[:, :2]
    grid = F.affine_grid(to_neighbour, [2, 3, 96, 96], align_corners=False)
    warped = F.grid_sample(clips.frames[:, 4], grid, align_corners=False)
    inner = slice(16, 80)
    error = (warped - clips.frames[:, 2])[..., inner, inner].abs().mean()
    unaligned = (clips.frames[:, 4] - clips.frames[:, 2])[..., inner, inner].abs().mean()
    assert float(error) < 0.3 * float(unaligned)
    affine = to_neighbour.reshape(2, 1, 1, 2, 3).expand(2, 1, 4, 2, 3)
    truth = torch.stack(
        [(torch.linalg.inv(full[:, k]) @ full[:, 2])[:, :2] for k in (0, 1, 3, 4)], 1
    ).unsqueeze(1)
    assert float(motion_loss(truth, clips.placement, clips.still, 1, 2)) < 1e-6
    assert float(motion_loss(affine, clips.placement, clips.still, 1, 2)) > 1e-3


def test_degradation_is_the_block_operator_without_noise() -> None:
    truth = draw_clips((stills(128), None), 8, 2, 0.0, generator()).frames
    kinds = Degradation(noise=0.0, mistaken=0.0)
    example = degrade(truth, 128, 64, kinds, generator(3))
    weight = 1 - example.mask
    outside = example.mask.expand_as(truth) == 1
    assert torch.equal(example.image[outside], truth[outside])
    means = pixelation.block_means(example.image, example.rows, example.cols, weight)
    flat = pixelation.replicate(means, example.rows, example.cols)
    assert float(((flat - example.image) * weight).abs().max()) < 1e-4
    share = weight.mean((1, 2, 3, 4))
    assert float(share.min()) > 0.1 and float(share.max()) < 0.7
    areas = example.means == 1
    true_means = pixelation.block_means(truth, example.rows, example.cols)
    covered = pixelation.coverage(example.rows, example.cols, weight) > 0
    wrong = ((true_means - means).abs() * covered).amax((1, 2, 3, 4))
    assert float(wrong[areas].max()) <= 0.5 / 255 + 1e-4
    assert float(wrong[~areas].min()) > 0.5 / 255 + 1e-4


@pytest.mark.parametrize("net", ["idn", "nar", "nar-seed"])
def test_a_resumed_run_equals_an_uninterrupted_one(net: str, tmp_path: Path) -> None:
    config = dict(SMALL) if net == "idn" else {**SMALL, "core": 1, "context": 1}
    recipe = RestoreRecipe(net, config=config, steps=4, batch=1, warmup=2, windows=(3,))
    whole = train(task(recipe), tmp_path / "whole")
    first = train(task(recipe), tmp_path / "cut", max_minutes=1e-9)
    assert first.step == 1  # the time was up after the first step
    second = train(task(recipe), tmp_path / "cut", resume=True)
    assert second.step == whole.step == 4
    for a, b in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(a, b)
    assert load(tmp_path / "whole" / f"{net}.safetensors").config == whole.net.config


def test_other_settings_are_not_resumed(tmp_path: Path) -> None:
    recipe = RestoreRecipe("idn", config=dict(SMALL), steps=2, batch=1, warmup=2)
    train(task(recipe), tmp_path, max_minutes=1e-9)
    for other in (replace(recipe, rate=1e-4), replace(recipe, degradation=Degradation(filmed=0.5))):
        with pytest.raises(CheckpointError, match=r"started with (rate|degradation\.filmed)"):
            train(task(other), tmp_path, resume=True)
    assert train(task(replace(recipe, steps=3)), tmp_path, resume=True).step == 3
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(task(recipe), tmp_path, resume=True)


def test_an_interrupt_loses_no_step(tmp_path: Path) -> None:
    recipe = RestoreRecipe("idn", config=dict(SMALL), steps=9, batch=1, warmup=2)

    class Interrupted(RestoreTask):
        def draw(self, step: int, rank: int) -> Batch:
            if step == 3:
                raise KeyboardInterrupt
            return super().draw(step, rank)

    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(recipe, (stills(128), None), CPU), tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3
    assert (tmp_path / "idn.safetensors").stat().st_mode & 0o444 == 0o444 & ~umask()


def test_an_interrupt_within_a_step_keeps_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RestoreRecipe("idn", config=dict(SMALL), steps=2, batch=1, warmup=2, adversarial=0.01)
    train(task(recipe), tmp_path, max_minutes=1e-9)
    saved = (tmp_path / "state.pt").read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    # The adversary has made its step, the network has not.
    monkeypatch.setattr(Adversary, "generator_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(task(recipe), tmp_path, resume=True)
    assert (tmp_path / "state.pt").read_bytes() == saved


def test_a_run_says_what_it_does_from_the_first_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = RestoreRecipe("idn", config=dict(SMALL), steps=3, batch=1, warmup=2)
    with caplog.at_level(logging.INFO, "train"):
        train(task(recipe), tmp_path)
    first, second = caplog.messages
    assert "6 pictures of 1 source; steps 1 to 3 in batches of 1, on cpu" in first
    assert second.startswith("step 1/3 pixelized ") and "gain_db" in second
    assert not (tmp_path / "log.csv").exists()


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, path: Path) -> None:
        path.write_bytes(b"a part")
        raise RuntimeError("[enforce fail at inline_container.cc:672]")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="is the disk full"):
        train(task(RestoreRecipe("idn", config=dict(SMALL), steps=1, batch=1)), tmp_path)
    assert not list(tmp_path.glob("*.part"))


def umask() -> int:
    """The process's, which can be read by setting it alone."""
    now = os.umask(0o022)
    os.umask(now)
    return now


def test_training_lowers_the_loss_on_one_batch(tmp_path: Path) -> None:
    recipe = RestoreRecipe("idn", config=dict(SMALL), steps=150, batch=2, rate=2e-3, warmup=5)
    train(RestoreTask(recipe, (Stills(stills().pictures[:1]), None), CPU), tmp_path)
    with (tmp_path / "log.csv").open() as file:
        gains = [float(row["gain_db"]) for row in csv.DictReader(file)]
    assert gains[-1] > gains[0] and gains[-1] > 0.5  # an untrained network adds 0.2 at most


def test_a_folder_without_faces(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(InputError, match="no usable face picture"):
        Stills.load(tmp_path, 64)
    with pytest.raises(InputError, match="no folder"):
        Stills.load(tmp_path / "tiny.png", 64)
    with pytest.raises(InputError, match="vidpipe pack"):
        Segments.load(tmp_path / "none.npy")


def test_grey_and_odd_pictures_are_taken_as_they_are(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((150, 211), 90, np.uint8))
    loaded = Stills.load(tmp_path, 64).pictures
    assert loaded.shape == (1, 3, 64, 64) and int(loaded.min()) == 90
