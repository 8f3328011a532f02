"""Anonymization: faces are found, tracked, chosen, masked and painted; then the output is looked through.

``pixelize`` and ``protect`` are this mode; a preview (``pipeline.run.preview``) has its stages and no output.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, cast

import torch

from nets.digest import sha256
from pipeline import cuda
from pipeline.answers import is_answering
from pipeline.config import Resolved, RunConfig
from pipeline.decode import Decoder
from pipeline.encode.atomic_file import write_whole
from pipeline.engines import Engine, graph_library, open_engine
from pipeline.errors import MissingError, UsageError
from pipeline.faces import FaceDetector, detector_kind, open_detector
from pipeline.faces.input_picture import DetectorView, SmallPicture
from pipeline.faces.second_opinion import SecondOpinion
from pipeline.flow import prefetch
from pipeline.notes import warned
from pipeline.people.photos import MOST_HELD_S
from pipeline.run.anonymize_sidecar import (
    AnonymizeReport,
    DetectionsRecord,
    FewerBlocksRecord,
    GateRecord,
)
from pipeline.run.job import AnonymizeJob
from pipeline.run.lifecycle import Made, Progress, device_for, run_job
from pipeline.run.memory import AnonymizeMemoryBound
from pipeline.run.names import is_report
from pipeline.run.people_records import numbered
from pipeline.run.plan import AnonymizePlan, anonymize_plan
from pipeline.run.recognise import NAME, NOBODY, People, open_people
from pipeline.run.recognition import recognised
from pipeline.run.release import fewer_blocks
from pipeline.run.release.check import Run, Views, examine
from pipeline.run.release.looks import longest_unseen
from pipeline.run.release.painted import PaintedMasks
from pipeline.run.release.promises import notice, weakened
from pipeline.run.release.see_through import SIDE_PX, MaskView
from pipeline.run.release.verdict import ReleaseCheckError, fleeting, refusal
from pipeline.run.release_records import bits_of_faces, release_records
from pipeline.run.replay import replay
from pipeline.run.sidecar import file_record
from pipeline.run.timing import RunTimes
from pipeline.run.track_records import TrackRecorder
from pipeline.stages.find_faces import DetectionCount, FaceDetection
from pipeline.stages.paint import paint
from pipeline.stages.perturb import Perturber
from pipeline.stages.pixelize import Pixelizer
from pipeline.track.faces import track_faces
from pipeline.track.select import Choice, select
from pipeline.types import Frame, StreamInfo, TrackedFaces

log = logging.getLogger(__name__)

MANY_BLOCKS = 8
"""Across a face, from which on a run warns: through 8 the release check sees one face in eight, through 10
seven of ten. With 8 to 12 this project's own networks give back 3 dB over bicubic interpolation."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Every stage with its arguments."""

    info: StreamInfo
    job: AnonymizeJob
    settings: Resolved
    plan: AnonymizePlan
    detection: FaceDetection | None
    """None where the tracks are given."""
    second: SecondOpinion | None
    """None where the tracks are given."""
    pixelizer: Pixelizer
    people: People = NOBODY
    perturber: Perturber | None = None
    device: torch.device = cuda.CPU
    """Where frames lie between decoder and encoder."""

    @property
    def config(self) -> RunConfig:
        return self.settings.config

    def tracked(self, frames: Iterator[Frame], times: RunTimes) -> Iterator[TrackedFaces]:
        """Frames with every face that is known on them."""
        timed = times.clock.timed
        if self.detection is None:
            return timed("replay", "find", replay(frames, self.job.tracks or ()))
        found = timed("find", "find", self.detection(frames))
        followed = track_faces(
            found,
            settings=self.config.faces,
            info=self.info,
            second=self.second,
            mosaics=self.config.track,
        )
        tracked = timed("track", "find", followed)
        recognition = self.people.recognition
        return tracked if recognition is None else timed("people", "find", recognition(tracked))


def decoded(decoder: Decoder, stages: Stages, times: RunTimes) -> Generator[Frame]:
    """Frames from a thread of their own, which closing it stops."""
    plan, config = stages.plan, stages.config
    read = cuda.to_device(decoder.frames(plan.start_pts, plan.end_pts), stages.device)
    timed = times.clock.timed("decode", "decode", read)
    waits = times.boundary("decode", "find")
    return cast("Generator[Frame]", prefetch(timed, config.decode.prefetch_frames, "decode", waits))


