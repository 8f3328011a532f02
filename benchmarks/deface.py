"""Covering faces beside ``deface``: who leaves a face, and how fast. ``python -m benchmarks.deface CLIP...``

*Coverage.* deface's own detector runs at full size on every frame, with deface's default threshold, 0.2;
vidpipe runs as usual, and its sidecar tells the masks. A face that deface covers counts as left by vidpipe
where less than half of the face's ellipse lies under its masks. What is left is cut out of the clip and put
on a sheet, for a person to say whether it is a face at all.

*Speed.* ``--speed`` runs both command lines in turn, ``--rounds`` times, in processes of their own, and
compares seconds and processor seconds. Wall-clock times mean something on an idle machine only.

Detections of deface are kept in ``--cache``. Nothing is written into the checkout but ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.run.anonymize_sidecar import AnonymizeReport, read_report

THRESHOLD = 0.2
"""deface's default"""
MASK_SCALE = 1.3
"""Of vidpipe's masks. deface's ``--mask-scale`` has the same number and paints more: it adds 0.3 of the
box on either side, 1.6 x the box (``benchmarks.covering``). Here only deface's detections are compared."""
COVERED = 0.5
"""Least share of a face's ellipse under masks."""
_POINTS = 24
"""A face's ellipse is looked at on a lattice of so many points squared."""
CELL_PX = 128
_START_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Coverage:
    """One clip. A face is one detection on one frame."""

    clip: str
    frames: int
    deface_faces: int
    """that deface covers"""
    uncovered: int
    """of those that vidpipe does not cover"""
    uncovered_frames: int
    share: float
    """of the area of all faces that deface covers, under vidpipe's masks"""
    vidpipe_faces: int
    """seen or filled"""
    more: int
    """of those that deface does not cover"""
    left: list[tuple[int, float, tuple[float, float, float, float]]]
    """frame, score and box of the uncovered"""


def deface_faces(clip: Path, cache: Path) -> list[NDArray[np.float32]]:
    """Per frame (n, 5): x0, y0, x1, y1, score of deface's detector."""
    kept = cache / f"{clip.stem}.json"
    if kept.exists():
        rows = json.loads(kept.read_text(encoding="utf-8"))
        return [np.asarray(row, np.float32).reshape(-1, 5) for row in rows]
    from deface.centerface import CenterFace  # noqa: PLC0415  onnxruntime loads with it

    finder = CenterFace(in_shape=None, backend="onnxrt")
    found: list[NDArray[np.float32]] = []
    with av.open(clip) as container:
        for frame in container.decode(video=0):
            faces, _ = finder(frame.to_ndarray(format="rgb24"), threshold=THRESHOLD)
            found.append(np.asarray(faces, np.float32).reshape(-1, 5))
    cache.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps([rows.tolist() for rows in found]), encoding="utf-8")
    return found


def _points(box: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 2): a lattice over the ellipse in a box."""
    unit = (np.arange(_POINTS) + 0.5) / _POINTS * 2 - 1
    y, x = np.meshgrid(unit, unit, indexing="ij")
    inside = x**2 + y**2 < 1
    middle, half = (box[:2] + box[2:4]) / 2, (box[2:4] - box[:2]) / 2
    return np.stack([x[inside] * half[0] + middle[0], y[inside] * half[1] + middle[1]], 1)


def _share(box: NDArray[np.float32], masks: NDArray[np.float32]) -> float:
    """Of a face's ellipse under the ellipses of ``masks`` (n, 4)."""
    if not len(masks):
        return 0.0
    middle, half = (masks[:, :2] + masks[:, 2:]) / 2, (masks[:, 2:] - masks[:, :2]) / 2 * MASK_SCALE
    away = (_points(box)[:, None] - middle) / np.maximum(half, 1e-6)
    return float(((away**2).sum(-1) < 1).any(1).mean())


