"""What a machine with a GPU shows: its tests, and where the time goes from decoder to encoder. One JSON.

``bash benchmarks/gpu.sh WHEELS OUT`` makes the environment on a bare machine and calls this;
``python -m benchmarks.gpu --out gpu.json`` does where vidpipe is installed. Every piece runs in a process of
its own, under a limit of its own: one that fails leaves its error in the JSON, and the others go on. The JSON
is written after each; the exit code is 1 if there is an error in it, of a piece or within one. Without a GPU
the pieces run on the CPU and the JSON says so: its figures say nothing about a GPU then.

``--train NET --faces FOLDER --clips NPY`` trains first (`benchmarks.gpu_train`), for ``--max-minutes``;
options that this program does not know, such as ``--batch`` and ``--steps``, go to ``vidpipe train``.
``--only`` chooses among the pieces after it, and may name none.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.gpu_profile import as_error, decode, end_to_end, engines, faces, profile, transfer
from benchmarks.gpu_tests import tests
from benchmarks.gpu_train import NO_DATA, RUNS, train

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = {"tests": 400, "engines": 400}
USUAL_LIMIT_S = 180
LIBRARIES = (
    "torch", "triton", "av", "numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu12",
    "nvidia-dali-cuda120", "nvidia-dali-cuda130", "openvino",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What this is."""
    import torch

    from pipeline.cuda import why_none

    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    reason = why_none()
    gpus = [] if reason else [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gpus": gpus,
        "why_no_gpu": reason,
        "driver": _said("nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "libraries": installed,
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "HEAD"),
    }


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"none: {type(error).__name__}"


def two_runs() -> dict[str, Any]:
    """Two processes on one GPU: both finish."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--piece", "end_to_end"]
    runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate()[0] for run in runs]
    answers = [_answer(run.returncode, out, "") for run, out in zip(runs, said, strict=True)]
    kept = ("fps_without_encoding", "fps_without_encoding_exact", "error", "trace")
    return {"runs": [{key: answer[key] for key in kept if key in answer} for answer in answers]}


PIECES: dict[str, Callable[[], dict[str, Any]]] = {
    piece.__name__: piece
    for piece in (machine, transfer, decode, engines, faces, profile, end_to_end, two_runs, tests)
}


def _answer(code: int, said: str, wrong: str) -> dict[str, Any]:
    """A piece's last line; where it is none, how the process ended."""
    try:
        answer: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"ended with {code}: {wrong.strip()[-400:]}"}
    return answer


def errors_in(result: Any) -> list[str]:
    """Of a piece and of all that it tried."""
    if isinstance(result, dict):
        own = [str(result["error"])] if "error" in result else []
        return own + [error for value in result.values() for error in errors_in(value)]
    return [error for value in result for error in errors_in(value)] if isinstance(result, list) else []


def run_piece(name: str) -> dict[str, Any]:
    """In a process of its own: what it found, or why it did not."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--piece", name]
    begun = perf_counter()
    try:
        result = _answer(*_ended(command, LIMIT_S.get(name, USUAL_LIMIT_S)))
    except subprocess.TimeoutExpired as error:
        result = {"error": f"took longer than {error.timeout:.0f} s"}
    return {**result, "took_s": round(perf_counter() - begun, 1)}


def _ended(command: list[str], limit_s: float) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; with it end all processes that it began. Raises TimeoutExpired."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            said, wrong = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # pytest's or a second run's would keep the GPU busy
            raise
    return process.returncode, said, wrong


def _write(out: Path, whole: dict[str, Any]) -> None:
    """All or nothing: who cuts this script keeps what the pieces before have found."""
    part = out.with_name(f"{out.name}.part")
    part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    part.replace(out)


def _report(name: str, out: Path, whole: dict[str, Any]) -> None:
    """Writes the JSON and tells in one line how the piece went that was done last."""
    _write(out, whole)
    skipped = f"skipped, {whole[name]['skipped']}" if "skipped" in whole[name] else "done"
    print(f"{name}: {'; '.join(errors_in(whole[name])) or skipped} ({whole[name]['took_s']} s)", flush=True)


def _trained(arguments: argparse.Namespace, further: list[str]) -> dict[str, Any]:
    """The training, or why there was none."""
    if not (arguments.train and arguments.faces):
        return {"skipped": NO_DATA}
    given = ["--faces", str(arguments.faces), *further]
    out = arguments.out.resolve().parent
    try:
        return train(arguments.train, arguments.runs, out, given, arguments.max_minutes)
    except Exception as error:  # noqa: BLE001  recorded; the pieces go on
        return {**as_error(error), "trace": traceback.format_exc()[-1500:]}


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    """And what goes to ``vidpipe train``."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--only", nargs="*", choices=PIECES, default=list(PIECES))
    parser.add_argument("--piece", choices=PIECES)
    parser.add_argument("--train", metavar="NET")
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--max-minutes", type=float, default=9.0)
    parser.add_argument("--runs", type=Path, default=RUNS, help="of trainings that may go on")
    arguments, further = parser.parse_known_args()
    if further and not arguments.train:
        parser.error(f"without --train nobody knows {' '.join(further)}")
    return arguments, further


def main() -> None:
    """The training, then all pieces, or some, into one JSON; or one piece of it in this process."""
    arguments, further = _arguments()
    if arguments.piece:
        try:
            answer = PIECES[arguments.piece]()
        except BaseException as error:  # noqa: BLE001  it is what the JSON is for
            answer = {**as_error(error), "trace": traceback.format_exc()[-1500:]}
        print(json.dumps(answer))
        return
    whole: dict[str, Any] = {}
    begun = perf_counter()
    whole["train"] = {**_trained(arguments, further), "took_s": round(perf_counter() - begun, 1)}
    _report("train", arguments.out, whole)
    for name in arguments.only:
        whole[name] = run_piece(name)
        _report(name, arguments.out, whole)
    if errors_in(whole):
        sys.exit(1)


if __name__ == "__main__":
    main()
