"""Reconstruction: every stage with its settings, their chain, and what the mode brings to a run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from pipeline import cuda
from pipeline.config import Resolved, RunConfig
from pipeline.decode import Decoder
from pipeline.engines import Engine, graph_library, open_engine
from pipeline.flow import cores, prefetch
from pipeline.run.job import ReconstructJob
from pipeline.run.lifecycle import Made, Progress, device_for, run_job
from pipeline.run.plan import ReconstructPlan, absolute, reconstruct_plan
from pipeline.run.sidecar import (
    NOTICE,
    MosaicRecorder,
    NetworkRecord,
    ReconstructReport,
    file_record,
)
from pipeline.run.timing import RunTimes
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
"""Calls of the network at a time: what is computed around each keeps one core busy, and two take no longer
than cropping and pasting, which come in turn."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Every stage with its arguments, so that a run and a benchmark call the same thing."""

    info: StreamInfo
    engine: Engine
    config: RunConfig
    plan: ReconstructPlan
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

    def restore(self, batches: Iterator[Batch[Window]], kept: int = 0) -> Iterator[Batch[Patch]]:
        batch_size = self.config.restore.batch_size
        return restore(batches, engine=self.engine, batch_size=batch_size, kept=kept)

    def paste(self, batches: Iterator[Batch[Patch]]) -> Iterator[Frame]:
        return paste(batches, info=self.info)


def chain(
    decoder: Decoder, stages: Stages, times: RunTimes, recorder: MosaicRecorder, kept: int = 0
) -> Generator[Frame]:
    """The frames of the output, in order. Closing it stops the three threads that make them ahead. Frames
    with an index below ``kept`` may have any picture."""
    plan, config, timed = stages.plan, stages.config, times.clock.timed
    read = cuda.to_device(decoder.frames(plan.start_pts, plan.end_pts), stages.device)
    decoded = timed("decode", "decode", read)
    frames = prefetch(decoded, config.decode.prefetch_frames, "decode", times.boundary("decode", "find"))
    found = timed("find", "find", stages.find(frames))
    followed = timed("track", "find", stages.track(found))
    tracked = prefetch(followed, config.crop.prefetch_frames, "find", times.boundary("find", "paint"))
    cropped = timed("crop", "paint", stages.crop(recorder.listen(tracked)))
    windows = timed("window", "paint", stages.window(recorder.listen_restored(cropped)))
    patches = timed("restore", "paint", stages.restore(windows, kept))
    painted = timed("paste", "paint", cuda.to_host(stages.paste(patches)))
    out = prefetch(painted, config.encode.prefetch_frames, "paint", times.boundary("paint", "encode"))
    # An error's traceback would keep the boundaries open; closed by hand they end inside out.
    with ExitStack() as boundaries:
        for boundary in (frames, tracked, out):
            boundaries.enter_context(closing(cast("Generator[object]", boundary)))
        yield from out


class Reconstruction:
    """An opened run of this mode, see ``pipeline.run.lifecycle.Work``."""

    def __init__(self, job: ReconstructJob, decoder: Decoder, stages: Stages) -> None:
        self.plan = stages.plan
        self.stages = stages
        self.times = RunTimes()
        self._job = job
        self._decoder = decoder
        self.recorder = MosaicRecorder()

    @property
    def faces(self) -> int:
        return self.recorder.living

    @property
    def memory_bytes(self) -> int:
        return self.plan.memory.total_bytes(faces=1)

    def frames(self, kept: int = 0) -> Generator[Frame]:
        return chain(self._decoder, self.stages, self.times, self.recorder, kept)

    def check(self, made: Made, on_checked: Callable[[int], None]) -> None:
        """Nothing beside what every run checks."""

    def again(self) -> None:
        """Nothing here depends on a check."""

    def report(self, made: Made, shared: dict[str, Any]) -> ReconstructReport:
        spec = self.stages.engine.spec
        return ReconstructReport(
            **shared,
            output=file_record(made.path, self._job.target.name),
            network=NetworkRecord(
                net=spec.net,
                version=spec.version,
                weights_sha256=spec.weights_sha256,
                engine=self.stages.engine.name,
            ),
            frames_written=made.frames,
            frames_restored=self.recorder.frames_restored,
            tracks=self.recorder.records(self._decoder.info.time_base),
        )

    def published(self) -> None:
        """Nothing to clear away."""


@dataclass(frozen=True, slots=True)
class Reconstruct:
    """The mode, see ``pipeline.run.lifecycle.Mode``."""

    job: ReconstructJob
    settings: Resolved
    notice: str = NOTICE
    quick: bool = False
    covers: bool = False

    def device(self) -> torch.device:
        return device_for(self.settings.config)

    def decoder_device(self, device: torch.device) -> torch.device:
        return device

    def open(self, stack: ExitStack, decoder: Decoder, device: torch.device) -> Reconstruction:
        config, info = self.settings.config, decoder.info
        engine = stack.enter_context(closing(open_restorer(self.job.network, config, device)))
        plan = reconstruct_plan(self.job, info, engine.spec, config, engine.calls)
        manual = absolute(self.job.manual, info)
        return Reconstruction(self.job, decoder, Stages(info, engine, config, plan, manual, device))


def reconstruct(
    job: ReconstructJob, settings: Resolved, on_frame: Callable[[Progress], None]
) -> ReconstructReport:
    """Does the job, see ``pipeline.run.lifecycle.run_job``."""
    return run_job(Reconstruct(job, settings), on_frame)


def open_restorer(network: Path, config: RunConfig, device: torch.device) -> Engine:
    """The engine that the settings ask for."""
    settings = config.restore
    library = "auto" if network.suffix in (".engine", ".pt2") else graph_library(settings.engine)
    threads = settings.threads or None
    calls = min(threads or cores(), _CALLS)
    return open_engine(network, device=str(device), library=library, threads=threads, calls=calls)
