"""Why a candidate is no mosaic: the rules by name, for whoever hunts a mosaic that is missed (``debug``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.types import Box


class Rule(StrEnum):
    """Why something is not reported as a mosaic."""

    NOT_SCREENED = "the screening finds too few isolated edges"
    TAKEN = "its edges belong to a region that was found before"
    NO_GRID = "no line grid with bounds fits the edges"
    REPEATED = "cells repeat, as those of checks and plaid do"
    JOINTS = "what lies on either side of the lines is alike, or a second grid lies beside them"
    CODEC_GRID = "the lines lie on a codec's block grid and show hardly more than blocking does"
    LOW_SCORE = "the score is too low"
    FEW_CELLS = "fewer cells than min_cells"
    NARROW_CELLS = "cells are too narrow for a picture made smaller"
    NO_CELLS = "the picture at its own size shows no cells between the lines"
    OVERLAP = "a stronger region overlaps it"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A candidate that is not reported as a mosaic."""

    box: Box
    """px of the picture"""
    rule: Rule
    detail: str
    """Figures that the rule went by."""
    scale: int = 1
    """The picture was 1 / ``scale`` of its size where it was examined."""


Reject = Callable[[Rejection], None]
"""Is told of each rejected candidate."""


def ignore(_: Rejection) -> None:
    """Forgets a rejection, as every run does."""