def chosen(
    decoder: Decoder, stages: Stages, times: RunTimes, recorder: TrackRecorder
) -> Generator[TrackedFaces]:
    """Frames with the faces that are to be covered. Closing it stops the decoder's thread."""
    with closing(decoded(decoder, stages, times)) as frames:
        tracked = recorder.listen(stages.tracked(frames, times))
        if stages.people.photos is not None:
            tracked = times.clock.timed("photos", "find", stages.people.photos(tracked))
        yield from recorder.listen_covered(select(tracked, stages.plan.choice))


def chosen_before(
    decoder: Decoder, stages: Stages, times: RunTimes, recorder: TrackRecorder
) -> Generator[TrackedFaces]:
    """The same of frames that have all passed before: nothing is detected, nobody is looked for again."""
    with closing(decoded(decoder, stages, times)) as frames:
        known = times.clock.timed("replay", "find", replay(frames, recorder.records(stages.info)))
        yield from select(recorder.as_covered(known), Choice(regions=stages.plan.choice.regions))


def chain(
    faces: Generator[TrackedFaces],
    stages: Stages,
    times: RunTimes,
    masks: PaintedMasks,
    kept: int = 0,
) -> Generator[Frame]:
    """The frames of the output, in order, from those with ``faces``. Closing it stops both threads. Frames
    with an index below ``kept`` may have any picture."""
    timed = times.clock.timed
    masked = timed("pixelize", "find", stages.pixelizer(faces))
    if stages.perturber is not None:
        masked = timed("perturb", "find", stages.perturber(masked))
    painted = timed("paint", "find", cuda.to_host(paint(masks.listen(masked), kept)))
    ahead = stages.config.encode.prefetch_frames
    out = prefetch(painted, ahead, "find", times.boundary("find", "encode"))
    with closing(faces), closing(cast("Generator[Frame]", out)):
        yield from out


