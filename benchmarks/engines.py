"""``python -m benchmarks.engines``: every shipped network as every engine, and the page that compares them.

Writes ``docs/engines.md`` and ``benchmarks/results/engines.json``. Each export is made anew in a cache of its
own. Milliseconds are processor time per window of one call on one thread, medians of rounds in which all
engines take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import BaseModel

from export.cache import Report
from export.calibration import Faces, faces, make
from export.convert import export
from export.graph_formats import Body
from export.networks import find, shipped, spec_of
from export.spec import Request, Target
from pipeline.engines import Engine, Precision, open_engine
from pipeline.engines.torch import TorchEngine

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
TARGETS: tuple[Target, ...] = ("onnx", "openvino", "tensorrt-rtx")
ROOT = Path(__file__).resolve().parents[1]
PAGE, NUMBERS = ROOT / "docs" / "engines.md", ROOT / "benchmarks" / "results" / "engines.json"
MARK = "<!-- made by python -m benchmarks.engines: from here on nothing is written by hand -->"


class Row(BaseModel):
    """One engine of one network."""

    net: str
    engine: str
    precision: str
    size_mb: float | None
    build_s: float | None
    psnr_db: float | None
    change_db: float | None
    max_error: float | None
    cpu_ms: float | None
    """per window"""
    note: str


def exported(net: str, source: Faces) -> list[tuple[Report, Path]]:
    """Every target at every precision; what is made for another one (an ONNX file) is made first."""
    entries = []
    for precision in PRECISIONS:
        for target in TARGETS:
            entry = export(Request(net, target, precision), lambda: source)
            entries.append((entry.report, entry.file))
            print(f"{net} {target} {precision}: {entry.report.build_s:.1f} s")
    return entries


def opened(files: list[tuple[Report, Path]], stack: ExitStack) -> dict[tuple[str, str], Engine]:
    """(report's key, engine) for all that run on this CPU."""
    engines: dict[tuple[str, str], Engine] = {}
    for report, path in files:
        for record in report.parity if report.target != "tensorrt-rtx" else []:
            library = "openvino" if record.engine.startswith("openvino") else "onnxruntime"
            engine = stack.enter_context(
                closing(open_engine(path, device="cpu", library=library, threads=1))  # type: ignore[arg-type]
            )
            engines[str(path), record.engine] = engine
    return engines


def timed(
    engines: dict[tuple[str, str], Engine], feed: dict[str, torch.Tensor], rounds: int
) -> dict[tuple[str, str], float]:
    """Median processor time of a call, ms."""
    took: dict[tuple[str, str], list[float]] = {key: [] for key in engines}
    for engine in engines.values():
        engine.infer(feed)
    for _ in range(rounds):
        for key, engine in engines.items():
            begun = time.process_time()
            engine.infer(feed)
            took[key].append(1000 * (time.process_time() - begun))
    return {key: statistics.median(values) for key, values in took.items()}


def rows_of(net: str, source: Faces, rounds: int) -> list[Row]:
    files = exported(net, source)
    checkpoint = find(net)
    spec = spec_of(checkpoint.net, checkpoint.sha256)
    feed = make(source, spec, windows=1, seed=2).inputs(spec)
    with ExitStack() as stack:
        engines = opened(files, stack)
        eager: tuple[str, str] = ("", "torch cpu float32")
        times = timed(engines | {eager: TorchEngine(Body(checkpoint.net), spec)}, feed, rounds)
    rows = [
        Row(
            net=net,
            engine="PyTorch",
            precision="fp32",
            size_mb=checkpoint.path.stat().st_size / 1e6,
            build_s=None,
            psnr_db=None,
            change_db=None,
            max_error=None,
            cpu_ms=times[eager],
            note="the reference; weights in float16",
        ),
    ]
    for report, path in files:
        for record in report.parity:
            ours = report.target != "tensorrt-rtx"
            if not ours and record is not report.parity[0]:
                continue
            rows.append(
                Row(
                    net=net,
                    engine=record.engine if ours else "tensorrt_rtx, 8.0 8.6 8.9 12.0",
                    precision=report.precision,
                    size_mb=report.size_bytes / 1e6,
                    build_s=report.build_s,
                    psnr_db=record.psnr_db,
                    change_db=record.change_db,
                    max_error=record.max_error,
                    cpu_ms=times.get((str(path), record.engine)),
                    note="IR" if report.target == "openvino" else "" if ours else record.engine,
                )
            )
    return rows


def table(rows: list[Row]) -> str:
    names = (
        "net",
        "engine",
        "precision",
        "MB",
        "made in s",
        "dB from PyTorch",
        "PSNR to the truth, change in dB",
    )
    head = f"| {' | '.join([*names, 'largest error', 'ms per window'])} |"
    lines = [head, "|---" * 9 + "|"]
    for r in rows:
        engine = f"{r.engine} ({r.note})" if r.note else r.engine
        cells = [
            r.net,
            engine,
            r.precision,
            _number(r.size_mb, ".1f"),
            _number(r.build_s, ".1f"),
            _number(r.psnr_db, ".1f"),
            _number(r.change_db, "+.4f"),
            _number(r.max_error, ".4f"),
            _number(r.cpu_ms, ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def processor() -> str:
    """Its name, as the system says it."""
    info = Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if x.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="calls of each engine")
    parser.add_argument("--nets", default=",".join(shipped()), metavar="NET,NET", help="shipped networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = faces()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["VIDPIPE_CACHE"] = cache
        rows = [row for net in arguments.nets.split(",") for row in rows_of(net, source, arguments.rounds)]
    libraries = ("torch", "onnxruntime", "openvino", "tensorrt_rtx_cu12")
    said = ", ".join(f"{name} {version(name)}" for name in libraries)
    about = (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {processor()}, {os.cpu_count()} cores, no GPU; {said}. "
        f"Crops of {source.source}."
    )
    NUMBERS.parent.mkdir(exist_ok=True)
    NUMBERS.write_text(json.dumps({"about": about, "rows": [r.model_dump() for r in rows]}, indent=1) + "\n")
    by_hand = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(f"{by_hand}{MARK}\n\n{about}\n\n{table(rows)}\n", encoding="utf-8")
    print(f"{PAGE}\n{NUMBERS}")


if __name__ == "__main__":
    main()
