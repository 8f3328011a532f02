"""A run holds no more frames than it says, and ends cleanly wherever it breaks."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from pipeline.config import Given, Resolved, resolve
from pipeline.decode.pyav import PyAVDecoder
from pipeline.encode.atomic_file import AtomicFile
from pipeline.encode.passthrough import OtherStreams
from pipeline.encode.pyav import PyAVEncoder
from pipeline.errors import InputError
from pipeline.run import lifecycle, output, reconstruct
from pipeline.run.job import ReconstructJob
from pipeline.run.lifecycle import Progress
from pipeline.run.plan import reconstruct_plan
from pipeline.run.reconstruct import reconstruct as run
from pipeline.run.sidecar import ReconstructReport, file_record
from pipeline.stages.paste import paste
from pipeline.types import Frame

pytestmark = pytest.mark.slow

STAGES = ("find_mosaics", "track", "crop", "window", "restore", "paste")


@pytest.fixture
def settings() -> Resolved:
    return resolve({"encode.preset": Given("ultrafast", "test"), "encode.codec": Given("libx264", "test")})


@pytest.fixture
def job(mosaic_clip: Path, network: Path, tmp_path: Path) -> ReconstructJob:
    return ReconstructJob(mosaic_clip, tmp_path / "out.mp4", network=network)


def _run(job: ReconstructJob, settings: Resolved) -> ReconstructReport:
    return run(job, settings, lambda _: None)


class BrokenError(Exception):
    """What the tests throw into a run."""


def _breaking(stage: Callable[..., Iterator[Any]], after: int) -> Callable[..., Iterator[Any]]:
    def broken(*arguments: object, **keywords: object) -> Iterator[Any]:
        for count, item in enumerate(stage(*arguments, **keywords)):
            if count == after:
                raise BrokenError
            yield item

    return broken


def _threads() -> set[str]:
    """Of ours; libraries keep their own."""
    return {thread.name for thread in threading.enumerate()} & {"decode", "find", "paint"}


def _clean(job: ReconstructJob) -> None:
    assert list(job.target.parent.iterdir()) == []
    assert _threads() == set()


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_an_error_in_any_stage_ends_the_run_and_its_threads_and_leaves_nothing(
    job: ReconstructJob, settings: Resolved, monkeypatch: pytest.MonkeyPatch, stage: str, after: int
) -> None:
    monkeypatch.setattr(reconstruct, stage, _breaking(getattr(reconstruct, stage), after))
    with pytest.raises(BrokenError):
        _run(job, settings)
    _clean(job)


@pytest.mark.parametrize("where", ["write", "finish", "frames"])
def test_an_error_of_decoder_or_encoder_does_too(
    job: ReconstructJob, settings: Resolved, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:

    def broken(*_: object) -> None:
        raise InputError("broken")

    if where == "frames":
        monkeypatch.setattr(PyAVDecoder, "frames", _breaking(PyAVDecoder.frames, 5))
    else:
        monkeypatch.setattr(PyAVEncoder, where, broken)
    with pytest.raises(BrokenError if where == "frames" else InputError):
        _run(job, settings)
    _clean(job)


@pytest.mark.parametrize("at", [1, 15, 30])
def test_an_interrupt_between_two_frames_does_too(job: ReconstructJob, settings: Resolved, at: int) -> None:

    def interrupt(progress: Progress) -> None:
        if progress.frames_written == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, settings, interrupt)
    _clean(job)


def test_what_was_there_before_stays_when_a_run_fails(
    job: ReconstructJob, settings: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.target.write_text("older")
    monkeypatch.setattr(reconstruct, "paste", _breaking(paste, 1))
    with pytest.raises(BrokenError):
        _run(replace(job, overwrite=True), settings)
    assert job.target.read_text() == "older"
    assert list(job.target.parent.iterdir()) == [job.target]


def _then(call: Callable[..., Any], error: type[BaseException]) -> Callable[..., Any]:
    """The same call, and an error before its caller sees that it is over."""

    def called(*arguments: Any, **keywords: Any) -> None:
        call(*arguments, **keywords)
        raise error

    return called


OPENING = [
    (AtomicFile, "create"),
    (OtherStreams, "__init__"),
    (PyAVEncoder, "__init__"),
    (PyAVEncoder, "_open"),
    (PyAVEncoder, "open"),
]
ENDING = [
    (AtomicFile, "complete"),
    (PyAVEncoder, "complete"),
    (output, "compare"),
    (reconstruct, "file_record"),
]
OLDER_REPORT = '{"schema_version": 1, "notice": "older"}'
RENAMING = [(AtomicFile, "commit"), (PyAVEncoder, "finish"), (lifecycle, "write_whole")]


@pytest.mark.parametrize(("where", "name"), [*OPENING, *ENDING, *RENAMING])
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("links", [True, False])
def test_an_interrupt_after_any_step_leaves_what_was_there(
    job: ReconstructJob,
    settings: Resolved,
    monkeypatch: pytest.MonkeyPatch,
    where: object,
    name: str,
    older: bool,
    links: bool,
) -> None:
    if older:
        job.target.write_text("older")
        job.sidecar.write_text(OLDER_REPORT)
    if not links:  # as on a memory card
        monkeypatch.setattr(os, "link", _breaking_call(PermissionError))
    monkeypatch.setattr(where, name, _then(getattr(where, name), KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _run(replace(job, overwrite=older), settings)
    if older:
        assert (job.target.read_text(), job.sidecar.read_text()) == ("older", OLDER_REPORT)
        job.target.unlink()
        job.sidecar.unlink()
    _clean(job)


def _breaking_call(error: type[BaseException]) -> Callable[..., Any]:
    def broken(*_: object, **__: object) -> None:
        raise error

    return broken


@pytest.mark.parametrize("links", [True, False])
def test_an_older_output_gives_way_to_a_run_that_succeeds(
    job: ReconstructJob, settings: Resolved, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _breaking_call(PermissionError))
    job.target.write_text("older")
    job.sidecar.write_text(OLDER_REPORT)
    report = _run(replace(job, overwrite=True), settings)
    assert file_record(job.target) == report.output
    assert ReconstructReport.model_validate_json(job.sidecar.read_text()) == report
    assert sorted(job.target.parent.iterdir()) == [job.target, job.sidecar]


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_frames_live_at_a_time_than_the_bound_says(
    job: ReconstructJob, settings: Resolved, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    depths = {f"{side}.prefetch_frames": Given(ahead, "test") for side in ("decode", "crop", "encode")}
    settings = resolve({"encode.preset": Given("ultrafast", "test"), **depths})
    living: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0
    lock = threading.Lock()
    frames_of = PyAVDecoder.frames

    def watched(decoder: PyAVDecoder, *arguments: Any) -> Iterator[Frame]:
        nonlocal most
        for frame in frames_of(decoder, *arguments):
            with lock:
                living.add(frame.planes[0])
                most = max(most, len(living))
            yield frame
            del frame

    bounds: list[int] = []

    def planned(*arguments: Any) -> Any:
        plan = reconstruct_plan(*arguments)
        bounds.append(plan.memory.frames)
        return plan

    monkeypatch.setattr(reconstruct, "reconstruct_plan", planned)
    monkeypatch.setattr(PyAVDecoder, "frames", watched)
    _run(job, settings)
    assert 0 < most <= bounds[0]


def test_progress_counts_every_frame_once(job: ReconstructJob, settings: Resolved) -> None:
    seen: list[Progress] = []
    report = run(job, settings, seen.append)
    *seen, last = seen
    assert (last.stage, {progress.stage for progress in seen}) == ("publish", {"write"})
    assert [progress.frames_written for progress in seen] == list(range(1, report.frames_written + 1))
    assert {progress.frames_total for progress in seen} == {report.frames_written}
    assert max(progress.faces for progress in seen) == 1