class Anonymization:
    """An opened run of this mode, see ``pipeline.run.lifecycle.Work``."""

    def __init__(
        self,
        decoder: Decoder,
        stages: Stages,
        views: Views | None,
        before: Anonymization | None = None,
        fewer: Sequence[FewerBlocksRecord] = (),
    ) -> None:
        """``before``: the same run, whose masks have shown faces. Its tracks are covered once more, those in
        ``fewer`` with fewer blocks."""
        self.plan = stages.plan
        self.stages = stages
        self.times: RunTimes = RunTimes(None if before is None else before.times)
        self.recorder: TrackRecorder = TrackRecorder() if before is None else before.recorder
        config = stages.config
        of_nobody = stages.job.mode == "protect" and config.protect.values == "nobody"
        self.masks = PaintedMasks(of_faces=not of_nobody)
        self._decoder = decoder
        self._views = views
        self._repeats: int = 0 if before is None else before._repeats + 1
        self._fewer = list(fewer)
        self._gate: GateRecord | None = None

    @property
    def faces(self) -> int:
        return self.recorder.living

    @property
    def memory_bytes(self) -> int:
        return memory_bound(self.stages).total_bytes(faces=1)

    def chosen(self) -> Generator[TrackedFaces]:
        """Frames with the faces that are to be covered."""
        return chosen(self._decoder, self.stages, self.times, self.recorder)

    def frames(self, kept: int = 0) -> Generator[Frame]:
        choose = chosen_before if self._repeats else chosen
        faces = choose(self._decoder, self.stages, self.times, self.recorder)
        return chain(faces, self.stages, self.times, self.masks, kept)

    def check(self, made: Made, on_checked: Callable[[int], None]) -> None:
        """Looks through the output for faces that no mask covers, and for those that a mask shows."""
        begun, stages = perf_counter(), self.stages
        if self._views is not None:
            looks = frozenset(() if stages.detection is None else stages.detection.count.frames)
            output = sha256(made.path) if is_answering() else ""
            run = Run(
                self._decoder, self.plan.choice, stages.config, self.recorder, self.masks, looks, output
            )
            self._gate = examine(made.path, made.video, run, self._views, on_checked)
            self.times.add_afterwards("gate", "encode", perf_counter() - begun)
        mask = stages.config.mask
        if stages.job.mode == "pixelize" and mask.look != "solid" and (not self._gate or self._gate.passed):
            warned(log, "%s", recognised(mask.blocks))

    def again(self) -> Anonymization | None:
        """Where masks have shown faces and nobody chose a number of blocks, the run with fewer of them."""
        stages, gate = self.stages, self._gate
        if gate is None or not fewer_blocks.may_help(stages.job.mode, stages.settings, gate, self._repeats):
            return None
        blocks = stages.config.mask.blocks
        records = fewer_blocks.fewer(gate, blocks, self._fewer)
        warned(log, "%s", fewer_blocks.told(records))
        fewer = [*self._fewer, *records]
        pixelizer = Pixelizer(stages.info, stages.config.mask, None, {r.track: r.blocks for r in fewer})
        return Anonymization(self._decoder, replace(stages, pixelizer=pixelizer), self._views, self, fewer)

    def report(self, made: Made, shared: dict[str, Any]) -> AnonymizeReport:
        job, failed = self.stages.job, self._gate is not None and not self._gate.passed
        report = self.report_on(made if not failed else None, shared)
        if self._gate is not None and failed:
            write_whole(job.gate_report, report.as_json())
            raise ReleaseCheckError(refusal(job, self._gate, self._fewer), self._gate)
        return report

    def report_on(self, made: Made | None, shared: dict[str, Any]) -> AnonymizeReport:
        """``made``: the output; None in a preview, and where the release check has failed."""
        stages, plan = self.stages, self.plan
        detection, job = stages.detection, stages.job
        known = stages.people
        tracks, people = numbered(
            self.recorder.records(stages.info),
            stages.info,
            known.joined(),
            known.matches(),
            keep_numbers=job.tracks is not None,
        )
        looks = None
        if detection is not None:
            looks = _looks(detection.count, self.recorder.frames, plan.scales.quick_face_px)
        releases = release_records(stages.pixelizer, stages.perturber, stages.config.protect.epsilon)
        return AnonymizeReport(
            **shared,
            notice=notice(stages.settings, job.mode, job.selection),
            weakened=weakened(stages.settings, job.mode),
            mode=job.mode,
            output=None if made is None else file_record(made.path, job.target.name),
            finder=None if detection is None else detection.name,
            looks=looks,
            min_face_px=plan.scales.min_face_px,
            choice=job.selection.record(),
            frames=len(self.recorder.frames),
            frames_covered=self.recorder.frames_covered,
            tracks=tracks,
            people=people,
            nearest_to_photo=known.nearest_to_photo(),
            recognised=None if known.recognition is None else NAME,
            releases=releases,
            bits_of_faces=bits_of_faces(releases),
            gate=self._gate,
            fewer_blocks=self._fewer,
            removed=[] if made is None else made.removed,
            look_at=[] if made is None else [*made.look_at, *fleeting(looks, self._gate)],
        )

    def published(self) -> None:
        """What an earlier run left here, whose release check failed, is out of date."""
        if is_report(report := self.stages.job.gate_report):
            report.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Anonymize:
    """The mode, see ``pipeline.run.lifecycle.Mode``."""

    job: AnonymizeJob
    settings: Resolved
    quick: bool = True
    """Faces are a small part of a picture."""
    covers: bool = True
    writes: bool = True
    """False: a preview, whose frames lie on the host and whose output nobody checks."""

    @property
    def notice(self) -> str:
        return notice(self.settings, self.job.mode, self.job.selection)

    def device(self) -> torch.device:
        """ "auto" takes a GPU only where the face detector runs on one."""
        config = self.settings.config
        if config.device == "auto" and not detector_kind(config.faces.finder).runs_on_gpu:
            return cuda.place("cpu")
        return device_for(config)

    def decoder_device(self, device: torch.device) -> torch.device:
        return device if self.writes else cuda.CPU

    def open(self, stack: ExitStack, decoder: Decoder, device: torch.device) -> Anonymization:
        job, config, info = self.job, self.settings.config, decoder.info
        plan = anonymize_plan(job, info, config)
        many = config.mask.look != "solid" and config.mask.blocks > MANY_BLOCKS
        if self.writes and many and job.mode == "protect":  # of a pixelized file more is said at its end
            warned(
                log,
                "%d blocks across a face are many: faces are seen through more than %d",
                *(config.mask.blocks, MANY_BLOCKS),
            )
        detection = _detection(job, plan, config, device) if job.tracks is None else None
        checks = self.writes and config.gate.scan and not job.selection.only_regions
        views = _gate_views(config, plan, info, device) if checks else None
        hold = config.protect if job.mode == "protect" else None
        perturber = None
        if self.writes and hold is not None and hold.perturb != "none":
            perturber = Perturber(stack.enter_context(closing(_open_perturber(job, config))))
        people = open_people(job, config, info, partial(_detector, config), previews=not self.writes)
        frames_at = self.decoder_device(device)
        pixelizer = Pixelizer(info, config.mask, hold)
        opinion = None if detection is None else _second_opinion(info, config)
        stages = Stages(
            info, job, self.settings, plan, detection, opinion, pixelizer, people, perturber, frames_at
        )
        return Anonymization(decoder, stages, views)


