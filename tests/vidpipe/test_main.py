"""The command line as a process: quick help, exit codes, Ctrl-C at any moment."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pipeline.engines
import vidpipe
from pipeline.errors import MissingError
from tests.support import ROOT
from tests.vidpipe.conftest import Cli
from vidpipe.cli.main import Interrupts, run_command
from vidpipe.doctor import _versions

pytestmark = pytest.mark.slow

Start = Callable[..., "subprocess.Popen[str]"]
HEAVY = {"torch", "av", "cv2", "numpy", "scipy", "onnx", "openvino", "onnxruntime", "pydantic"}


def test_the_command_line_imports_nothing_heavy() -> None:
    program = (
        "import sys; from vidpipe.cli.app import app; app([]); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_help_and_version(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("--help") == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("run", "reconstruct", "bench", "doctor"))
    assert cli() == 0
    assert capsys.readouterr().out == out, "vidpipe alone is a question, too"
    assert cli("--version") == 0
    assert vidpipe.__version__ in capsys.readouterr().out


def test_python_runs_the_package() -> None:
    command = [sys.executable, "-m", "vidpipe"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert vidpipe.__version__ in done.stdout
    assert subprocess.run([*command, "colourize"], check=False, capture_output=True).returncode == 2


def test_an_unknown_command_is_a_usage_error(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("colourize") == 2
    assert "colourize" in capsys.readouterr().err


def test_debug_shows_the_traceback(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("reconstruct", tmp_path / "missing.mp4", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err
    assert cli("reconstruct", tmp_path / "missing.mp4") == 1
    assert "Traceback" not in capsys.readouterr().err


def _interrupt(process: subprocess.Popen[str], number: signal.Signals) -> str:
    assert process.poll() is None, "it ended before it could be interrupted"
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    return err


@pytest.mark.parametrize("after_s", [0.1, 0.4, 0.8, 1.6])
def test_ctrl_c_while_it_starts_leaves_nothing(
    start: Start, long_clip: Path, tmp_path: Path, after_s: float
) -> None:
    process = start("reconstruct", long_clip, "-o", tmp_path / "out.mp4", "--preset", "veryslow")
    time.sleep(after_s)
    err = _interrupt(process, signal.SIGINT)
    # Before `main` has begun, Python itself dies of the signal.
    begun = process.returncode != -signal.SIGINT and "Fatal Python error" not in err
    assert process.returncode == 130 or not begun
    assert "Traceback" not in err or not begun
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "after_s"),
    [(signal.SIGINT, 0.0), (signal.SIGTERM, 0.5), (signal.SIGHUP, 0.1)],
)
def test_a_signal_while_it_writes_leaves_nothing(
    start: Start, long_clip: Path, tmp_path: Path, number: signal.Signals, after_s: float
) -> None:
    process = start("reconstruct", long_clip, "-o", tmp_path / "out.mp4", "--preset", "veryslow")
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(after_s)
    err = _interrupt(process, number)
    assert process.returncode == 128 + number
    assert err.strip() == "vidpipe: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after_s", [0.5])
def test_further_signals_do_not_break_into_the_closing(
    start: Start, long_clip: Path, tmp_path: Path, after_s: float
) -> None:
    process = start("reconstruct", long_clip, "-o", tmp_path / "out.mp4", "--preset", "veryslow")
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(after_s)
    until_s = time.monotonic() + Interrupts.GRACE_S / 2
    for _ in range(20):
        if process.poll() is None and time.monotonic() < until_s:
            process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.strip()) == (130, "vidpipe: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_at_any_moment_a_run_is_whole_or_leaves_nothing(
    start: Start, mosaic_clip: Path, tmp_path: Path
) -> None:
    for step in range(2):
        folder = tmp_path / str(step)
        folder.mkdir()
        process = start("reconstruct", mosaic_clip, "-o", folder / "out.mp4", "-q")
        while not list(folder.iterdir()) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(0.05 + step * 0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        left = sorted(path.name for path in folder.iterdir())
        assert (process.returncode, err.strip(), left) in [
            (130, "vidpipe: interrupted", []),
            (0, "", ["out.mp4", "out.mp4.json"]),
        ]


def test_the_doctor_tries_and_tells(
    cli: Cli, network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("export.select.default_net", lambda: "idn")
    monkeypatch.setattr("export.select.engine_file", lambda net: network)
    assert cli("doctor", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["works"]
    checks = {check["name"]: check for check in told["checks"]}
    assert checks["libx264"]["ok"]
    assert checks["openvino"]["ok"]
    assert all(check["fix"] for check in told["checks"] if not check["ok"])


@pytest.mark.parametrize(("missing", "code"), [({"onnxruntime"}, 0), ({"onnxruntime", "openvino"}, 5)])
def test_the_doctor_asks_for_one_library_that_runs_networks(
    cli: Cli,
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: set[str],
    code: int,
) -> None:
    version, opens = importlib.metadata.version, pipeline.engines.open_engine

    def installed(library: str) -> str:
        if library in missing:
            raise importlib.metadata.PackageNotFoundError(library)
        return version(library)

    def opened(path: Path, *, library: str, **how: Any) -> Any:
        if library in missing:
            raise MissingError(f"{library} is not installed")
        return opens(path, library=library, **how)

    monkeypatch.setattr("importlib.metadata.version", installed)
    monkeypatch.setattr("pipeline.engines.open_engine", opened)
    monkeypatch.setattr("export.select.default_net", lambda: "idn")
    monkeypatch.setattr("export.select.engine_file", lambda net: network)
    assert cli("doctor", "--json") == code
    checks = json.loads(capsys.readouterr().out)["checks"]
    told = next(check for check in checks if (check["group"], check["name"]) == ("system", "onnxruntime"))
    assert not told["ok"]
    assert not told["needed"]
    assert "vidpipe[cpu]" in told["fix"]


@pytest.mark.parametrize(
    ("flavours", "ok"), [({"onnxruntime-gpu"}, True), ({"onnxruntime", "onnxruntime-gpu"}, False)]
)
def test_the_doctor_knows_the_flavours_of_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, flavours: set[str], ok: bool
) -> None:
    version = importlib.metadata.version

    def installed(package: str) -> str:
        if not package.startswith("onnxruntime"):
            return version(package)
        if package in flavours:
            return "1.26.0"
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("importlib.metadata.version", installed)
    (told,) = (check for check in _versions() if check.name == "onnxruntime")
    assert told.ok == ok
    assert "1.26.0 (onnxruntime-gpu)" in told.detail
    assert ok or "uninstall onnxruntime onnxruntime-gpu" in told.fix


def test_the_doctor_says_5_where_run_could_not_work(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(net: str) -> Path:
        raise MissingError(f"no weights of {net}")

    monkeypatch.setattr("export.select.default_net", lambda: "idn")
    monkeypatch.setattr("export.select.engine_file", missing)
    assert cli("doctor") == 5
    assert "no weights of idn" in capsys.readouterr().out


def test_bench_times_every_stage(cli: Cli, mosaic_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("bench", mosaic_clip, "--frames", "16", "--json") == 0
    captured = capsys.readouterr()
    assert "too few" in captured.err
    told = json.loads(captured.out)
    assert [stage["stage"] for stage in told["stages"]] == [
        "decode",
        "find",
        "track",
        "crop",
        "window",
        "restore",
        "paste",
        "encode",
    ]
    assert told["frames"] == 16
    assert told["frames_restored"] == 16
    assert cli("bench", mosaic_clip, "--frames", "8") == 0
    assert "end to end" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("pixelize", "missing.mp4"),
        ("reconstruct", "."),
        ("pixelize", "in.mp4", "-o", "there.mp4"),
        ("protect", "in.mp4", "-o", "in.mp4", "-y"),
        ("reconstruct", "in.mp4", "-o", "no/out.mp4"),
        ("run", "in.mp4", "--mode", "blur"),
        ("pixelize", "in.mp4", "--start", "soon"),
        ("pixelize", "in.mp4", "--end", "1", "--start", "2"),
        ("pixelize", "in.mp4", "--region", "nan,0,1,1"),
        ("protect", "in.mp4", "--keep", "somebody"),
        ("run", "in.mp4", "--mode", "pixelize", "--net", "idn"),
    ],
)
def test_what_the_names_and_options_tell_is_answered_before_anything_heavy_is_imported(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert not (HEAVY - {"pydantic"}) & _imported(tmp_path, arguments)  # typer itself coerces with pydantic


@pytest.mark.parametrize(
    "arguments",
    [
        ("pixelize", "in.mp4"),
        ("reconstruct", "in.mp4", "-o", "out.xyz"),
        ("protect", "in.mp4", "--codec", "none"),
        ("pixelize", "in.mp4", "--preset", "hasty"),
    ],
)
def test_what_ffmpeg_knows_is_answered_before_pytorch_is_imported(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert not {"torch", "cv2", "scipy", "openvino", "onnxruntime"} & _imported(tmp_path, arguments)


def _imported(folder: Path, arguments: tuple[str, ...]) -> set[str]:
    """Packages that a command has imported which ends with one line."""
    for name in ("in.mp4", "there.mp4"):
        (folder / name).write_text("footage")
    program = (
        "import sys; from vidpipe.cli.main import Interrupts, run_command\n"
        "code = run_command(sys.argv[1:], Interrupts())\n"
        "print(code, *{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    code, *modules = done.stdout.split()
    assert int(code) in {1, 2}
    assert len(done.stderr.splitlines()) == 1
    return set(modules)


_HANGING = """
import sys, threading
from pathlib import Path
from pipeline import leftovers
from vidpipe.cli.main import Interrupts

