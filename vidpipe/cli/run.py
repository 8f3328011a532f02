"""``vidpipe run IN``: reconstruct the pixelated faces of one file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidpipe.cli import options

if TYPE_CHECKING:
    from pipeline.build import Progress
    from pipeline.ledger import RunReport

MODES = ("reconstruct",)
_GUESS = "The reconstructed faces are a model's guess, no evidence of anybody's identity."

Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Default: IN.reconstruct.EXT beside IN.", show_default=False
    ),
]
Mode = Annotated[str, typer.Option("--mode", metavar="|".join(MODES), help="What happens to faces.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace an existing output.")]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="Seconds or HH:MM:SS.mmm.", show_default=False)
]
End = Annotated[
    str | None, typer.Option("--end", metavar="TIME", help="The first time left out.", show_default=False)
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="X,Y,W,H[@START-END]",
        help="A mosaic that is there: px, times; repeatable.",
        show_default=False,
    ),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
Explain = Annotated[bool, typer.Option("--explain", help="Print what would be done and why; do nothing.")]


def run(
    context: typer.Context,
    source: options.Input,
    output: Output = None,
    mode: Mode = "reconstruct",
    overwrite: Overwrite = False,
    config: options.Config = None,
    device: options.Device = None,
    net: options.Net = None,
    engine: options.EngineName = None,
    start: Start = None,
    end: End = None,
    region: Regions = None,
    codec: options.Codec = None,
    crf: options.Crf = None,
    preset: options.Preset = None,
    audio: options.Audio = None,
    as_json: options.Json = False,
    no_progress: NoProgress = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    explain: Explain = False,
    debug: options.Debug = False,
) -> None:
    """Reconstruct the pixelated faces of a file; everything else stays as it was."""
    del debug  # vidpipe.cli.main reads it
    from pipeline.config import resolve
    from pipeline.errors import UsageError
    from vidpipe.cli.parse import region as parse_region
    from vidpipe.cli.parse import seconds

    if mode not in MODES:
        raise UsageError(f"--mode is {mode!r}; this version has {', '.join(MODES)}")
    flags = options.given(
        device=device, net=net, engine=engine, codec=codec, crf=crf, preset=preset, audio=audio
    )
    settings = resolve(flags, config)
    start_s = None if start is None else seconds(start, "--start")
    end_s = None if end is None else seconds(end, "--end")
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise UsageError(f"--end {end} is not after --start {start}")
    regions = [parse_region(text) for text in region or ()]

    from rich.console import Console

    from pipeline.stages.find_mosaics import ManualRegion
    from pipeline.types import Box
    from vidpipe.cli.log import prepare
    from vidpipe.cli.progress import Bar
    from vidpipe.reconstruct import Request, default_target, reconstruct

    console = Console(stderr=True)
    prepare(console, verbose, quiet)
    manual = tuple(
        ManualRegion(Box(r.x, r.y, r.x + r.width, r.y + r.height), r.start_s, r.end_s) for r in regions
    )
    target = output or default_target(source)
    request = Request(source, target, manual, start_s, end_s, overwrite)
    if explain:
        from vidpipe.explain import explanation

        text = explanation(request, settings)
        typer.echo(text.model_dump_json(indent=2) if as_json else text.as_text())
        return

    bar = Bar(source.name, console, shown=not (no_progress or quiet))

    def on_frame(progress: Progress) -> None:
        context.obj.check()
        bar.show(progress.frames_written, progress.frames_total, progress.faces)

    # Libraries that print to stdout must not spoil the JSON.
    with bar, contextlib.redirect_stdout(sys.stderr):
        report = reconstruct(request, settings, on_frame)
        context.obj.ignore()  # what is written stays, and the exit code says so
    if as_json:
        typer.echo(report.model_dump_json())
    elif not quiet:
        typer.echo(_summary(report), err=True)
        typer.echo(str(target))


def _summary(report: RunReport) -> str:
    speed = f"{report.frames_written / report.streaming_s:.1f} frames/s, most time in {report.bottleneck}"
    if not report.tracks:
        return f"no mosaic found: {report.frames_written} frames were encoded anew as they are; {speed}"
    faces = sum(track.frames_restored > 0 for track in report.tracks)
    told = (
        f"{faces} of {len(report.tracks)} mosaics reconstructed, on {report.frames_restored} of "
        f"{report.frames_written} frames; {speed}"
    )
    return f"{told}\n{_GUESS}" if faces else told
