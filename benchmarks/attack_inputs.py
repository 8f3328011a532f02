"""What ``benchmarks.attacks`` hands in: small clips of several kinds, harm to them, hostile texts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from nets.digest import sha256
from tests.support.clips import Audio, Extras, write_clip

SECRET = b"nobody but the owner reads this. "
GOOD_CONFIG = {"width": 8, "widths": [16], "tail": 8}
WEIGHTS: tuple[dict[str, Any] | str, ...] = (
    {"blocks": 10**9},
    {"recurrences": 10**9},
    {"middle": 10**12},
    {"width": 10**9},
    {"width": -1},
    {"width": 0},
    {"width": None},
    {"width": "8"},
    {"width": 8.5},
    {"widths": [8] * 10**4},
    {"widths": []},
    {"widths": [[8]]},
    {"kernel": 0},
    {"kernel": 2},
    {"dilation": 10**6},
    {"norm": "none such"},
    {"norm": 5},
    {"stride": 0},
    {"tail": float("nan")},
    {"tail": float("inf")},
    {"other": 1},
    {"": 1},
    "",
    "{",
    "[]",
    "null",
    "[" * 10**5,
    '{"width": 1e999}',
    "\0",
)
"""Changes of that config in a file's metadata, or what stands in its place."""
SETTINGS = tuple(
    text.encode("utf-8", "surrogatepass")
    for text in (
        "encode: {crf: 20}\nmask: {scale: 1.3}\n",
        "a: &a [x, x, x, x]\nb: &b [*a, *a, *a]\nencode: {crf: *b}",
        *(
            "[" * 10**5,
            "{a: " * 10**4,
            "encode: {crf: .nan}",
            "mask: {scale: .inf}",
            "1: 2",
            "null: 3",
            "'': 1",
        ),
        "encode: !!python/object/apply:os.system ['touch owned']",
        *("encode: {codec: !!binary aGVsbG8=}", "protect: {dp_pixels: 99999999999999999999}", "encode: [1]"),
        *(
            "encode: {crf: {a: {b: {c: 1}}}}",
            "device: {a: 1}",
            "#" * 3_000_000,
            "\0",
            '"\\ud800": 1',
            "\t: 1",
        ),
    )
)


def REPORTS(clip: Path) -> tuple[bytes, ...]:  # noqa: N802  beside the other tables
    """Sidecars for ``--from``; the first one would do."""
    track: dict[str, Any] = {
        **{"track": 1, "kind": "face", "first_s": 0.0, "last_s": 0.04, "frames_seen": 2, "frames_filled": 0},
        **{"frames_covered": 2, "decision": "covered", "grid": None, "reference_frame": 0, "first_frame": 0},
        **{"reference_box": [1, 2, 30, 40], "boxes": [[1, 2, 30, 40, 1], None]},
    }
    lists = ("settings", "releases", "stages", "conservation", "lost", "warnings")
    nothing: dict[str, Any] = {name: [] for name in lists}
    report: dict[str, Any] = {
        **nothing,
        **{
            "mode": "pixelize",
            "versions": {},
            "output": None,
            "finder": None,
            "min_face_px": 20,
            "frames": 2,
        },
        **{"frames_covered": 2, "gate": None, "waits_s": {}, "bottleneck": "find", "streaming_s": 1},
        **{"elapsed_s": 1, "input": {"name": clip.name, "size_bytes": 1, "sha256": sha256(clip)}},
        "choice": {
            **{name: [] for name in ("keep", "regions", "excluded", "during")},
            "only": None,
            "tracks_from": None,
        },
    }
    huge, nan = 10**18, float("nan")
    grid = {
        "x": {"pitch_px": 0, "origin_px": nan},
        "y": {"pitch_px": 1e-300, "origin_px": 0},
        "operator": "area",
    }
    changes: list[dict[str, Any]] = [
        {},
        {"boxes": [[nan, 2, 30, 40, 1]]},
        {"boxes": [[1, 2, 1e300, 40, 1]]},
        {"boxes": [[30, 2, 1, 40, 1]]},
        {"boxes": [[1, 2, 30, 40, 1]] * 10**5},
        {"boxes": []},
        {"boxes": [None]},
        {"boxes": [[0, 0, 0, 0, 1]]},
        {"boxes": [[-9e5, -9e5, 9e5, 9e5, 1]]},
        {"first_frame": -1},
        {"first_frame": huge},
        {"reference_frame": huge},
        {"reference_frame": -1},
        {"reference_box": [nan] * 4},
        {"track": huge},
        {"track": 0},
        {"track": -huge},
        {"kind": "mosaic", "grid": {**grid, "confidence": 1}},
        {"kind": "mosaic"},
        {"first_s": "x\x1b[31m"},
    ]
    made = [json.dumps({**report, "tracks": [{**track, **change}]}).encode() for change in changes]
    twice = json.dumps({**report, "tracks": [track, track]}).encode()
    speck = {**track, "boxes": [[20, 20, 20.1, 20.1, 1]], "track": 1}
    wide = {**track, "boxes": [[0, 0, 160, 96, 1]], "track": 2}
    made.append(json.dumps({**report, "tracks": [speck, wide]}).encode())
    return (*made, twice, b"[" * 10**6, b'{"a":' * 10**5, b"null", b"\xff\xfe", b'{"frames": 1e999}')


def seed_clips(folder: Path) -> list[Path]:
    """Six small clips in six containers."""
    extras = Extras(audio=[Audio()], metadata={"title": "x\x1b]0;owned\x07"})
    plain = Extras()
    return [
        write_clip(folder / "seed.mp4", frames=8, extras=extras),
        write_clip(folder / "seed.mkv", frames=8, extras=extras),
        write_clip(folder / "seed.ts", frames=8, extras=plain),
        write_clip(folder / "seed.avi", frames=8, codec="mpeg4", options={}, extras=plain),
        write_clip(folder / "seed.mov", frames=8, extras=extras),
        write_clip(folder / "seed.webm", frames=8, codec="libvpx-vp9", options={}, extras=plain),
    ]


def harmed(content: bytes, chance: random.Random) -> bytes:
    """A copy with flipped bits, cut off, with exchanged or lost blocks, or with large numbers."""
    data = bytearray(content)
    kind = chance.randrange(6)
    if kind == 0:
        for _ in range(chance.choice((1, 4, 16, 64))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[chance.randrange(1, len(data)) :]
    elif kind == 2:
        at, to = sorted(chance.sample(range(len(data)), 2))
        data[at:to] = reversed(data[at:to]) if chance.random() < 0.5 else b""
    elif kind == 3:
        for _ in range(chance.choice((1, 3))):
            at = chance.randrange(max(1, min(len(data), 2000) - 8))
            data[at : at + 4] = chance.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\1")
            )
    elif kind == 4:
        at, count = chance.randrange(len(data)), chance.choice((1, 7, 188, 4096))
        data[at:at] = chance.randbytes(count)
    else:
        at = chance.randrange(len(data))
        data[at : at + chance.choice((16, 256, 2048))] = bytes(chance.choice((16, 256, 2048)))
    return bytes(data)
