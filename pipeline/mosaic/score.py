"""How sure: the score of a region that a lattice was fitted to, and what is not a mosaic though it fits.

On 38 unpixelated training clips hardly any region gets this far. What does, on made-up hard cases:

- macroblocks of strong compression: pitch 8 or 16 on the codec's own lattice, few steps, activity in the
  cells;
- tables, tiles and bricks with gaps: a second line beside each line of the lattice (the echo);
- blinds: lines on one axis, next to none on the other;
- drawings: a few long edges that some comb happens to meet (most lines of the lattice are empty);
- bricks, windows and keys with joints: what lies on either side of a line is alike;
- checks, plaid and bars: flat cells on a lattice, but those two to four further on are alike again.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.bounds import Extent
from pipeline.mosaic.edges import FAINT_PX, turned
from pipeline.mosaic.evidence import Evidence, Lattice, Pixels
from pipeline.mosaic.line_grid import Comb

_OFF_WEIGHT = 12.0
"""Steps off the lattice count this much more than steps on it. on / (off + floor) is 18 to 130 for 114
frames of training clips at crf 18 to 28, below 9 for brick, tables and x2 and x3 enlargements."""
_OFF_FLOOR = 0.004
_CODEC_PITCH_PX = 8
_CODEC_STEPS = 0.2
"""0..1, share of steps that blocking puts on the codec's lattice at most (MPEG-4 at its coarsest
quantizer)."""
_QUIET, _LOUD = 0.3, 0.6
"""0..1, shares of active pixels between the lines that speak for flat cells, and against them."""
_FLAT, _ROUGH = 0.5, 0.75
"""The same of ripple over steps. What a codec leaves of a strong step ripples by more than MAX_RIPPLE, and in
cells of 4 or 5 px most pixels are next to one: at crf 28 half the pixels are active where cells are plain to
see. 1361 such frames of training clips, 4 to 5.7 px a cell, have a ripple below 0.5. Of 51 lattices that fit
unpixelated clips and made-up hard cases off the codec's own blocks, and are not quiet, those that would reach
a score of 0.15 have 0.69 and more."""
_HALF = 0.2
"""Product that is called 0.5. Of 114 frames of training clips at crf 18 to 28 the lowest has 0.15, 99 %
have more than 0.35; made-up hard cases (598 frames) have up to 0.14, unpixelated training clips (1305
frames) none above 0.05."""
RISE = 0.5
"""0..1, least rise over lines, see ``rise_and_rest``. Of 1807 mosaics of training clips the lowest has 0.74,
of 30 frames that were enlarged after pixelation 0.78, of 12 of bricks with joints the highest 0.12."""
_RISE_PX = 2
_SECOND = 0.8
"""Most that neighbours differ by on a second lattice, 3 px or more beside the lines, over what they do on
them. Of 1807 mosaics of training clips all have less than 0.66, but two frames of one (3.1 and 2.3, its
lattice was read half a cell off); drawn windows, calendars and tiles with joints have 0.94 and more."""
_NEAR_PX = 3
_CLIP = 40
"""Grey levels; a few strong edges must not outweigh all others."""
_REPEATED = 0.6
"""0..1, correlation of second differences of cells two, three or four apart from which cells repeat: mean of
both axes, or that of one with many cells. Of 1814 mosaics of training clips the highest mean is 0.48 and the
highest of 16 cells and more 0.39; checks, plaid and gingham, flat or folded, have 0.73 to 0.95."""
_SOME_CELLS, _MANY_CELLS = 8, 16
"""Fewer may repeat by chance: eyes, nose and mouth lie two cells apart."""
_CLIPPED = 0.9
"""Quantile of the differences above which they count no more."""
_LEAST_DIFFERENCE = 1.0
"""Grey levels. Cells whose second differences are less say nothing."""
_CELL_EDGES = 10.0
"""Whole cell edges' worth of steps that a region needs to be judged at full score."""


