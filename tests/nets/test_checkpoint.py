"""Weights go out and come back; files that hold none say so."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_bytes

from nets.checkpoint import UNVERSIONED, WEIGHTS, CheckpointError, build, load, save, sha256, version_of
from nets.idn import IDN, IDNConfig
from nets.nar import NAR, NARConfig


@pytest.mark.parametrize(
    "net",
    [
        IDN(IDNConfig(width=8, widths=(16, 24), tail=8)),
        NAR(NARConfig(width=8, widths=(16, 24), tail=8, core=1)),
    ],
    ids=["idn", "nar"],
)
def test_round_trip(net: IDN | NAR, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(path, net)
    again = load(path)
    assert again.config == net.config and not again.training
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    save(path, again)
    assert sha256(path) == sha256(path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x10\0\0\0\0\0\0\0{}"])
def test_foreign_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load(tmp_path / "none.safetensors")


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(path, IDN(IDNConfig(width=8, widths=(16, 24), tail=8)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        load(path)


def test_a_network_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="known are idn, nar, nar-seed"):
        build("unet", {})
    with pytest.raises(CheckpointError, match="another version of idn"):
        build("idn", {"depth": 3})


@pytest.mark.parametrize("weights", sorted(WEIGHTS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_the_version_of_weights_is_their_cards(weights: Path, tmp_path: Path) -> None:
    card = json.loads(weights.with_suffix(".json").read_text())
    assert version_of(weights) == card["version"]
    copy = tmp_path / "copy.safetensors"
    shutil.copy(weights, copy)
    assert version_of(copy) == UNVERSIONED
    copy.with_suffix(".json").write_text(json.dumps(card))
    assert version_of(copy) == card["version"]
    copy.with_suffix(".json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    assert version_of(copy) == UNVERSIONED


HOSTILE: dict[str, dict[str, object]] = {
    "a billion layers": {"blocks": 10**9},
    "a wide one": {"width": 10**6},
    "NaN": {"tail": float("nan")},
    "a text": {"width": "wide"},
    "an object": {"width": {"a": 1}},
    "nothing": {"width": None},
    "negative": {"width": -1},
    "no width": {"width": 0},
    "a long list": {"widths": [8] * 1000},
    "an empty list": {"widths": []},
    "another norm": {"norm": "none such"},
    "an even kernel": {"kernel": 0},
    "many halvings": {"stride": 64},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_config_that_asks_for_too_much_is_refused_before_it_is_built(kind: str, tmp_path: Path) -> None:
    net = IDN(IDNConfig(width=8, widths=(16, 24), tail=8))
    metadata = {"net": "idn", "config": json.dumps({**asdict(net.config), **HOSTILE[kind]})}
    path = tmp_path / "net.safetensors"
    path.write_bytes(to_bytes(net.state_dict(), metadata=metadata))
    with pytest.raises(CheckpointError):
        load(path)


@pytest.mark.parametrize("config", ["", "[]", "{", "[" * 5000, "null", '{"width": NaN}'])
def test_a_config_that_is_none_is_refused(config: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(to_bytes({"a": torch.zeros(1)}, metadata={"net": "idn", "config": config}))
    with pytest.raises(CheckpointError):
        load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    net = IDN(IDNConfig(width=8, widths=(16, 24), tail=8))
    with torch.no_grad():
        next(net.parameters()).view(-1)[0] = value
    save(tmp_path / "net.safetensors", net)
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        load(tmp_path / "net.safetensors")
