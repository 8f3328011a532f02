"""Strips of small cells: sides moved by whole cells to where strips stop being a mosaic's.

A strip is a column (or row) of cells over the mosaic's whole height. In a mosaic it is flat between the
grid's rows and has edges on them, and so have the lines on its left and right. No single figure tells such a
strip from one beside the mosaic: ``strip_features`` describes it by nine, and a logistic regression weighs
them. The sides are where the sum of the log odds, from the middle outwards, is largest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.evidence import PartGrid
from pipeline.mosaic.weights import load_weights
from pipeline.types import Strips

OFF_LINE_WEIGHT = 1.45
"""What edges off the grid's rows weigh against those on them: more, as cells are flat but for noise."""
_EDGE_LIMIT = 12.0
"""Grey levels at which differences are clipped: one strong edge must not outweigh a strip."""
_DEAD_ZONE = 1.0
"""Grey levels that say nothing: a codec leaves differences of one on flat walls."""
_LITTLE = 1.5
"""Grey levels below which edges say little."""
_LONG_EDGES = 2
"""Rows of a strip that do not count, those with most: an edge of the surroundings is on one or two."""
_LOG_FLOOR = 0.2
"""Grey levels, added before logarithms."""
_REACH_STRIPS = 6
"""Strips that a side may move in a round."""
_ROUNDS = 2
"""Times that rows and columns are settled in turn, at most."""
_MIN_STRIPS = 3
"""Fewest strips of a mosaic; fewer have no inner half."""
_MAX_LOG_ODDS = 4.0
"""Log odds that no single strip exceeds."""
_INSIDE, _OUTSIDE = 2.0, 0.5
"""Log odds added to each strip in the box and beside it: a strip that tells nothing stays where it is."""
_WIDEST_PX = 7.5
"""px, widest small cell; the lines of wider ones show by themselves."""
_UNUSUAL = 2.0
"""Most that a logarithm may differ from what is usual in the mosaic: a forehead is no wall."""
_WEIGHTS = load_weights("cell_strips")
"""(10,) of ``strip_features`` and, last, the constant."""


def settle_on_strips(
    luma: NDArray[np.uint8], grid: PartGrid, box: PixelBox
) -> tuple[PixelBox, tuple[Strips | None, Strips | None]]:
    """Moves the sides of a mosaic in small cells to lines of the grid, or to the part's border.

    ``luma`` is (H, W) uint8, of the part, and all is in px of it. A side within a cell goes to the end of it
    that is nearer. Returned with the box: the columns and rows of cells that were weighed, or None.
    """
    across: Strips | None = None
    down: Strips | None = None
    if max(grid.x.pitch, grid.y.pitch) > _WIDEST_PX:
        return box, (across, down)
    turned = np.ascontiguousarray(luma.T)
    (x0, y0, x1, y1), before = box, None
    for _ in range(_ROUNDS):
        if (x0, x1) == before:
            break
        before = (x0, x1)
        (y0, y1), down = _settle_run(turned, grid.xs, before, grid.ys, (y0, y1))
        (x0, x1), across = _settle_run(luma, grid.ys, (y0, y1), grid.xs, before)
    return (x0, y0, x1, y1), (across, down)


