"""What a person may ask of a run: the flags of each mode, as dataclasses that share what they have in common.

A command takes the flags of its class (``vidpipe.cli.command``): ``vidpipe pixelize`` takes ``CoverFlags``,
``vidpipe run`` takes all. A new flag is one field here; its type, with the help text, stands in
``vidpipe.cli.options`` where it is a setting, and here where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from vidpipe.cli import options

FlagsT = TypeVar("FlagsT", bound="RunFlags")

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Default: clip.pixelize.mp4 beside clip.mp4, after the mode.",
        show_default=False,
        rich_help_panel=options.FILES,
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="reconstruct|pixelize|protect",
        help="What happens to faces; has to be given.",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Replace an existing output.", rich_help_panel=options.FILES)
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Keep a journal beside the output until it is whole, and go on from the one that is there.",
        rich_help_panel=options.FILES,
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="Seconds or HH:MM:SS.mmm.",
        show_default=False,
        rich_help_panel=options.FILES,
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        "--end",
        metavar="TIME",
        help="Stop before this time.",
        show_default=False,
        rich_help_panel=options.FILES,
    ),
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="X,Y,W,H[@START-END]",
        help="A mosaic to reconstruct, or a place to cover, whatever is found there; repeatable. "
        "E.g. 410,80,120,130@0:03-0:09.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
Cell = Annotated[
    str | None,
    typer.Option(
        "--cell",
        metavar="PX|WxH",
        help="Size of a cell of the mosaics that --region names, where compression has hidden it.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
GridAt = Annotated[
    str | None,
    typer.Option(
        "--grid",
        metavar="X,Y",
        help="Where a corner of a cell of --cell lies; default: where the picture shows it best.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
OnlyRegions = Annotated[
    bool,
    typer.Option(
        "--only-regions",
        help="Cover what --region names and nothing else; no face is looked for.",
        rich_help_panel=options.WHO,
    ),
]
Excluded = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-region",
        metavar="X,Y,W,H[@START-END]",
        help="A place where faces stay as they are; repeatable.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
During = Annotated[
    list[str] | None,
    typer.Option(
        "--during",
        metavar="START-END",
        help="Cover faces in this time only; repeatable.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        metavar="PERSON",
        help="Leave this person; needs --from; repeatable. A number of the preview, or t7 for track 7 alone.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PERSON",
        help="Cover this person only; needs --from; repeatable. Numbers as for --keep.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
Same = Annotated[
    list[str] | None,
    typer.Option(
        "--same",
        metavar="PERSON=PERSON,...",
        help="They are one person, e.g. 3=7,9; needs --from; repeatable. Numbers as for --keep.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
KeepFace = Annotated[
    list[Path] | None,
    typer.Option(
        "--keep-face",
        metavar="PHOTO",
        help="Leave who is on this photo, where that is sure; repeatable.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="JSON",
        help="People and tracks of an earlier run or preview; nothing is detected.",
        show_default=False,
        rich_help_panel=options.WHO,
    ),
]
Preview = Annotated[
    bool,
    typer.Option(
        "--preview",
        help="Write a contact sheet of the people with their numbers, no video.",
        rich_help_panel=options.WHO,
    ),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
Explain = Annotated[bool, typer.Option("--explain", help="Print what would be done and why; do nothing.")]


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """Of every mode."""

    source: options.Input
    output: Output = None
    overwrite: Overwrite = False
    resume: Resume = False
    start: Start = None
    end: End = None
    region: Regions = None
    device: options.Device = None
    decoder: options.Decoder = None
    engine: options.EngineName = None
    codec: options.Codec = None
    crf: options.Crf = None
    preset: options.Preset = None
    audio: options.Audio = None
    faststart: options.Faststart = None
    config: options.Config = None
    explain: Explain = False
    as_json: options.Json = False
    no_progress: NoProgress = False
    verbose: options.Verbose = 0
    quiet: options.Quiet = False
    debug: options.Debug = False


@dataclass(frozen=True, kw_only=True)
class ReconstructFlags(RunFlags):
    """Of ``reconstruct``."""

    cell: Cell = None
    grid: GridAt = None
    net: options.Net = None
    restore_look: options.RestoreLook = None


@dataclass(frozen=True, kw_only=True)
class CoverFlags(RunFlags):
    """Of ``pixelize``."""

    preview: Preview = False
    tracks: From = None
    keep: Keep = None
    only: Only = None
    same: Same = None
    keep_face: KeepFace = None
    people: options.People = None
    only_regions: OnlyRegions = False
    exclude_region: Excluded = None
    during: During = None
    look: options.Look = None
    blocks: options.Blocks = None
    mask: options.MaskShape = None
    mask_scale: options.MaskScale = None
    finder: options.Finder = None
    min_face: options.MinFace = None
    det_threshold: options.DetThreshold = None
    care: options.Care = None
    fill_before: options.FillBefore = None
    fill_after: options.FillAfter = None
    gate: options.Gate = None
    keep_streams: options.KeepStreams = None
    keep_metadata: options.KeepMetadata = None


@dataclass(frozen=True, kw_only=True)
class ProtectFlags(CoverFlags):
    """Of ``protect``."""

    values: options.Values = None
    nobody: options.Nobody = None
    hold: options.HoldFor = None
    epsilon: options.Epsilon = None
    perturb: options.Perturb = None


@dataclass(frozen=True, kw_only=True)
class ModeFlag:
    """The base of ``AllFlags`` whose field a help text lists first."""

    mode: Mode = None


@dataclass(frozen=True, kw_only=True)
class AllFlags(ProtectFlags, ReconstructFlags, ModeFlag):
    """Of ``run``, which takes those of all modes."""


BY_MODE: dict[str, type[RunFlags]] = {
    "reconstruct": ReconstructFlags,
    "pixelize": CoverFlags,
    "protect": ProtectFlags,
}


def of_mode(flags: AllFlags, mode: str, kind: type[FlagsT]) -> FlagsT:
    """Those of one mode. Raises UsageError for one that was given and is of no use there."""
    taken: dict[str, Any] = {field.name: getattr(flags, field.name) for field in fields(kind)}
    for field in fields(flags):
        given = getattr(flags, field.name) not in (field.default, ())
        if given and field.name not in taken and field.name != "mode":
            refuse_other_modes(_option(field.name), mode)
    return kind(**taken)


def refuse_other_modes(option: str, mode: str) -> None:
    """Raises UsageError for an option, with its dashes, that ``mode`` does not have and other modes have."""
    from pipeline.errors import UsageError

    having = [m for m, kind in BY_MODE.items() if option in {_option(f.name) for f in fields(kind)}]
    if having and mode in BY_MODE and mode not in having:
        raise UsageError(f"{option} is an option of --mode {' and '.join(having)}, not of {mode}")


def _option(field: str) -> str:
    return "--from" if field == "tracks" else f"--{field.replace('_', '-')}"
