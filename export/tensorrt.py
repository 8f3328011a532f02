"""ONNX -> TensorRT engine file, for ``tensorrt`` and ``tensorrt_rtx`` alike; built by ``tensorrt_worker``."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import torch

from export.spec import DEFAULT_CAPABILITIES, Request
from export.tensorrt_worker import Job
from pipeline import errors
from pipeline.engines import EngineSpec, engine_file, tensorrt_library
from pipeline.engines.engine_file import Header, TrtLibrary, machine
from pipeline.engines.parity import Reference
from pipeline.engines.spec import input_shapes
from pipeline.engines.trust import folder
from pipeline.errors import MissingError, OutputError

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""Given to an interrupted build to keep what it has timed."""
COMMAND = [sys.executable, "-m", f"{__package__}.tensorrt_worker"]
LIBRARY: dict[str, TrtLibrary] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
"""Target -> module"""


def devices(request: Request) -> tuple[str, ...]:
    """Compute capabilities that an engine will be for. Raises MissingError without library or, for
    ``tensorrt``, GPU."""
    library = LIBRARY[request.target]
    if not tensorrt_library.is_installed(library):
        extra = tensorrt_library.EXTRA[library]
        raise MissingError(
            f"--to {request.target}: {library} is not installed; pip install 'vidpipe[{extra}]'"
        )
    if library == "tensorrt_rtx":
        return request.capabilities or DEFAULT_CAPABILITIES
    if not torch.cuda.is_available():
        raise MissingError(
            "--to tensorrt builds on the GPU that the engine is for, and there is none here; "
            "--to tensorrt-rtx builds without one"
        )
    major, minor = torch.cuda.get_device_capability()
    return (f"{major}.{minor}",)


def build(
    request: Request,
    graph: Path,
    spec: EngineSpec,
    reference: Reference,
    target: Path,
    on_progress: Callable[[str, float], None],
) -> None:
    """Builds the plan and writes the engine file. Raises InputError for what the library does not know,
    UsageError, OutputError; Ctrl-C ends the build within GRACE_S."""
    library, batch = LIBRARY[request.target], request.range
    module = tensorrt_library.load(library)
    sizes = [input_shapes(spec, count) for count in (batch.min, batch.opt, batch.max)]
    plan = target.with_suffix(".plan")
    capabilities = devices(request)
    job = Job(
        library=library,
        graph=graph,
        plan=plan,
        shapes={name: (sizes[0][name], sizes[1][name], sizes[2][name]) for name in sizes[0]},
        float32=spec.precision == "fp32",
        capabilities=capabilities if library == "tensorrt_rtx" else (),
        version_compatible=request.version_compatible,
        hardware=request.hardware,
        timing_cache=folder() / f"timing-{module.__version__}-{gpu()}.bin" if library == "tensorrt" else None,
    )
    try:
        run_child(job, on_progress)
        header = Header(
            spec=spec,
            library=library,
            library_version=module.__version__,
            version_compatible=request.version_compatible,
            capabilities=capabilities,
            newer_gpus=request.hardware == "ampere+",
            platform=machine(),
            batch_opt=batch.opt,
        )
        with target.open("wb") as file:
            engine_file.write(file, header, {"reference": reference.to_bytes(), "plan": plan.read_bytes()})
        target.chmod(0o600)
    finally:
        plan.unlink(missing_ok=True)


def why_not_run(request: Request) -> str:
    """Why an engine cannot be compared with PyTorch here; empty where it can."""
    if not torch.cuda.is_available():
        return "no NVIDIA GPU here; it is compared with PyTorch when it is first opened"
    major, minor = torch.cuda.get_device_capability()
    if f"{major}.{minor}" not in devices(request):
        return f"the GPU here is {major}.{minor}; it is compared with PyTorch when it is first opened"
    return ""


def run_child(job: Job, on_progress: Callable[[str, float], None]) -> None:
    """Builds in a process of its own, which a Ctrl-C in the terminal does not reach: it is told by us."""
    with tempfile.TemporaryFile() as printed:  # a pipe that nobody empties would stop the builder
        code, outcome = _followed(job, on_progress, printed)
        printed.seek(0)
        log.debug("%s printed: %s", job.library, printed.read().decode("utf-8", "replace")[-4000:])
    if "done" in outcome:
        return
    if not outcome:
        raise OutputError(
            f"building with {job.library} ended with code {code}, without a word (a crash of "
            "the library, or no memory left); try a smaller --batch or --size"
        )
    raise getattr(errors, outcome["kind"], OutputError)(outcome["error"])


def _followed(
    job: Job, on_progress: Callable[[str, float], None], printed: IO[bytes]
) -> tuple[int, dict[str, str]]:
    """The builder's exit code and its last word."""
    process = subprocess.Popen(
        COMMAND,
        cwd=Path(__file__).resolve().parents[__name__.count(".")],  # where Python finds that module
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=printed,
        text=True,
        start_new_session=True,
    )
    outcome: dict[str, str] = {}
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it is gone already: its exit code says so
            process.stdin.write(job.model_dump_json())
            process.stdin.close()
        for line in process.stdout:
            said = json.loads(line)
            if "share" in said:
                on_progress(said["what"], said["share"])
            else:
                outcome = said
        return process.wait(), outcome
    except BaseException:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()


def gpu() -> str:
    """Name of the GPU that engines are built on."""
    return "-".join(torch.cuda.get_device_name().split()) if torch.cuda.is_available() else "none"
