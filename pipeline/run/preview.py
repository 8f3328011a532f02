"""``--preview``: who is in a file, on a contact sheet of numbered people, before the long run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from pipeline.config import Resolved
from pipeline.encode.atomic_file import all_or_nothing, write_whole
from pipeline.errors import OutputError
from pipeline.run.anonymize import Anonymize
from pipeline.run.anonymize_sidecar import AnonymizeReport
from pipeline.run.contact_sheet import ContactSheet
from pipeline.run.job import AnonymizeJob
from pipeline.run.lifecycle import Progress, opened
from pipeline.run.names import check_preview, earlier_sheets, pages


def preview(job: AnonymizeJob, settings: Resolved, on_frame: Callable[[Progress], None]) -> AnonymizeReport:
    """Finds and tracks as a run would; writes ``sheets`` and ``job.preview_report`` and no video."""
    check_preview(job.source, job.target, overwrite=job.overwrite)
    mode = Anonymize(job, settings, writes=False)
    with opened(mode) as run:
        work = run.work
        sheet = ContactSheet(run.decoder.info)
        begun = perf_counter()
        for done, item in enumerate(sheet.watch(work.chosen()), start=1):
            on_frame(Progress(done, work.plan.frames, len(item.regions)))
        shared = run.shared_fields(work, perf_counter() - begun, [], [])
        report = work.report_on(None, shared)
    written, earlier = sheets(job, report), earlier_sheets(job.target)
    on_frame(Progress(work.plan.frames, work.plan.frames, 0, "publish"))
    try:
        with all_or_nothing(*written, job.preview_report):
            sheet.save(written, report.people)
            write_whole(job.preview_report, report.as_json())
    except OSError as error:
        raise OutputError(
            f"{written[0]} cannot be written: {error.strerror or error}; choose another --output"
        ) from error
    for old in set(earlier) - set(written):
        old.unlink(missing_ok=True)
    return report


def sheets(job: AnonymizeJob, report: AnonymizeReport) -> tuple[Path, ...]:
    """The pictures of a preview, one per page."""
    return job.sheets(pages(len(report.people)))
