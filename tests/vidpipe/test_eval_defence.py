"""Table 5's retrained attackers: kept as long as nothing changes that they were made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nets.checkpoint import save
from nets.idn import IDN, IDNConfig
from nets.pixelizer import Pixelizer, PixelizerConfig
from tests.train.evaluation.test_evaluate import stills
from train.evaluation.defence import Defence
from train.evaluation.pixelized_faces import Settings
from vidpipe.cli.eval_defence import _retrained

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def defences(weights: Path, blocks: int = 6) -> list[Defence]:
    changed = Defence("protect + block", Settings("protect", blocks), "block", weights)
    return [Defence("pixelize", Settings("pixelize", blocks), "none"), changed]


def test_an_attacker_is_retrained_for_its_weights_blocks_and_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idn, change = tmp_path / "idn.safetensors", tmp_path / "block.safetensors"
    save(idn, IDN(IDNConfig(width=8, widths=(16, 24), tail=8)))
    save(change, Pixelizer(PixelizerConfig(width=16, blocks=1)))
    made: list[tuple[bool, float]] = []

    def retrain(weights: Path, faces: object, against: object, target: Path, *more: float) -> None:
        made.append((against is not None, more[1]))
        target.write_bytes(weights.read_bytes())

    monkeypatch.setattr("train.attacker_task.retrain", retrain)
    monkeypatch.setattr("train.data.pictures.Stills.load", lambda *_: stills())

    def run(blocks: int = 6, steps: int = 3) -> list[str]:
        networks = _retrained(defences(change, blocks), idn, tmp_path, steps, tmp_path, CPU)
        assert list(networks) == ["none", "block"]
        return [n.path.name for n in networks.values()]

    first = run()
    assert [changed for changed, _ in made] == [False, True]
    assert [share for _, share in made] == pytest.approx([7.8, 7.8])
    assert run() == first and len(made) == 2, "kept"
    assert not set(run(blocks=4)) & set(first) and len(made) == 4
    assert not set(run(steps=4)) & set(first) and len(made) == 6
    save(change, Pixelizer(PixelizerConfig(width=16, blocks=1)))
    assert run()[0] == first[0] and len(made) == 7, "only the one whose perturbation is another"
    save(idn, IDN(IDNConfig(width=8, widths=(16, 24), tail=8)))
    assert not set(run()) & set(first) and len(made) == 9
