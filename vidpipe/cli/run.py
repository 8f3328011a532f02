"""``vidpipe reconstruct|pixelize|protect IN``, and ``vidpipe run IN --mode ...``, which does the same."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

import typer

from pipeline.run.names import check_preview, check_run, default_output
from vidpipe.cli import options
from vidpipe.cli.anonymize import anonymize, check_words
from vidpipe.cli.command import command
from vidpipe.cli.display import Display
from vidpipe.cli.flags import (
    BY_MODE,
    AllFlags,
    CoverFlags,
    ProtectFlags,
    ReconstructFlags,
    RunFlags,
    of_mode,
)
from vidpipe.cli.parse import cells, manual_region, seconds

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Resolved
    from pipeline.run.sidecar import ReconstructReport

_GUESS = "The reconstructed faces are a model's guess, no evidence of anybody's identity."
MODES_TOLD = """\
--mode says what happens to faces:
  reconstruct  draws a face where there is a mosaic: a model's guess; faces that show stay as they are
  pixelize     covers every face with a mosaic
  protect      the same with a mosaic whose colours are means of other people, so that it tells next to
               nothing of the face under it"""


def _run(context: typer.Context, flags: AllFlags) -> None:
    from pipeline.errors import UsageError

    if flags.mode is None:
        typer.echo(MODES_TOLD, err=True)
        raise UsageError(f"run needs --mode {'|'.join(BY_MODE)}; or say vidpipe pixelize {flags.source}")
    if flags.mode not in BY_MODE:
        raise UsageError(f"--mode is {flags.mode!r}; wanted {', '.join(BY_MODE)}")
    if flags.mode == "reconstruct":
        _reconstruct(context, of_mode(flags, flags.mode, ReconstructFlags))
    elif flags.mode == "pixelize":
        _cover(context, of_mode(flags, flags.mode, CoverFlags), "pixelize")
    else:
        _cover(context, of_mode(flags, flags.mode, ProtectFlags), "protect")


def _pixelize(context: typer.Context, flags: CoverFlags) -> None:
    _cover(context, flags, "pixelize")


def _protect(context: typer.Context, flags: ProtectFlags) -> None:
    _cover(context, flags, "protect")


def _cover(context: typer.Context, flags: CoverFlags, mode: str) -> None:
    from pipeline.errors import UsageError

    span, target = _span(flags), flags.output or default_output(flags.source, mode)
    if flags.preview:
        if flags.resume:
            raise UsageError(
                "--preview writes no video that --resume could go on with; leave one of them out"
            )
        check_preview(flags.source, target, overwrite=flags.overwrite)
    else:
        check_run(flags.source, target, overwrite=flags.overwrite, covers=True)
    check_words(flags)
    settings = _settings(flags)
    _check_files(flags.source, None if flags.preview else target, settings)
    display = _display(context, flags)  # from here on it takes longer
    anonymize(target, mode, settings, flags, span, display)


def _reconstruct(context: typer.Context, flags: ReconstructFlags) -> None:
    (start_s, end_s), target = _span(flags), flags.output or default_output(flags.source, "reconstruct")
    check_run(flags.source, target, overwrite=flags.overwrite, covers=False)
    of_regions = cells(flags.cell, flags.grid, flags.region or [])
    settings = _settings(flags)
    _check_files(flags.source, target, settings)
    # From here on it takes longer.
    from pipeline.run.reconstruct import reconstruct
    from vidpipe.jobs import reconstruct_job

    display = _display(context, flags)
    make_job = partial(
        reconstruct_job,
        flags.source,
        target,
        settings,
        manual=tuple(manual_region(text, cells=of_regions) for text in flags.region or []),
        start_s=start_s,
        end_s=end_s,
        overwrite=flags.overwrite,
        resume_from_s=0.0 if flags.resume else None,
    )
    if flags.explain:
        from vidpipe.explanation import explain_reconstruct

        display.explained(explain_reconstruct(make_job, settings))
        return
    with display.running():
        report = reconstruct(make_job(), settings, display.on_frame)
    display.done(report.model_dump_json(), _summary(report), target)


run = command(
    "run",
    AllFlags,
    _run,
    """Reconstruct the pixelated faces of a file, or cover its faces; everything else stays as it was.

    --mode reconstruct, pixelize or protect does what the command of that name does.""",
)
reconstruct = command(
    "reconstruct",
    ReconstructFlags,
    _reconstruct,
    """Draw faces where there are mosaics: a model's guess, no evidence of anybody's identity.

    Faces that show stay as they are.""",
)
pixelize = command(
    "pixelize",
    CoverFlags,
    _pixelize,
    """Cover every face with a mosaic; everything else stays as it was.""",
)
protect = command(
    "protect",
    ProtectFlags,
    _protect,
    """Cover every face with a mosaic of nobody: its colours are means of other people.

    Its grid keeps to the face and its colours hold still: it tells next to nothing of who is under it.""",
)


def _display(context: typer.Context, flags: RunFlags) -> Display:
    from rich.console import Console

    from vidpipe.cli.log import prepare
    from vidpipe.cli.progress import Bar

    console = Console(stderr=True)
    prepare(console, flags.verbose, flags.quiet)
    shown = not (flags.no_progress or flags.quiet)
    return Display(context, Bar(flags.source.name, console, shown=shown), flags.as_json, flags.quiet)


def _settings(flags: RunFlags) -> Resolved:
    """Of the flags that are settings."""
    from pipeline.config import resolve

    names = (field.name for field in fields(flags) if field.name in options.SETTINGS)
    return resolve(options.given(**{name: getattr(flags, name) for name in names}), flags.config)


def _check_files(source: Path, target: Path | None, settings: Resolved) -> None:
    from pipeline.run.early import check_files

    encode = settings.config.encode
    check_files(source, target, encode.codec, encode.preset, encode.audio)


def _span(flags: RunFlags) -> tuple[float | None, float | None]:
    """``--start`` and ``--end`` in seconds. Raises UsageError."""
    from pipeline.errors import UsageError

    start_s = None if flags.start is None else seconds(flags.start, "--start")
    end_s = None if flags.end is None else seconds(flags.end, "--end")
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise UsageError(f"--end {flags.end} is not after --start {flags.start}")
    return start_s, end_s


def _summary(report: ReconstructReport) -> str:
    speed = f"{report.frames_written / report.streaming_s:.1f} frames/s, most time in {report.bottleneck}"
    if not report.tracks:
        return f"no mosaic found: {report.frames_written} frames were encoded anew as they are; {speed}"
    faces = sum(track.frames_restored > 0 for track in report.tracks)
    told = (
        f"{faces} of {len(report.tracks)} mosaics reconstructed, on {report.frames_restored} of "
        f"{report.frames_written} frames; {speed}"
    )
    return f"{told}\n{_GUESS}" if faces else told
