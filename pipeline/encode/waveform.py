"""Whether two sounds are the same at the same times: by samples, or as heard where one is encoded anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

_RATE = 8_000
_BLOCK = 2_000
"""Samples that are compared as one, a quarter of a second."""
_QUIET = 1e-3
"""Root mean square of full scale, -60 dB: blocks below it in both sounds say nothing."""
_ALIKE = 0.5
"""Correlation from which two blocks are taken for the same; what one codec hears as noise has less."""
_MOST_SHIFT = 800
"""Samples, 0.1 s, by which a block is looked for earlier and later."""
_SAME_PLACE = 16
"""Samples, 2 ms: containers that count milliseconds round twice."""
_LOUDER = 2.0
"""Ratio of root mean squares, 6 dB, from which sound is missing or added."""
_MOST_OFF = 0.02
"""Share of blocks that may differ; one may always, where a sound begins or ends within it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a comparison of two sounds found."""

    blocks: int
    """That are not quiet."""
    off: int
    """Of these, those that are moved in time, missing or added."""
    shift_s: float
    """The largest move that was found, later is positive."""

    @property
    def same(self) -> bool:
        return self.off <= max(1, _MOST_OFF * self.blocks)


def compare_heard(ours: Iterable[AudioFrame], theirs: Iterable[AudioFrame]) -> Heard:
    """Compares mono sound below 4 kHz in blocks. Frames follow each other without gaps, see `Continuous`."""
    blocks = off = 0
    shift = 0.0
    for a, b in zip_longest(_blocks(ours), _blocks(theirs), fillvalue=np.zeros(_BLOCK, np.float32)):
        loud = float(np.sqrt(np.mean(a**2))), float(np.sqrt(np.mean(b**2)))
        if max(loud) < _QUIET:
            continue
        blocks += 1
        if max(loud) > _LOUDER * min(loud):
            off += 1
        elif (moved := _moved(a, b)) is not None:
            off += 1
            shift = max(shift, moved / _RATE, key=abs)
    return Heard(blocks, off, shift)


def _moved(a: NDArray[np.float32], b: NDArray[np.float32]) -> int | None:
    """By how many samples ``b`` is later than ``a``, where it is not alike in its place, but in another."""
    scale = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    if float(a @ b) >= _ALIKE * scale:
        return None
    size = 1 << (2 * _BLOCK - 1).bit_length()
    both = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size), size)
    near = np.concatenate([both[-_MOST_SHIFT:], both[: _MOST_SHIFT + 1]])
    best = int(np.argmax(near))
    here = near[_MOST_SHIFT - _SAME_PLACE : _MOST_SHIFT + _SAME_PLACE + 1]
    moved = near[best] >= _ALIKE * scale and float(here.max()) < _ALIKE * scale
    return best - _MOST_SHIFT if moved else None


def _blocks(frames: Iterable[AudioFrame]) -> Iterator[NDArray[np.float32]]:
    """Sound from time 0 on, in blocks of `_BLOCK` samples."""
    resampler = AudioResampler(format="flt", layout="mono", rate=_RATE)
    held: NDArray[np.float32] | None = None
    for part in _resampled(resampler, frames):
        samples = part.to_ndarray()[0].astype(np.float32)
        if held is None:
            at = round(_time_s(part) * _RATE)
            samples = samples[max(-at, 0) :]
            held = np.zeros(max(at, 0), np.float32)
        held = np.concatenate([held, samples])
        while len(held) >= _BLOCK:
            yield held[:_BLOCK]
            held = held[_BLOCK:]
    if held is not None and len(held):
        yield np.pad(held, (0, _BLOCK - len(held)))


def _resampled(resampler: AudioResampler, frames: Iterable[AudioFrame]) -> Iterator[AudioFrame]:
    for frame in frames:
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _time_s(frame: AudioFrame) -> float:
    assert frame.pts is not None and frame.time_base is not None
    return float(frame.pts * frame.time_base)


def digest_of_samples(frames: Iterable[AudioFrame]) -> tuple[str, int, float]:
    """A digest of decoded sound channel by channel, its number of samples, and the time of the first in
    seconds."""
    channels: list[Any] = []
    count, first_s = 0, 0.0
    for frame in frames:
        rows = frame.to_ndarray()
        if not frame.format.is_planar:
            rows = rows.reshape(-1, frame.layout.nb_channels).T
        if not channels:
            channels = [hashlib.blake2b(digest_size=8) for _ in rows]
            first_s = _time_s(frame)
        count += frame.samples
        for digest, row in zip(channels, rows, strict=True):
            digest.update(np.ascontiguousarray(row))
    return "-".join(digest.hexdigest() for digest in channels), count, first_s
