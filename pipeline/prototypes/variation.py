"""How the face of nobody differs from one person and one moment to the next: by lot, and by nothing that is
in the picture, so that it tells nothing."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

BLACK, BROWN = (42, 36, 33), (66, 52, 43)
HAIR = (BLACK, BLACK, BLACK, BROWN, BROWN, BROWN, (92, 72, 56), (92, 72, 56))
"""Colours that hair may have, RGB of 0..255, gamma-coded, as often as they are listed: those of most people.
Gray and fair hair by lot looks like a hood on everybody else."""
_LENGTH = (-0.1, 0.9)
"""Half boxes below the middle of the face, to which hair reaches at its sides."""
_LEAST_TURN, _MOST_TURN = 0.1, 0.25
"""Half boxes by which the middle of a face that looks to the side lies beside that of its head."""
_MOST_SHADE = 0.2
"""Share by which one side of a face is lit better than its middle."""
_MOST_GAIN = 0.06
_SWAY = (0.06, 0.04)
"""Half boxes by which a head sways across and down; a block of six across a face is a third of a half box."""
_PERIODS_S = ((2.3, 3.7), (2.9, 4.3))
"""Seconds of its two waves across and down, which meet hardly ever."""

_Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Variation:
    """Of one person."""

    turn: float = 0.0
    """Half boxes, to the right: how far the middle of the face lies beside that of the head"""
    shade: float = 0.0
    """How much better the right side is lit"""
    gain: float = 1.0
    hair: tuple[int, int, int] = BLACK
    length: float = 0.3
    """Half boxes below the middle of the face, to which hair reaches"""
    phases: tuple[_Pair, _Pair] | None = None
    """Radians, of how the head sways; None: not at all"""

    @staticmethod
    def drawn(seed: int, *, dark: bool) -> Variation:
        """By lot. ``dark``: the hair is black, as of nearly all people with the darkest skin."""
        lot = random.Random(seed)
        return Variation(
            turn=lot.choice((-1, 1)) * lot.uniform(_LEAST_TURN, _MOST_TURN),
            shade=lot.uniform(-_MOST_SHADE, _MOST_SHADE),
            gain=math.exp(lot.uniform(-_MOST_GAIN, _MOST_GAIN)),
            hair=BLACK if dark else lot.choice(HAIR),
            length=lot.uniform(*_LENGTH),
            phases=(_angles(lot), _angles(lot)),
        )

    def place(self, time_s: float) -> tuple[float, float]:
        """Half boxes (x, y) by which the head lies beside the middle of its mask at a time."""
        if self.phases is None:
            return 0.0, 0.0
        waves = zip(_SWAY, _PERIODS_S, self.phases, strict=True)
        x, y = (most * _wave(time_s, periods, phases) for most, periods, phases in waves)
        return x, y


PLAIN = Variation()
"""Of everybody where one mean was asked for."""


def _angles(lot: random.Random) -> _Pair:
    return lot.uniform(0, 2 * math.pi), lot.uniform(0, 2 * math.pi)


def _wave(time_s: float, periods: _Pair, phases: _Pair) -> float:
    """Of -1..1."""
    pairs = zip(periods, phases, strict=True)
    return sum(math.sin(2 * math.pi * time_s / period + phase) for period, phase in pairs) / 2
