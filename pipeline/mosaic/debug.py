"""Why is a mosaic missed? The finder's candidates in a picture, and the rule that rejected each.

``python -m tools.explain_mosaic`` shows this for a frame of a clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.mosaic.evidence import Evidence
from pipeline.mosaic.finder import find_mosaics_in_picture
from pipeline.mosaic.rejection import Rejection, Rule
from pipeline.mosaic.screening import BLOCK_PX, candidate_strength, sample_edges
from pipeline.mosaic.single_scale import MARGIN_PX, clearest_of_part
from pipeline.types import Box, MosaicRegion

_FOUND, _REJECTED, _ASKED = (0, 200, 0), (230, 40, 40), (240, 200, 0)
"""RGB"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the finder made of a picture, or of a place in it."""

    found: tuple[MosaicRegion, ...]
    """The strongest first."""
    rejected: tuple[Rejection, ...]
    """In the order in which they were examined."""
    picture: NDArray[np.uint8]
    """(H, W, 3) RGB: found in green, rejected in red with their numbers in ``as_text``, the place in
    yellow"""

    def as_text(self) -> str:
        """A line for each region and each rejected candidate."""
        found = [f"found: {_place(r.box)}, {_cells(r)}, score {r.score:.2f}" for r in self.found]
        rejected = [
            f"{number}. rejected: {_place(r.box)}: {r.rule} ({r.detail}){_at(r.scale)}"
            for number, r in enumerate(self.rejected, start=1)
        ]
        return "\n".join([*found, *rejected]) or "no candidates"


def explain_region(luma: NDArray[np.uint8], settings: FindConfig, box: Box | None = None) -> Explanation:
    """Runs the finder on one picture, (H, W) uint8, and records why candidates are rejected.

    With ``box``, px: only what overlaps it. Where the screening makes no candidate of that place at the
    picture's own size, what the rest of the finder would say of it is added.
    """
    rejected: list[Rejection] = []
    found = find_mosaics_in_picture(luma, settings, reject=rejected.append)
    if box is not None:
        found = [r for r in found if r.box.iou(box) > 0.0]
        rejected = [r for r in rejected if r.box.iou(box) > 0.0]
        if not found and not any(r.scale == 1 for r in rejected):
            rejected += _examine_unscreened(luma, settings, box)
    return Explanation(tuple(found), tuple(rejected), _drawn(luma, found, rejected, box))


def _examine_unscreened(luma: NDArray[np.uint8], settings: FindConfig, box: Box) -> Iterator[Rejection]:
    """Why the screening makes no candidate of a place, and what speaks against a mosaic there beside that."""
    height, width = luma.shape
    x0, y0, x1, y1 = box.pixels(width, height)
    if x0 >= x1 or y0 >= y1:
        return
    blocks = candidate_strength(sample_edges(luma))
    there = blocks[y0 // BLOCK_PX : -(-y1 // BLOCK_PX), x0 // BLOCK_PX : -(-x1 // BLOCK_PX)]
    share = float(there.max()) if there.size else 0.0
    yield Rejection(box, Rule.NOT_SCREENED, f"{share:.0%} of the line segments that a candidate needs")
    left, top = (max(v - MARGIN_PX, 0) // BLOCK_PX * BLOCK_PX for v in (x0, y0))
    part = np.ascontiguousarray(luma[top : min(y1 + MARGIN_PX, height), left : min(x1 + MARGIN_PX, width)])
    others: list[Rejection] = []
    clearest_of_part(Evidence.from_luma(part), (left, top), settings, others.append)
    yield from others


def _drawn(
    luma: NDArray[np.uint8], found: list[MosaicRegion], rejected: list[Rejection], box: Box | None
) -> NDArray[np.uint8]:
    picture = np.ascontiguousarray(np.repeat(luma[:, :, None], 3, axis=2))
    for number, rejection in enumerate(rejected, start=1):
        _draw_box(picture, rejection.box, _REJECTED, str(number))
    for region in found:
        _draw_box(picture, region.box, _FOUND, f"{region.score:.2f}")
    if box is not None:
        _draw_box(picture, box, _ASKED, "")
    return picture


def _draw_box(picture: NDArray[np.uint8], box: Box, color: tuple[int, int, int], label: str) -> None:
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = box.pixels(width, height)
    cv2.rectangle(picture, (x0, y0), (max(x1 - 1, x0), max(y1 - 1, y0)), color, 1)
    cv2.putText(picture, label, (x0 + 3, y0 + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)


def _place(box: Box) -> str:
    """``--region``'s x,y,w,h."""
    return f"{box.x0:.0f},{box.y0:.0f},{box.width:.0f},{box.height:.0f}"


def _at(scale: int) -> str:
    return "" if scale == 1 else f" at 1/{scale} of the size"


def _cells(region: MosaicRegion) -> str:
    if region.grid is None:
        return "no grid"
    return f"cells of {region.grid.x.pitch:.2f} x {region.grid.y.pitch:.2f} px, {region.shape}"
