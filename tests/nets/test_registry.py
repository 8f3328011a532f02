"""A network of one file and one row is saved, exported and run like ours."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import vidpipe
from export.calibration import faces_or_noise
from export.convert import export, graph_digest
from export.networks import find
from export.spec import Request
from nets.checkpoint import build, load, save
from nets.network import Network
from nets.registry import REGISTRY, Architecture, architecture_of, register
from pipeline.engines.spec import read_onnx
from tests.support.fixtures import MOSAIC_BOX
from tests.support.toy_network import Toy, ToyConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of a Toy, and a cache of the test's own."""
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "toy.safetensors"
    save(path, Toy(ToyConfig()))
    return path


def luma(path: Path) -> NDArray[np.float32]:
    """(frames, height, width)."""
    with av.open(str(path)) as container:
        planes = [frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)]
    return np.stack(planes).astype(np.float32)


@pytest.mark.slow
def test_a_toy_is_kept_and_exported(toy: Path) -> None:
    net = load(toy)
    assert isinstance(net, Toy)
    assert net.config == ToyConfig()
    assert find(str(toy)).architecture == REGISTRY["toy"]
    entry = export(Request(str(toy), "onnx"), faces_or_noise)
    assert entry.report.parity
    assert all(record.holds for record in entry.report.parity)
    spec = read_onnx(entry.file)
    assert (spec.net, spec.version, spec.window, spec.fused) == ("toy", "unversioned", 1, False)


@pytest.mark.slow
def test_reconstruct_runs_a_toy(toy: Path, mosaic_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    report = vidpipe.reconstruct(mosaic_clip, out, net=str(toy), crf=10)
    assert report.network.net == "toy"
    assert report.frames_restored > 20
    before, after = luma(mosaic_clip), luma(out)
    x0, y0, x1, y1 = MOSAIC_BOX
    inside = np.s_[5:, y0:y1, x0:x1]
    changed = np.abs(after - before)
    assert changed[inside].mean() > 3 * changed[5:, :, x1:].mean()
    steps = [np.abs(np.diff(picture[inside], axis=2)) for picture in (before, after)]
    at_edges = [step[:, :, 9::10].mean() for step in steps]  # cells are 10 px wide
    assert at_edges[1] < 0.5 * at_edges[0], "cells are interpolated"


def test_the_graph_of_a_network_from_elsewhere_depends_on_its_file() -> None:
    assert graph_digest(REGISTRY["idn"]) == graph_digest(REGISTRY["nar"])
    assert graph_digest(REGISTRY["toy"]) != graph_digest(REGISTRY["idn"])


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="another network called 'idn'"):
        register(Architecture("idn", "tests.support.toy_network", "Toy", "ToyConfig"))
    assert REGISTRY["idn"].net == "IDN"


@pytest.mark.parametrize("name", REGISTRY)
def test_every_row_builds_what_it_says(name: str) -> None:
    row = REGISTRY[name]
    net = build(name, {})
    assert isinstance(net, Network)
    assert isinstance(net.config, row.config_class)
    assert architecture_of(net) == row
    assert row.windowed == {"core", "context"}.issubset(f.name for f in fields(net.config))
    assert row.source.is_file()


def test_listing_networks_loads_no_pytorch() -> None:
    """``vidpipe --help`` reads the registry and has to be quick."""
    program = (
        "import sys; from nets.registry import REGISTRY; assert REGISTRY; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
