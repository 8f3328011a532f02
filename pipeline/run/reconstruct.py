"""Stages chained into a run: what is opened, in what order it closes, and what stands there at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import cast

import torch

from pipeline import cuda
from pipeline.config import Resolved, RunConfig
from pipeline.decode import Decoder, open_decoder
from pipeline.encode.atomic_file import all_or_nothing
from pipeline.engines import Engine, graph_library, open_engine
from pipeline.errors import UsageError
from pipeline.flow import Waits, cores, prefetch
from pipeline.notes import collecting
from pipeline.run.lifecycle import compared, encode_settings, make_encoder, stream, versions
from pipeline.run.plan import Job, Plan, absolute, make_plan
from pipeline.run.sidecar import (
    NOTICE,
    NetworkRecord,
    RunReport,
    StageRecord,
    TrackLog,
    file_record,
    setting_records,
    write_whole,
)
from pipeline.run.timing import StageClock, StageTime, bottleneck
from pipeline.stages.crop import crop
from pipeline.stages.find_mosaics import find_mosaics, is_clean, redetect_with
from pipeline.stages.paste import paste
from pipeline.stages.restore import restore
from pipeline.stages.window import window
from pipeline.track.mosaics import track
from pipeline.types import (
    Batch,
    Cropped,
    Found,
    Frame,
    ManualRegion,
    MosaicRegion,
    Patch,
    StreamInfo,
    Tracked,
    Window,
)

_CALLS = 2
"""Of the network that run at a time: what is computed around it keeps one core busy for each, and two take
no longer than cropping and pasting, which come in turn."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    frames_written: int
    frames_total: int
    faces: int
    """Being restored at the moment."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Every stage with its arguments, so that a run and a benchmark call the same thing."""

    info: StreamInfo
    engine: Engine
    config: RunConfig
    plan: Plan
    manual: tuple[ManualRegion, ...]
    device: torch.device = cuda.CPU
    """Where frames lie between decoder and encoder."""

    def find(self, frames: Iterator[Frame]) -> Iterator[Found[MosaicRegion]]:
        return find_mosaics(frames, settings=self.config.find, manual=self.manual)

    def track(self, found: Iterator[Found[MosaicRegion]]) -> Iterator[Tracked]:
        redetect = redetect_with(self.config.find)
        return track(found, settings=self.config.track, redetect=redetect, is_clean=is_clean)

    def crop(self, tracked: Iterator[Tracked]) -> Iterator[Cropped]:
        spec = self.engine.spec
        margin = self.config.crop.margin
        return crop(tracked, info=self.info, size_px=spec.size_px, cells=spec.cells, margin=margin)

    def window(self, cropped: Iterator[Cropped]) -> Iterator[Batch[Window]]:
        spec, cores = self.engine.spec, self.plan.cores_per_batch
        return window(cropped, core=spec.core, context=spec.context, cores_per_batch=cores)

    def restore(self, batches: Iterator[Batch[Window]]) -> Iterator[Batch[Patch]]:
        return restore(batches, engine=self.engine, batch_size=self.config.restore.batch_size)

    def paste(self, batches: Iterator[Batch[Patch]]) -> Iterator[Frame]:
        return paste(batches, info=self.info)


@dataclass(slots=True)
class Meters:
    """What a run measures about itself."""

    clock: StageClock = field(default_factory=StageClock)
    tracks: TrackLog = field(default_factory=TrackLog)
    decoded: Waits = field(default_factory=Waits)
    tracked: Waits = field(default_factory=Waits)
    painted: Waits = field(default_factory=Waits)

    def times(self) -> list[StageTime]:
        return self.clock.times({"find": self.decoded.get_s, "paint": self.tracked.get_s})

    def waits_s(self) -> dict[str, float]:
        return {
            "decode thread, for room": self.decoded.put_s,
            "find thread, for frames": self.decoded.get_s,
            "find thread, for room": self.tracked.put_s,
            "paint thread, for frames": self.tracked.get_s,
            "paint thread, for room": self.painted.put_s,
            "encode thread, for frames": self.painted.get_s,
        }


