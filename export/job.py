"""An export from request to entry: graph, engine, parity, cache."""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import cast

from export import cache
from export.cache import Entry
from export.crops import Faces, faces
from export.networks import Checkpoint, find
from export.report import ParityRecord, Report
from export.spec import SUFFIX, Batch, Request, Target
from pipeline.engines import CONTRACT, EngineSpec, Library, Precision
from pipeline.errors import MissingError, VidpipeError

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""What is being done, and how far it is, 0 to 1."""

SOURCES = ("nets", "export/onnx.py", "export/precision.py", "export/networks.py")
"""Files whose text decides what graph comes of some weights."""
RUNNERS: dict[str, tuple[Library, ...]] = {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",)}


def silent(what: str, share: float) -> None:
    """No progress."""


def export(
    request: Request,
    pictures: Callable[[], Faces] = faces,
    on_progress: Progress = silent,
    anew: bool = False,
) -> Entry:
    """The engine that is asked for, from the cache or made now (always with ``anew``).

    ``pictures`` are called when crops are needed to compare or to calibrate on. Raises the errors of
    ``pipeline.errors``: UsageError for what the network or the target cannot be, MissingError for what is not
    on this machine, InputError for an operator that the target does not know, GateError where the engine does
    not answer as PyTorch does.
    """
    checkpoint = find(request.network)
    source = pictures() if request.precision == "int8" else None
    identity = identity_of(request, checkpoint, source)
    kept = None if anew else cache.find(identity)
    if kept is not None:
        return kept
    faces_here = source or pictures()
    cache.check_space(_needed_bytes(checkpoint, request))
    log.info("exporting %s to %s %s, once", request.network, request.target, request.precision)
    return cache.store(
        identity, lambda folder: _made(request, checkpoint, faces_here, identity, folder, on_progress)
    )


def identity_of(request: Request, checkpoint: Checkpoint, source: Faces | None) -> dict[str, str]:
    """Everything that decides what the engine's file holds."""
    identity = {
        "network": request.network,
        "weights": checkpoint.sha256,
        "graph": graph_digest(),
        "contract": hashlib.sha256(CONTRACT.encode()).hexdigest(),
        "target": request.target,
        "precision": request.precision,
        "size_px": str(request.size_px),
        "window": str(request.window or "own"),
        "batch": str(request.range),
        "options": "signed" if request.signed else "",
        "torch": version("torch"),
        "onnxslim": version("onnxslim"),
    }
    if request.precision == "int8" and source is not None:
        identity |= {"calibration": source.digest, "onnxruntime": version("onnxruntime")}
    if request.target == "openvino":
        identity["openvino"] = _version("openvino")
    return identity


def identity_now(report: Report) -> dict[str, str] | None:
    """What the export of a report would be made from now; None where its checkpoint is gone."""
    asked = report.identity
    try:
        request = Request(
            report.checkpoint,
            cast("Target", report.target),
            cast("Precision", report.precision),
            Batch.parse(report.batch),
            report.size_px,
            None if asked["window"] == "own" else int(asked["window"]),
            signed=asked["options"] == "signed",
        )
        now = identity_of(request, find(report.checkpoint), None)
    except VidpipeError:
        return None
    # Pictures are no matter of age: the same ones may be calibrated on again.
    return now | {name: asked[name] for name in ("calibration", "onnxruntime") if name in asked}


def graph_digest() -> str:
    """Of the code that makes graphs: after any change to it, weights are exported anew."""
    root = Path(__file__).resolve().parents[1]
    whole = hashlib.sha256()
    for name in SOURCES:
        path = root / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else (path,):
            whole.update(file.read_bytes())
    return whole.hexdigest()


def _made(
    request: Request,
    checkpoint: Checkpoint,
    source: Faces,
    identity: dict[str, str],
    folder: Path,
    on_progress: Progress,
) -> Report:
    """Fills an entry's folder."""
    from export.networks import spec_of, with_window  # noqa: PLC0415
    from export.parity import gate, reference_of  # noqa: PLC0415  everything from here on is slow to import

    started = time.perf_counter()
    net = with_window(checkpoint.net, request.window)
    batch = request.range
    spec = spec_of(net, checkpoint.sha256, request.size_px, request.precision, (batch.min, batch.max))
    name = Path(request.network).stem + SUFFIX[request.target]
    if request.target == "onnx":
        from export.onnx import to_onnx  # noqa: PLC0415

        on_progress("graph", 0.0)
        (folder / name).write_bytes(to_onnx(net, spec, source, symmetric=request.signed))
    else:
        graph = export(replace(request, target="onnx", batch=batch), lambda: source, on_progress)
        _convert(request, graph, spec, folder / name, on_progress)
    build_s = time.perf_counter() - started
    on_progress("parity", 0.9)
    reference = reference_of(net, spec, source)
    records = gate(folder / name, reference, RUNNERS[request.target])
    on_progress("parity", 1.0)
    return _report(request, spec, source, identity, folder, name, build_s, records)


def _convert(request: Request, graph: Entry, spec: EngineSpec, target: Path, on_progress: Progress) -> None:
    on_progress("engine", 0.5)
    from export.openvino import to_ir  # noqa: PLC0415

    del request
    to_ir(graph.file, spec, target)


def _report(
    request: Request,
    spec: EngineSpec,
    source: Faces,
    identity: dict[str, str],
    folder: Path,
    first: str,
    build_s: float,
    records: list[ParityRecord],
) -> Report:
    names = [first, *sorted(path.name for path in folder.iterdir() if path.name != first)]
    return Report(
        net=spec.net,
        checkpoint=request.network,
        target=request.target,
        precision=request.precision,
        batch=str(request.range),
        size_px=spec.size_px,
        window=spec.window,
        core=spec.core,
        identity=identity,
        files={name: cache.sha256(folder / name) for name in names},
        size_bytes=sum((folder / name).stat().st_size for name in names),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_s=round(build_s, 2),
        crops=source.source,
        parity=records,
    )


def _needed_bytes(checkpoint: Checkpoint, request: Request) -> int:
    """Weights are kept as float16, graphs in float32 at most; a plan holds kernels besides."""
    graph = 2 * checkpoint.path.stat().st_size
    return graph * (4 if request.target in ("onnx", "openvino") else 8) + (16 << 20)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingError(f"--to needs {package}, which is not installed: pip install {package}") from error


def machine() -> str:
    """``linux x86_64``"""
    return f"{platform.system().lower()} {platform.machine().lower()}"
