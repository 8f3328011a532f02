"""Every loss of a recipe runs, changes the network, and is refused early where its network is missing."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nets.checkpoint import CheckpointError
from nets.mobilefacenet import FaceEmbedding
from nets.vgg import VGG16
from tests.train.test_training import SMALL, stills
from train.loop import train
from train.recipe import RestoreRecipe
from train.restore_task import LossNetworks, RestoreTask, given_weight
from train.state import State

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
PAPER = {"perceptual": 0.05, "style": 120.0, "tv": 0.1}


@pytest.fixture
def loss_networks(tmp_path: Path) -> LossNetworks:
    """Networks with random weights: gradients flow through them as through real ones."""
    torch.manual_seed(2)
    weights = {}
    for at, (i, o) in zip(
        (0, 2, 5, 7, 10, 12, 14),
        ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)),
        strict=True,
    ):
        conv = nn.Conv2d(i, o, 3)
        weights[f"features.{at}.weight"], weights[f"features.{at}.bias"] = conv.weight.data, conv.bias.data
    save_file(weights, tmp_path / "vgg.safetensors")
    return LossNetworks(VGG16(tmp_path / "vgg.safetensors"), FaceEmbedding())


def recipe(net: str, **losses: float) -> RestoreRecipe:
    config: dict[str, object] = dict(SMALL) if net == "idn" else {**SMALL, "core": 1, "context": 1}
    fixed = RestoreRecipe(net, config=config, steps=50, batch=1, warmup=2, windows=(2,), size_px=64)
    return replace(fixed, **losses)  # type: ignore[arg-type]


def task(wanted: RestoreRecipe, loss_networks: LossNetworks | None = None) -> RestoreTask:
    return RestoreTask(wanted, (stills(), None), CPU, loss_networks)


def one_step(net: str, folder: Path, loss_networks: LossNetworks | None = None, **losses: float) -> State:
    return train(task(recipe(net, **losses), loss_networks), folder, max_minutes=0.0)


@pytest.mark.parametrize("net", ["idn", "nar"])
@pytest.mark.parametrize(
    "losses",
    [{"perceptual": 0.05}, {"style": 120.0}, {"tv": 0.1}, {"adversarial": 0.01}, {"identity": 0.05}],
    ids=lambda losses: next(iter(losses)),
)
def test_each_loss_changes_the_step(
    net: str, losses: dict[str, float], tmp_path: Path, loss_networks: LossNetworks
) -> None:
    plain = one_step(net, tmp_path / "plain")
    other = one_step(net, tmp_path / "other", loss_networks, **losses)
    pairs = zip(plain.net.parameters(), other.net.parameters(), strict=True)
    assert plain.step == other.step == 1 and any(not torch.equal(a, b) for a, b in pairs)


def test_a_picture_weighs_by_the_better_one_that_was_given() -> None:
    truth, mask = torch.full((2, 3, 8, 8), 0.5), torch.zeros(2, 1, 8, 8)
    base = truth + 0.1
    common = truth + torch.tensor([0.05, 0.2])[:, None, None, None]
    alone, both = given_weight([base], truth, mask), given_weight([base, common], truth, mask)
    assert torch.allclose(alone.flatten(), torch.ones(2))
    assert torch.allclose(both.flatten(), torch.tensor([1.5, 0.75]))


def test_losses_are_logged_and_the_adversary_comes_when_it_should(
    tmp_path: Path, loss_networks: LossNetworks
) -> None:
    losses = {**PAPER, "adversarial": 1.0, "identity": 0.05}
    wanted = recipe("idn", **losses, adversarial_from=49)
    state = train(task(wanted, loss_networks), tmp_path)
    with (tmp_path / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {*losses, "pixelized", "base_db", "gain_db"} < row.keys()
    assert all(float(row[name]) != 0 for name in losses)
    assert state.adversary is not None
    # One step of the adversary, the last one.
    assert {int(s["step"]) for s in state.adversary.optimizer.state_dict()["state"].values()} == {1}


@pytest.mark.parametrize(
    ("loss", "says"), [("perceptual", "VGG16"), ("style", "VGG16"), ("identity", "MobileFaceNet")]
)
def test_a_loss_without_its_network_is_refused_before_the_first_step(
    loss: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        train(task(recipe("idn", **{loss: 0.05})), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_state_of_another_network_or_broken_is_refused_in_a_line(tmp_path: Path) -> None:
    one_step("idn", tmp_path)
    other = RestoreRecipe("idn", config={**SMALL, "width": 16}, steps=3, batch=1, size_px=64)
    with pytest.raises(CheckpointError, match=r"started with .*config\.width 8"):
        train(task(other), tmp_path, resume=True)
    (tmp_path / "recipe.json").unlink()  # as versions left it that kept none
    with pytest.raises(CheckpointError, match="other sizes") as caught:
        train(task(other), tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    (tmp_path / "state.pt").write_bytes(b"cut in the middle")
    with pytest.raises(CheckpointError, match="broken"):
        train(task(recipe("idn")), tmp_path, resume=True)


def test_lines_of_a_run_that_was_cut_are_not_kept_twice(tmp_path: Path) -> None:
    train(task(recipe("idn")), tmp_path)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "50"]
    (tmp_path / "log.csv").write_text("\n".join([*lines, lines[1].replace("50,", "100,", 1)]) + "\n")
    train(task(recipe("idn")), tmp_path, resume=True)
    assert (tmp_path / "log.csv").read_text().splitlines() == lines


def test_tensorboard_gets_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    train(task(recipe("idn")), tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("gain_db")] == [50]
