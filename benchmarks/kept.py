"""Harmed files of ten kinds: what is said to be kept, and is it? Fixed seeds, a bound on each.

    python -m benchmarks.kept --count 300 --results kept.json

Each input is a small clip with flipped bits, a lost end, lost, exchanged or foreign bytes, or exchanged boxes
or packets. A run covers one corner of it. Where the run ends with an output, both files are decoded here with
PyAV alone and compared: every picture by its brightness in 32 x 32 places and its time, sound by its samples,
tracks by their kinds. The run's report must not say "kept" where they differ. Exit code 1 if a figure that
must be 0 is not. The figures are in docs/formats.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from benchmarks.attack_inputs import harmed
from benchmarks.attack_process import ended, forked
from benchmarks.attacks import Row, emptied, judge
from pipeline.run import anonymize, preview
from tests.support.clips import Audio, Chapter, Extras, Subtitle, write_clip
from vidpipe import jobs
from vidpipe.cli import app

_LOADED = anonymize, preview, jobs, app
"""What a run imports: once here, and not in each fork."""

CORNER_PX = 24
"""Side of the square at the top left that is covered."""
_PLACES = 32
_SAME_LEVELS = 8.0
"""of 255, mean difference over a picture's places that encoding anew may make"""
_SAME_TIME_S = 2e-3
"""Matroska's and FLV's millisecond, rounded twice."""
_BLOCK = {".ts": 188}
_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta"}


def seeds(folder: Path) -> list[Path]:
    """Ten clips: containers, codecs, reordered frames, sound of several kinds, further tracks."""
    rich = Extras(
        audio=[Audio(), Audio(language="deu", hertz=600)],
        subtitles=[Subtitle([(0.1, 0.4, "one")])],
        chapters=[Chapter(0, 0.4, "A")],
        metadata={"title": "Film"},
    )
    x264 = {"preset": "veryfast", "g": "8"}
    x265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=8"}
    vp9 = {"cpu-used": "8", "deadline": "realtime"}
    ms, frame = Fraction(1, 1000), Fraction(1, 25)

    def clip(name: str, sound: str | None, options: dict[str, str], **more: Any) -> Path:
        extras = rich if sound is None else Extras(audio=[Audio(codec=sound)])
        size: dict[str, Any] = {"frames": 20, "width": 96, "height": 80}
        return write_clip(folder / name, extras=extras, options=options, **size, **more)

    return [
        clip("0.mp4", None, x264),
        clip("1.mkv", None, x264, time_base=ms),
        clip("2.ts", "aac", x264),
        clip("3.avi", "pcm_s16le", {}, codec="mpeg4", time_base=frame),
        clip("4.mov", "pcm_s24be", {}, codec="prores_ks", pix_fmt="yuv422p10le"),
        clip("5.webm", "libopus", vp9, codec="libvpx-vp9", time_base=ms),
        clip("6.mpg", "mp2", {"bf": "2"}, codec="mpeg2video", time_base=frame),
        clip("7.flv", "aac", x264 | {"bf": "0"}, time_base=ms),
        clip("8.mkv", "flac", x265, codec="libx265", time_base=ms),
        clip("9.mov", "pcm_s16le", {}, codec="mjpeg", pix_fmt="yuvj420p"),
    ]


