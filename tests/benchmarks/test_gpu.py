"""The script for a bare machine with a GPU: on this one it says that there is none, and loses no piece."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from time import sleep

import psutil
import pytest

from benchmarks import gpu, gpu_profile, gpu_tests
from benchmarks.roofline import CORES, H100, network, stages
from pipeline.cuda import why_none
from tests.support import ROOT

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"fps": {"pyav, CPU": 9.0, "dali, cuda:0": {"error": "MissingError: no DALI"}}}, 1),
        ({"engines": [{"net": "idn"}, {"net": "nar", "error": "OSError: no such luck"}]}, 1),
        ({"runs": [{"fps_without_encoding": 1.0}, {"error": "ended with -9: "}]}, 1),
        ({"error": "took longer than 180 s"}, 1),
        ({"runs": [{"fps_without_encoding": 1.0}, {"fps_without_encoding": 1.0}]}, None),
    ],
)
def test_an_error_within_a_piece_is_one_of_the_whole(
    result: dict[str, object],
    code: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gpu, "run_piece", lambda name: {**result, "took_s": 1.0})
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(out), "--only", "decode"])
    if code is None:
        gpu.main()
    else:
        with pytest.raises(SystemExit) as ended:
            gpu.main()
        assert ended.value.code == code
    assert ("done" in capsys.readouterr().out) == (code is None)
    assert json.loads(out.read_text())["decode"] == {**result, "took_s": 1.0}


def test_ways_and_engines_and_runs_that_fail_say_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no such luck")

    monkeypatch.setattr(gpu_profile, "make_clip", lambda: tmp_path / "none.mp4")
    assert all("error" in told for told in gpu_profile.decode()["fps"].values())
    monkeypatch.setattr("export.convert.export", broken)
    assert {row["error"] for row in gpu_profile.engines()["engines"]} == {"OSError: no such luck"}
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert [run["error"] for run in gpu.two_runs()["runs"]] == 2 * ["ended with 1: "]


def test_a_folder_of_wheels_that_is_not_there_ends_it(tmp_path: Path) -> None:
    command = ["bash", "benchmarks/gpu.sh", f"{tmp_path}/wheels", f"{tmp_path}/out", "--only", "machine"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "no such folder" in ended.stderr


def test_tests_that_die_before_their_report_leave_what_they_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, -11, "collected 7 items", "Fatal: Segmentation fault")

    monkeypatch.setattr(subprocess, "run", run)
    error = gpu_tests.tests()["error"]
    assert "pytest ended with -11" in error
    assert error.endswith("Segmentation fault")


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


def test_a_piece_that_hangs_takes_its_processes_with_it(tmp_path: Path) -> None:
    """A test run that went on would be measured with the pieces after it."""
    left = tmp_path / "pid"
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    with pytest.raises(subprocess.TimeoutExpired):
        gpu._ended([sys.executable, "-c", code, child, str(left)], 10)
    for _ in range(100):  # a signal takes its time on a busy machine; what sleeps 60 s is not gone by itself
        if not _lives(int(left.read_text())):
            return
        sleep(0.1)
    raise AssertionError("the process of the process goes on")


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_tests_that_a_machine_cannot_run_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is promised less because it is missing; VIDPIPE_REQUIRE says what is promised."""
    asked: list[str] = []

    def run(command: list[str], env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(env["VIDPIPE_REQUIRE"])
        report = next(word for word in command if word.startswith("--junitxml=")).partition("=")[2]
        Path(report).write_text(
            '<testsuite><testcase classname="a" name="b"><failure message="no GPU"/></testcase>'
            '<testcase classname="a" name="c"><skipped message="why"/></testcase></testsuite>'
        )
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.delenv("VIDPIPE_REQUIRE", raising=False)
    monkeypatch.setattr(subprocess, "run", run)
    result = gpu_tests.tests()
    assert (result["passed"], result["exit_code"]) == (0, 1)
    assert result["failed"] == [{"test": "a.b", "why": "no GPU"}]
    assert result["skipped"] == [{"test": "a.c", "why": "why"}]
    assert "1 of 2 tests failed" in result["error"]
    monkeypatch.setenv("VIDPIPE_REQUIRE", "gpu")
    gpu_tests.tests()
    assert asked == ["gpu,dali,trt", "gpu"]


def test_the_wheels_are_all_that_a_machine_with_pytorch_lacks() -> None:
    """Else a module that is not there breaks the tests on a machine without a network."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = ["pytest-timeout", "hypothesis", "psutil"]
    machine = {"torch", "numpy", "scipy", "opencv-python-headless", "onnx", "onnxruntime", "openvino"}
    wanted = {re.split(r"[^\w-]", line)[0] for line in [*project["dependencies"], *tested]} - machine
    listed = (ROOT / "requirements" / "gpu-wheels.txt").read_text().splitlines()
    assert wanted <= {re.split(r"[^\w-]", line)[0] for line in listed}


def test_the_tests_find_all_that_they_import_there() -> None:
    """On a machine that has PyTorch and the wheels; one import that fails would end them all."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.wheels"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert "tests/pipeline/run/test_device.py" in ended.stdout


def test_floors_follow_the_graph() -> None:
    """A 2x larger picture costs 4x; a floor is the slower of arithmetic and memory."""
    small, large = network("idn", 128, 1), network("idn", 256, 1)
    assert large.flop == pytest.approx(4 * small.flop, rel=0.05)
    assert network("idn", 128, 16).numbers < small.numbers
    assert 0 < small.floor_ms(H100) < small.floor_ms(CORES)
    assert [w.what for w in stages(1920, 1080, 300, 128, 10)][-1] == "download"
    # A pixelizer reads a lattice of its own size, whatever the picture's is.
    assert network("pixelizer-block", 128, 1) == network("pixelizer-block", 256, 1)


def test_who_cuts_the_script_keeps_the_pieces_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(name: str) -> dict[str, object]:
        if name == "decode":
            raise KeyboardInterrupt
        return {"took_s": 1.0}

    monkeypatch.setattr(gpu, "run_piece", cut)
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(out), "--only", "machine", "transfer", "decode"])
    with pytest.raises(KeyboardInterrupt):
        gpu.main()
    assert list(json.loads(out.read_text())) == ["train", "machine", "transfer"]
    assert list(tmp_path.iterdir()) == [out]
