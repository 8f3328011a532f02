"""Acceptance of the mosaic finder: `python -m benchmarks.mosaics --clips ../shared/data/videos/test
--faces centerface.onnx`

Each clip is pixelated over its faces by recipes drawn from the product of blocks, grid, pitch, operator
and crf, encoded, decoded, found and tracked. The ONNX file lies in ``pipeline/faces/weights``.

- *found*: share of (frame, face) pairs with a tracked region of IoU > 0.8; *seen*: the same before tracking.
- *tracks*: share of (clip, recipe, face) whose median errors of pitch and phase are within 2 % and 1 px
  on both axes; *strict*: the same for 95 % of the track's frames. Phase is the larger of the distances
  between the true lattice and the nearest line of the one found, at the first line in the box and at the
  last.
- *false*: share of frames of the clips as they are, and of their unpixelated encodings, that show any region.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from benchmarks.mosaic_clips import CenterFace, Recipe, draw, encode, faces, read, truth
from nets.pixelation import Operator
from pipeline.config import FindConfig, TrackConfig
from pipeline.stages.find_mosaics import find_mosaics, is_clean, redetect_with
from pipeline.track.mosaics import track
from pipeline.types import Axis, Box, Colour, Found, Frame, MosaicRegion, Shape
from tests.support.mosaics import Mosaic

PRODUCT = [
    Recipe(blocks, moving, whole, operator, crf)
    for blocks, moving, whole, operator, crf in itertools.product(
        (8, 10, 12), (False, True), (False, True), (Operator.AREA, Operator.CENTRE), (18, 23, 28)
    )
]


@dataclass(frozen=True, slots=True)
class Score:
    """One face of one clip under one recipe."""

    clip: str
    recipe: str
    crf: int
    frames: int
    found: int
    seen: int
    pitch_error: float
    """median over frames of the larger relative error of the axes"""
    phase_error_px: float
    """median over frames"""
    right_frames: int
    """frames with both errors in bounds"""
    operator_right: int
    """frames whose operator is area or not as it is in truth"""
    stray: int
    """frames with a region that overlaps no true one (of the clip, counted with its first face)"""


def frames(path: Path, limit: int | None = None) -> Iterator[Frame]:
    """Frames of a file in 8-bit planar YUV."""
    unknown = Colour("unknown", "unknown", "unknown", "unknown")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for index, picture in enumerate(itertools.islice(container.decode(stream), limit)):
            planes = tuple(
                torch.from_numpy(
                    np.frombuffer(bytes(p), np.uint8).reshape(p.height, p.line_size)[:, : p.width].copy()
                )
                for p in picture.planes
            )
            yield Frame(
                index,
                picture.pts or 0,
                planes,
                picture.format.name,
                unknown,
                Fraction(stream.time_base or 1),
                False,
            )


def _error(true: Axis, seen: Axis, start: float, end: float) -> tuple[float, float]:
    """Relative error of the pitch; largest distance in px of the true first and last line to the nearest
    seen."""
    first = np.ceil((start - true.origin) / true.pitch)
    last = np.floor((end - true.origin) / true.pitch)
    lines = true.origin + np.array([first, last]) * true.pitch
    cells = (lines - seen.origin) / seen.pitch
    return abs(seen.pitch / true.pitch - 1), float(np.abs(cells - np.round(cells)).max() * seen.pitch)


def _best(regions: Iterable[MosaicRegion], box: Box) -> MosaicRegion | None:
    return max(regions, key=lambda r: r.box.iou(box), default=None)


def judge(clip: str, recipe: Recipe, truths: list[list[Mosaic]], path: Path) -> list[Score]:
    """Scores of all faces of an encoded clip."""
    before: list[Found[MosaicRegion]] = []

    def noted(found: Iterable[Found[MosaicRegion]]) -> Iterator[Found[MosaicRegion]]:
        for item in found:
            before.append(Found(item.frame, item.regions, item.cut))
            yield item

    tracked = [
        [t.region for t in item.regions]
        for item in track(
            noted(find_mosaics(frames(path), settings=FindConfig())),
            settings=TrackConfig(),
            redetect=redetect_with(FindConfig()),
            is_clean=is_clean,
        )
    ]
    height, width = before[0].frame.planes[0].shape
    scores = []
    for n, mosaics in enumerate(truths):
        counted = found = seen = right = operators = stray = 0
        pitch, phase = [], []
        for t, mosaic in enumerate(mosaics[: len(tracked)]):
            x0, y0, x1, y1 = mosaic.box
            box = Box(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
            if any(Box(*m[t].box).iou(box) > 0.0 for m in truths[n + 1 :]):
                continue  # another mosaic is drawn over this one
            counted += 1
            region, single = _best(tracked[t], box), _best(before[t].regions, box)
            seen += single is not None and single.box.iou(box) > 0.8
            if n == 0:
                others = [Box(*m[t].box) for m in truths]
                stray += any(all(r.box.iou(o) == 0 for o in others) for r in tracked[t])
            if region is None or region.box.iou(box) <= 0.8:
                continue
            found += 1
            if region.grid is None:
                continue
            errors = [
                _error(mosaic.x, region.grid.x, box.x0, box.x1),
                _error(mosaic.y, region.grid.y, box.y0, box.y1),
            ]
            pitch.append(max(e[0] for e in errors))
            phase.append(max(e[1] for e in errors))
            right += pitch[-1] <= 0.02 and phase[-1] <= 1.0 + 1e-6
            operators += (region.grid.operator is Operator.AREA) == (mosaic.operator is Operator.AREA)
        scores.append(
            Score(
                clip,
                recipe.name,
                recipe.crf,
                counted,
                found,
                seen,
                float(np.median(pitch)) if pitch else 1.0,
                float(np.median(phase)) if phase else 99.0,
                right,
                operators,
                stray,
            )
        )
    return scores


def false_frames(path: Path, limit: int | None) -> tuple[int, int, int]:
    """Frames with a tracked region, frames with a region before tracking, and frames of a file."""
    raw = 0

    def noted(found: Iterable[Found[MosaicRegion]]) -> Iterator[Found[MosaicRegion]]:
        nonlocal raw
        for item in found:
            raw += bool(item.regions)
            yield item

    tracked = [
        bool(item.regions)
        for item in track(
            noted(find_mosaics(frames(path, limit), settings=FindConfig())),
            settings=TrackConfig(),
            redetect=redetect_with(FindConfig()),
            is_clean=is_clean,
        )
    ]
    return sum(tracked), raw, len(tracked)


def summary(scores: list[Score], false: dict[str, tuple[int, int, int]]) -> dict[str, float]:
    """The figures of the module's head, over all scores."""
    pairs = sum(s.frames for s in scores)
    plain = np.array(list(false.values()) or [(0, 0, 1)]).sum(axis=0)
    return {
        "tracks": len(scores),
        "pairs": pairs,
        "found": sum(s.found for s in scores) / max(pairs, 1),
        "seen": sum(s.seen for s in scores) / max(pairs, 1),
        "tracks_right": float(
            np.mean([s.pitch_error <= 0.02 and s.phase_error_px <= 1.0 + 1e-6 for s in scores])
        ),
        "tracks_strict": float(np.mean([s.right_frames >= 0.95 * s.frames for s in scores])),
        "operator_right": sum(s.operator_right for s in scores) / max(sum(s.found for s in scores), 1),
        "stray_frames": sum(s.stray for s in scores),
        "false": float(plain[0] / plain[2]),
        "false_untracked": float(plain[1] / plain[2]),
        "plain_frames": int(plain[2]),
    }


