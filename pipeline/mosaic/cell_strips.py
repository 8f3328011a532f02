"""How many cells a mosaic has: its sides moved by whole cells to where strips of them stop being a mosaic's.

A strip is a column (or row) of cells over the mosaic's whole height. Of a mosaic it is flat between the
lattice's rows and steps on them, and so are the lines on its left and right; but cells at a forehead hardly
differ, at crf 28 a codec makes some of them one, and a long edge of the surroundings may lie on a line. No
one figure tells a strip of the mosaic from one beside it: ``features`` describe it by nine, and a logistic
regression weighs them. The sides are where the sum of the log odds, from the middle outwards, is largest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.evidence import Lattice, Pixels
from pipeline.types import Strips

_CLIP = 12.0
"""Grey levels; one strong edge must not outweigh a strip."""
_DEAD = 1.0
"""Grey levels that say nothing: a codec leaves steps of one on flat walls."""
_NOISE, _KNOWN = 1.45, 1.5
"""What steps off the lattice's rows weigh, and the grey levels below which steps say little."""
_LONG = 2
"""Rows of a strip that do not count, those with most: an edge of the surroundings is on one or two."""
_FLOOR = 0.2
"""Grey levels, added before logarithms."""
_REACH = 6
"""Cells; how far a side may move in a round."""
_ROUNDS = 2
_MIN_CELLS = 3
"""Fewer have no inner half."""
_SURE = 4.0
"""Log odds that no single strip exceeds."""
_INNER, _OUTER = 2.0, 0.5
"""Log odds added to each strip in the box and beside it: a strip that tells nothing stays where it is."""
_WIDEST_PX = 7.5
"""Cells are small up to here. Wider ones have lines that show by themselves, as faint as they may be."""
_UNUSUAL = 2.0
"""Most that a logarithm may differ from what is usual in the mosaic: a forehead is no wall."""
_WEIGHTS = np.array([5.031, 1.93, 2.415, 2.279, 2.262, -5.561, -2.449, -0.368, 1.342, 1.672])
"""Of ``features`` and, last, the constant: log odds of a mosaic's strip. Fitted by ``python -m
tools.fit_bounds`` (its defaults) to 44,827 strips of every second training clip; of 40,533 of the others
99.5 % are told right, of the outer two of each side 99.2 %. On mosaics in these other clips (12 cells in
faces of 49 to 66 px, x264 crf 28, 1,152 frames) IoU is over 0.8 on 98.2 % of frames, 95.0 % without. (The
features, _INNER, _OUTER and _WIDEST_PX were chosen by mosaics of all training clips. x264 does not code small
pictures the same each time: of four runs weights differ by up to 0.13, shares by 0.0004.)"""


def settle(
    luma: NDArray[np.uint8], lattice: Lattice, box: Pixels
) -> tuple[Pixels, tuple[Strips | None, Strips | None]]:
    """The box of a mosaic in small cells with its sides on the lattice's lines, or at the part's border; and
    the columns and rows that were looked at, where they told something.

    ``luma`` is (H, W) uint8, of the part, and all is in px of it. A side within a cell goes to the end of it
    that is nearer.
    """
    across: Strips | None = None
    down: Strips | None = None
    if max(lattice.x.pitch, lattice.y.pitch) > _WIDEST_PX:
        return box, (across, down)
    turned = np.ascontiguousarray(luma.T)
    (x0, y0, x1, y1), before = box, None
    for _ in range(_ROUNDS):
        if (x0, x1) == before:
            break
        before = (x0, x1)
        (y0, y1), down = _settled(turned, lattice.xs, before, lattice.ys, (y0, y1))
        (x0, x1), across = _settled(luma, lattice.ys, (y0, y1), lattice.xs, before)
    return (x0, y0, x1, y1), (across, down)


def _settled(
    luma: NDArray[np.uint8],
    rows: NDArray[np.int64],
    span: tuple[int, int],
    columns: NDArray[np.int64],
    run: tuple[int, int],
) -> tuple[tuple[int, int], Strips | None]:
    """Both ends of the run of columns, the same where too little is known; all others are the lattice's."""
    ends = np.unique(np.concatenate([[0], columns, [luma.shape[1]]]))
    first, last = (int(np.abs(ends - side).argmin()) for side in run)
    start = max(first - _REACH, 0)
    at = ends[start : last + _REACH + 1]
    first, last = first - start, last - start
    seen = features(luma, rows, span, at, (first, last)) if last - first >= _MIN_CELLS else None
    if seen is None:
        return run, None
    odds = seen @ _WEIGHTS[:-1] + _WEIGHTS[-1] + _OUTER
    odds[first:last] += _INNER - _OUTER
    odds = np.clip(odds, -_SURE, _SURE)
    widths = np.diff(at)
    odds *= np.minimum(widths / np.median(widths), 1.0)
    middle = (first + last) // 2
    end = middle + int(np.append(0.0, np.cumsum(odds[middle:])).argmax())
    start = middle - int(np.append(0.0, np.cumsum(odds[:middle][::-1])).argmax())
    if end - start >= _MIN_CELLS:
        run = int(at[start]), int(at[end])
    return run, Strips(at.astype(np.float64), odds)


