"""Runs that cover faces: found, tracked, chosen, masked, painted, encoded, and looked at once more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import torch

from pipeline import cuda
from pipeline.config import Resolved, RunConfig
from pipeline.decode import Decoder, open_decoder
from pipeline.encode.atomic_file import all_or_nothing
from pipeline.engines import Engine, graph_library, open_engine
from pipeline.errors import GateError, UsageError
from pipeline.faces import detector_kind, open_detector
from pipeline.faces.input_picture import DetectorView, SmallPicture
from pipeline.flow import Waits, prefetch
from pipeline.notes import collecting, warned
from pipeline.run import reconstruct
from pipeline.run.anonymize_sidecar import (
    NOTICE,
    ChoiceRecord,
    CoverReport,
    LooksRecord,
    ReleaseRecord,
)
from pipeline.run.job import CoverJob, CoverPlan, check_tracks, make_plan
from pipeline.run.lifecycle import compared, encode_settings, make_encoder, stream, versions
from pipeline.run.reconstruct import Progress
from pipeline.run.release_check import examine, told
from pipeline.run.replay import replay
from pipeline.run.sidecar import StageRecord, file_record, setting_records, write_whole
from pipeline.run.timing import StageClock, StageTime, bottleneck
from pipeline.run.track_records import TrackBook
from pipeline.stages.find_faces import FaceLooker
from pipeline.stages.paint import paint
from pipeline.stages.perturb import Perturber
from pipeline.stages.pixelize import Pixelizer
from pipeline.track.faces import track_faces
from pipeline.track.select import select
from pipeline.types import Frame, StreamInfo, TrackedFaces

log = logging.getLogger(__name__)

MANY_BLOCKS = 12
"""Across a face, from which on a run warns. Twice the default; with 8 to 12, cells as they are met in the
wild, this project's own networks give back 3 dB over bicubic interpolation."""
NO_CHOICE = ChoiceRecord(keep=[], only=None, regions=[], excluded=[], during=[], tracks_from=None)


@dataclass(slots=True)
class Meters:
    """What a run measures about itself."""

    clock: StageClock = field(default_factory=StageClock)
    book: TrackBook = field(default_factory=TrackBook)
    decoded: Waits = field(default_factory=Waits)
    painted: Waits = field(default_factory=Waits)

    def waits_s(self) -> dict[str, float]:
        return {
            "decode thread, for room": self.decoded.put_s,
            "find thread, for frames": self.decoded.get_s,
            "find thread, for room": self.painted.put_s,
            "encode thread, for frames": self.painted.get_s,
        }


@dataclass(frozen=True, slots=True)
class Stages:
    """Every stage with its arguments."""

    info: StreamInfo
    job: CoverJob
    config: RunConfig
    plan: CoverPlan
    looker: FaceLooker | None
    """None where the tracks are given."""
    pixelizer: Pixelizer
    perturber: Perturber | None = None
    device: torch.device = cuda.CPU
    """Where frames lie between decoder and encoder."""

    def tracked(self, frames: Iterator[Frame], clock: StageClock) -> Iterator[TrackedFaces]:
        """Frames with every face that is known on them."""
        if self.looker is None:
            return clock.timed("replay", "find", replay(frames, self.job.tracks or ()))
        found = self.looker(frames)
        followed = track_faces(clock.timed("find", "find", found), settings=self.config.faces, info=self.info)
        return clock.timed("track", "find", followed)


def chain(decoder: Decoder, stages: Stages, meters: Meters) -> Generator[Frame]:
    """The frames of the output, in order. Closing it stops both threads."""
    plan, config, timed = stages.plan, stages.config, meters.clock.timed
    read = cuda.to_device(decoder.frames(plan.start_pts, plan.end_pts), stages.device)
    decoded = timed("decode", "decode", read)
    frames = prefetch(decoded, config.decode.prefetch_frames, "decode", meters.decoded)
    tracked = meters.book.listen(stages.tracked(frames, meters.clock))
    chosen = meters.book.listen_covered(select(tracked, plan.choice))
    masked = timed("pixelize", "find", stages.pixelizer(chosen))
    if stages.perturber is not None:
        masked = timed("perturb", "find", stages.perturber(masked))
    painted = timed("paint", "find", cuda.to_host(paint(masked)))
    out = prefetch(painted, config.encode.prefetch_frames, "find", meters.painted)
    with closing(cast("Generator[Frame]", frames)), closing(cast("Generator[Frame]", out)):
        yield from out


def place_of(config: RunConfig) -> torch.device:
    """Where frames and face finder lie; "auto" takes a GPU only where the finder runs on one.

    Raises MissingError and UsageError as ``build.place_of``.
    """
    if config.device == "auto" and not detector_kind(config.faces.finder).runs_on_gpu:
        return cuda.place("cpu")
    return reconstruct.place_of(config)


