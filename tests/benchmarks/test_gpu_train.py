"""The training of gpu.sh: it comes first, goes on where it was cut, and fits through the machine's door."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import gpu_train
from nets.checkpoint import load
from tests.support import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two face pictures, no wheels, nothing else."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "faces").mkdir()
    for seed in (1, 2):
        picture = np.random.default_rng(seed).integers(0, 255, (128, 128, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "faces" / f"{seed}.png"), cv2.GaussianBlur(picture, (0, 0), 5))
    return tmp_path


TRAINED = ["--train", "idn", "--faces", "faces", "--batch", "1", "--runs", "runs"]


def script(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """gpu.sh, called from a folder that is not the checkout."""
    ended = subprocess.run(
        ["bash", ROOT / "benchmarks/gpu.sh", "wheels", "out", *arguments],
        cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended, json.loads((folder / "out" / "gpu.json").read_text())


def test_it_trains_first_and_another_machine_goes_on(folder: Path) -> None:
    ended, whole = script(folder, *TRAINED, "--steps", "3", "--max-minutes", "0", "--only", "machine")
    assert ended.returncode == 0, ended.stderr
    assert list(whole) == ["train", "machine"]
    assert (whole["train"]["went_on_from"], whole["train"]["step"]) == ("nothing", 1)
    files = {path.name: path.stat().st_size for path in (folder / "out").iterdir()}
    assert len(files) <= 8 and max(files.values()) <= 16 << 20, files
    assert whole["train"]["files"] == {name: size for name, size in files.items() if name != "gpu.json"}
    assert sum(p.numel() for p in load(folder / "out" / "idn.safetensors").parameters()) > 1e6
    shutil.rmtree(folder / "runs")  # a fresh machine, to which OUT was brought
    ended, whole = script(folder, *TRAINED, "--steps", "3", "--only")
    assert ended.returncode == 0, ended.stderr
    assert whole["train"]["went_on_from"] == "3 pieces"
    assert (whole["train"]["step"], whole["train"]["steps"]) == (3, 3)
    assert "steps 2 to 3" in ended.stderr.replace("\n", " "), "it began anew"


def test_without_data_one_line_says_so_and_the_pieces_go_on(folder: Path) -> None:
    for given in ([], ["--train", "nar"]):
        ended, whole = script(folder, *given, "--only", "machine")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines()[0].startswith(f"train: skipped, {gpu_train.NO_DATA}")
        assert whole["machine"]["python"]
    ended, whole = script(
        folder, "--train", "idn", "--faces", "nowhere", "--runs", "runs", "--only", "machine"
    )
    assert ended.returncode == 1
    assert "no folder" in whole["train"]["error"] and whole["machine"]["python"]
    ended, _ = script(folder, "--batch", "2", "--only", "machine")
    assert ended.returncode == 2 and "without --train nobody knows --batch 2" in ended.stderr


def test_ctrl_c_keeps_what_was_trained(folder: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", "out/gpu.json", *TRAINED, "--steps", "100000"]
    (folder / "out").mkdir()
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any("step 1/" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode != 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "idn.safetensors", "idn.tar.0", "idn.tar.1", "idn.tar.2"
    ]  # fmt: skip
    assert load(folder / "out" / "idn.safetensors")


def saved(run: Path, size: int) -> None:
    run.mkdir(exist_ok=True)
    (run / "state.pt").write_bytes(os.urandom(size))
    (run / "idn.safetensors").write_bytes(b"weights")


def test_pieces_are_those_of_the_last_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_train, "FILE_BYTES", 1 << 14)
    run, out, other = tmp_path / "run", tmp_path / "out", tmp_path / "other"
    out.mkdir()
    saved(run, 1 << 16)
    assert len(gpu_train.pack("idn", run, out)["files"]) == 6
    saved(run, 100)
    assert set(gpu_train.pack("idn", run, out)["files"]) == {"idn.safetensors", "idn.tar.0"}
    assert {path.name for path in out.iterdir()} == {"idn.safetensors", "idn.tar.0"}
    assert gpu_train._unpacked("idn", out, other) == "1 pieces"
    assert (other / "state.pt").read_bytes() == (run / "state.pt").read_bytes()
    saved(run, 6 << 14)
    answer = gpu_train.pack("idn", run, out)
    assert "the state" in answer["left_out"] and set(answer["files"]) == {"idn.safetensors"}
    with tarfile.open(out / "idn.tar.0") as tar:
        assert tar.getmember("state.pt").size == 100, "the last state that fits stays"


def test_a_training_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    monkeypatch.setattr(gpu_train, "GRACE_S", 0.2)
    told = gpu_train.train("idn", tmp_path / "runs", tmp_path, [], 0)
    assert "ended with -9" in told["error"] and told["files"] == {}
