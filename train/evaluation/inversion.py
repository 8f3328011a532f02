"""Multi-frame inversion without any learning: the baseline that a network for many frames has to beat.

The measurement is linear: each cell of each frame is a mean over pixels of the judged frame, moved. What a
face shows under a grid that stands still is found by least squares with total variation as the only prior:

    minimise over x   1/2 sum_cells w n (a x - y)^2 + 1/2 sum_pixels w (b x - z)^2 + strength TV(x)

a: mean of the n pixels of a cell, sampled bilinearly where the motion puts them in the judged frame; b:
likewise for pixels that lie outside the mosaic on a neighbour but under it here; w: 1 for the judged frame,
for others less the worse they fit (Cauchy weights, found anew as x settles); TV is smoothed at
``EDGE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from nets import pixelation
from nets.observation import observe
from train.evaluation.conditions import Scene
from train.metrics import dis_flow

Motion = Literal["known", "estimated"]
Floats = NDArray[np.float32]

SURE = 0.9
"""Least correlation of a frame, warped, with the judged one"""
STRENGTH = 0.02
"""Of the prior; least squares are in squared range per pixel. Tuned, with SURE, on training pictures"""
DOUBT = 0.02
"""Misfit, in the range of 1, at which a measurement of another frame counts half"""
DOUBT_EVERY = 25
"""Steps between two looks at the misfits"""
EDGE = 0.01
"""Contrast in the range of 1 below which total variation turns quadratic"""
STEPS = 150
RATE = 0.02


def invert(windows: Sequence[int]) -> list[Inversion]:
    """Inversions from each number of frames, with the motion known and estimated."""
    motions: tuple[Motion, ...] = ("known", "estimated")
    return [Inversion(n, m) for n in windows for m in (motions if n > 1 else motions[:1])]


@dataclass(frozen=True)
class Inversion:
    """``frames`` frames about the judged one. ``motion``: ``known`` is the placement of moved stills, or DIS
    flow of the truth for real clips (which no attacker has); ``estimated`` sees the pixelated frames
    alone."""

    frames: int
    motion: Motion

    @property
    def name(self) -> str:
        if self.frames == 1:
            return "inversion, 1 frame"
        return f"inversion, {self.frames} frames, {self.motion} motion"

    def __call__(self, scene: Scene) -> Tensor:
        return torch.stack([self._restore(scene, frame) for frame in scene.judged])

    def _restore(self, scene: Scene, frame: int) -> Tensor:
        seen = scene.around(frame, self.frames)
        obs = observe(scene.image, scene.mask, scene.rows, scene.cols)
        start = pixelation.project(obs.base, obs.samples, obs.rows, obs.cols, obs.weight)[frame]
        hidden = scene.weight[frame, 0].numpy().ravel() > 0
        rows, values, counts, own = [], [], [], []
        for other, places in self._motion(scene, obs.base, frame, seen).items():
            sampling = bilinear(places)
            inside = ((places >= 0) & (places <= places.shape[0] - 1)).all(-1).ravel()
            under_mosaic = scene.weight[other, 0].numpy().ravel() > 0
            cells, kept, sizes = whole_cells(scene.rows[other], scene.cols[other], inside, under_mosaic)
            rows.append(cells @ sampling)
            values.append(obs.samples[other].flatten(1).numpy()[:, kept].T)
            counts.append(sizes)
            own.append(np.full(len(sizes), other == frame))
            if other == frame:
                continue
            # Clean pixels that see at least half of their weight under the mosaic of the judged frame.
            useful = np.asarray(sampling @ hidden.astype(np.float32)).ravel() > 0.5
            useful &= inside & ~under_mosaic
            rows.append(sampling[useful])
            values.append(scene.image[other].flatten(1).numpy()[:, useful].T)
            counts.append(np.ones(int(useful.sum()), np.float32))
            own.append(np.zeros(int(useful.sum()), bool))
        measured = sparse.vstack(rows).tocsr()
        solved = solve(
            start.permute(1, 2, 0).numpy(),
            hidden,
            measured,
            np.concatenate(values),
            np.concatenate(counts),
            np.concatenate(own),
        )
        restored = torch.from_numpy(solved).permute(2, 0, 1)
        return torch.where(scene.mask[frame] > 0, scene.image[frame], restored)

    def _motion(self, scene: Scene, base: Tensor, frame: int, seen: range) -> dict[int, Floats]:
        """(S, S, 2) px per frame that is of use: where each of its pixels lies in the judged one."""
        S = scene.image.shape[-1]
        if self.motion == "estimated":
            return _registered(scene, base, frame, seen)
        if scene.placement is None:
            flows = {f: dis_flow(scene.truth[f], scene.truth[frame])[0].numpy() for f in seen if f != frame}
            return {frame: _pixel_grid(S)} | {f: _pixel_grid(S) + forth for f, forth in flows.items()}
        last = torch.tensor([[0.0, 0.0, 1.0]])
        full = {f: torch.cat([scene.placement[f], last]).double() for f in {*seen, frame}}
        own = torch.linalg.inv(full[frame])
        return {f: _moved((own @ full[f])[:2].numpy(), S) for f in seen}


def _registered(scene: Scene, base: Tensor, frame: int, seen: range) -> dict[int, Floats]:
    """Estimated motion, frame by frame outwards, each from where the one before it was; a frame that is not
    surely found ends its side."""
    size = scene.image.shape[-1]
    hidden, pitch = scene.weight[frame, 0].numpy(), _pitch(scene, frame)
    found = {frame: _pixel_grid(size)}
    for side in (range(frame + 1, seen.stop), range(frame - 1, seen.start - 1, -1)):
        warp: Floats = np.eye(2, 3, dtype=np.float32)
        for other in side:
            warp, sure = estimate(base[other], base[frame], hidden, pitch, warp)
            if sure < SURE:
                break
            found[other] = (_pixel_grid(size) @ warp[:, :2].T + warp[:, 2]).astype(np.float32)
    return found


def whole_cells(
    rows: Tensor, cols: Tensor, inside: NDArray[np.bool_], under_mosaic: NDArray[np.bool_]
) -> tuple[sparse.csr_matrix, NDArray[np.bool_], Floats]:
    """Means of cells over the pixels of their frame: (R, S * S), which of the N * N cells they are, their
    pixels. Left out are cells with a pixel that is not ``inside`` (S * S,), and those without one that is
    ``under_mosaic``, which have no sample."""
    every = sparse.kron(sparse.csr_matrix(rows.numpy()), sparse.csr_matrix(cols.numpy()), format="csr")
    counts = np.asarray(every.sum(1)).ravel().astype(np.float32)
    kept = (counts > 0) & (every @ inside.astype(np.float32) >= counts)
    kept &= every @ under_mosaic.astype(np.float32) > 0
    return sparse.diags(1 / counts[kept]) @ every[kept], kept, counts[kept]


def _pitch(scene: Scene, frame: int) -> float:
    width = scene.cols[frame].sum(-1)
    return float(width[width > 0].median())


def _pixel_grid(size: int) -> Floats:
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return np.stack([x, y], -1)


def _moved(affine: NDArray[np.float64], size: int) -> Floats:
    """Places of all pixels under an affine (2, 3) between coordinates in [-1, 1]."""
    unit = (_pixel_grid(size) * 2 + 1) / size - 1
    there = unit @ affine[:, :2].T + affine[:, 2]
    places: Floats = (((there + 1) * size - 1) / 2).astype(np.float32)
    return places


def bilinear(places: Floats) -> sparse.csr_matrix:
    """(S, S, 2) px -> (S * S, S * S): row v samples a picture at places[v], borders repeated."""
    size = places.shape[0]
    at = np.clip(places.reshape(-1, 2), 0, size - 1)
    low = np.minimum(np.floor(at), size - 2).astype(np.int64)
    part = at - low
    index, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            index.append((low[:, 1] + dy) * size + low[:, 0] + dx)
            wx = part[:, 0] if dx else 1 - part[:, 0]
            wy = part[:, 1] if dy else 1 - part[:, 1]
            weights.append(wx * wy)
    lines = np.tile(np.arange(size * size), 4)
    entries = (np.concatenate(weights).astype(np.float32), (lines, np.concatenate(index)))
    return sparse.csr_matrix(entries, shape=(size * size, size * size))


def estimate(
    other: Tensor, judged: Tensor, hidden: Floats, pitch: float, start: Floats
) -> tuple[Floats, float]:
    """Affine (2, 3), px, from pixels of ``other`` to ``judged`` (both (3, S, S), interpolated), found by ECC
    (Evangelidis and Psarakis, TPAMI 30(10), 2008) from ``start`` in and near the mosaic, and the correlation
    that it reaches, 0 where it finds none."""
    grey = [p.mean(0).clamp(0, 1).numpy().astype(np.float32) for p in (other, judged)]
    reach = 2 * round(pitch) + 1
    near = cv2.dilate((hidden > 0).astype(np.uint8), np.ones((reach, reach), np.uint8))
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    warp, sure = start, 0.0
    for kind in (cv2.MOTION_TRANSLATION, cv2.MOTION_AFFINE):
        # A translation keeps the linear part that it starts from.
        try:
            sure, found = cv2.findTransformECC(grey[0], grey[1], warp.copy(), kind, stop, near, 5)
        except cv2.error:
            return start, 0.0
        warp = np.asarray(found, np.float32)
    return warp, sure


def solve(
    start: Floats,
    hidden: NDArray[np.bool_],
    measured: sparse.csr_matrix,
    values: Floats,
    counts: Floats,
    own: NDArray[np.bool_],
    strength: float = STRENGTH,
    steps: int = STEPS,
) -> Floats:
    """Adam from ``start`` (S, S, 3) over the pixels ``hidden`` (S * S,); ``measured`` (R, S * S), ``values``
    (R, 3), ``counts`` (R,); ``own`` (R,): True for rows of the judged frame. Returns (S, S, 3)."""
    shape = start.shape
    x = start.reshape(-1, 3).astype(np.float32)
    back = measured.T.tocsr()
    weights = counts[:, None]
    doubted = np.where(own, 0.0, 1.0).astype(np.float32)
    free = hidden[:, None].astype(np.float32)
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, steps + 1):
        misfit = measured @ x - values
        if step % DOUBT_EVERY == 1:
            weights = (counts / (1 + doubted * (misfit**2).mean(1) / DOUBT**2))[:, None]
        slope = back @ (weights * misfit) + strength * _variation_slope(x.reshape(shape))
        slope *= free
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope**2
        rate = RATE * (1 - step / (steps + 1))
        x = x - rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-6)
    solved: Floats = x.reshape(shape)
    return solved


def _variation_slope(x: Floats) -> Floats:
    """Derivative of the smoothed isotropic total variation: (S * S, 3)."""
    dx, dy = np.zeros_like(x), np.zeros_like(x)
    dx[:, :-1], dy[:-1] = x[:, 1:] - x[:, :-1], x[1:] - x[:-1]
    size = np.sqrt(dx**2 + dy**2 + EDGE**2)
    dx, dy = dx / size, dy / size
    slope = -dx - dy
    slope[:, 1:] += dx[:, :-1]
    slope[1:] += dy[:-1]
    flat: Floats = slope.reshape(-1, 3)
    return flat