def vidpipe_faces(report: AnonymizeReport, frames: int) -> list[NDArray[np.float32]]:
    """Per frame (n, 4): the boxes that masks were made from."""
    boxes: list[list[tuple[float, ...]]] = [[] for _ in range(frames)]
    for track in report.tracks:
        for at, row in enumerate(track.boxes, start=track.first_frame):
            if row is not None:
                boxes[at].append(row[:4])
    return [np.asarray(rows, np.float32).reshape(-1, 4) for rows in boxes]


def coverage(clip: Path, cache: Path, options: list[str]) -> Coverage:
    """Runs vidpipe and compares."""
    theirs = deface_faces(clip, cache)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"out{clip.suffix}"
        command = [*_vidpipe(), str(clip), "-o", str(target), "--gate", "off", *options]
        subprocess.run(command, check=True)
        ours = vidpipe_faces(read_report(Path(f"{target}.json")), len(theirs))
    shares, left = [], []
    for index, (faces, masks) in enumerate(zip(theirs, ours, strict=True)):
        for face in faces:
            share = _share(face, masks)
            area = float((face[2] - face[0]) * (face[3] - face[1]))
            shares.append((share, area))
            if share < COVERED:
                x0, y0, x1, y1, score = (round(float(v), 2) for v in face)
                left.append((index, score, (x0, y0, x1, y1)))
    more = sum(
        _share(box, their[:, :4]) < COVERED for their, own in zip(theirs, ours, strict=True) for box in own
    )
    area = sum(a for _, a in shares)
    return Coverage(
        clip=clip.name,
        frames=len(theirs),
        deface_faces=len(shares),
        uncovered=len(left),
        uncovered_frames=len({index for index, _, _ in left}),
        share=sum(s * a for s, a in shares) / area if area else 1.0,
        vidpipe_faces=sum(map(len, ours)),
        more=more,
        left=left,
    )


