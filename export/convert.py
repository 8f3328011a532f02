"""An export goes from request to cache entry: graph, engine, parity, cache."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from export import cache
from export.cache import Entry, Report
from export.calibration import Faces, faces
from export.networks import Checkpoint, find, spec_of, with_window
from export.spec import SUFFIX, Batch, Request, Target
from export.tensorrt import LIBRARY, build, devices, gpu, why_not_run
from nets import registry
from nets.digest import sha256
from nets.registry import Architecture
from pipeline.engines import CONTRACT, EngineSpec, Library, Precision, tensorrt_library
from pipeline.engines.engine_file import machine, sign
from pipeline.engines.parity import Parity
from pipeline.errors import MissingError, VidpipeError
from pipeline.notes import decided

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""What is being done, and how far it is, 0 to 1."""

_NETS = Path(registry.__file__).parent
SOURCES = (
    *sorted(_NETS.rglob("*.py")),
    *(Path(__file__).with_name(f"{n}.py") for n in ("graph_formats", "networks", "precision")),
)
"""Files whose text decides which graph is made of some weights."""
CARRIED_WINDOWS = 2
"""Windows of the parity reference that a TensorRT engine file carries."""


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
    on this machine, InputError for an operator that the target does not know, CheckError where the engine
    does not answer as PyTorch does.
    """
    checkpoint = find(request.network)
    source = pictures() if request.precision == "int8" else None
    identity = identity_of(request, checkpoint, source)
    kept = None if anew else cache.find(identity)
    if kept is not None:
        return kept
    faces_here = source or pictures()
    sign(b"")  # a key that cannot be read or made ends the export before the work, not after it
    cache.check_space(_needed_bytes(checkpoint, request))
    decided(log, "exporting %s to %s %s, once", request.network, request.target, request.precision)
    return cache.store(
        identity, lambda folder: _made(request, checkpoint, faces_here, identity, folder, on_progress)
    )


def identity_of(request: Request, checkpoint: Checkpoint, source: Faces | None) -> dict[str, str]:
    """Everything that decides what the engine's file holds."""
    identity = {
        "network": request.network,
        "weights": checkpoint.sha256,
        "version": checkpoint.version,
        "graph": graph_digest(checkpoint.architecture),
        "contract": hashlib.sha256(CONTRACT.encode()).hexdigest(),
        "target": request.target,
        "precision": request.precision,
        "size_px": str(request.size_px),
        "window": str(request.window or "own"),
        "batch": str(request.range),
        "options": "signed" if request.signed else "",
        "device": "",
        "torch": version("torch"),
        "onnxslim": version("onnxslim"),
    }
    if request.precision == "int8" and source is not None:
        identity |= {"calibration": source.digest, "onnxruntime": _onnxruntime()}
    if request.target == "openvino":
        identity["openvino"] = _version("openvino")
    elif request.target not in ("onnx", "torch"):
        identity |= _of_tensorrt(request)
    return identity


def _of_tensorrt(request: Request) -> dict[str, str]:
    """Library, GPU and options of a TensorRT export. Raises MissingError where it cannot be built here."""
    capabilities, library = devices(request), LIBRARY[request.target]
    options = ["version-compatible"] if request.version_compatible else []
    options += [f"hardware {request.hardware}"] if request.hardware != "none" else []
    return {
        "device": f"{gpu()} " * (library == "tensorrt") + ",".join(capabilities),
        "machine": machine(),
        "options": " ".join(options),
        library: str(tensorrt_library.load(library).__version__),
    }


def identity_now(report: Report) -> dict[str, str] | None:
    """What the export of a report would be made from now; None where its checkpoint is gone."""
    asked = report.identity
    try:
        request = Request(
            report.checkpoint,
            cast("Target", report.target),
            cast("Precision", report.precision),
            Batch.parse(report.batch),
            int(asked["size_px"]),
            None if asked["window"] == "own" else int(asked["window"]),
            **_options(report),
        )
        now = identity_of(request, find(report.checkpoint), None)
    except VidpipeError:
        return None
    # Calibration pictures do not age: the same ones may be used again.
    return now | {name: asked[name] for name in ("calibration", "onnxruntime") if name in asked}


