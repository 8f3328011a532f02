"""The life of a run: what is opened and in what order, frames into a file, checks, the file under its name.

Every mode shares it. A mode brings its stages, further checks and its report.

    opened      device, decoder, the mode's networks and plan; closed in the opposite order
    run_job     the frames of an opened run into a file that stands there whole, as promised, or not at all
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch

from pipeline import cuda
from pipeline.answers import answering
from pipeline.config import Resolved, RunConfig
from pipeline.decode import Decoder, open_decoder
from pipeline.encode import Encoder
from pipeline.encode.atomic_file import all_or_nothing, write_whole
from pipeline.errors import UsageError
from pipeline.machine import require
from pipeline.notes import Notes, called, collecting
from pipeline.run.early import check_sound
from pipeline.run.job import Job
from pipeline.run.journal import Journal, journal
from pipeline.run.output import compared, encode_settings, left_to_look_at, make_encoder, refuse_silence
from pipeline.run.plan import Plan
from pipeline.run.sidecar import KeptRecord, StageRecord, file_record, setting_records, versions
from pipeline.run.timing import RunTimes, bottleneck
from pipeline.types import Frame


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is within its present stage."""

    frames_written: int
    """Frames done: written, or in stage ``check`` looked through."""
    frames_total: int
    faces: int
    """In the frame that passed last."""
    stage: Literal["write", "check", "publish"] = "write"
    """write: frames are made and encoded; check: the output is looked through; publish: it is whole and gets
    its name now, which an interrupt should no longer stop."""
    frames_kept: int | None = None
    """Frames that the next run need not make again if this one stops; None: it would begin anew."""


class Report(Protocol):
    """What a run returns and writes beside its output."""

    def as_json(self) -> str:
        """The text of the sidecar."""
        ...


ReportT = TypeVar("ReportT", bound=Report)
ReportT_co = TypeVar("ReportT_co", bound=Report, covariant=True)


@dataclass(frozen=True, slots=True)
class Made:
    """A file that is whole and still has another name."""

    path: Path
    video: int
    """Which of its video streams the run wrote; see ``Encoder.video``."""
    frames: int
    conservation: list[KeptRecord]
    lost: list[str]
    removed: list[str]
    """What was left behind, as the settings ask."""
    look_at: list[str]
    """What was taken along and may name people, where faces are covered."""


class Work(Protocol[ReportT_co]):
    """An opened run of one mode."""

    @property
    def plan(self) -> Plan: ...
    @property
    def times(self) -> RunTimes: ...
    @property
    def faces(self) -> int:
        """In the frame that passed last."""
        ...

    @property
    def memory_bytes(self) -> int:
        """That it may take with one face in the picture."""
        ...

    def frames(self, kept: int = 0) -> Generator[Frame]:
        """The frames of the output, in order, on the host. Those with an index below ``kept`` may have any
        picture."""
        ...

    def check(self, made: Made, on_checked: Callable[[int], None]) -> None:
        """Judges the output. ``on_checked`` gets the number of frames looked through."""
        ...

    def again(self) -> Work[ReportT_co] | None:
        """The same run with other masks, where ``check`` has found that the output should have others; it
        takes the place of this one. None: the output stays as it is, fit or not."""
        ...

    def report(self, made: Made, shared: dict[str, Any]) -> ReportT_co:
        """``shared`` are the fields that all reports have. Raises CheckError where ``check`` found the output
        unfit."""
        ...

    def published(self) -> None:
        """The output stands under its name."""
        ...


WorkT = TypeVar("WorkT", bound=Work[Any])
WorkT_co = TypeVar("WorkT_co", bound=Work[Any], covariant=True)


class Mode(Protocol[WorkT_co]):
    """What a run does with a file."""

    @property
    def notice(self) -> str:
        """The comment in the output's metadata."""
        ...

    @property
    def quick(self) -> bool:
        """Whether the encoder's quick presets do: the footage is mostly as it was."""
        ...

    @property
    def covers(self) -> bool:
        """Whether faces are covered: what else tells who is there is left behind."""
        ...

    @property
    def job(self) -> Job: ...
    @property
    def settings(self) -> Resolved: ...

    def device(self) -> torch.device:
        """Where networks run. Raises MissingError and UsageError as ``device_for``."""
        ...

    def decoder_device(self, device: torch.device) -> torch.device:
        """Where frames lie."""
        ...

    def open(self, stack: ExitStack, decoder: Decoder, device: torch.device) -> WorkT_co:
        """Opens what the mode needs, to be closed by ``stack``. Raises the errors of ``pipeline.errors``."""
        ...


@dataclass(frozen=True, slots=True)
class OpenRun(Generic[WorkT]):
    """A run whose input, networks and stages are open."""

    mode: Mode[WorkT]
    work: WorkT
    decoder: Decoder
    device: torch.device
    notes: Notes
    stack: ExitStack
    started: float

    def shared_fields(
        self, work: Work[Any], streaming_s: float, conservation: list[KeptRecord], lost: list[str]
    ) -> dict[str, Any]:
        """The fields that every report has. ``work`` is the run's, or the one that took its place."""
        times = work.times.times()
        return {
            "versions": versions(),
            "settings": setting_records(self.mode.settings),
            "input": file_record(self.mode.job.source),
            "stages": [StageRecord(stage=t.stage, seconds=t.seconds, thread=t.thread) for t in times],
            "waits_s": work.times.waits_s(),
            "bottleneck": bottleneck(times),
            "streaming_s": streaming_s,
            "elapsed_s": perf_counter() - self.started,
            "conservation": conservation,
            "lost": lost,
            "warnings": self.notes.warnings,
        }