def table(scores: list[Score], false: dict[str, tuple[int, int, int]]) -> str:
    """Markdown: a row per crf and grid, one per clip, one for all."""
    groups: dict[str, list[Score]] = {}
    for s in scores:
        grid = "moving" if "moving" in s.recipe else "fixed"
        for key in (f"crf {s.crf}, {grid}", s.clip):
            groups.setdefault(key, []).append(s)
    rows = [
        "| group | tracks | frames | found | seen | tracks right | strict | stray |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, group in [*sorted(groups.items()), ("**all**", scores)]:
        figures = summary(group, {})
        rows.append(
            "| {name} | {tracks} | {pairs} | {found:.4f} | {seen:.4f} | {tracks_right:.3f} | "
            "{tracks_strict:.3f} | {stray_frames} |".format(name=name, **figures)
        )
    total = np.array(list(false.values()) or [(0, 0, 0)]).sum(axis=0)
    rows.append(f"\nUnpixelated: {total[0]} of {total[2]} frames false ({total[1]} before tracking).")
    return "\n".join(rows)


def run(path: Path, options: argparse.Namespace, detector: CenterFace) -> dict[str, Any]:
    """Scores and false frames of one clip, as JSON."""
    rng = random.Random(f"{options.seed}-{path.stem}")
    shape = Shape.ELLIPSE if options.ellipse else Shape.RECTANGLE
    recipes = [
        replace(r, shape=shape, codec=options.codec)
        for r in (rng.sample(PRODUCT, options.sample) if options.sample else PRODUCT)
    ]
    start, tracks = faces(path, detector, options.frames, options.work)
    tracks = [t * options.scale for t in tracks]
    pictures, rate = read(path, start, start + options.frames, options.scale)
    size = pictures[0].shape[1] // 2 * 2, pictures[0].shape[0] // 2 * 2
    out = options.work / f"{path.stem}-{options.seed}-{os.getpid()}.mp4"
    scores: list[Score] = []
    for k, recipe in enumerate(recipes if tracks else []):
        truths = [truth(t, recipe, size, options.seed + 100 * k + n) for n, t in enumerate(tracks)]
        drawn = (draw(p, [m[t] for m in truths]) for t, p in enumerate(pictures[: len(tracks[0])]))
        encode(out, drawn, rate, recipe.codec, recipe.crf)
        scores += judge(path.stem, recipe, truths, out)
    false = {path.name: false_frames(path, options.plain_frames or None)}
    for crf in (18, 23, 28):
        encode(out, iter(pictures), rate, "libx264", crf)
        false[f"{path.name} crf {crf}"] = false_frames(out, None)
    out.unlink()
    return {"scores": [asdict(s) for s in scores], "plain": false}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description="acceptance of the mosaic finder; a clip that is done is kept"
    )
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True, help="centerface.onnx")
    parser.add_argument("--work", type=Path, required=True, help="folder for boxes, clips and results")
    parser.add_argument("--frames", type=int, default=60, help="per clip")
    parser.add_argument("--sample", type=int, default=0, help="recipes per clip; 0: the full product")
    parser.add_argument("--plain-frames", type=int, default=0, help="of unpixelated clips; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a clip's name")
    parser.add_argument("--scale", type=float, default=1.0, help="of the clips before they are pixelated")
    parser.add_argument("--ellipse", action="store_true")
    parser.add_argument("--codec", default="libx264")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    what = f"{options.clips.name}-{options.seed}-{options.sample}x{options.frames}-{options.scale}"
    what += f"-{options.codec}{'-ellipse' if options.ellipse else ''}"
    folder = options.work / what
    folder.mkdir(parents=True, exist_ok=True)
    detector = CenterFace(options.faces)
    scores: list[Score] = []
    false: dict[str, tuple[int, int, int]] = {}
    for path in [p for p in sorted(options.clips.glob("*.mp4")) if options.only in p.name]:
        file = folder / f"{path.stem}.json"
        if not file.exists():
            file.write_text(json.dumps(run(path, options, detector), indent=1))
        done = json.loads(file.read_text())
        own = [Score(**s) for s in done["scores"]]
        scores += own
        false |= {k: tuple(v) for k, v in done["plain"].items()}
        worst = sorted(own, key=lambda s: s.found / max(s.frames, 1))[:2]
        print(path.stem, [(w.recipe, w.found, w.frames) for w in worst], done["plain"], flush=True)
    report = {"options": {k: str(v) for k, v in vars(options).items()}, "summary": summary(scores, false)}
    (options.work / f"{what}.json").write_text(json.dumps(report, indent=1))
    (options.work / f"{what}.md").write_text(table(scores, false))
    print(table(scores, false))
    print(json.dumps(report["summary"], indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