Interrupts.GRACE_S, Interrupts.TOGETHER_S = 0.2, 0.0
interrupts = Interrupts()
interrupts.install()
leftovers.create(leftovers.part_name(Path(sys.argv[1])))
lock = threading.Lock()
lock.acquire()
words = iter(("ready", "once"))
while True:  # as a library that takes no notice
    try:
        print(next(words), flush=True)
        while not lock.acquire(timeout=0.1):  # Python may note a signal and block all the same
            pass
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_third_signal_ends_a_process_that_hangs_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HANGING, str(tmp_path / "out.mp4")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            assert len(list(tmp_path.iterdir())) == 1
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "once\n"
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert process.poll() is None, "two are what timeout sends"
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert err == "vidpipe: interrupted, ended at once\n"
    assert list(tmp_path.iterdir()) == []


def test_signals_that_come_together_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _count(monkeypatch, [(0.0, 1), (0.1, 1), (0.2, 1), (3.0, 17)])
    assert counted == "goes on", "what a library held up came at one time"
    assert _count(monkeypatch, [(0.0, 1), (1.0, 1), (3.0, 1)]) == "ended"


def _count(monkeypatch: pytest.MonkeyPatch, reads: list[tuple[float, int]]) -> str:
    """Of signals (time in s at which they are read, how many): what becomes of the process."""

    class EndedError(Exception):
        pass

    def end(code: int) -> None:
        raise EndedError(code)

    times, numbers = (
        iter([time_s for time_s, _ in reads]),
        iter([bytes([signal.SIGINT]) * n for _, n in reads]),
    )
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(times))
        patch.setattr(os, "read", lambda *_: next(numbers, b""))
        patch.setattr(os, "write", lambda *_: 0)
        patch.setattr(os, "_exit", end)
        try:
            Interrupts()._count(-1)
        except EndedError:
            return "ended"
    return "goes on"


def test_a_signal_after_the_output_has_its_name_changes_neither_it_nor_the_exit_code() -> None:
    interrupts = Interrupts()
    interrupts.decide()
    interrupts._receive(signal.SIGINT, None)
    interrupts.check()
    assert interrupts.signal_number is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "vidpipe", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("vidpipe: standard output")


def test_an_error_for_want_of_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("Exception from core.cpp:117: can't alloc"),
        BlockingIOError(11, "Resource temporarily unavailable"),
        OSError(12, "Cannot allocate memory"),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("vidpipe.cli.app.app", fail)
        assert run_command(["run"], Interrupts()) == 5
        (line,) = capsys.readouterr().err.splitlines()
        assert "not enough memory" in line
