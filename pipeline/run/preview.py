"""``--preview``: who is in a file, on a contact sheet of numbered tracks, before the long run."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from time import perf_counter
from typing import cast

from pipeline import cuda
from pipeline.config import Resolved
from pipeline.decode import open_decoder
from pipeline.encode.atomic_file import all_or_nothing
from pipeline.errors import OutputError
from pipeline.flow import prefetch
from pipeline.notes import collecting
from pipeline.run.anonymize import NO_CHOICE, Meters, Stages, looker_of, looks_of, place_of
from pipeline.run.anonymize_sidecar import CoverReport
from pipeline.run.contact_sheet import ContactSheet
from pipeline.run.job import CoverJob, check_tracks, make_plan
from pipeline.run.lifecycle import versions
from pipeline.run.reconstruct import Progress
from pipeline.run.sidecar import StageRecord, file_record, setting_records, write_whole
from pipeline.run.timing import bottleneck
from pipeline.stages.pixelize import Pixelizer
from pipeline.track.select import select
from pipeline.types import Frame


def preview(job: CoverJob, settings: Resolved, on_frame: Callable[[Progress], None]) -> CoverReport:
    """Finds and tracks as ``run`` would; writes ``job.sheet`` and ``job.preview_report`` and no video."""
    config, started, meters = settings.config, perf_counter(), Meters()
    for path in (job.sheet, job.preview_report):
        if path.exists() and not job.overwrite:
            raise OutputError(f"{path} exists; choose another --output or add --overwrite")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"{path} cannot be written there; choose another --output")
    device = place_of(config)  # of the finder: what the sheet shows lies on the host
    with cuda.memory_errors(device), ExitStack() as stack:
        notes = stack.enter_context(collecting())
        decoder = stack.enter_context(open_decoder(job.source, decoder=config.decode.decoder))
        info = decoder.info
        plan = make_plan(job, info, config)
        check_tracks(job, info)
        looker = looker_of(job, plan, config, device) if job.tracks is None else None
        stages = Stages(info, job, config, plan, looker, Pixelizer(info, config.mask))
        decoded = meters.clock.timed("decode", "decode", decoder.frames(plan.start_pts, plan.end_pts))
        frames = prefetch(decoded, config.decode.prefetch_frames, "decode", meters.decoded)
        sheet = ContactSheet(info)
        with closing(cast("Generator[Frame]", frames)):
            tracked = meters.book.listen(stages.tracked(frames, meters.clock))
            chosen = meters.book.listen_covered(select(tracked, plan.choice))
            for done, item in enumerate(sheet.watch(chosen), start=1):
                on_frame(Progress(done, plan.frames, len(item.regions)))
        streaming_s = perf_counter() - started
        times = meters.clock.times({"find": meters.decoded.get_s})
        report = CoverReport(
            mode=job.mode,
            versions=versions(),
            settings=setting_records(settings),
            input=file_record(job.source),
            output=None,
            finder=None if looker is None else looker.name,
            looks=None if looker is None else looks_of(looker, plan),
            min_face_px=plan.scales.min_face_px,
            choice=job.said or NO_CHOICE,
            frames=len(meters.book.frames),
            frames_covered=meters.book.frames_covered,
            tracks=meters.book.records(info),
            releases=[],
            gate=None,
            stages=[StageRecord(stage=t.stage, seconds=t.seconds, thread=t.thread) for t in times],
            waits_s=meters.waits_s(),
            bottleneck=bottleneck(times),
            streaming_s=streaming_s,
            elapsed_s=perf_counter() - started,
            conservation=[],
            lost=[],
            warnings=notes.warnings,
        )
    try:
        with all_or_nothing(job.sheet, job.preview_report):
            sheet.save(job.sheet, report.tracks)
            write_whole(job.preview_report, report.model_dump_json())
    except OSError as error:
        raise OutputError(
            f"{job.sheet} cannot be written: {error.strerror or error}; choose another --output"
        ) from error
    return report