def _settle_run(
    luma: NDArray[np.uint8],
    rows: NDArray[np.int64],
    span: tuple[int, int],
    columns: NDArray[np.int64],
    run: tuple[int, int],
) -> tuple[tuple[int, int], Strips | None]:
    """Both ends of the run of columns, the same where too little is known; the lines of ``rows``,
    ``columns``."""
    ends = np.unique(np.concatenate([[0], columns, [luma.shape[1]]]))
    first, last = (int(np.abs(ends - side).argmin()) for side in run)
    start = max(first - _REACH_STRIPS, 0)
    at = ends[start : last + _REACH_STRIPS + 1]
    first, last = first - start, last - start
    enough = last - first >= _MIN_STRIPS
    features = strip_features(luma, rows, span, at, (first, last)) if enough else None
    if features is None:
        return run, None
    log_odds = features @ _WEIGHTS[:-1] + _WEIGHTS[-1] + _OUTSIDE
    log_odds[first:last] += _INSIDE - _OUTSIDE
    log_odds = np.clip(log_odds, -_MAX_LOG_ODDS, _MAX_LOG_ODDS)
    widths = np.diff(at)
    log_odds *= np.minimum(widths / np.median(widths), 1.0)
    middle = (first + last) // 2
    end = middle + int(np.append(0.0, np.cumsum(log_odds[middle:])).argmax())
    start = middle - int(np.append(0.0, np.cumsum(log_odds[:middle][::-1])).argmax())
    if end - start >= _MIN_STRIPS:
        run = int(at[start]), int(at[end])
    return run, Strips(at.astype(np.float64), log_odds)


def strip_features(
    luma: NDArray[np.uint8],
    rows: NDArray[np.int64],
    span: tuple[int, int],
    at: NDArray[np.int64],
    inside: tuple[int, int],
) -> NDArray[np.float64] | None:
    """(n, 9) features of the strips between n + 1 ends ``at``, px, in the rows ``span`` of ``luma`` (H, W).

    ``rows`` are those where cells begin; the strips ``inside``, at least three, are of the mosaic, and their
    inner half says what is usual in it. None where the rows are too few.
    """
    measured = _measure(luma, rows, span, at)
    if measured is None:
        return None
    first, last = inside
    outside = max((last - first) // 4, 1)
    on, off, whole, weaker, stronger, within, middle = np.log(measured + _LOG_FLOOR)
    usual = np.log(measured[:3, first + outside : last - outside].mean(axis=1) + _LOG_FLOOR)
    contrast = (measured[0] - OFF_LINE_WEIGHT * measured[1]) / (measured[0] + measured[1] + _LITTLE)
    unusual = [on - usual[0], off - usual[1], whole - usual[2]]
    ons, noise, edges = np.clip(unusual, -_UNUSUAL, _UNUSUAL)
    columns = [contrast, stronger - middle, weaker - within, ons, edges, noise, noise**2, edges**2, on - off]
    return np.asarray(np.stack(columns, axis=1), dtype=np.float64)


def _measure(
    luma: NDArray[np.uint8], rows: NDArray[np.int64], span: tuple[int, int], at: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """(7, n) grey levels of edges: on the grid's rows, off them, and on them over the strip's whole width but
    for the _LONG_EDGES largest; over a cell's whole height on the line beside that has less, and on that
    which has more; within cells; and halfway between the lines."""
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
    apart = (
        _over(
            np.asarray(np.clip(np.abs(down), _DEAD_ZONE, _DEAD_ZONE + _EDGE_LIMIT) - _DEAD_ZONE, np.float32),
            ends,
        )
        / widths
    )
    whole = np.minimum(np.abs(_over(down[is_on], ends) / widths), _EDGE_LIMIT)

    across = np.diff(part, axis=1, prepend=part[:, :1])
    cells = np.append(0, inner)
    heights = np.diff(np.append(cells, len(part)))[:, None].astype(np.float32)

    def crossed(columns: NDArray[np.int64]) -> NDArray[np.float32]:
        return _trimmed(
            np.minimum(np.abs(np.add.reduceat(across[:, columns], cells, axis=0) / heights), _EDGE_LIMIT)
        )

    lines = crossed(np.minimum(ends, part.shape[1] - 1))
    busy = np.clip(np.abs(across), _DEAD_ZONE, _DEAD_ZONE + _EDGE_LIMIT) - _DEAD_ZONE
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
    """(n,): mean over the rows of (rows, n) but for the _LONG_EDGES largest of each column."""
    count = len(values) - _LONG_EDGES
    if count > 1:
        values = np.partition(values, count - 1, axis=0)[:count]
    return np.asarray(values.mean(axis=0))
