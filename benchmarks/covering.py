"""Covering faces against labelled ones, on both sides: faces left, and picture covered for nothing.

    python -m benchmarks.covering CLIP... --labels benchmarks/labels     # labelled clips
    python -m benchmarks.covering --public                               # clips that it makes itself

Runs vidpipe in each of ``--modes`` and takes the masks from its reports, or takes ``--reports`` of earlier
runs (DIR/CLIP.MODE.json, as ``--keep`` leaves them). Beside it stands deface at its defaults: its detector
at full size on every frame, threshold 0.2, ellipses of 1.6 x the box, as its ``--mask-scale 1.3`` is.
What it detects is kept in ``--cache``. ``covering_measure`` says what is measured. Look at ``--sheets``
before you believe a figure; they show people and are never committed. These are test clips: fit nothing on
them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import torch

import vidpipe
from benchmarks.covering_measure import Figures, Painted, measure, shares
from benchmarks.covering_public import public_clips
from benchmarks.covering_sheets import Shown, sheet
from benchmarks.deface import deface_faces
from benchmarks.face_labels import ClipLabels, labels_for
from pipeline.run.anonymize_sidecar import AnonymizeReport, Mode, read_report
from pipeline.types import Box

DEFACE_SCALE = 1.6

Masks = list[list[Painted]]
"""By frame"""


def masks_of(report: AnonymizeReport) -> Masks:
    """Of a run, as they were painted. Rectangles by hand have negative numbers and no scale."""
    settings = {setting.name: setting.value for setting in report.settings}
    scale, ellipse = float(settings["mask.scale"]), settings["mask.shape"] == "ellipse"
    masks: Masks = [[] for _ in range(report.frames)]
    for track in report.tracks:
        if track.decision == "left":
            continue
        by_hand = track.track < 0
        for frame, row in enumerate(track.boxes, start=track.first_frame):
            if row is not None:
                mask = Painted(Box(*row[:4]), 1.0 if by_hand else scale, ellipse and not by_hand, track.track)
                masks[frame].append(mask)
    return masks


def vidpipe_masks(clip: Path, mode: Mode, settings: Mapping[str, str], keep: Path | None) -> Masks:
    """Runs it. A face that the release check would refuse is counted here, not there."""
    cover = {"pixelize": vidpipe.pixelize, "protect": vidpipe.protect}[mode]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"out{clip.suffix}"
        report = cover(clip, target, release_check=False, preset="ultrafast", settings=settings)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{clip.stem}.{mode}.json").write_text(report.as_json(), encoding="utf-8")
    return masks_of(report)


def deface_masks(clip: Path, cache: Path) -> Masks:
    return [
        [Painted(Box(*map(float, row[:4])), DEFACE_SCALE) for row in rows]
        for rows in deface_faces(clip, cache)
    ]


def _text(value: float | None, name: str) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if name.startswith("tracks") else f"{100 * value:.2f} %"


def table(results: dict[str, Figures]) -> str:
    """Markdown, a column for each tool."""
    columns = {tool: shares(figures) for tool, figures in results.items()}
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    first = next(iter(results.values()))
    counts = f"| frames; faces to cover; others | {'; '.join(map(str, _sizes(first)))} |"
    lines.append(counts + " |" * (len(columns) - 1))
    for name in next(iter(columns.values())):
        cells = " | ".join(_text(column[name], name) for column in columns.values())
        lines.append(f"| {name} | {cells} |")
    numbers: dict[str, Callable[[Figures], object]] = {
        "faces uncovered": lambda f: f.faces.total() - f.covered.total(),
        "frames with an uncovered face": lambda f: f.frames_uncovered,
        "masks; of them false": lambda f: f"{f.masks}; {f.false_masks}",
        "frames with a false mask": lambda f: f.frames_false,
        "tracks; of them false": lambda f: f"{f.all_tracks}; {f.false_tracks}" if f.all_tracks else "-",
    }
    for name, of in numbers.items():
        lines.append(f"| {name}, number | {' | '.join(str(of(figures)) for figures in results.values())} |")
    return "\n".join(lines)


def _sizes(figures: Figures) -> tuple[int, int, int]:
    return figures.frames, figures.faces.total(), figures.others


def by_clip(results: dict[str, dict[str, Figures]]) -> str:
    """Markdown, a row for each clip: ``results`` by clip and tool."""
    tools = list(next(iter(results.values())))
    names = ("faces left", "frames false", "for nothing")
    heads = [f"{tool}: {name}" for tool in tools for name in names]
    lines = [f"| clip | frames | faces | {' | '.join(heads)} |", "|---|---|---|" + "---|" * len(heads)]
    for clip, columns in results.items():
        first, cells = next(iter(columns.values())), []
        for figures in columns.values():
            nothing = 100 * figures.false_area / figures.frames
            left = figures.faces.total() - figures.covered.total()
            cells += [str(left), str(figures.frames_false), f"{nothing:.2f} %"]
        lines.append(f"| {clip} | {first.frames} | {first.faces.total()} | {' | '.join(cells)} |")
    return "\n".join(lines)


def arguments_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.covering",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--labels", type=Path, default=Path(__file__).with_name("labels"))
    parser.add_argument("--public", action="store_true", help="clips made here, too")
    parser.add_argument("--modes", nargs="+", default=["pixelize"], choices=["pixelize", "protect"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="as in pipeline.yaml")
    parser.add_argument("--reports", type=Path, help="folder of reports; nothing is run")
    parser.add_argument("--keep", type=Path, help="folder for the reports of the runs")
    parser.add_argument("--against", choices=["deface", "nobody"], default="deface")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vidpipe-deface")
    parser.add_argument("--sheets", type=Path, help="folder for sheets of false masks and uncovered faces")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args(arguments)


def tools_of(given: argparse.Namespace) -> dict[str, Callable[[Path], Masks]]:
    """What gives the masks of a clip, by the name of its column."""

    def ours(mode: Mode) -> Callable[[Path], Masks]:
        if given.reports is not None:
            return lambda clip: masks_of(read_report(given.reports / f"{clip.stem}.{mode}.json"))
        settings = dict(pair.split("=", 1) for pair in given.set)
        return lambda clip: vidpipe_masks(clip, mode, settings, given.keep)

    tools = {f"vidpipe {mode}": ours(mode) for mode in given.modes}
    if given.against == "deface":
        tools["deface"] = lambda clip: deface_masks(clip, given.cache)
    return tools


def main(arguments: Sequence[str]) -> None:
    given = arguments_of(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        labelled = [(clip, labels_for(clip, given.labels)) for clip in given.clips]
        if given.public:
            labelled += public_clips(Path(folder))
        if not labelled:
            raise SystemExit("no clips; name some, or --public")
        tools = tools_of(given)
        results: dict[str, dict[str, Figures]] = {}
        shown: dict[str, tuple[list[Shown], list[Shown]]] = {tool: ([], []) for tool in tools}
        for clip, labels in labelled:
            results[clip.stem] = {}
            for tool, masks_for in tools.items():
                masks = masks_for(clip)
                figures = measure(labels, masks)
                results[clip.stem][tool] = figures
                _remember(shown[tool], clip, labels, masks, figures)
            print(clip.stem, file=sys.stderr, flush=True)
        if given.sheets is not None:
            for tool, (false, left) in shown.items():
                sheet(false, given.sheets / f"{tool.replace(' ', '-')}-false.png")
                sheet(left, given.sheets / f"{tool.replace(' ', '-')}-uncovered.png")
    _tell(results, given)


def _remember(
    sheets: tuple[list[Shown], list[Shown]], clip: Path, labels: ClipLabels, masks: Masks, figures: Figures
) -> None:
    for shown, places in zip(sheets, (figures.false, figures.uncovered), strict=True):
        shown.append((clip, labels, masks, places))


def _tell(results: dict[str, dict[str, Figures]], given: argparse.Namespace) -> None:
    tools = list(next(iter(results.values())))
    total = {tool: sum((row[tool] for row in results.values()), Figures()) for tool in tools}
    text = f"{table(total)}\n\n{by_clip(results)}\n"
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text, encoding="utf-8")
    if given.json is not None:
        content = {
            "settings": given.set,
            "all": {tool: shares(figures) for tool, figures in total.items()},
            "clips": {
                clip: {tool: plain(figures) for tool, figures in columns.items()}
                for clip, columns in results.items()
            },
        }
        given.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


def plain(figures: Figures) -> dict[str, object]:
    """Sums alone, for JSON, without the places."""
    names = [field.name for field in fields(figures) if field.name not in ("uncovered", "false")]
    return {name: getattr(figures, name) for name in names}


if __name__ == "__main__":
    main(sys.argv[1:])
