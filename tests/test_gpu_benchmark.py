"""The script for a bare machine with a GPU: on this one it says that there is none, and loses no piece."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.roofline import CORES, H100, network, stages
from pipeline.cuda import why_none

ROOT = Path(__file__).resolve().parents[1]


def test_a_piece_that_fails_or_hangs_leaves_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(gpu, "USUAL_LIMIT_S", 0.01)
    assert "took longer than" in gpu.run_piece("machine")["error"]
    monkeypatch.setattr(gpu, "USUAL_LIMIT_S", 60)
    assert "ended with 2" in gpu.run_piece("no such piece")["error"]


def test_an_error_inside_a_piece_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> dict[str, object]:
        raise OSError("no such luck\non this machine")

    monkeypatch.setitem(gpu.PIECES, "transfer", broken)
    monkeypatch.setattr(sys, "argv", ["gpu", "--piece", "transfer"])
    gpu.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == "OSError: no such luck"
    assert "broken" in answer["trace"]


def test_the_shell_script_says_what_there_is(tmp_path: Path) -> None:
    """Wheels that cannot be installed are named; the rest goes on."""
    (tmp_path / "broken-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    ended = subprocess.run(
        ["bash", "benchmarks/gpu.sh", tmp_path, tmp_path / "out", "--only", "machine", "transfer"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "left out: broken-1.0" in ended.stderr
    whole = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert whole["machine"]["why_no_gpu"] == why_none()
    assert bool(whole["machine"]["gpus"]) == (not why_none())
    assert whole["transfer"]["up_gb_s"] > 0


def test_floors_follow_the_graph() -> None:
    """A 2x larger picture costs 4x; a floor is the slower of arithmetic and memory."""
    small, large = network("idn", 128, 1), network("idn", 256, 1)
    assert large.flop == pytest.approx(4 * small.flop, rel=0.05)
    assert network("idn", 128, 16).numbers < small.numbers
    assert 0 < small.floor_ms(H100) < small.floor_ms(CORES)
    assert [w.what for w in stages(1920, 1080, 300, 128, 10)][-1] == "download"