def anonymize(job: AnonymizeJob, settings: Resolved, on_frame: Callable[[Progress], None]) -> AnonymizeReport:
    """Does the job, see ``pipeline.run.lifecycle.run_job``.

    Where the release check sees a face, ``job.gate_report`` tells where, with the tracks, and CheckError is
    raised.
    """
    return run_job(Anonymize(job, settings), on_frame)


def _looks(count: DetectionCount, frames: Sequence[int], quick_face_px: float) -> DetectionsRecord:
    """``frames``: indices of all that have passed."""
    looked, fine = frozenset(count.frames), frozenset(count.fine_frames)
    return DetectionsRecord(
        fine=count.fine,
        quick=count.quick,
        quick_face_px=quick_face_px,
        frames_unseen=longest_unseen([index in looked for index in frames]),
        frames_unseen_fine=longest_unseen([index in fine for index in frames]),
    )


def _view(config: RunConfig, picture: SmallPicture, device: torch.device) -> DetectorView:
    """The face detector with a picture that it looks at."""
    return DetectorView(_detector(config, picture.size_px, device), picture)


def _detector(
    config: RunConfig, size_px: tuple[int, int], device: torch.device | None = None
) -> FaceDetector:
    restore = config.restore
    library = restore.engine if restore.engine in ("openvino", "onnxruntime", "torch") else "auto"
    return open_detector(config.faces.finder, size_px, library, restore.threads or None, device)


def _gate_views(config: RunConfig, plan: AnonymizePlan, info: StreamInfo, device: torch.device) -> Views:
    """Masks are looked at by the detector whose scores were measured on them, whichever the run's is."""
    threads = config.restore.threads or None
    try:
        close = MaskView(open_detector("centerface", (SIDE_PX, SIDE_PX), "auto", threads), info)
    except MissingError as error:
        warned(log, "the release check cannot look through masks: %s", error)
        close = None
    whole = _view(config, plan.scales.gate, device)
    return Views(whole, close, lambda picture: _view(config, picture, device))


def _detection(
    job: AnonymizeJob, plan: AnonymizePlan, config: RunConfig, device: torch.device
) -> FaceDetection:
    sizes = plan.scales
    fine = _view(config, sizes.fine, device)
    quick = fine if sizes.quick is sizes.fine else _view(config, sizes.quick, device)
    return FaceDetection(fine, quick, config.faces, config.find if job.mode == "protect" else None)


def _second_opinion(info: StreamInfo, config: RunConfig) -> SecondOpinion:
    library = config.restore.engine
    on_cpu = library if library in ("openvino", "onnxruntime") else "auto"
    threads = config.restore.threads or None
    return SecondOpinion(info.rotation, info.sample_aspect, on_cpu, threads, info.mirrored)


def calls_at_a_time(plan: AnonymizePlan, config: RunConfig, device: torch.device) -> int:
    """Frames that the detector looks at together."""
    width, height = plan.scales.fine.size_px
    threads = config.restore.threads or None
    return detector_kind(config.faces.finder).calls((height, width), threads, on_gpu=device.type != "cpu")


def memory_bound(stages: Stages) -> AnonymizeMemoryBound:
    """How much memory the run may take."""
    plan, config = stages.plan, stages.config
    calls = calls_at_a_time(plan, config, stages.device)
    activations = detector_kind(config.faces.finder).memory_bytes(plan.scales.fine.size_px[::-1], calls)
    waits_s = MOST_HELD_S if stages.job.selection.keep_faces else 0.0
    return AnonymizeMemoryBound.of(
        stages.info, config, plan.frames, activations, calls, stages.job.tracks, waits_s
    )


def _open_perturber(job: AnonymizeJob, config: RunConfig) -> Engine:
    if job.perturber is None:
        raise UsageError(
            f"protect.perturb is {config.protect.perturb}, and the job names no engine file for it"
        )
    library = graph_library(config.restore.engine)
    return open_engine(job.perturber, device="cpu", library=library, threads=config.restore.threads or None)