def sheet(clips: list[Path], results: list[Coverage], path: Path) -> None:
    """What vidpipe left and deface covers, cut out of the clips; at most 96 of them."""
    cells = []
    for clip, result in zip(clips, results, strict=True):
        wanted: dict[int, list[tuple[float, tuple[float, float, float, float]]]] = {}
        for index, score, box in result.left[:: max(1, len(result.left) // 12)]:
            wanted.setdefault(index, []).append((score, box))
        with av.open(clip) as container:
            for index, frame in enumerate(container.decode(video=0)):
                for score, (x0, y0, x1, y1) in wanted.get(index, []):
                    half = max(x1 - x0, y1 - y0)
                    x, y = (x0 + x1) / 2, (y0 + y1) / 2
                    cell = Image.fromarray(frame.to_ndarray(format="rgb24")).crop(
                        (x - half, y - half, x + half, y + half)
                    )
                    cell = cell.resize((CELL_PX, CELL_PX))
                    ImageDraw.Draw(cell).text((3, 3), f"{clip.stem[:12]} {index} {score:.2f}", fill="yellow")
                    cells.append(cell)
    columns = 12
    out = Image.new("RGB", (columns * CELL_PX, max(1, -(-len(cells[:96]) // columns)) * CELL_PX))
    for i, cell in enumerate(cells[:96]):
        out.paste(cell, (i % columns * CELL_PX, i // columns * CELL_PX))
    out.save(path)


def _vidpipe() -> list[str]:
    return [sys.executable, "-c", "from vidpipe.cli.main import main; main()", "run", "--no-progress", "-q"]


@dataclass(frozen=True, slots=True)
class Speed:
    """One clip, medians over the rounds, without what starting costs; vidpipe's gate is in it."""

    clip: str
    frames: int
    deface_fps: float
    vidpipe_fps: float
    ratio: float
    """median of the rounds' ratios of seconds"""
    deface_cpu_ms: float
    vidpipe_cpu_ms: float
    """processor time per frame"""
    cpu_ratio: float
    """median of the rounds' ratios of processor time"""


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds and processor seconds of a command."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds, after = perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _shortest(clip: Path, folder: str) -> Path:
    """The first ``_START_FRAMES`` frames of a clip, encoded anew: what starting costs."""
    path = Path(folder) / f"short{clip.suffix}"
    with av.open(clip) as source, av.open(path, "w") as target:
        video = source.streams.video[0]
        out = target.add_stream("libx264", rate=video.average_rate, options={"preset": "veryfast"})
        out.width, out.height, out.pix_fmt = video.width, video.height, "yuv420p"
        for _, frame in zip(range(_START_FRAMES), source.decode(video), strict=False):
            plain = av.VideoFrame.from_ndarray(frame.to_ndarray(format="yuv420p"), format="yuv420p")
            target.mux(out.encode(plain))
        target.mux(out.encode(None))
    return path


def speed(clip: Path, deface: str, rounds: int, options: list[str]) -> Speed:
    """Both command lines in turn, on the clip and on its first frames."""
    with av.open(clip) as container:
        frames = sum(1 for packet in container.demux(video=0) if packet.size)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        short = _shortest(clip, folder)
        for _ in range(rounds):
            row = []
            for source in (short, clip):
                theirs = [deface, str(source), "--replacewith", "mosaic", "-o", f"{folder}/a.mp4"]
                row.append(_timed(theirs))
                row.append(
                    _timed([*_vidpipe(), str(source), "-y", "-o", f"{folder}/b{clip.suffix}", *options])
                )
            rows.append(row)
    # rounds x (start of deface, start of vidpipe, deface, vidpipe) x (seconds, processor seconds)
    times = np.array(rows)
    lasting = (times[:, 2:] - times[:, :2]) / (frames - _START_FRAMES)
    theirs, ours = lasting[:, 0], lasting[:, 1]
    return Speed(
        clip=clip.name,
        frames=frames,
        deface_fps=float(1 / np.median(theirs[:, 0])),
        vidpipe_fps=float(1 / np.median(ours[:, 0])),
        ratio=float(np.median(theirs[:, 0] / ours[:, 0])),
        deface_cpu_ms=float(1000 * np.median(theirs[:, 1])),
        vidpipe_cpu_ms=float(1000 * np.median(ours[:, 1])),
        cpu_ratio=float(np.median(theirs[:, 1] / ours[:, 1])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vidpipe-deface")
    parser.add_argument("--sheet", type=Path, help="PNG of what only deface covers")
    parser.add_argument("--speed", action="store_true", help="compare speed, not coverage")
    parser.add_argument("--deface", default="deface", help="the command; it needs a full install of deface")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--mode", default="pixelize", choices=["pixelize", "protect"])
    parser.add_argument("--options", default="", help="more options of vidpipe run, as one string")
    arguments = parser.parse_args()
    options = ["--mode", arguments.mode, *arguments.options.split()]
    rates: list[Speed] = []
    covered: list[Coverage] = []
    if arguments.speed:
        print("| clip | frames | deface | vidpipe | ratio | deface, CPU | vidpipe, CPU | ratio of CPU |")
        print("|---|---|---|---|---|---|---|---|")
        for clip in arguments.clips:
            rate = speed(clip, arguments.deface, arguments.rounds, options)
            rates.append(rate)
            print(
                f"| {rate.clip} | {rate.frames} | {rate.deface_fps:.2f} fps | {rate.vidpipe_fps:.1f} fps | "
                f"{rate.ratio:.1f} | {rate.deface_cpu_ms:.0f} ms | {rate.vidpipe_cpu_ms:.0f} ms | "
                f"{rate.cpu_ratio:.1f} |",
                flush=True,
            )
    else:
        print(
            "| clip | frames | faces deface covers | of them left | of their area covered | deface leaves |"
        )
        print("|---|---|---|---|---|---|")
        for clip in arguments.clips:
            one = coverage(clip, arguments.cache, options)
            covered.append(one)
            print(
                f"| {one.clip} | {one.frames} | {one.deface_faces} | "
                f"{one.uncovered} on {one.uncovered_frames} frames | {100 * one.share:.1f} % | {one.more} |",
                flush=True,
            )
        if arguments.sheet:
            sheet(arguments.clips, covered, arguments.sheet)
    if arguments.json:
        results = [asdict(result) for result in (rates or covered)]
        content = {"options": options, "cores": os.cpu_count(), "results": results}
        arguments.json.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