def features(
    luma: NDArray[np.uint8],
    rows: NDArray[np.int64],
    span: tuple[int, int],
    at: NDArray[np.int64],
    inside: tuple[int, int],
) -> NDArray[np.float64] | None:
    """(n, 9) of the strips between n + 1 ends ``at``, px, in the rows ``span`` of ``luma`` (H, W) uint8.

    ``rows`` are those where cells begin; the strips ``inside``, at least three, are of the mosaic, and their
    inner half says what is usual in it. None where the rows are too few.
    """
    seen = _measured(luma, rows, span, at)
    if seen is None:
        return None
    first, last = inside
    outside = max((last - first) // 4, 1)
    on, off, lines, weaker, stronger, within, middle = np.log(seen + _FLOOR)
    usual = np.log(seen[:3, first + outside : last - outside].mean(axis=1) + _FLOOR)
    told = (seen[0] - _NOISE * seen[1]) / (seen[0] + seen[1] + _KNOWN)
    ons, noise, steps = np.clip([on - usual[0], off - usual[1], lines - usual[2]], -_UNUSUAL, _UNUSUAL)
    columns = [told, stronger - middle, weaker - within, ons, steps, noise, noise**2, steps**2, on - off]
    return np.asarray(np.stack(columns, axis=1), dtype=np.float64)


def _measured(
    luma: NDArray[np.uint8], rows: NDArray[np.int64], span: tuple[int, int], at: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """(7, n) grey levels: steps on the lattice's rows, off them, and on them over the strip's whole width
    but for the _LONG largest; steps over a cell's whole height on the line beside that has less, and on that
    which has more; steps within cells; and those halfway between the lines."""
    begin = max(int(at[0]) - 1, 0)
    part = luma[span[0] : span[1], begin : int(at[-1]) + 1].astype(np.float32)
    ends = at - begin
    inner = rows[(rows > span[0]) & (rows < span[1])] - span[0]
    is_on = np.zeros(max(len(part) - 1, 0), dtype=bool)
    is_on[inner - 1] = True
    if not is_on.any() or is_on.all():
        return None
    widths = np.diff(ends).astype(np.float32)

    down = np.diff(part, axis=0)
    apart = _over(np.asarray(np.clip(np.abs(down), _DEAD, _DEAD + _CLIP) - _DEAD, np.float32), ends) / widths
    whole = np.minimum(np.abs(_over(down[is_on], ends) / widths), _CLIP)

    across = np.diff(part, axis=1, prepend=part[:, :1])
    cells = np.append(0, inner)
    heights = np.diff(np.append(cells, len(part)))[:, None].astype(np.float32)

    def crossed(columns: NDArray[np.int64]) -> NDArray[np.float32]:
        return _trimmed(
            np.minimum(np.abs(np.add.reduceat(across[:, columns], cells, axis=0) / heights), _CLIP)
        )

    lines = crossed(np.minimum(ends, part.shape[1] - 1))
    busy = np.clip(np.abs(across), _DEAD, _DEAD + _CLIP) - _DEAD
    within = busy.mean(axis=0, dtype=np.float32)
    within[ends[:-1]] = 0.0
    return np.stack(
        [
            apart[is_on].mean(axis=0),
            apart[~is_on].mean(axis=0),
            _trimmed(whole),
            np.minimum(lines[:-1], lines[1:]),
            np.maximum(lines[:-1], lines[1:]),
            _over(within[None], ends)[0] / np.maximum(widths - 1, 1),
            crossed((ends[:-1] + ends[1:]) // 2),
        ]
    ).astype(np.float64)


def _over(values: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float32]:
    """(rows, n): sums of (rows, columns) from each of n + 1 ends to the next."""
    return np.asarray(np.add.reduceat(values[:, : ends[-1]], ends[:-1], axis=1))


def _trimmed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,): mean over the rows of (rows, n) but for the _LONG largest of each column."""
    if len(values) > _LONG + 1:
        values = np.partition(values, len(values) - _LONG - 1, axis=0)[: len(values) - _LONG]
    return np.asarray(values.mean(axis=0))