@contextmanager
def opened(mode: Mode[WorkT]) -> Iterator[OpenRun[WorkT]]:
    """Opens a run; when it ends, closes encoder, networks and decoder in this order.

    Raises the errors of ``pipeline.errors``: GPU memory that is full becomes MissingError.
    """
    started, device = perf_counter(), mode.device()
    with collecting() as notes, cuda.memory_errors(device), ExitStack() as stack:
        decoder = stack.enter_context(
            open_decoder(
                mode.job.source,
                str(mode.decoder_device(device)),
                decoder=mode.settings.config.decode.decoder,
            )
        )
        work = mode.open(stack, decoder, device)
        require(
            work.memory_bytes, f"{mode.job.source}: a run on {decoder.info.width}x{decoder.info.height} px"
        )
        yield OpenRun(mode, work, decoder, device, notes, stack, started)


def run_job(mode: Mode[Work[ReportT]], on_frame: Callable[[Progress], None]) -> ReportT:
    """Does a job. ``on_frame`` is called in the caller's thread, after each frame written or checked.

    Until the output is whole and has been compared with its source it has another name: whatever is raised,
    Ctrl-C included, leaves under the job's names what stood there before. Raises the errors of
    ``pipeline.errors``; CheckError where the output does not keep what it must.
    """
    job = mode.job
    job.check_names()
    check_sound(job.source, job.target, mode.settings.config.encode.audio)
    with ExitStack() as journals, ExitStack() as whole, opened(mode) as run:
        work: Work[ReportT] = run.work
        kept = journals.enter_context(
            journal(job, mode.settings, str(run.device), run.decoder.info, work.plan)
        )
        journals.enter_context(answering(None if kept is None else kept.answers))
        output = _Output(run, kept, on_frame)
        encoder, made, streaming_s = output.made_by(work)
        while (other := work.again()) is not None:
            encoder.close()
            work = other
            encoder, made, more_s = output.made_by(work, begins_anew=True)
            streaming_s += more_s
        shared = run.shared_fields(work, streaming_s, made.conservation, made.lost)
        report = work.report(made, shared)
        output.progress(work, "publish", made.frames)
        # It outlasts the closing of the others: an interrupt in there counts, too.
        whole.enter_context(all_or_nothing(job.target, job.sidecar))
        encoder.finish()
        write_whole(job.sidecar, report.as_json())
        work.published()
    return report


@dataclass(frozen=True, slots=True)
class _Output:
    """What becomes of an open run's frames: a file that is whole, compared with its source and checked."""

    run: OpenRun[Any]
    kept: Journal | None
    on_frame: Callable[[Progress], None]

    def progress(
        self, work: Work[Any], stage: Literal["write", "check", "publish"], done: int, anew: bool = False
    ) -> None:
        frames_kept = None if self.kept is None else 0 if anew else self.kept.frames_kept
        self.on_frame(Progress(done, work.plan.frames, work.faces, stage, frames_kept))

    def made_by(self, work: Work[ReportT], *, begins_anew: bool = False) -> tuple[Encoder, Made, float]:
        """The open encoder, the file, and how many seconds it took. ``begins_anew``: the journal's segments
        are of other masks."""
        run, kept = self.run, None if begins_anew else self.kept
        mode, source = run.mode, run.decoder.source
        job = mode.job
        settings = encode_settings(
            source,
            mode.settings.config,
            mode.notice,
            quick=mode.quick,
            device=run.device,
            covers=mode.covers,
        )
        encoder = make_encoder(source, job, work.plan, settings, None if kept is None else kept.segments)
        run.stack.push(encoder)  # before it is opened: an interrupt comes between any two steps
        encoder.open()
        refuse_silence(encoder, job)
        begin = 0 if kept is None else kept.kept
        written_on = partial(self.progress, work, "write", anew=begins_anew)
        path, written, streaming_s = _stream(work, encoder, begin, written_on)
        with called(path, job.target):
            conservation, lost = compared(source, path, encoder, job, work.plan, settings)
            looked = left_to_look_at(source, path) if mode.covers else []
            made = Made(path, encoder.video, written, conservation, lost, list(encoder.removed), looked)
            checking = perf_counter()
            work.check(made, partial(self.progress, work, "check", anew=begins_anew))
            streaming_s += perf_counter() - checking
        return encoder, made, streaming_s


def _stream(
    work: Work[Any], encoder: Encoder, kept: int, on_written: Callable[[int], None]
) -> tuple[Path, int, float]:
    """Encodes the frames from index ``kept`` on. Returns where the whole file lies, its frames, and how many
    seconds it took."""
    written, started, clock = 0, perf_counter(), work.times.clock
    with closing(work.frames(kept)) as frames:
        for frame in frames:
            begun = perf_counter()
            encoder.write(frame)
            clock.add("encode", "encode", perf_counter() - begun)
            written += 1
            on_written(written)
    begun = perf_counter()
    path = encoder.complete()
    clock.add("encode", "encode", perf_counter() - begun)
    return path, written, perf_counter() - started


def device_for(config: RunConfig) -> torch.device:
    """Where frames and networks lie. Raises MissingError for a GPU that is asked for and cannot be used,
    UsageError for an engine that runs on no GPU."""
    if config.restore.engine != "openvino":
        return cuda.place(config.device)
    if config.device.startswith("cuda"):
        raise UsageError(f"--engine openvino runs on the CPU, --device {config.device} was asked; use auto")
    return cuda.place("cpu")
