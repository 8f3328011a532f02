"""What one worker does with one file. It runs in a process of its own; everything here can be pickled."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline.config import Resolved
from pipeline.errors import VidpipeError
from pipeline.machine import OverLimitError, at_most

Told = Callable[[str, int, int], None]
"""(source, frames done, frames in all)"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be; None: anything."""

    pixels: int | None = None
    """width times height"""
    duration_s: float | None = None
    memory_bytes: int | None = None
    """That a run may take, by its own estimate."""


@dataclass(frozen=True, slots=True)
class Task:
    """One file to do."""

    source: str
    target: str
    mode: str
    settings: Resolved
    """All of them: neither the environment nor a file of the worker's machine decides anything."""
    overwrite: bool = False
    limits: Limits = Limits()
    resume_from_s: float | None = None
    """Of a file that lasts so many seconds or more a journal is kept, and the task goes on inside of it."""
    remote: str | None = None
    """URL that the output is uploaded to; ``target`` is where it is made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended."""

    source: str
    ok: bool
    reason: str = ""
    exit_code: int = 0
    by_rule: bool = False
    """It was not tried, because it is beyond a limit."""
    frames: int = 0
    seconds: float = 0.0
    report: str = ""
    """JSON of the sidecar."""


def do(task: Task, told: Told) -> Outcome:
    """Does a task. Errors that a file can cause become an outcome; anything else is raised."""
    started = perf_counter()
    try:
        report = _do_remote(task, told) if is_remote(task) else _do_local(task, told)
    except BeyondLimitError as error:
        return Outcome(task.source, ok=False, reason=str(error), exit_code=1, by_rule=True)
    except OverLimitError as error:
        return Outcome(task.source, ok=False, reason=str(error), exit_code=5, by_rule=True)
    except VidpipeError as error:
        text = " ".join(str(error).split()).removeprefix(f"{task.source} ").removeprefix(f"{task.source}: ")
        return Outcome(task.source, False, text, error.exit_code, seconds=perf_counter() - started)
    except MemoryError:
        return Outcome(task.source, False, "the memory is full", 5, seconds=perf_counter() - started)
    frames: int = report.frames_written if task.mode == "reconstruct" else report.frames
    return Outcome(
        task.source, True, frames=frames, seconds=perf_counter() - started, report=report.model_dump_json()
    )


def is_remote(task: Task) -> bool:
    """Whether its input or its output lies in an object store."""
    return task.remote is not None or "://" in task.source


def _do_local(task: Task, told: Told) -> Any:
    check_limits(task.source, task.limits)
    with at_most(task.limits.memory_bytes):
        return _run(task, told)


def _do_remote(task: Task, told: Told) -> Any:
    """Downloads the input, does the task beside it, and uploads the output and its sidecar, the output
    last. It does not go on inside of a file."""
    from vidpipe.batches import remote

    with tempfile.TemporaryDirectory(prefix="vidpipe-batch-") as folder:
        source = Path(task.source)
        if "://" in task.source:
            source = Path(folder) / "in" / Path(task.source).name
            remote.download(task.source, source)
        target = Path(task.target)
        if task.remote is not None:
            target = Path(folder) / "out" / target.name
        report = _do_local(
            replace(task, source=str(source), target=str(target), resume_from_s=None),
            lambda _, *count: told(task.source, *count),
        )
        if task.remote is not None:
            for suffix in (".json", ""):
                remote.upload(target.with_name(target.name + suffix), task.remote + suffix)
        return report


class BeyondLimitError(Exception):
    """A file is larger than a limit."""


def check_limits(source: str, limits: Limits) -> None:
    """From the container's headers alone. A file that says nothing passes here and is judged by the run.

    Raises BeyondLimitError, and InputError for a file that cannot be opened.
    """
    if limits.pixels is None and limits.duration_s is None:
        return
    from pipeline.decode.open import open_input

    with open_input(Path(source)) as container:
        video = next(iter(container.streams.video), None)
        pixels = 0 if video is None else video.width * video.height
        duration_s = (container.duration or 0) / 1e6
    if limits.pixels is not None and pixels > limits.pixels:
        raise BeyondLimitError(f"{pixels} pixels a frame, more than --max-pixels {limits.pixels}")
    if limits.duration_s is not None and duration_s > limits.duration_s:
        raise BeyondLimitError(f"{duration_s:.0f} s long, more than --max-duration {limits.duration_s:g}")


def _run(task: Task, told: Told) -> Any:
    from pipeline.run.anonymize import anonymize
    from pipeline.run.lifecycle import Progress
    from pipeline.run.reconstruct import reconstruct
    from vidpipe.jobs import anonymize_job, reconstruct_job

    source, target = Path(task.source), Path(task.target)
    again: Any = {"overwrite": task.overwrite, "resume_from_s": task.resume_from_s}
    settings = task.settings

    def on_frame(progress: Progress) -> None:
        told(task.source, progress.frames_written, progress.frames_total)

    target.parent.mkdir(parents=True, exist_ok=True)
    if task.mode == "reconstruct":
        return reconstruct(reconstruct_job(source, target, settings, **again), settings, on_frame)
    mode: Any = task.mode
    return anonymize(anonymize_job(source, target, settings, mode, **again), settings, on_frame)


def prepare(threads: int) -> None:
    """Once a worker: its threads, and the libraries, so that no file waits for them. Warnings are in the
    sidecars; a worker has no terminal of its own."""
    logging.getLogger().addHandler(logging.NullHandler())
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2
    import torch

    torch.set_num_threads(1)  # the stages' operations are small
    cv2.setNumThreads(threads)
    from pipeline.run import anonymize, reconstruct  # noqa: F401
