"""The pixelizer's training: what is transmitted, that it resumes, that it learns to lead astray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nets.checkpoint import CheckpointError, load, save
from nets.idn import IDN, IDNConfig
from nets.nar import NAR, NARConfig
from nets.pixelizer import Pixelizer, PixelizerConfig
from nets.pixelizer_io import Perturb
from tests.train.test_training import generator, stills
from train.attacker_task import retrain
from train.data.pixelize import PixelizedFaces, averaged_cells
from train.data.transmission import Transmission, blur, draw_transmission, eight_bits, jpeg
from train.loop import train
from train.pixelizer_task import PixelizerTask, attack, change, draw, load_attacker
from train.recipe import PixelizerRecipe

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = IDNConfig(width=8, widths=(16, 24), tail=8)


def idn() -> IDN:
    """Of random weights that reach the output."""
    torch.manual_seed(0)
    net = IDN(TINY)
    torch.nn.init.normal_(net.tail_last.weight, std=0.05)
    return net.requires_grad_(False).eval()


def recipe(perturb: Perturb = "block", limit: float = 0.1, **fields: object) -> PixelizerRecipe:
    config = replace(PixelizerConfig.shipped(perturb), width=16, blocks=1, limit=limit)
    fixed = PixelizerRecipe(config=config, batch=2, size_px=64, blocks=(4.0, 6.0))
    return replace(fixed, **fields)  # type: ignore[arg-type]


def faces_of(settings: PixelizerRecipe, seed: int = 5) -> PixelizedFaces:
    return draw(settings, stills(128), generator(seed), CPU).faces


@pytest.mark.parametrize("quality", [30, 75, 92])
def test_jpeg_is_libjpeg(quality: int) -> None:
    picture = stills(128).pictures[:1].float() / 255
    ours = jpeg(picture, quality)[0]
    bgr = np.ascontiguousarray((picture[0] * 255).byte().permute(1, 2, 0).flip(-1).numpy())
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    theirs = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR)).flip(-1).permute(2, 0, 1).float() / 255
    assert float((ours - theirs).abs().mean()) * 255 < 1.5
    assert float((theirs - picture[0]).abs().mean()) > 0


def test_a_gradient_goes_through_what_rounds() -> None:
    picture = (stills(64).pictures[:1].float() / 255).requires_grad_()
    (jpeg(blur(eight_bits(picture), 0.7), 50) ** 2).sum().backward()
    assert picture.grad is not None
    assert float(picture.grad.abs().mean()) > 0.1


@pytest.mark.parametrize("perturb", ["block", "pixel"])
def test_a_change_stays_within_its_limit_and_its_mosaic(perturb: Perturb) -> None:
    settings = recipe(perturb)
    faces = faces_of(settings)
    torch.manual_seed(1)
    net = Pixelizer(settings.config)
    torch.nn.init.normal_(net.last.weight, std=3.0)
    plain, changed = faces.painted(), faces.painted(change(net, faces))
    difference = (changed - plain).abs()
    assert 0.02 < float(difference.max()) <= settings.config.limit + 1 / 255
    assert float((difference * faces.mask).max()) == 0
    averaged = averaged_cells(changed, faces.mask, faces.rows, faces.cols)
    within = float((averaged - changed).abs().max())
    assert within < 1e-5 if perturb == "block" else within > 0.01


def test_plain_lattices_hold_the_means_of_the_truth() -> None:
    faces = faces_of(recipe())
    averaged = averaged_cells(faces.truth, faces.mask, faces.rows, faces.cols)
    assert float((averaged - faces.painted()).abs().mean()) < 0.02


def test_a_run_that_is_cut_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    settings = recipe(steps=3)

    def task() -> PixelizerTask:
        return PixelizerTask(settings, stills(128), idn(), CPU)

    whole = train(task(), tmp_path / "whole")
    train(task(), tmp_path / "cut", max_minutes=0)
    resumed = train(task(), tmp_path / "cut", resume=True)
    assert resumed.step == whole.step == 3
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, resumed.net.state_dict()[name]), name
    kept = load(tmp_path / "cut" / "pixelizer-block.safetensors")
    assert isinstance(kept, Pixelizer) and kept.config == settings.config


def test_it_learns_to_lead_an_attacker_astray(tmp_path: Path) -> None:
    settings = recipe(steps=25, rate=5e-3, warmup=1, recovery=0.0, change=0.0, away=1.0)
    net = idn()
    task = PixelizerTask(settings, stills(128), net, CPU)
    train(task, tmp_path)
    faces = faces_of(settings, 99)
    with torch.no_grad():
        plain, _ = attack(net, faces.painted(), faces)
        changed, _ = attack(net, faces.painted(change(task.net, faces)), faces)
    before, after = ((x - faces.truth).abs().mean() for x in (plain, changed))
    assert float(after) > 1.2 * float(before)


def test_only_an_idn_is_an_attacker(tmp_path: Path) -> None:
    save(tmp_path / "nar.safetensors", NAR(NARConfig(width=8, widths=(16, 24), tail=8)))
    with pytest.raises(CheckpointError, match="no IDN"):
        load_attacker(tmp_path / "nar.safetensors", CPU)


def test_a_retrained_attacker_repeats_and_is_better_at_such_mosaics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(tmp_path / "idn.safetensors", IDN(TINY))
    settings = recipe(limit=0.3)
    against = Pixelizer(settings.config).requires_grad_(False)
    torch.nn.init.normal_(against.last.weight, std=3.0)
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for file in files:
        retrain(tmp_path / "idn.safetensors", stills(128), against, file, CPU, 5.0, steps=12)
    first, second = (load(f).state_dict() for f in files)
    assert all(torch.equal(first[k], second[k]) for k in first)
    faces = faces_of(settings, 99)
    errors = []
    for file in (tmp_path / "idn.safetensors", files[0]):
        with torch.no_grad():
            restored, _ = attack(load_attacker(file, CPU), faces.painted(change(against, faces)), faces)
        errors.append(float(((restored - faces.truth) ** 2).mean()))
    assert errors[1] < 0.97 * errors[0]
    assert not [p for p in tmp_path.iterdir() if p.is_dir()], "nothing is left of the runs but their weights"


def test_a_transmission_is_one_of_four() -> None:
    picture = stills(64).pictures[:1].float() / 255
    noise = torch.randn(picture.shape, generator=generator())
    for kind, wanted in (
        (0.1, picture),
        (0.4, jpeg(picture, 67.5)),
        (0.7, eight_bits(blur(picture, 0.9))),
        (0.9, eight_bits(picture + noise * 2.5 / 255)),
    ):
        received = Transmission(kind, 0.5, noise if kind == 0.9 else None)(picture)
        assert torch.allclose(received, wanted, atol=1e-6), kind


def test_a_drawn_transmission_repeats_and_all_kinds_are_drawn() -> None:
    shape = (1, 3, 8, 8)
    drawn = [draw_transmission(shape, generator(seed)) for seed in range(40)]
    again = [draw_transmission(shape, generator(seed)) for seed in range(40)]
    assert [(t.kind, t.strength, chance) for t, chance in drawn] == [
        (t.kind, t.strength, c) for t, c in again
    ]
    assert {t.noise is not None for t, _ in drawn} == {True, False}
    assert all((t.noise is not None) == (t.kind >= 0.8) for t, _ in drawn)
