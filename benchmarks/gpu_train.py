"""A network trained for some minutes on the GPU machine: ``vidpipe train NET --resume``, and what it leaves.

Such a machine is lent for minutes and gives few and small files back (`FILES` of `FILE_BYTES`). So beside the
weights, ``OUT/NET.safetensors``, all that the run goes on from (state, recipe, losses, the last sample sheet)
is one tar file in pieces, ``OUT/NET.tar.0`` and on. Both are written whenever the training has saved. Where
OUT holds such pieces and this machine no state, the training goes on from them.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from typing import Any

from train.state import RECIPE, STATE

RUNS = Path(__file__).resolve().parents[1] / "runs"
"""Git ignores it, and the machine keeps it from one command to the next."""
FILE_BYTES = 16 << 20
FILES = 8
_BESIDE = 3
"""Files that are no pieces: gpu.json, wheels.log, the weights."""
GRACE_S = 240.0
"""Beyond the minutes that were asked for: to load, to begin, to save."""
NO_DATA = "needs --train NET --faces FOLDER, and for nar --clips NPY"
_STEP = re.compile(r"step (\d+) of (\d+)")


def train(net: str, runs: Path, out: Path, given: Sequence[str], minutes: float) -> dict[str, Any]:
    """Trains in a folder of ``runs``, and says how far it came and which files lie in ``out`` (name ->
    bytes). ``given``: further options of ``vidpipe train``. A training that fails is an ``error``."""
    run = runs / f"gpu-{net}"
    told: dict[str, Any] = {"net": net, "went_on_from": _unpacked(net, out, run)}
    command = [sys.executable, "-m", "vidpipe", "train", net, *given]
    command += ["--resume", "--max-minutes", f"{minutes:g}", "--output", str(run)]
    last, saved = "", _saved(run)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        killer = Timer(minutes * 60 + GRACE_S, process.kill)
        killer.start()
        try:
            for line in process.stdout:
                print(line, end="", file=sys.stderr, flush=True)
                last = line.strip() or last
                if _saved(run) != saved:
                    saved = _saved(run)
                    pack(net, run, out)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # it saves the step that it is at
            process.wait()
            pack(net, run, out)
            raise
        finally:
            killer.cancel()
    if process.returncode:
        told["error"] = f"vidpipe train ended with {process.returncode}: {last[-400:]}"
    if found := _STEP.search(last):
        told["step"], told["steps"] = map(int, found.groups())
    return {**told, **pack(net, run, out), "losses": _losses(run)}


def pack(net: str, run: Path, out: Path) -> dict[str, Any]:
    """Copies weights and state of a run to ``out``; the files of an earlier time are replaced, each as a
    whole. A state that would take too many pieces is left out, which is said."""
    files: dict[str, int] = {}
    for weights in run.glob("*.safetensors"):
        part = out / f"{weights.name}.part"
        shutil.copyfile(weights, part)
        files[weights.name] = part.replace(out / weights.name).stat().st_size
    if _saved(run) is None:
        return {"files": files}
    whole = out / f"{net}.tar.part"
    with tarfile.open(whole, "w") as tar:
        for path in [run / STATE, run / RECIPE, run / "log.csv", *sorted(run.glob("strip_*.png"))[-1:]]:
            if path.is_file():
                tar.add(path, path.name)
    size, most = whole.stat().st_size, FILES - _BESIDE
    if size > most * FILE_BYTES:
        whole.unlink()
        return {"files": files, "left_out": f"the state: {size} bytes, more than {most} x {FILE_BYTES}"}
    pieces: list[Path] = []
    with whole.open("rb") as file:
        while content := file.read(FILE_BYTES):
            piece = out / f"{net}.tar.{len(pieces)}"
            piece.with_name(f"{piece.name}.part").write_bytes(content)
            pieces.append(piece)
    whole.unlink()
    for piece in _pieces(net, out):
        if piece not in pieces:
            piece.unlink()
    for piece in pieces:
        piece.with_name(f"{piece.name}.part").replace(piece)
        files[piece.name] = piece.stat().st_size
    return {"files": files}


def _unpacked(net: str, out: Path, run: Path) -> str:
    """Puts the pieces of ``out`` where the training looks for its state; says what it goes on from."""
    if _saved(run) is not None:
        return "this machine's state"
    pieces = _pieces(net, out)
    if not pieces:
        return "nothing"
    run.mkdir(parents=True, exist_ok=True)
    whole = run / f"{net}.tar.part"
    with whole.open("wb") as file:
        for piece in pieces:
            file.write(piece.read_bytes())
    with tarfile.open(whole) as tar:
        tar.extractall(run, filter="data")
    whole.unlink()
    return f"{len(pieces)} pieces"


def _pieces(net: str, out: Path) -> list[Path]:
    """In their order; there are fewer than ten."""
    return sorted(out.glob(f"{net}.tar.[0-9]"))


def _saved(run: Path) -> int | None:
    """When the state was saved last; None: never."""
    try:
        return (run / STATE).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _losses(run: Path) -> list[str]:
    """The first and the last line of ``log.csv`` below its head; none before step 50."""
    try:
        head, *lines = (run / "log.csv").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [head, *dict.fromkeys((lines[0], lines[-1]))] if lines else []
