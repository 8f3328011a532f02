"""Times and regions as a person writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import UsageError


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


def region(text: str) -> RegionOption:
    """Reads one ``--region``. Raises UsageError for what is no rectangle or no stretch of time."""
    rectangle, at, times = text.partition("@")
    try:
        x, y, width, height = (float(part) for part in rectangle.split(","))
    except ValueError:
        raise UsageError(f"--region is {text!r}; wanted x,y,w,h in px, optionally @start-end") from None
    if not all(map(math.isfinite, (x, y, width, height))):
        raise UsageError(f"--region is {text!r}; nan or inf is not a number of px")
    if not (width > 0 and height > 0):
        raise UsageError(f"--region is {text!r}; width and height are px above 0")
    if not at:
        return RegionOption(x, y, width, height, None, None)
    if "@" in times:
        raise UsageError(f"--region is {text!r}; wanted one @ only, repeat --region for a second time")
    start, dash, end = times.partition("-")
    if not dash:
        raise UsageError(f"--region is {text!r}; after @ wanted start-end, e.g. @0:10-0:12.5")
    start_s = seconds(start, "--region") if start else None
    end_s = seconds(end, "--region") if end else None
    if end_s is not None and end_s <= (start_s or 0):
        raise UsageError(f"--region is {text!r}; its end lies after its start")
    return RegionOption(x, y, width, height, start_s, end_s)
