"""Times and regions as a person writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.types import Cells, ManualRegion

_LEAST_CELL_PX, _MOST_CELL_PX = 2, 512


@dataclass(frozen=True, slots=True)
class RegionOption:
    """``--region x,y,w,h[@start-end]``: px of the picture as coded, seconds from the first frame."""

    x: float
    y: float
    width: float
    height: float
    start_s: float | None
    """None: from the first frame"""
    end_s: float | None
    """None: to the last"""


def seconds(text: str, option: str) -> float:
    """``83.5``, ``1:23.5`` or ``00:01:23.500`` in seconds. Raises UsageError naming ``option``."""
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    clock = all(0 <= value < 60 for value in values[1:])
    whole = all(part.isdigit() for part in parts[:-1])
    if not values or len(values) > 3 or not clock or not whole or not 0 <= values[0] < math.inf:
        raise UsageError(f"{option} is {text!r}; wanted seconds (83.5) or a clock time (00:01:23.500)")
    total = 0.0
    for value in values:
        total = total * 60 + value
    return total


def stretch(text: str, option: str) -> tuple[float | None, float | None]:
    """``start-end`` in seconds, one of them left out or none. Raises UsageError naming ``option``."""
    if "-" not in text:
        raise UsageError(f"{option} is {text!r}; wanted start-end, e.g. 0:10-0:12.5")
    return _stretch(text, text, option)


def _stretch(times: str, text: str, option: str) -> tuple[float | None, float | None]:
    start, _, end = times.partition("-")
    start_s = seconds(start, option) if start else None
    end_s = seconds(end, option) if end else None
    if end_s is not None and end_s <= (start_s or 0):
        raise UsageError(f"{option} is {text!r}; its end lies after its start")
    return start_s, end_s


def people(texts: list[str], option: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of people and, behind a ``t``, of single tracks: repeated or with commas.

    Raises UsageError naming ``option``.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    try:
        tracks = tuple(int(word[1:]) for word in words if word.startswith("t"))
        return tuple(int(word) for word in words if not word.startswith("t")), tracks
    except ValueError:
        raise UsageError(
            f"{option} is {','.join(texts)!r}; wanted numbers of people such as 2 or 2,5, or t7 for track 7"
        ) from None


def same_people(text: str) -> tuple[int, ...]:
    """``3=7,9``: people who are one. Raises UsageError."""
    first, equals, others = text.partition("=")
    try:
        numbers = (int(first), *(int(other) for other in others.split(",")))
    except ValueError:
        numbers = ()
    if not equals or len(numbers) < 2:
        raise UsageError(f"--same is {text!r}; wanted numbers of people such as 3=7 or 3=7,9")
    return numbers


def region(text: str, option: str = "--region") -> RegionOption:
    """Reads one ``--region``. Raises UsageError for what is no rectangle or no stretch of time."""
    rectangle, at, times = text.partition("@")
    try:
        x, y, width, height = (float(part) for part in rectangle.split(","))
    except ValueError:
        raise UsageError(f"{option} is {text!r}; wanted x,y,w,h in px, optionally @start-end") from None
    if not all(map(math.isfinite, (x, y, width, height))):
        raise UsageError(f"{option} is {text!r}; nan or inf is not a number of px")
    if not (width > 0 and height > 0):
        raise UsageError(f"{option} is {text!r}; width and height are px above 0")
    if not at:
        return RegionOption(x, y, width, height, None, None)
    if "@" in times:
        raise UsageError(f"{option} is {text!r}; wanted one @ only, repeat {option} for a second time")
    if "-" not in times:
        raise UsageError(f"{option} is {text!r}; after @ wanted start-end, e.g. @0:10-0:12.5")
    start_s, end_s = _stretch(times, text, option)
    return RegionOption(x, y, width, height, start_s, end_s)


def manual_region(text: str, option: str = "--region", cells: Cells | None = None) -> ManualRegion:
    """``region`` as the pipeline takes it. Raises UsageError."""
    from pipeline.types import Box, ManualRegion

    r = region(text, option)
    return ManualRegion(Box(r.x, r.y, r.x + r.width, r.y + r.height), r.start_s, r.end_s, cells)


def cells(size: str | None, corner: str | None, regions: list[str]) -> Cells | None:
    """What ``--cell`` and ``--grid`` say of the mosaics in ``regions``; None where they were not given.

    Raises UsageError for what is no size and no place, and where one is given without what it belongs to.
    """
    if size is None:
        if corner is not None:
            raise UsageError(f"--grid {corner} says where cells begin; say with --cell how large they are")
        return None
    if not regions:
        raise UsageError(f"--cell {size} is of a mosaic that you point out; add --region X,Y,W,H")
    sides = _numbers(size.replace("x", ","))
    if len(sides) not in {1, 2} or not all(_LEAST_CELL_PX <= side <= _MOST_CELL_PX for side in sides):
        raise UsageError(
            f"--cell is {size!r}; wanted px of a side (8), or width x height (8x9.5), each "
            f"{_LEAST_CELL_PX} to {_MOST_CELL_PX}"
        )
    place = None if corner is None else _numbers(corner)
    if place is not None and len(place) != 2:
        raise UsageError(f"--grid is {corner!r}; wanted x,y in px of a corner of a cell, e.g. 412,80")
    from pipeline.types import Cells

    return Cells(sides[0], sides[-1], None if place is None else (place[0], place[1]))


def _numbers(text: str) -> list[float]:
    """Numbers with commas between them; none where one is none."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
