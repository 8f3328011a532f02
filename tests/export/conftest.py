"""Small networks whose answers are not zero, and a cache of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from export.calibration import Faces, faces
from export.convert import export
from export.spec import Request
from nets.checkpoint import save
from nets.idn import IDN, IDNConfig
from nets.nar import NAR, NARConfig
from nets.network import Network
from nets.pixelizer import Pixelizer, PixelizerConfig
from nets.reference.nar_seed import SeedNAR, SeedNARConfig


def shaken(name: str) -> Network:
    """A small network; layers that start at 0 would make every engine agree."""
    net: Network
    match name:
        case "idn":
            net = IDN(IDNConfig(width=8, widths=(16,), tail=8, kernel=3, recurrences=1, middle=1))
        case "nar":
            net = NAR(NARConfig(width=8, widths=(16,), tail=8, kernel=3, middle=1, core=2, context=1))
        case "pixelizer-block":
            net = Pixelizer(PixelizerConfig(width=16, blocks=1))
        case _:
            net = SeedNAR(SeedNARConfig(width=8, widths=(16,), tail=8, blocks=1, middle=1, core=2, context=1))
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return net.eval()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small IDN."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(path, shaken("idn"))
    return path


@pytest.fixture(scope="session")
def noise() -> Faces:
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Faces((picture,), "noise")


@pytest.fixture(scope="session")
def portrait() -> Faces:
    pytest.importorskip("skimage")
    return faces()


@pytest.fixture(scope="session")
def _warm(tiny: Path, noise: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDPIPE_CACHE", str(folder))
        export(Request(str(tiny), "onnx"), lambda: noise)
    return folder


@pytest.fixture
def cache_folder(_warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has the ONNX file of ``tiny``, made once: PyTorch's exporter takes seconds."""
    folder = tmp_path / "cache"
    shutil.copytree(_warm, folder)
    monkeypatch.setenv("VIDPIPE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def _shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shipped")


@pytest.fixture
def shared_cache(_shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests of shipped networks: an ONNX file is made once for all targets."""
    monkeypatch.setenv("VIDPIPE_CACHE", str(_shipped))
    return _shipped
