"""Pitch and phase of one axis: the comb that collects most isolated steps of a profile.

``profile[i]`` counts the isolated steps at pixel i over ``lines`` rows (or columns). A lattice puts them
on the teeth ``ceil(origin + k * pitch)``. A tooth earns its count minus a threshold that is above what
lies between the teeth, so that the comb of half the pitch loses by its empty teeth and that of twice the
pitch by the half it misses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_PITCH_PX = 4.0
_BIN_PX = 0.5
_DRIFT_PX = 1.5
_HYPOTHESES = 6
"""Coarse maxima that are refined."""
_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Comb:
    """Fit of a profile. Tooth k lies at ceil(origin + k * pitch)."""

    pitch: float
    origin: float
    """px, of tooth 0, the first one in use"""
    teeth: int
    """teeth in use, from the first to the last that earned"""
    filled: float
    """0..1, share of those that earned"""
    gain: float
    """what they earned, in steps"""
    on: float
    """0..1, steps per line on a tooth in use"""
    off: float
    """0..1, steps per line between the teeth in use"""


def threshold(profile: NDArray[np.float64], lines: int) -> float:
    """Steps that a tooth must hold: above twice the mean of the profile, and 5 % of the lines."""
    return max(2.0 * float(profile.mean()), 0.05 * lines)


def _coarse(earn: NDArray[np.float64], cost: float, max_pitch: float) -> list[tuple[float, float]]:
    """Best (pitch, origin) pairs by folding the profile at each pitch.

    Neighbouring pitches drift apart by _DRIFT_PX over the profile. The fold has bins of half a pixel; a tooth
    takes three of them: the pixel that ``ceil`` may round it to, and the drift.
    """
    size = len(earn)
    ratio = 1.0 + _DRIFT_PX / size
    pitches = MIN_PITCH_PX * ratio ** np.arange(int(np.log(max_pitch / MIN_PITCH_PX) / np.log(ratio)) + 1)
    at = np.flatnonzero(earn)
    if at.size == 0:
        return []
    bins = int(np.ceil(max_pitch / _BIN_PX)) + 3
    rows, counts = np.arange(len(pitches)), np.floor(pitches / _BIN_PX).astype(int)
    turns = at[None, :] / pitches[:, None]
    folded = ((turns - np.floor(turns)) * counts[:, None]).astype(int)
    flat = (folded + rows[:, None] * bins).ravel()
    fold = np.bincount(flat, np.tile(earn[at], len(pitches)), len(pitches) * bins).reshape(-1, bins)
    for k in (0, 1):
        fold[rows, counts + k] = fold[rows, k]
    total = fold[:, :-2] + fold[:, 1:-1] + fold[:, 2:]
    total[np.arange(bins - 2)[None, :] >= counts[:, None]] = -np.inf
    best_bin = total.argmax(axis=1)
    score = total[rows, best_bin] - cost * size / pitches
    found: list[tuple[float, float]] = []
    for i in np.argsort(-score):
        if any(abs(pitches[i] / p - 1) < 0.02 for p, _ in found):
            continue
        found.append((float(pitches[i]), float(best_bin[i] + 0.5) / counts[i] * float(pitches[i])))
        if len(found) == _HYPOTHESES:
            break
    return found


def _teeth(pitch: float, origin: float, size: int) -> NDArray[np.int64]:
    """Pixels of all teeth in [0, size), ascending."""
    first = int(np.ceil(-origin / pitch))
    last = int(np.floor((size - 1 - origin) / pitch))
    at = np.ceil(origin + np.arange(first, last + 1) * pitch - _EPS * pitch).astype(np.int64)
    return np.asarray(at[(at >= 0) & (at < size)], dtype=np.int64)


def best_run(values: NDArray[np.float64]) -> tuple[int, int, float]:
    """Start, end (exclusive) and sum of the contiguous run with the largest sum (Kadane's algorithm)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.minimum.accumulate(total)
    end = int(np.argmax(total[1:] - low[:-1])) + 1
    start = int(np.argmin(total[:end]))
    return start, end, float(total[end] - total[start])


def _refine(
    earn: NDArray[np.float64], cost: float, pitch: float, origin: float
) -> tuple[float, float, float]:
    """Pitch and origin (of the tooth nearest the middle) with the largest gain near a first guess.

    Among equals the mean is taken: many (pitch, origin) round to the same pixels.
    """
    size = len(earn)
    middle = origin + round((size / 2 - origin) / pitch) * pitch
    reach = max(size / 2 / pitch, 1.0)
    for span_pitch, span_origin in ((1.2 / reach, 1.25), (0.5 / reach, 0.5), (0.2 / reach, 0.25)):
        dp = np.linspace(-span_pitch, span_pitch, 13)
        do = np.linspace(-span_origin, span_origin, 11)
        k = np.arange(-int(reach) - 1, int(reach) + 2)
        p, o = pitch + dp[:, None, None], middle + do[None, :, None]
        at = np.ceil(o + k * p - _EPS).astype(int)
        inside = (at >= 0) & (at < size)
        gain = np.where(inside, earn[np.clip(at, 0, size - 1)] - cost, 0.0).sum(axis=2)
        top = np.argwhere(gain >= gain.max() - 1e-9)
        pitch += float(dp[top[:, 0]].mean())
        middle += float(do[top[:, 1]].mean())
    return pitch, middle, float(gain.max())


def _whole(earn: NDArray[np.float64], cost: float, pitch: float, origin: float) -> tuple[float, float]:
    """The nearest whole pitch and origin if they earn as much: most mosaics have whole cells.

    A lattice with whole numbers is at the end of the interval of origins that round to the same pixels, so
    the middle, which is right on average, is half a pixel off for it.
    """
    at = _teeth(pitch, origin, len(earn))
    start, end, gain = best_run(earn[at] - cost)
    whole = round(pitch)
    for first in (int(at[start]), int(at[start]) + 1, int(at[start]) - 1):
        teeth = first + whole * np.arange(end - start)
        teeth = teeth[(teeth >= 0) & (teeth < len(earn))]
        if (earn[teeth] - cost).sum() >= 0.999 * gain:
            return float(whole), float(first)
    return pitch, origin


def refit(profile: NDArray[np.float64], lines: int, pitch: float, origin: float) -> Comb | None:
    """Best comb near a first guess of pitch and origin; None where it has fewer than three teeth."""
    size = len(profile)
    cost = threshold(profile, lines)
    earn = np.minimum(profile, 0.6 * lines)
    pitch, origin, _ = _refine(earn, cost, pitch, origin)
    if pitch < MIN_PITCH_PX - 0.1:
        return None
    pitch, origin = _whole(earn, cost, pitch, origin)
    at = _teeth(pitch, origin, size)
    start, end, gain = best_run(earn[at] - cost)
    if end - start < 3:
        return None
    used = at[start:end]
    between = np.zeros(size, dtype=bool)
    between[used[0] : used[-1]] = True
    between[used] = False
    first = origin + np.ceil((used[0] - 1 - origin) / pitch + _EPS) * pitch
    return Comb(
        pitch=pitch,
        origin=float(first),
        teeth=end - start,
        filled=float((earn[used] > cost).mean()),
        gain=gain,
        on=float(profile[used].mean()) / lines,
        off=float(profile[between].mean()) / lines,
    )


def fit(profile: NDArray[np.float64], lines: int, max_pitch_px: float) -> Comb | None:
    """Best comb of a profile of isolated steps, or None where no three teeth earn anything."""
    max_pitch = min(max_pitch_px, len(profile) / 2.5)
    if max_pitch < MIN_PITCH_PX or lines < 1:
        return None
    cost = threshold(profile, lines)
    earn = np.where(profile > 0.5 * cost, np.minimum(profile, 0.6 * lines), 0.0)
    fits = [refit(profile, lines, pitch, origin) for pitch, origin in _coarse(earn, cost, max_pitch)]
    # Half the pitch earns as much as the pitch, and a stray tooth may tip the scales; but half is empty.
    return max((f for f in fits if f is not None), key=lambda f: f.gain * math.sqrt(f.filled), default=None)