def run(job: CoverJob, settings: Resolved, on_frame: Callable[[Progress], None]) -> CoverReport:
    """Does the job. ``on_frame`` is called after each frame written, and each one that the gate has seen.

    Whatever is raised leaves nothing new under the job's names, but for a face that the gate finds: then
    ``job.gate_report`` tells where, with the tracks, and GateError is raised. Raises the errors of
    ``pipeline.errors``.
    """
    config, started, meters = settings.config, perf_counter(), Meters()
    device = place_of(config)
    with cuda.memory_errors(device), ExitStack() as whole, ExitStack() as stack:
        notes = stack.enter_context(collecting())
        decoder = stack.enter_context(open_decoder(job.source, str(device), decoder=config.decode.decoder))
        info = decoder.info
        plan = make_plan(job, info, config)
        check_tracks(job, info)
        if config.mask.look != "solid" and config.mask.blocks > MANY_BLOCKS:
            warned(
                log,
                "%d blocks across a face are many: faces may be recognised through more than %d",
                *(config.mask.blocks, MANY_BLOCKS),
            )
        looker = looker_of(job, plan, config, device) if job.tracks is None else None
        second = _open(config, plan.scales.gate, device) if config.gate.scan else None
        output_settings = encode_settings(decoder.source, config, NOTICE, quick=True, device=device)
        encoder = make_encoder(decoder.source, job, plan, output_settings)
        stack.push(encoder)  # before it is opened: an interrupt comes between any two steps
        encoder.open()
        pixelizer = Pixelizer(info, config.mask, config.protect if job.mode == "protect" else None)
        perturber = None
        if job.mode == "protect" and config.protect.perturb != "none":
            perturber = Perturber(stack.enter_context(closing(_network(job, config))))
        stages = Stages(info, job, config, plan, looker, pixelizer, perturber, device)
        total = plan.frames * (2 if second is not None else 1)

        def progress(done: int) -> None:
            on_frame(Progress(done, total, meters.book.living))

        written, streaming_s = stream(chain(decoder, stages, meters), encoder, meters.clock, progress)
        begun = perf_counter()
        made = encoder.complete()
        meters.clock.add("encode", "encode", perf_counter() - begun)
        conservation = compared(decoder.source, made, encoder, job, plan, output_settings)
        gate, looking = None, perf_counter()
        if second is not None:
            gate = examine(
                made, decoder, plan, config, meters.book, second, lambda done: progress(written + done)
            )
        ended = perf_counter()
        streaming_s += ended - begun
        failed = gate is not None and not gate.passed
        times = meters.clock.times({"find": meters.decoded.get_s})
        times += [StageTime("gate", "encode", ended - looking)] if gate is not None else []
        report = CoverReport(
            mode=job.mode,
            versions=versions(),
            settings=setting_records(settings),
            input=file_record(job.source),
            output=None if failed else file_record(made, job.target.name),
            finder=None if looker is None else looker.name,
            looks=None if looker is None else looks_of(looker, plan),
            min_face_px=plan.scales.min_face_px,
            choice=job.said or NO_CHOICE,
            frames=written,
            frames_covered=meters.book.frames_covered,
            tracks=meters.book.records(info),
            releases=_releases(pixelizer, perturber, config),
            gate=gate,
            stages=[StageRecord(stage=t.stage, seconds=t.seconds, thread=t.thread) for t in times],
            waits_s=meters.waits_s(),
            bottleneck=bottleneck(times),
            streaming_s=streaming_s,
            elapsed_s=perf_counter() - started,
            conservation=conservation,
            lost=list(encoder.lost),
            warnings=notes.warnings,
        )
        if gate is not None and failed:
            write_whole(job.gate_report, report.model_dump_json())
            raise GateError(told(job, gate))
        # It outlasts the closing of the others: an interrupt in there counts, too.
        whole.enter_context(all_or_nothing(job.target, job.sidecar))
        encoder.finish()
        write_whole(job.sidecar, report.model_dump_json())
        job.gate_report.unlink(missing_ok=True)
    return report


def _open(config: RunConfig, picture: SmallPicture, device: torch.device) -> DetectorView:
    restore = config.restore
    library = restore.engine if restore.engine in ("openvino", "onnxruntime", "torch") else "auto"
    threads = restore.threads or None
    return DetectorView(
        open_detector(config.faces.finder, picture.size_px, library, threads, device), picture
    )


def _network(job: CoverJob, config: RunConfig) -> Engine:
    """Of the perturbation."""
    if job.network is None:
        raise UsageError(
            f"protect.perturb is {config.protect.perturb}, and the job names no engine file for it"
        )
    library = graph_library(config.restore.engine)
    return open_engine(job.network, device="cpu", library=library, threads=config.restore.threads or None)


def looker_of(job: CoverJob, plan: CoverPlan, config: RunConfig, device: torch.device) -> FaceLooker:
    faces, sizes = config.faces, plan.scales
    fine = _open(config, sizes.fine, device)
    quick = fine if sizes.quick is sizes.fine else _open(config, sizes.quick, device)
    return FaceLooker(fine, quick, faces, config.find if job.mode == "protect" else None)


def looks_of(looker: FaceLooker, plan: CoverPlan) -> LooksRecord:
    looks = looker.looks
    return LooksRecord(fine=looks.fine, quick=looks.quick, quick_face_px=plan.scales.quick_face_px)


def _releases(pixelizer: Pixelizer, perturber: Perturber | None, config: RunConfig) -> list[ReleaseRecord]:
    epsilon = config.protect.epsilon
    return [
        ReleaseRecord(
            track=track,
            measurements=release.measured,
            smallest_cell_px=round(release.block_px, 2),
            noise_levels=None if release.noise_levels is None else round(release.noise_levels, 2),
            epsilon=None if epsilon is None else epsilon * release.measured,
            perturbed_levels=None if perturber is None else perturber.levels.get(track),
        )
        for track, release in sorted(pixelizer.releases.items())
    ]
