"""The command line with the tests' network, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.clips import write_clip
from tests.support.portrait import write_portrait
from vidpipe.cli.main import Interrupts, run_command

ROOT = Path(__file__).resolve().parents[2]
# The network is put in when vidpipe.jobs is loaded, no earlier: a signal may come before.
_PROGRAM = """
import importlib.util, sys
from pathlib import Path

class Patch:
    def find_spec(self, name, path=None, target=None):
        if name != "vidpipe.jobs":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def load_and_patch(module):
            load(module)
            module.default_net = lambda: "idn"
            module.engine_for = lambda *asked: Path({network!r})
        spec.loader.exec_module = load_and_patch
        return spec

sys.meta_path.insert(0, Patch())
from vidpipe.cli.main import main
main()
"""

Cli = Callable[..., int]


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough frames to be interrupted in."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_clip(path, frames=400, width=640, height=352, rate=Fraction(50))


@pytest.fixture(scope="session")
def portrait_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 s of one face, with sound."""
    return write_portrait(tmp_path_factory.mktemp("portrait") / "portrait.mp4")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, network: Path) -> Cli:
    """Runs a command line in this process with the test's network; returns the exit code."""
    monkeypatch.setattr("export.select.default_net", lambda: "idn")
    monkeypatch.setattr("export.select.engine_for", lambda *asked: network)
    # The command sets PyTorch's threads for its own process.
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)

    def call(*arguments: object) -> int:
        return run_command([str(argument) for argument in arguments], Interrupts())

    return call


@pytest.fixture
def start(network: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command line in a process of its own with the test's network."""
    program = _PROGRAM.format(network=str(network))

    def begin(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )

    return begin
