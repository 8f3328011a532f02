"""Labels faces by eye: proposes, draws sheets to look at, and writes what was decided.

    python -m tools.label_faces propose CLIP... --work DIR       # boxes on key frames, linked to chains
    python -m tools.label_faces sheets CLIP... --work DIR        # PNGs with numbered boxes
    python -m tools.label_faces write CLIP... --work DIR --decisions FILE --labels benchmarks/labels

A person looks at all sheets and writes FILE, JSON by the clip's stem:

    {"clip": {"people": {"1": {"chains": [1, 4], "boxes": {"40": [x0, y0, x1, y1]}, "drop": [35],
                               "gone": [[60, 80]], "hidden": [[20, 25]], "back": [[90, 99]]}},
              "none": [2, 3]}}

Chains are numbers on the sheets; every one belongs to a person or is none (``"none": "rest"``: all others).
``parts`` are ``[chain, first frame, last frame]``, for chains that pass from one person to another. ``boxes``
are drawn by hand, in px of the clip, on frames where no box is proposed or a wrong one; ``drop`` are frames
whose proposal is bad and where the box is to be interpolated; ``gone`` are frames (first, last) without the
face; ``hidden`` and the names of ``HARD`` are frames where it is in that state. ``cuts`` beside ``people``
adds cuts that were not seen, ``no_cuts`` removes such as are none. ``check`` draws what ``write`` writes.

Proposals come from CenterFace at two sizes and at a threshold that lets most things through. What it does not
propose is found by looking at whole frames; that is why the sheets show nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.face_labels import HARD, ClipLabels, Span, as_text, sha256_of
from pipeline.faces import FaceDetector, open_detector
from pipeline.faces.centerface import SAME_FACE_IOU
from pipeline.stages.shot_cuts import Cuts
from pipeline.types import Box

_EVERY_S = 0.2
_MIN_SCORE = 0.12
_LONG_SIDES_PX = (320, 640)
_LINK_IOU = 0.25
_LINK_KEYS = 4
"""A chain goes on over so many key frames without a box."""
_STATES: tuple[str, ...] = ("gone", "hidden", *HARD)
_COLOURS = ("#00ff40", "#ffb000", "#40c0ff", "#ff40ff", "#ffff00", "#ff4040")

Rgb = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Proposal:
    frame: int
    chain: int
    score: float
    box: Box


def pictures(clip: Path, wanted: Container[int] | None = None) -> Iterator[tuple[int, Rgb]]:
    """(index, picture) of those frames, or of all."""
    with av.open(clip) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if wanted is None or index in wanted:
                yield index, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


@lru_cache
def _detector(size_px: tuple[int, int]) -> FaceDetector:
    return open_detector("centerface", size_px, threads=1)


def proposed(picture: Rgb) -> list[tuple[float, Box]]:
    """Score and box of everything that may be a face, of several sizes of a picture, none twice."""
    height, width = picture.shape[:2]
    found: list[tuple[float, Box]] = []
    for scale in {min(side / max(height, width), 1.0) for side in _LONG_SIDES_PX}:
        size = (round(width * scale), round(height * scale))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        padded = np.zeros((-(-size[1] // 32) * 32, -(-size[0] // 32) * 32, 3), np.uint8)
        padded[: size[1], : size[0]] = small
        for face in _detector((padded.shape[1], padded.shape[0]))(padded, _MIN_SCORE):
            b = face.box
            found.append((face.score, Box(b.x0 / scale, b.y0 / scale, b.x1 / scale, b.y1 / scale)))
    kept: list[tuple[float, Box]] = []
    for score, box in sorted(found, key=lambda pair: -pair[0]):
        if all(box.iou(other) < SAME_FACE_IOU for _, other in kept):
            kept.append((score, box))
    return kept


def chained(keys: Sequence[tuple[int, Sequence[tuple[float, Box]]]], cuts: Iterable[int]) -> list[Proposal]:
    """Links boxes of key frames (frame, boxes) within shots."""
    ends: dict[int, tuple[int, Box]] = {}
    out: list[Proposal] = []
    following = 1
    starts = set(cuts)
    for position, (frame, boxes) in enumerate(keys):
        if frame in starts:
            ends.clear()
        pairs = sorted(
            (
                (box.iou(last), chain, index)
                for index, (_, box) in enumerate(boxes)
                for chain, (at, last) in ends.items()
                if position - at <= _LINK_KEYS
            ),
            reverse=True,
        )
        chain_of: dict[int, int] = {}
        for iou, chain, index in pairs:
            if iou >= _LINK_IOU and index not in chain_of and chain not in chain_of.values():
                chain_of[index] = chain
        for index, (score, box) in enumerate(boxes):
            if index not in chain_of:
                chain_of[index], following = following, following + 1
            ends[chain_of[index]] = (position, box)
            out.append(Proposal(frame, chain_of[index], score, box))
    return out


def propose(clip: Path, work: Path, every_s: float) -> None:
    """Writes ``work``/clip.json: what the file is, its cuts, its key frames and the proposals on them."""
    with av.open(clip) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
    seen, cuts, every = Cuts(), [], max(1, round(rate * every_s))
    found: dict[int, list[tuple[float, Box]]] = {}
    before: Rgb | None = None
    index = -1
    for index, picture in pictures(clip):
        thumb = cv2.resize(picture, (128, max(1, 128 * picture.shape[0] // picture.shape[1])))
        is_cut = seen.before_thumbnail(np.asarray(thumb[..., ::-1], np.uint8)) and index > 0
        if is_cut and before is not None:
            cuts.append(index)
            found.setdefault(index - 1, proposed(before))
        if is_cut or not index % every:
            found[index] = proposed(picture)
        before = picture
    if before is None:
        raise SystemExit(f"{clip} has no frames")
    found.setdefault(index, proposed(before))
    count, shape = index + 1, before.shape
    keys = sorted(found.items())
    rows = [
        [
            p.frame,
            p.chain,
            round(p.score, 2),
            *(round(v, 1) for v in (p.box.x0, p.box.y0, p.box.x1, p.box.y1)),
        ]
        for p in chained(keys, cuts)
    ]
    content = {
        "clip": clip.name, "sha256": sha256_of(clip), "frames": count, "width": shape[1], "height": shape[0],
        "rate": rate, "cuts": cuts, "keys": sorted(found), "proposals": rows,
    }  # fmt: skip
    (work / f"{clip.stem}.json").write_text(json.dumps(content), encoding="utf-8")


def _kept(clip: Path, work: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((work / f"{clip.stem}.json").read_text(encoding="utf-8"))
    if content["sha256"] != sha256_of(clip):
        raise SystemExit(f"{clip.name} has changed since its proposals were made")
    return content


def _drawn(
    picture: Rgb, boxes: Sequence[tuple[str, Box]], title: str, width: int, ruler: bool
) -> Image.Image:
    """A whole frame in ``width`` px with named boxes; with ``ruler`` lines with px of the clip."""
    scale = width / picture.shape[1]
    tile = Image.fromarray(picture).resize((width, round(picture.shape[0] * scale)))
    draw = ImageDraw.Draw(tile)
    if ruler:
        for part in range(1, 8):
            x, y = tile.width * part // 8, tile.height * part // 8
            draw.line((x, 0, x, tile.height), fill="#808080")
            draw.line((0, y, tile.width, y), fill="#808080")
            draw.text((x + 1, tile.height - 12), str(round(x / scale)), fill="white")
            draw.text((1, y + 1), str(round(y / scale)), fill="white")
    for name, box in boxes:
        colour = _COLOURS[sum(map(ord, name)) % len(_COLOURS)]
        draw.rectangle((box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale), outline=colour)
        draw.text((box.x0 * scale + 2, box.y0 * scale + 1), name, fill=colour)
    draw.rectangle((0, 0, 8 * len(title) + 4, 12), fill="black")
    draw.text((2, 1), title, fill="white")
    return tile


def sheets(
    clip: Path,
    frames: Sequence[int],
    boxes: dict[int, list[tuple[str, Box]]],
    out: Path,
    *,
    tile_px: int,
    columns: int,
    rows: int,
    ruler: bool = False,
) -> list[Path]:
    """PNGs of whole frames."""
    tiles: list[Image.Image] = []
    for index, picture in pictures(clip, set(frames)):
        title = str(index) if tiles else f"{clip.stem[:22]} {index}"
        tiles.append(_drawn(picture, boxes.get(index, []), title, tile_px, ruler))
    paths = []
    for page in range(0, len(tiles), columns * rows):
        part = tiles[page : page + columns * rows]
        height = part[0].height
        sheet = Image.new("RGB", (columns * tile_px, -(-len(part) // columns) * height))
        for i, tile in enumerate(part):
            sheet.paste(tile, (i % columns * tile_px, i // columns * height))
        paths.append(out / f"{clip.stem}-{page // (columns * rows)}.png")
        sheet.save(paths[-1], compress_level=1)
    return paths


def _state_of(person: dict[str, Any], frame: int) -> str | None:
    """``gone``, ``hidden``, a name of ``HARD``, or None for a plain face."""
    for state in _STATES:
        if any(first <= frame <= last for first, last in person.get(state, [])):
            return state
    return None


def spans_of(
    number: int, person: dict[str, Any], proposals: Sequence[Proposal], cuts: Sequence[int]
) -> list[Span]:
    """The spans of one person. Boxes by hand come before proposals; a span ends where the state changes, at a
    cut, and at the last frame that has a box."""
    dropped = set(person.get("drop", []))
    parts = [(chain, 0, sys.maxsize) for chain in person.get("chains", [])] + person.get("parts", [])
    boxes = {
        p.frame: p.box
        for chain, first, last in parts
        for p in proposals
        if p.chain == chain and first <= p.frame <= last and p.frame not in dropped
    }
    boxes |= {int(frame): Box(*map(float, box)) for frame, box in person.get("boxes", {}).items()}
    frames = sorted(boxes)
    rows: list[tuple[int, str | None, Box, bool]] = []
    for before, after in pairwise([*frames, frames[-1] + 1]):
        last = after == frames[-1] + 1
        end = next((cut for cut in sorted(cuts) if before < cut <= after), after)
        for frame in range(before, end):
            part = 0.0 if last or end != after else (frame - before) / (after - before)
            a, b = boxes[before], boxes[before if last else after]
            box = Box(*(p + part * (q - p) for p, q in zip(_sides(a), _sides(b), strict=True)))
            rows.append((frame, _state_of(person, frame), box, frame == before))
    spans: list[Span] = []
    keys: list[tuple[int, float, float, float, float]] = []
    for i, (frame, state, box, is_key) in enumerate(rows):
        following = rows[i + 1] if i + 1 < len(rows) else None
        ends = following is None or following[0] != frame + 1 or following[0] in cuts or following[1] != state
        if state != "gone" and (is_key or ends or not keys):
            x0, y0, x1, y1 = (round(v, 1) for v in _sides(box))
            keys.append((frame, x0, y0, x1, y1))
        if ends and keys:
            hard: Any = state if state in HARD else None
            spans.append(Span(person=number, visible=state != "hidden", hard=hard, keys=keys))
            keys = []
    return spans


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def labels_of(content: dict[str, Any], decision: dict[str, Any]) -> ClipLabels:
    """Raises ValueError where a chain is neither a person's nor none."""
    proposals = [Proposal(int(f), int(c), s, Box(*box)) for f, c, s, *box in content["proposals"]]
    people = {int(number): person for number, person in decision["people"].items()}
    none = decision.get("none", [])
    decided = [c for person in people.values() for c in person.get("chains", [])]
    shared = {part[0] for person in people.values() for part in person.get("parts", [])}
    decided += none if none != "rest" else []
    left = {p.chain for p in proposals} - set(decided) - shared
    if left and none != "rest":
        raise ValueError(f"{content['clip']}: nothing is decided of the chains {sorted(left)}")
    if len(set(decided)) != len(decided):
        raise ValueError(f"{content['clip']}: a chain is decided twice")
    cuts = sorted({*content["cuts"], *decision.get("cuts", [])} - set(decision.get("no_cuts", [])))
    spans = [s for number, person in people.items() for s in spans_of(number, person, proposals, cuts)]
    names = ("clip", "sha256", "frames", "width", "height")
    return ClipLabels(**{name: content[name] for name in names}, spans=spans)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.label_faces",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["propose", "sheets", "write", "check"])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder for proposals and sheets")
    parser.add_argument("--decisions", type=Path)
    parser.add_argument("--labels", type=Path, default=Path("benchmarks/labels"))
    parser.add_argument("--every", type=float, default=_EVERY_S, help="seconds between key frames")
    parser.add_argument("--frames", help="of sheets: FIRST:LAST:STEP; else the key frames")
    parser.add_argument("--tile", type=int, default=320, help="width of a frame on a sheet, px")
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--ruler", action="store_true", help="lines with px of the clip")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    decisions = json.loads(options.decisions.read_text(encoding="utf-8")) if options.decisions else {}
    for clip in options.clips:
        if options.what == "propose":
            propose(clip, options.work, options.every)
            print(clip.stem, flush=True)
            continue
        content = _kept(clip, options.work)
        if options.what == "write":
            labels = labels_of(content, decisions[clip.stem])
            (options.labels / f"{clip.stem}.json").write_text(as_text(labels), encoding="utf-8")
            continue
        boxes: dict[int, list[tuple[str, Box]]] = {}
        frames = content["keys"]
        if options.frames:
            first, last, step = map(int, options.frames.split(":"))
            frames = range(first, last + 1, step)
        if options.what == "sheets":
            for frame, chain, _, *box in content["proposals"]:
                boxes.setdefault(frame, []).append((str(chain), Box(*box)))
        else:
            labels = labels_of(content, decisions[clip.stem])
            boxes = {
                f: [(_name(labels, f, i), face.box) for i, face in enumerate(labels.on_frame(f))]
                for f in frames
            }
        grid = {"tile_px": options.tile, "columns": options.columns, "rows": options.rows}
        for path in sheets(clip, frames, boxes, options.work, **grid, ruler=options.ruler):
            print(path)


def _name(labels: ClipLabels, frame: int, position: int) -> str:
    spans = [span for span in labels.spans if span.box(frame) is not None]
    span = spans[position]
    return f"{span.person}{'' if span.visible else ' hidden'} {span.hard or ''}".strip()


if __name__ == "__main__":
    main(sys.argv[1:])