def chain(decoder: Decoder, stages: Stages, meters: Meters) -> Generator[Frame]:
    """The frames of the output, in order. Closing it stops the three threads that make them ahead."""
    plan, config, timed = stages.plan, stages.config, meters.clock.timed
    read = cuda.to_device(decoder.frames(plan.start_pts, plan.end_pts), stages.device)
    decoded = timed("decode", "decode", read)
    frames = prefetch(decoded, config.decode.prefetch_frames, "decode", meters.decoded)
    found = timed("find", "find", stages.find(frames))
    followed = timed("track", "find", stages.track(found))
    tracked = prefetch(followed, config.crop.prefetch_frames, "find", meters.tracked)
    cropped = timed("crop", "paint", stages.crop(meters.tracks.listen(tracked)))
    windows = timed("window", "paint", stages.window(meters.tracks.listen_restored(cropped)))
    patches = timed("restore", "paint", stages.restore(windows))
    painted = timed("paste", "paint", cuda.to_host(stages.paste(patches)))
    out = prefetch(painted, config.encode.prefetch_frames, "paint", meters.painted)
    # An error's traceback would keep the boundaries open; closed by hand they end inside out.
    with ExitStack() as boundaries:
        for boundary in (frames, tracked, out):
            boundaries.enter_context(closing(cast("Generator[object]", boundary)))
        yield from out


def run(job: Job, settings: Resolved, on_frame: Callable[[Progress], None]) -> RunReport:
    """Does the job. ``on_frame`` is called after each frame written, in the caller's thread.

    Boundaries close first, then the encoder, the engine, the decoder. Until the output is whole and has been
    compared with its source it has another name: whatever is raised, Ctrl-C included, leaves under the job's
    names what stood there before. Raises the errors of ``pipeline.errors``;
    GateError where the output does not keep what it must.
    """
    config, started, meters = settings.config, perf_counter(), Meters()
    device = place_of(config)
    with cuda.memory_errors(device), ExitStack() as whole, ExitStack() as stack:
        notes = stack.enter_context(collecting())
        decoder = stack.enter_context(open_decoder(job.source, str(device), decoder=config.decode.decoder))
        engine = stack.enter_context(closing(open_restorer(job.network, config, device)))
        plan = make_plan(job, decoder.info, engine.spec, config, engine.calls)
        settings_of_output = encode_settings(job, config, NOTICE, device=device)
        encoder = make_encoder(decoder.info, job, plan, settings_of_output)
        stack.push(encoder)  # before it is opened: an interrupt comes between any two steps
        encoder.open()
        manual = absolute(job.manual, decoder.info)
        stages = Stages(decoder.info, engine, config, plan, manual, device)
        frames = chain(decoder, stages, meters)

        def written_so_far(written: int) -> None:
            on_frame(Progress(written, plan.frames, meters.tracks.living))

        written, streaming_s = stream(frames, encoder, meters.clock, written_so_far)
        begun = perf_counter()
        made = encoder.complete()
        meters.clock.add("encode", "encode", perf_counter() - begun)
        streaming_s += perf_counter() - begun
        conservation = compared(decoder.info, made, encoder, job, plan, settings_of_output)
        times = meters.times()
        report = RunReport(
            versions=versions(),
            settings=setting_records(settings),
            input=file_record(job.source),
            output=file_record(made, job.target.name),
            network=NetworkRecord(
                net=engine.spec.net,
                version=engine.spec.version,
                weights_sha256=engine.spec.weights_sha256,
                engine=engine.name,
            ),
            frames_written=written,
            frames_restored=meters.tracks.frames_restored,
            tracks=meters.tracks.records(decoder.info.time_base),
            stages=[StageRecord(stage=t.stage, seconds=t.seconds, thread=t.thread) for t in times],
            waits_s=meters.waits_s(),
            bottleneck=bottleneck(times),
            streaming_s=streaming_s,
            elapsed_s=perf_counter() - started,
            conservation=conservation,
            lost=list(encoder.lost),
            warnings=notes.warnings,
        )
        # It outlasts the closing of the others: an interrupt in there counts, too.
        whole.enter_context(all_or_nothing(job.target, job.sidecar))
        encoder.finish()
        write_whole(job.sidecar, report.model_dump_json(indent=2))
    return report


def place_of(config: RunConfig) -> torch.device:
    """Where frames and network lie. Raises MissingError for a GPU that is asked for and cannot be used,
    UsageError for an engine that runs on no GPU."""
    if config.restore.engine != "openvino":
        return cuda.place(config.device)
    if config.device.startswith("cuda"):
        raise UsageError(f"--engine openvino runs on the CPU, --device {config.device} was asked; use auto")
    return cuda.place("cpu")


def open_restorer(network: Path, config: RunConfig, device: torch.device) -> Engine:
    """The engine that the settings ask for."""
    settings = config.restore
    library = "auto" if network.suffix in (".engine", ".pt2") else graph_library(settings.engine)
    threads = settings.threads or None
    calls = min(threads or cores(), _CALLS)
    return open_engine(network, device=str(device), library=library, threads=threads, calls=calls)