def exchanged(content: bytes, suffix: str, chance: random.Random) -> bytes:
    """Two neighbouring boxes of MP4 and MOV, or two packets or blocks of others, in each other's place."""
    if suffix in {".mp4", ".mov"}:
        places = list(_boxes(content, 0, len(content)))
        pairs = [(a, b) for a, b in pairwise(places) if a[1] == b[0]]
        (start, middle), (_, end) = chance.choice(pairs)
        return content[:start] + content[middle:end] + content[start:middle] + content[end:]
    size = _BLOCK.get(suffix, chance.choice((16, 64, 256)))
    one, two = sorted(chance.sample(range(len(content) // size), 2))
    blocks = [content[at : at + size] for at in range(0, len(content), size)]
    blocks[one], blocks[two] = blocks[two], blocks[one]
    return b"".join(blocks)


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, at)
        if size < 8 or at + size > end:
            return
        if kind in _BOXES:
            yield from _boxes(content, at + 8, at + size)
        yield at, at + size
        at += size


def input_of(number: int, seed: Path) -> bytes:
    """Of every seventh a whole clip with a lost end, of the others ``harmed`` or ``exchanged``."""
    chance, content = random.Random(number), seed.read_bytes()
    if number % 7 == 0:
        return content[: -chance.randrange(1, len(content) // 3)]
    return exchanged(content, seed.suffix, chance) if number % 2 else harmed(content, chance)


@dataclass(slots=True)
class Pictures:
    """Those of one stream, in the order of showing."""

    times_s: list[float] = field(default_factory=list)
    places: list[NDArray[np.float32]] = field(default_factory=list)
    broken: list[bool] = field(default_factory=list)
    """The decoder calls it damaged, or it comes before any key frame."""


def decoded(path: Path, kind: str, index: int) -> Iterator[tuple[Any, float | None]]:
    """Frames of the ``index``-th stream of a kind, with their times in s; without those that break off.

    AVI tells decoding times alone, and of none of these clips another.
    """
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.get(**{kind: index})[0]
        coder: Any = stream.codec_context
        coder.thread_count = 1
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                packet = None
            with contextlib.suppress(FFmpegError):
                for frame in coder.decode(packet if packet and packet.size else None):
                    at = frame.dts if path.suffix == ".avi" or frame.pts is None else frame.pts
                    unit = frame.time_base or stream.time_base
                    yield frame, None if at is None else float(at * unit)
            if packet is None or not packet.size:
                return


def pictures(path: Path) -> Pictures:
    """Of the first video stream; those without a time are left out."""
    made = Pictures()
    for frame, time_s in decoded(path, "video", 0):
        if time_s is None:
            continue
        small = frame.reformat(_PLACES, _PLACES, "gray", interpolation=Interpolation.AREA)
        covered = -(-CORNER_PX * _PLACES // min(frame.width, frame.height)) + 1
        places = small.to_ndarray().astype(np.float32)
        places[:covered, :covered] = 0
        made.times_s.append(time_s)
        made.places.append(places)
        made.broken.append(bool(frame.is_corrupt))
    return made


def sound(path: Path, index: int) -> tuple[NDArray[np.float32], float | None]:
    """Samples of one sound, channels one after the other within a frame, and the time of the first."""
    parts, begins = [], None
    for frame, time_s in decoded(path, "audio", index):
        begins = time_s if begins is None else begins
        parts.append(frame.to_ndarray().astype(np.float32).ravel())
    return (np.concatenate(parts) if parts else np.zeros(0, np.float32)), begins


def kinds(path: Path) -> list[str]:
    """Of all streams but data, in the file's order."""
    with av.open(str(path), metadata_errors="replace") as container:
        return [stream.type for stream in container.streams if stream.type != "data"]


def denied(source: Path, output: Path, report: dict[str, Any]) -> Iterator[str]:
    """What the report calls kept, or does not speak of, and is not."""
    state = {item["name"]: item["state"] for item in report["conservation"]}
    excused = " ".join([*report["lost"], *report["warnings"]])
    before, after = pictures(source), pictures(output)
    if not after.places:
        yield "no picture can be decoded"
        return
    if state.get("frames") == "kept":
        stated = int(next(i["output"] for i in report["conservation"] if i["name"] == "frames"))
        if stated != len(after.places):
            yield f"frames: {stated} kept, {len(after.places)} decoded"
    yield from _misplaced(before, after, state, excused)
    ours, theirs = kinds(source), kinds(output)
    told = sum(re.fullmatch(r"(audio|subtitle|attachment) stream \d+", name) is not None for name in state)
    if told < len(ours) - ours.count("video") and not excused:
        yield f"tracks: {ours} became {theirs}, {told} told of"
    yield from _sounds(source, output, state)


def _misplaced(before: Pictures, after: Pictures, state: dict[str, str], excused: str) -> Iterator[str]:
    """Pictures that are not those of the source at their time."""
    shift = 0.0
    if (
        state.get("times") != "kept" and before.times_s
    ):  # as told: the first picture is where it is most alike
        off = [float(np.abs(places - after.places[0]).mean()) for places in before.places]
        shift = after.times_s[0] - before.times_s[int(np.argmin(off))]
    times = np.array(before.times_s)
    used: set[int] = set()
    wrong = []
    for time, places in zip(after.times_s, after.places, strict=True):
        near = np.flatnonzero(np.abs(times + shift - time) < _SAME_TIME_S)
        same = [k for k in near if float(np.abs(before.places[k] - places).mean()) < _SAME_LEVELS]
        used.update(int(k) for k in near)
        if len(near) and not same and not all(before.broken[k] for k in near):
            wrong.append(f"{time:.3f} s another picture")
        elif not len(near) and state.get("times") == "kept" and not excused:
            wrong.append(f"{time:.3f} s no such time in the source")
    missing = [k for k in range(len(times)) if k not in used and not before.broken[k]]
    if wrong:
        yield f"pictures: {len(wrong)} of {len(after.places)}, {wrong[0]}"
    if missing and state.get("frames") == "kept" and not excused:
        yield f"pictures: {len(missing)} of the source are missing without a word"


def _sounds(source: Path, output: Path, state: dict[str, str]) -> Iterator[str]:
    place = 0
    for index, kind in enumerate(kinds(source)):
        name = f"audio stream {index}"
        if kind != "audio":
            continue
        if state.get(name) == "kept":
            mine, begins = sound(source, kinds(source)[:index].count("audio"))
            made, begun = sound(output, place)
            if len(mine) != len(made) or not np.allclose(
                mine, made, atol=1e-3 * max(1.0, float(np.abs(mine).max(initial=0)))
            ):
                yield f"{name}: {len(mine)} samples became {len(made)}, or others"
            late = state.get(f"{name} times") == "kept" and state.get("times") == "kept"
            if late and begins is not None and begun is not None and abs(begins - begun) > 5 * _SAME_TIME_S:
                yield f"{name}: begins at {begins:.3f} s, then at {begun:.3f} s"
        if state.get(name) in {"kept", "changed", "replaced"}:
            place += 1


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for inputs of which something kept is not")
    options = parser.parse_args()
    row, lies = Row(), []
    with TemporaryDirectory() as scratch:
        inputs, out = Path(scratch) / "inputs", Path(scratch) / "work" / "out"
        inputs.mkdir()
        out.mkdir(parents=True)
        clips = seeds(inputs)
        for number in range(options.first, options.first + options.count):
            seed = clips[number % len(clips)]
            path, output = inputs / f"fuzz{seed.suffix}", out / f"o{seed.suffix}"
            path.write_bytes(input_of(number, seed))
            corner = ("--only-regions", "--region", f"0,0,{CORNER_PX},{CORNER_PX}")
            kept = ("--keep-streams", "--keep-metadata", "--no-progress", "--preset", "ultrafast")
            child = forked(["pixelize", str(path), "-o", str(output), *corner, *kept], out)
            judge(row, f"{seed.name} {number}", ended(child, out), output)
            if output.exists():
                found = list(
                    denied(path, output, json.loads(output.with_name(f"{output.name}.json").read_text()))
                )
                lies += [f"{seed.name} {number}: {what}" for what in found]
                for what in found:
                    print(f"{seed.name} {number}: {what}", flush=True)
                if found and options.keep:
                    options.keep.mkdir(exist_ok=True)
                    (options.keep / f"{number}{seed.suffix}").write_bytes(path.read_bytes())
            emptied(out)
            if number % 50 == 49:
                print(f"{number + 1}: {asdict(row)}, {len(lies)} denied", file=sys.stderr, flush=True)
    figures = {**asdict(row), "denied": len(lies), "denials": lies}
    text = json.dumps(figures, indent=1)
    print(text)
    if options.results:
        options.results.write_text(text + "\n", encoding="utf-8")
    return 1 if row.broken or lies else 0


if __name__ == "__main__":
    sys.exit(main())
