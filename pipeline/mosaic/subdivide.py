"""Cells that are a half, a third or a fifth of those that a comb has: lines between that are hard to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic import line_grid
from pipeline.mosaic.edges import faint_steps, soft_steps
from pipeline.mosaic.evidence import lines
from pipeline.mosaic.line_grid import Comb

_FULL = 0.5
"""Lines of a finer lattice must be this full, relative to those of the coarser, for it to be taken."""
_FULL_IF_SQUARE = 0.2
"""The same where the cells become square by it. Of 25 frames of dark training faces (8 px a cell) that were
read at twice to four times the pitch of one axis the lines between have 0.27 to 0.69; of 20 training clips in
cells that are two to five times as high as wide 0.003 at most."""
SQUARE = 1.15
"""Ratio of the pitches from which both axes are tried at that of either, too: cells are square as a rule, and
of a faint mosaic one axis often shows every second or fifth line only, or a stronger comb beside it."""


def finest(c: Comb, luma: NDArray[np.uint8], axis: int, span: tuple[int, int], other_pitch: float) -> Comb:
    """The comb, or the finer one whose teeth were lost in its surroundings: a half, a third, a fifth, ...

    A dark mosaic may show every other line only, and scaling may leave every other line sharp. The lines
    between are as full as the comb's own when faint and soft steps count too, or a part of that where they
    make the cells square.
    """
    soft = soft_steps(luma, axis)
    square = round(c.pitch / other_pitch)
    is_multiple = square >= 2 and abs(c.pitch / square / other_pitch - 1.0) < SQUARE - 1.0
    for parts in ((square,) if is_multiple else ()) + (2, 3, 5):
        pitch = c.pitch / parts
        finer = replace(c, pitch=pitch, teeth=(c.teeth - 1) * parts + 1)
        if pitch < line_grid.MIN_PITCH_PX:
            break
        full = _FULL_IF_SQUARE if is_multiple and parts == square else _FULL
        at = lines(finer, luma.shape[axis])
        both = faint_steps(luma, at, pitch, axis) | soft
        steps = both.sum(axis=1 - axis, dtype=np.float64)
        at = at[(at > span[0]) & (at < span[1])]
        own = np.isin(at, lines(c, luma.shape[axis]))
        if own.any() and not own.all() and steps[at[~own]].mean() > full * steps[at[own]].mean():
            return finest(finer, luma, axis, span, other_pitch)
    return c
