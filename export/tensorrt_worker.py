"""Builds one TensorRT plan: a program that ``export.tensorrt`` starts.

A build is a call of C++ that may take an hour, that no signal interrupts and whose crash takes its process
with it. So it has one of its own: the job comes as JSON on stdin, progress goes to stdout as one JSON object
per line, the last of which says ``done`` or ``error``. SIGTERM ends the build after the step at hand; what
was timed so far is kept (``timing_cache``), so that the next attempt goes on from there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.engines.engine_file import TrtLibrary, check_owner
from pipeline.engines.tensorrt_library import load, logger
from pipeline.errors import VidpipeError

WORKSPACE_BYTES = 4 << 30
"""Most that a layer may use while it runs."""


_OUT = 1
"""Where ``say`` writes; ``main`` keeps it from the library, which prints."""


class Job(BaseModel):
    """What to build."""

    library: TrtLibrary
    graph: Path
    plan: Path
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
    """Of each input: least, best, most"""
    float32: bool
    """The graph is fp32: no TF32 (10 bits of mantissa) in its place."""
    capabilities: tuple[str, ...]
    """tensorrt_rtx only"""
    version_compatible: bool
    hardware: str
    timing_cache: Path | None
    """tensorrt only: tensorrt_rtx times nothing while it builds"""


class Failed(Exception):  # noqa: N818  it is what ends the build, with a line for the user
    """A line for the user, and which of our errors it is."""

    def __init__(self, text: str, kind: str = "InputError") -> None:
        super().__init__(text)
        self.kind = kind


def say(**what: object) -> None:
    os.write(_OUT, f"{json.dumps(what)}\n".encode())


def build(job: Job, cancelled: threading.Event) -> None:
    """Writes ``job.plan``. Raises Failed."""
    trt = load(job.library)
    heard: list[str] = []
    log = logger(trt, heard)
    builder = trt.Builder(log)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # the only kind from 11 on
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    _parse(trt, network, log, job)
    config = builder.create_builder_config()
    _configure(trt, builder, config, job)
    monitor = _monitor(trt, cancelled)
    config.progress_monitor = monitor
    timing = _timing_cache(config, job.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if timing is not None and job.timing_cache is not None:
        with suppress(OSError):  # it only saves time
            part = job.timing_cache.with_suffix(".part")
            part.write_bytes(bytes(memoryview(timing.serialize())))
            part.chmod(0o600)
            part.replace(job.timing_cache)
    if plan is None:
        if cancelled.is_set():
            raise Failed("interrupted", "KeyboardInterrupt")
        raise Failed(f"{job.library} cannot build it: {_line(heard)}")
    job.plan.write_bytes(memoryview(plan))


def _parse(trt: Any, network: Any, log: Any, job: Job) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse(job.graph.read_bytes()):
        return
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    operators = sorted({e.node_operator() for e in errors} - {""})
    what = f"does not take the operator {', '.join(operators)}" if operators else "cannot read the graph"
    raise Failed(f"{job.library} {trt.__version__} {what}: {_line([e.desc() for e in errors])}")


def _configure(trt: Any, builder: Any, config: Any, job: Job) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if job.float32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if job.library == "tensorrt_rtx":
        config.num_compute_capabilities = len(job.capabilities)
        for index, capability in enumerate(job.capabilities):
            known = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}", None)
            if known is None or not config.set_compute_capability(known, index):
                raise Failed(f"{job.library} {trt.__version__} does not build for {capability}", "UsageError")
    if job.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    levels = {"ampere+": "AMPERE_PLUS", "same-capability": "SAME_COMPUTE_CAPABILITY"}
    if job.hardware in levels:
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, levels[job.hardware])
    profile = builder.create_optimization_profile()
    for name, (least, best, most) in job.shapes.items():
        profile.set_shape(name, least, best, most)
    if config.add_optimization_profile(profile) < 0:
        raise Failed(f"{job.library} refuses the range of shapes {job.shapes}", "UsageError")


def _timing_cache(config: Any, path: Path | None) -> Any:
    """What earlier builds on this GPU have timed, or an empty one. A file that the library does not want
    (another version) or that is not ours is as good as none."""
    if path is None:
        return None
    content = b""
    with suppress(OSError, VidpipeError):
        check_owner(path)
        content = path.read_bytes()
    cache = config.create_timing_cache(content) or config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _monitor(trt: Any, cancelled: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # a class of a module without types
        """Called from the library's threads: phases within phases, each of some steps."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._phases: dict[str, list[int]] = {}
            """name -> [steps done, steps], outermost first"""
            self._said = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            with self._lock:
                self._phases[phase_name] = [0, max(num_steps, 1)]

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                if phase_name in self._phases:
                    self._phases[phase_name][0] = step + 1
                share, width = 0.0, 1.0
                for done, steps in self._phases.values():
                    share += width * min(done, steps) / steps
                    width /= steps
                if share > self._said + 0.01:
                    self._said = share
                    say(share=min(share, 1.0), what=phase_name)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.pop(phase_name, None)

    return Monitor()


def _line(texts: list[str]) -> str:
    """The first that says something, on one line."""
    return next((" ".join(text.split())[:400] for text in texts if text.strip()), "no reason given")


def _outcome(job: Job, cancelled: threading.Event, outcome: dict[str, object]) -> None:
    try:
        build(job, cancelled)
        outcome["done"] = True
    except Failed as error:
        outcome.update(error=str(error), kind=error.kind)
    except VidpipeError as error:
        outcome.update(error=str(error), kind=type(error).__name__)
    except OSError as error:
        outcome.update(
            error=f"cannot write {job.plan.parent}: {error.strerror}; free some space", kind="OutputError"
        )


def main() -> None:
    """The build runs in a thread: signals reach Python in the main one only."""
    global _OUT  # noqa: PLW0603  a process has one stdout
    _OUT = os.dup(1)
    os.dup2(2, 1)
    job, cancelled, parent = Job.model_validate_json(sys.stdin.read()), threading.Event(), os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    outcome: dict[str, object] = {}
    worker = threading.Thread(target=_outcome, args=(job, cancelled, outcome), daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(0.2)
        if os.getppid() != parent:  # nobody waits for it any more
            os._exit(1)
    say(**outcome)


if __name__ == "__main__":
    main()