def _options(report: Report) -> dict[str, Any]:
    """Options of the request that a report comes from, other than its shapes."""
    options = report.identity["options"]
    if report.target in ("onnx", "torch"):
        return {"signed": options == "signed"}
    if report.target == "tensorrt-rtx":
        return {"capabilities": tuple(report.identity["device"].split(","))}
    hardware = options.partition("hardware ")[2] or "none"
    return {"version_compatible": "version-compatible" in options, "hardware": hardware}


def graph_digest(architecture: Architecture) -> str:
    """SHA-256 of the code that makes a network's graph: after any change to it, weights are exported anew."""
    whole = hashlib.sha256()
    own = () if architecture.source.is_relative_to(_NETS) else (architecture.source,)
    for file in (*SOURCES, *own):
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
    # Slow to import, and a run whose engines are in the cache needs neither.
    from export.graph_formats import to_onnx, to_openvino, to_program  # noqa: PLC0415
    from export.parity import gate, reference_of  # noqa: PLC0415

    started = time.perf_counter()
    net = with_window(checkpoint.net, request.window)
    batch = request.range
    spec = spec_of(
        net, checkpoint.sha256, request.size_px, request.precision, (batch.min, batch.max), checkpoint.version
    )
    name = Path(request.network).stem + SUFFIX[request.target]
    if request.target == "onnx":
        on_progress("graph", 0.0)
        (folder / name).write_bytes(to_onnx(net, spec, source, symmetric=request.signed))
    elif request.target == "torch":
        on_progress("graph", 0.0)
        to_program(net, spec, folder / name)
    else:
        graph = export(_graph_of(request), lambda: source, on_progress)
        started = time.perf_counter()
    on_progress("engine", 0.5)
    not_run, records = "", []
    if request.target == "openvino":
        to_openvino(graph.file, spec, folder / name)
    elif request.target not in ("onnx", "torch"):
        carried = reference_of(net, spec, source, CARRIED_WINDOWS)
        build(
            request, graph.file, spec, carried, folder / name, lambda what, s: on_progress(what, 0.5 + s / 2)
        )
        not_run = why_not_run(request)
        records = [r.model_copy(update={"engine": f"its graph on {r.engine}"}) for r in graph.report.parity]
    build_s = time.perf_counter() - started
    if not not_run:
        on_progress("parity", 1.0)
        records = gate(folder / name, reference_of(net, spec, source), _runners(request)) + records
    return _report(request, spec, source, identity, folder, name, build_s, records, not_run)


def _graph_of(request: Request) -> Request:
    """The ONNX file that an engine is made from: one for all ranges of batches, the profile narrows it."""
    for_trt, batch = request.target != "openvino", request.range
    return Request(
        request.network,
        "onnx",
        request.precision,
        batch if batch.min == batch.max else None,
        request.size_px,
        request.window,
        signed=for_trt and request.precision == "int8",
    )


def _runners(request: Request) -> tuple[Library, ...]:
    """Which libraries an export is compared under, as far as they are here."""
    match request.target:
        case "onnx":
            # OpenVINO computes the signed form of int8 wrongly (docs/engines.md); it is never given it.
            return ("onnxruntime",) if request.signed else ("onnxruntime", "openvino")
        case "openvino":
            return ("openvino",)
        case "torch":
            return ("torch",)
        case _:
            return ("tensorrt",)


def _report(
    request: Request,
    spec: EngineSpec,
    source: Faces,
    identity: dict[str, str],
    folder: Path,
    first: str,
    build_s: float,
    records: list[Parity],
    not_run: str,
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
        files={name: sha256(folder / name) for name in names},
        size_bytes=sum((folder / name).stat().st_size for name in names),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_s=round(build_s, 2),
        crops=source.source,
        parity=records,
        not_run=not_run,
    )


def _needed_bytes(checkpoint: Checkpoint, request: Request) -> int:
    """Weights are kept as float16, graphs in float32 at most; a plan holds kernels besides."""
    graph = 2 * checkpoint.path.stat().st_size
    return graph * (4 if request.target in ("onnx", "openvino", "torch") else 8) + (16 << 20)


def _onnxruntime() -> str:
    """Its version, of the flavour that is installed. Raises MissingError."""
    try:
        import onnxruntime  # noqa: PLC0415  heavy, and asked for int8 alone
    except ImportError as error:
        raise MissingError("--precision int8 needs ONNX Runtime: pip install 'vidpipe[cpu]'") from error
    return str(onnxruntime.__version__)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise MissingError(f"--to needs {package}, which is not installed: pip install {package}") from error
