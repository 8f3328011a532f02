"""Masks -> frames: painted into the native planes; nothing outside of them changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipeline.picture.color import conversion
from pipeline.picture.grid_paint import paint as paint_all
from pipeline.types import Frame, Masked


def paint(items: Iterable[Masked], kept: int = 0) -> Iterator[Frame]:
    """Frames in order; those without masks pass as the same object. Of two masks the later one is seen.

    Frames with an index below ``kept`` pass as they are: nobody looks at their pictures.
    """
    for item in items:
        frame = item.frame
        if not item.masks or frame.index < kept:
            yield frame
            continue
        height, width = frame.planes[0].shape
        convert = conversion(frame.pix_fmt, frame.colour, width, height)
        painted = replace(frame, planes=tuple(plane.clone() for plane in frame.planes))
        paint_all(painted, item.masks, convert)
        yield painted
