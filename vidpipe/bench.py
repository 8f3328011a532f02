"""Frame rates of a clip on this machine: every stage alone, then all of them together."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import TypeVar

from pydantic import BaseModel

from pipeline import cuda
from pipeline.config import Resolved
from pipeline.decode import Decoder
from pipeline.decode.source import probe
from pipeline.encode import Encoder
from pipeline.flow import cores
from pipeline.run.job import ReconstructJob
from pipeline.run.lifecycle import opened
from pipeline.run.output import encode_settings, make_encoder
from pipeline.run.reconstruct import Reconstruct, Stages, reconstruct
from pipeline.run.sidecar import NOTICE
from pipeline.types import Frame

log = logging.getLogger(__name__)

FEWEST_FRAMES = 30
"""Below that, what a stage does once (filling a look-ahead, starting threads) outweighs its frames."""

T = TypeVar("T")
U = TypeVar("U")


class StageRate(BaseModel):
    """One stage with its inputs ready in memory."""

    stage: str
    fps: float
    cpu_ms: float
    """Processor time per frame, over all threads."""


class BenchReport(BaseModel):
    """What ``vidpipe bench`` prints."""

    clip: str
    size_px: tuple[int, int]
    frames: int
    frames_restored: int
    engine: str
    stages: list[StageRate]
    """Each by itself, its input in memory, with all cores at its disposal."""
    cores: int
    end_to_end_fps: float
    """From the first frame read to the last one written, opening and comparing left out."""
    bottleneck: str
    """Of the run end to end."""

    @property
    def slowest(self) -> StageRate:
        return min(self.stages, key=lambda stage: stage.fps)

    @property
    def share_of_slowest(self) -> float:
        """End to end over the slowest stage alone; 1 would be perfect overlap."""
        return self.end_to_end_fps / self.slowest.fps

    @property
    def cpu_ms(self) -> float:
        """Processor time per frame of all stages."""
        return sum(stage.cpu_ms for stage in self.stages)

    @property
    def bound(self) -> float:
        """The most that ``share_of_slowest`` can be: a core has 1000 ms a second, and stages share them."""
        return min(1.0, 1000 * self.cores / self.cpu_ms / self.slowest.fps)

    @property
    def share_of_bound(self) -> float:
        """1 where no core ever waits, or the slowest stage never does. Compiling the network counts."""
        return self.share_of_slowest / self.bound

    def as_markdown(self) -> str:
        """A table, and one line about the whole."""
        rows = [f"| {stage.stage} | {stage.fps:.1f} | {stage.cpu_ms:.1f} |" for stage in self.stages]
        width, height = self.size_px
        return "\n".join(
            [
                f"{self.clip}, {width}x{height}, {self.frames} frames, {self.frames_restored} with a face; "
                f"{self.engine}, {self.cores} cores",
                "",
                "| stage alone | frames/s | processor ms/frame |",
                "|---|---|---|",
                *rows,
                f"| **end to end** | **{self.end_to_end_fps:.1f}** | |",
                "",
                f"End to end runs at {self.share_of_slowest:.0%} of the slowest stage alone "
                f"({self.slowest.stage}). All stages together take {self.cpu_ms:.1f} ms of processor time "
                f"a frame, so {self.cores} cores allow {self.bound:.0%} at most; {self.share_of_bound:.0%} "
                f"of that is reached. The bottleneck is {self.bottleneck}.",
            ]
        )


def measure(job: ReconstructJob, settings: Resolved, max_frames: int) -> BenchReport:
    """Runs the first ``max_frames`` of a clip through each stage, then end to end into a temporary folder.

    The frames are held in memory: 120 of 1080p take 400 MB. Raises what a run would.
    """
    info = probe(job.source)
    if len(info.pts) > max_frames:
        end_s = float((info.pts[max_frames] - info.pts[0]) * info.time_base)
        job = replace(job, end_s=end_s)
    with tempfile.TemporaryDirectory() as folder:
        alone = replace(job, target=Path(folder) / f"alone{job.source.suffix}")
        with opened(Reconstruct(alone, settings)) as run:
            stages = run.work.stages
            if stages.plan.frames < FEWEST_FRAMES:
                log.warning(
                    "%d frames are too few for rates to mean much; %d and more are wanted",
                    stages.plan.frames,
                    FEWEST_FRAMES,
                )
            marked = encode_settings(run.decoder.source, settings.config, NOTICE)
            encoder = run.stack.enter_context(make_encoder(run.decoder.source, alone, stages.plan, marked))
            rates = _alone(run.decoder, stages, encoder)
            engine = stages.engine.name
        together = replace(job, target=Path(folder) / f"together{job.source.suffix}")
        report = reconstruct(together, settings, lambda _: None)
    return BenchReport(
        clip=job.source.name,
        size_px=(info.width, info.height),
        frames=report.frames_written,
        frames_restored=report.frames_restored,
        engine=engine,
        stages=rates,
        cores=cores(),
        end_to_end_fps=report.frames_written / report.streaming_s,
        bottleneck=report.bottleneck,
    )


def _alone(decoder: Decoder, stages: Stages, encoder: Encoder) -> list[StageRate]:
    plan, rates = stages.plan, []

    def through(stage: str, call: Callable[[Iterator[T]], Iterator[U]], items: list[T]) -> list[U]:
        begun, worked = perf_counter(), process_time()
        out = list(call(iter(items)))
        fps = plan.frames / (perf_counter() - begun)
        cpu_ms = 1000 * (process_time() - worked) / plan.frames
        rates.append(StageRate(stage=stage, fps=fps, cpu_ms=cpu_ms))
        return out

    frames = through(
        "decode",
        lambda _: cuda.to_device(decoder.frames(plan.start_pts, plan.end_pts), stages.device),
        [None],
    )
    found = through("find", stages.find, frames)
    tracked = through("track", stages.track, found)
    cropped = through("crop", stages.crop, tracked)
    windows = through("window", stages.window, cropped)
    for _ in stages.restore(iter(windows[:1])):
        pass  # the library compiles the network on its first call
    patches = through("restore", stages.restore, windows)
    painted = through("paste", lambda items: cuda.to_host(stages.paste(items)), patches)

    def encode(items: Iterator[Frame]) -> Iterator[None]:
        for frame in items:
            encoder.write(frame)
            yield
        encoder.finish()

    through("encode", encode, painted)
    return rates
