"""Sheets of what a covering left and of what it covered for nothing, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.covering_measure import Painted, Place
from benchmarks.face_labels import ClipLabels

_CELL_PX = 160
_COLUMNS = 10
_MOST = 100
"""Cells of a sheet."""
_FACE, _MASK, _PLACE = "#00ff40", "#ff4040", "#ffff00"

Shown = tuple[Path, ClipLabels, Sequence[Sequence[Painted]], Sequence[Place]]
"""A clip with its labels, the masks of its frames, and places to show"""


def _cell(picture: Image.Image, place: Place, labels: ClipLabels, masks: Sequence[Painted]) -> Image.Image:
    """The surroundings of a place, faces green, masks red, the place itself yellow."""
    (x, y), half = place.box.centre, max(place.box.width, place.box.height, 24) * 1.2
    scale = _CELL_PX / (2 * half)
    cell = picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    cell = cell.resize((_CELL_PX, _CELL_PX))
    draw = ImageDraw.Draw(cell)
    drawn = [(face.box, _FACE) for face in labels.on_frame(place.frame)]
    drawn += [(mask.box.scaled(mask.scale), _MASK) for mask in masks] + [(place.box, _PLACE)]
    for box, colour in drawn:
        left, top = (box.x0 - x + half) * scale, (box.y0 - y + half) * scale
        corners = (left, top, left + box.width * scale, top + box.height * scale)
        draw.ellipse(corners, outline=colour)
    draw.text((3, 2), f"{labels.clip[:18]} {place.frame}", fill="white", stroke_width=1, stroke_fill="black")
    return cell


def sheet(shown: Sequence[Shown], path: Path) -> None:
    """A PNG of up to ``_MOST`` places, evenly over the clips' own; none where there is nothing to show."""
    count = sum(len(places) for *_, places in shown)
    step = max(1, -(-count // _MOST))
    cells = []
    for clip, labels, masks, places in shown:
        chosen = list(places)[::step]
        if not chosen:
            continue
        with av.open(clip) as container:
            for index, frame in enumerate(container.decode(video=0)):
                here = [place for place in chosen if place.frame == index]
                if here:
                    picture = Image.fromarray(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                    cells += [_cell(picture, place, labels, masks[index]) for place in here]
    if not cells:
        return
    size = (_COLUMNS * _CELL_PX, -(-len(cells) // _COLUMNS) * _CELL_PX)
    out = Image.new("RGB", size)
    for i, cell in enumerate(cells):
        out.paste(cell, (i % _COLUMNS * _CELL_PX, i // _COLUMNS * _CELL_PX))
    path.parent.mkdir(parents=True, exist_ok=True)
    out.save(path)