def _filled(profile: NDArray[np.float64], at: NDArray[np.int64]) -> float:
    """Share of the lattice's lines with at least a fifth of the steps of the fuller half of them."""
    if at.size == 0:
        return 0.0
    steps = np.sort(profile[at])
    return float((steps > 0.2 * steps[steps.size // 2 :].mean()).mean())


def _echo(profile: NDArray[np.float64], at: NDArray[np.int64], pitch: float) -> float:
    """Steps on the fullest parallel lattice, two pixels or more away, over those on the lattice; 0..1."""
    shifts = range(2, round(pitch) - 1)
    on = profile[at].mean() if at.size else 0.0
    if on <= 0.0 or len(shifts) == 0:
        return 0.0
    other = [profile[shifted[shifted < profile.size]].mean() for s in shifts if (shifted := at[:-1] + s).size]
    return float(min(max(other, default=0.0) / on, 1.0))


def _is_codec_lattice(c: Comb) -> bool:
    """Pitch and phase of the blocks of MPEG-like codecs, within what a fit of so few teeth can tell."""
    multiple = max(round(c.pitch / _CODEC_PITCH_PX), 1) * _CODEC_PITCH_PX
    drift = abs(c.pitch - multiple) * (c.teeth - 1)
    phase = (c.origin + c.pitch * (c.teeth - 1) / 2 - multiple * (c.teeth - 1) / 2) % _CODEC_PITCH_PX
    return drift < 1.5 and min(phase, _CODEC_PITCH_PX - phase) <= 1.0


def _repeats(luma: NDArray[np.uint8], xs: NDArray[np.int64], ys: NDArray[np.int64]) -> bool:
    """True where whole cells between the lines repeat on an axis. ``luma`` is (H, W)."""
    if len(xs) < 2 or len(ys) < 2:
        return False
    part = luma[ys[0] : ys[-1], xs[0] : xs[-1]]
    rows = np.add.reduceat(part, ys[:-1] - ys[0], axis=0, dtype=np.float64) / np.diff(ys)[:, None]
    cells = np.add.reduceat(rows, xs[:-1] - xs[0], axis=1) / np.diff(xs)
    counts = cells.shape[1], cells.shape[0]
    alike = [
        _alike(values) if n >= _SOME_CELLS else 0.0
        for values, n in zip((cells, cells.T), counts, strict=True)
    ]
    if min(counts) >= _SOME_CELLS and sum(alike) / 2 > _REPEATED:
        return True
    return any(a > _REPEATED for a, n in zip(alike, counts, strict=True) if n >= _MANY_CELLS)


def _parts(luma: NDArray[np.uint8], box: Pixels, lattice: Lattice) -> bool:
    """True where the lines part cells, and no others do. ``luma`` is (H, W)."""
    x0, y0, x1, y1 = box
    part = np.ascontiguousarray(luma[y0:y1, x0:x1])
    axes = (part, lattice.xs - x0, lattice.x.pitch), (turned(part), lattice.ys - y0, lattice.y.pitch)
    return all(
        rise_and_rest(p, at, _RISE_PX)[0] > RISE and _second(p, at, pitch) < _SECOND for p, at, pitch in axes
    )


def _second(part: NDArray[np.uint8], at: NDArray[np.int64], pitch: float) -> float:
    """``_SECOND`` along the rows of (H, W). Joints have two sides, which scaling and motion soften."""
    smooth = cv2.blur(part.astype(np.float32), (1, FAINT_PX))
    steps = np.minimum(np.abs(np.diff(smooth, axis=1, prepend=smooth[:, :1])), _CLIP).mean(axis=0)
    steps = np.maximum.reduce([steps[:-2], steps[1:-1], steps[2:]])  # one shorter on each side
    at = at[(at >= 1) & (at <= len(steps))] - 1
    beside = at[:-1, None] + np.arange(_NEAR_PX, round(pitch) - _NEAR_PX + 1)
    if len(at) < _NEAR_PX or not beside.size:
        return 0.0
    return float(steps[beside].mean(axis=0).max() / max(float(steps[at].mean()), 1e-6))


def _alike(cells: NDArray[np.float64]) -> float:
    """-1..1, how much cells two, three or four apart along the rows of (R, Q) are alike, whatever the light
    that falls on them."""
    second = 2 * cells[:, 1:-1] - cells[:, :-2] - cells[:, 2:]
    limit = np.quantile(np.abs(second), _CLIPPED)
    second = np.clip(second, -limit, limit)
    second -= second.mean()
    energy = float((second**2).mean())
    if energy < _LEAST_DIFFERENCE**2:
        return 0.0
    return max(float((second[:, k:] * second[:, :-k]).mean()) / energy for k in (2, 3, 4))


def rate(evidence: Evidence, lattice: Lattice, found: Extent) -> float:
    """0..1; 0.5 is the border. From the product of: steps on against off the lattice; lines that are filled;
    no echo; quiet cells; size."""
    x, y = lattice.x, lattice.y
    xs, ys = lattice.within(found.box)
    if _repeats(evidence.luma, xs, ys) or not _parts(evidence.luma, found.box, lattice):
        return 0.0
    across, down = evidence.profiles(found.box)
    across, down = across[: found.box[2]], down[: found.box[3]]
    on = found.on
    of_codec = _is_codec_lattice(x), _is_codec_lattice(y)
    if all(of_codec):
        on = max(on - _CODEC_STEPS, 0.0)
    contrast = on / (on + _OFF_WEIGHT * (found.off + _OFF_FLOOR))
    filled = min(_filled(across, xs), _filled(down, ys))
    echo = max(_echo(across, xs, x.pitch), _echo(down, ys, y.pitch))
    quiet = (_LOUD - found.active) / (_LOUD - _QUIET)
    if not any(of_codec):  # whose blocks are flat, too, and any comb fits the other axis of a plain picture
        quiet = max(quiet, (_ROUGH - found.ripple) / (_ROUGH - _FLAT))
    quiet = min(max(quiet, 0.0), 1.0)
    edges = across[xs].sum() / y.pitch + down[ys].sum() / x.pitch
    score = float(contrast * filled * (1.0 - echo) * quiet * min(edges / _CELL_EDGES, 1.0))
    return score / (score + _HALF)


def rise_and_rest(part: NDArray[np.uint8], at: NDArray[np.int64], reach: int) -> tuple[float, float]:
    """What the two sides of lines differ by, over all differences of neighbours across them, 0..1; and what
    neighbours differ by elsewhere, over what they do there.

    Along the rows of (H, W) uint8; lines reach ``reach`` px from the columns ``at``.
    """
    smooth = cv2.blur(part.astype(np.float32), (1, FAINT_PX))
    at = at[(at >= reach) & (at < part.shape[1] - reach)]
    steps = np.abs(np.diff(smooth, axis=1, prepend=smooth[:, :1])).mean(axis=0)
    around = at[:, None] + np.arange(1 - reach, reach)
    sides = np.abs(smooth[:, at + reach - 1] - smooth[:, at - reach]).mean(axis=0)
    rest = np.ones(len(steps), dtype=bool)
    rest[around] = False
    if not at.size or not rest.any():
        return 0.0, 1.0
    on = max(float(steps[~rest].mean()), 1e-6)
    return float(sides.sum() / max(float(steps[around].sum()), 1e-6)), float(steps[rest].mean()) / on
