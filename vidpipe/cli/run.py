"""``vidpipe run IN``: reconstruct the pixelated faces of one file, or cover its faces."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from vidpipe.cli import options
from vidpipe.cli.anonymize import AnonymizeOptions, anonymize
from vidpipe.cli.display import Display
from vidpipe.cli.parse import manual_region, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.config import Resolved
    from pipeline.run.sidecar import ReconstructReport

MODES = ("reconstruct", "pixelize", "protect")
EVERYWHERE = ("device", "decoder", "engine", "codec", "crf", "preset", "audio")
"""Options that are settings of every mode."""
RESTORING = ("net",)
COVERING = (
    *("look", "blocks", "mask", "mask_scale", "finder", "min_face", "det_threshold"),
    *("fill_before", "fill_after", "gate"),
)
PROTECTING = ("values", "nobody", "hold", "epsilon", "perturb")
CHOOSING = ("exclude_region", "during", "keep", "only", "tracks", "preview")
"""Options of pixelize and protect that choose among faces."""
_GUESS = "The reconstructed faces are a model's guess, no evidence of anybody's identity."

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Default: clip.pixelize.mp4 beside clip.mp4.",
        show_default=False,
    ),
]
Mode = Annotated[str, typer.Option("--mode", metavar="|".join(MODES), help="What happens to faces.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace an existing output.")]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="Seconds or HH:MM:SS.mmm.", show_default=False)
]
End = Annotated[
    str | None, typer.Option("--end", metavar="TIME", help="Stop before this time.", show_default=False)
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="X,Y,W,H[@START-END]",
        help="reconstruct: a mosaic to restore; else a place to cover. E.g. 410,80,120,130@0:03-0:09.",
        show_default=False,
    ),
]
Excluded = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-region",
        metavar="X,Y,W,H[@START-END]",
        help="A place where faces stay as they are; repeatable.",
        show_default=False,
    ),
]
During = Annotated[
    list[str] | None,
    typer.Option(
        "--during",
        metavar="START-END",
        help="Cover faces in this time only; repeatable.",
        show_default=False,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="TRACK",
        help="Leave this person; needs --from; repeatable.",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="TRACK",
        help="Cover this person only; needs --from; repeatable.",
        show_default=False,
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="JSON",
        help="Tracks of an earlier run or preview; nothing is detected.",
        show_default=False,
    ),
]
Preview = Annotated[
    bool, typer.Option("--preview", help="Write a contact sheet of the tracks with their numbers, no video.")
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
    decoder: options.Decoder = None,
    net: options.Net = None,
    engine: options.EngineName = None,
    start: Start = None,
    end: End = None,
    region: Regions = None,
    exclude_region: Excluded = None,
    during: During = None,
    keep: Keep = None,
    only: Only = None,
    tracks: From = None,
    preview: Preview = False,
    look: options.Look = None,
    blocks: options.Blocks = None,
    mask: options.MaskShape = None,
    mask_scale: options.MaskScale = None,
    values: options.Values = None,
    nobody: options.Nobody = None,
    hold: options.HoldFor = None,
    epsilon: options.Epsilon = None,
    perturb: options.Perturb = None,
    finder: options.Finder = None,
    min_face: options.MinFace = None,
    det_threshold: options.DetThreshold = None,
    fill_before: options.FillBefore = None,
    fill_after: options.FillAfter = None,
    gate: options.Gate = None,
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
    """Reconstruct the pixelated faces of a file, or cover its faces; everything else stays as it was.

    --mode pixelize covers every face with a plain mosaic, --mode protect with one whose grid
    keeps to the face and whose colours are means of other people, so that it tells next to nothing.
    """
    from rich.console import Console

    from vidpipe.cli.log import prepare
    from vidpipe.cli.progress import Bar
    from vidpipe.jobs import default_target

    settings, span = _settings(mode, context.params), _span(start, end)
    console = Console(stderr=True)
    prepare(console, verbose, quiet)
    display = Display(context, Bar(source.name, console, shown=not (no_progress or quiet)), as_json, quiet)
    target = output or default_target(source, mode)
    if mode == "reconstruct":
        _reconstruct(source, target, settings, region or [], span, overwrite, display, explain=explain)
        return
    asked = AnonymizeOptions(
        keep or [], only, region or [], exclude_region or [], during or [], tracks, *span, overwrite
    )
    anonymize(source, target, mode, settings, asked, display, preview=preview, explain=explain)


def _settings(mode: str, flags: Mapping[str, object]) -> Resolved:
    """Of the flags that are settings. Raises UsageError for one that is of no use in this mode."""
    from pipeline.config import resolve
    from pipeline.errors import UsageError

    if mode not in MODES:
        raise UsageError(f"--mode is {mode!r}; wanted {', '.join(MODES)}")
    if mode == "reconstruct":
        _refuse(mode, "pixelize and protect", (*COVERING, *PROTECTING, *CHOOSING), flags)
    else:
        _refuse(mode, "reconstruct", RESTORING, flags)
    if mode == "pixelize":
        _refuse(mode, "protect", PROTECTING, flags)
    names = (*EVERYWHERE, *RESTORING, *COVERING, *PROTECTING)
    given = {name: cast("str | float | None", flags[name]) for name in names}
    return resolve(options.given(**given), cast("Path | None", flags["config"]))


def _refuse(mode: str, others: str, names: tuple[str, ...], flags: Mapping[str, object]) -> None:
    from pipeline.errors import UsageError

    for name in names:
        if flags[name] not in (None, False, ()):
            option = "from" if name == "tracks" else name.replace("_", "-")
            raise UsageError(f"--{option} is an option of --mode {others}, not of {mode}")


def _span(start: str | None, end: str | None) -> tuple[float | None, float | None]:
    """``--start`` and ``--end`` in seconds. Raises UsageError."""
    from pipeline.errors import UsageError

    start_s = None if start is None else seconds(start, "--start")
    end_s = None if end is None else seconds(end, "--end")
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise UsageError(f"--end {end} is not after --start {start}")
    return start_s, end_s


def _reconstruct(
    source: Path,
    target: Path,
    settings: Resolved,
    regions: list[str],
    span: tuple[float | None, float | None],
    overwrite: bool,
    display: Display,
    *,
    explain: bool,
) -> None:
    from pipeline.run.reconstruct import reconstruct
    from vidpipe.jobs import reconstruct_job

    start_s, end_s = span
    make_job = partial(
        reconstruct_job,
        source,
        target,
        settings,
        manual=tuple(manual_region(text) for text in regions),
        start_s=start_s,
        end_s=end_s,
        overwrite=overwrite,
    )
    if explain:
        from vidpipe.explanation import explain_reconstruct

        display.explained(explain_reconstruct(make_job, settings))
        return
    with display.running():
        report = reconstruct(make_job(), settings, display.on_frame)
    display.done(report.model_dump_json(), _summary(report), target)


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
