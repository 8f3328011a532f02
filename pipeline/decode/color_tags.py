"""FFmpeg's names for its numbers of colour description (ITU-T H.273, tables 2 to 4)."""

from __future__ import annotations

from typing import Protocol

from pipeline.types import Colour

MATRIX = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
    15: "ipt-c2",
    16: "ycgco-re",
    17: "ycgco-ro",
}
RANGE = {1: "tv", 2: "pc"}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFER = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
UNSPECIFIED = 2


class Tagged(Protocol):
    """A codec context or a frame of PyAV."""

    colorspace: int
    color_range: int
    color_primaries: int
    color_trc: int


def colour_of(tagged: Tagged, pix_fmt: str) -> Colour:
    """Colour as tagged. ``yuvj...`` formats are full range by name; RGB has matrix gbr."""
    matrix = MATRIX.get(tagged.colorspace, "unknown")
    if matrix == "gbr" and not pix_fmt.startswith(("gbr", "rgb", "bgr", "argb", "abgr", "0", "pal")):
        matrix = "unknown"  # 0 is also what a decoder leaves that never looked
    return Colour(
        matrix=matrix,
        range="pc" if pix_fmt.startswith("yuvj") else RANGE.get(tagged.color_range, "unknown"),
        primaries=PRIMARIES.get(tagged.color_primaries, "unknown"),
        transfer=TRANSFER.get(tagged.color_trc, "unknown"),
    )


def number_of(names: dict[int, str], name: str, unknown: int = UNSPECIFIED) -> int:
    """FFmpeg's number of a name in one of the tables above."""
    return next((number for number, known in names.items() if known == name), unknown)
