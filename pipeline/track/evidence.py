"""How sure it is that a track shows a face: log odds, added up over its sights.

A sight's log odds come from the detector's score alone, or from the score and the second opinion
(``pipeline.faces.second_opinion``). That is asked while a track is in doubt, on sights of a better score than
those before. Both are logistic fits of faces against what is none (docs/decisions/024,
``tools.fit_evidence``). Sights of one track resemble each other, so those on which nobody is asked count
less. No more than ``_AGAINST`` is held against a track, and one sight that is sure is enough: a face that
comes clear is believed at once.

No opinion decides alone: a head in profile or in the dark, which only the detector sees, is believed after
some sights of moderate score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.faces.second_opinion import Opinion
from pipeline.types import Box

Care = Literal["strict", "balanced", "tidy"]

ENOUGH: dict[Care, float] = {"strict": -math.inf, "balanced": -1.0, "tidy": 1.5}
"""Log odds from which a track is covered, where half of all sights were faces."""
_SURE = 3.4
"""Log odds from which nobody is asked: a score of 0.58, or a second opinion that agrees."""
_ASKED = 3
"""Second opinions on a track, at most."""
_ALONE = (5.55, 3.96)
"""Log odds of a score s: a + b ln s; 0 at 0.25."""
_TOGETHER = (4.42, 1.59, 1.68, 2.55)
"""Of a score s with the close look's c and the flag f (0 or 1): a + b ln s + c' ln(c + 0.02) + d f."""
_LEAST_CLOSE = 0.02
_RESEMBLANCE = 0.5
"""What a sight on which nobody is asked counts."""
_AGAINST = -2.0
_ODD_SHAPE, _AGAINST_SHAPE = 2.2, -2.0
"""Ratio of a box's sides that no head has."""


@dataclass(slots=True)
class Evidence:
    """Of one track, so far."""

    total: float = 0.0
    highest: float = -math.inf
    """of ``total``, and of a single sight on which the second opinion was asked"""
    asked: int = 0
    """Second opinions"""
    asked_score: float = 0.0
    """0..1, best score of a sight on which the second opinion was asked"""

    @property
    def is_sure(self) -> bool:
        return self.highest >= _SURE

    def add(self, score: float, box: Box, ask: Callable[[], Opinion] | None) -> None:
        """A sight. ``ask`` gives the second opinion on it; None: there is none."""
        alone, single = of_score(score), -math.inf
        sure = self.is_sure or alone >= _SURE
        if ask is None or sure or self.asked >= _ASKED or score <= self.asked_score:
            odds = alone if self.highest == -math.inf else _RESEMBLANCE * alone
        else:
            self.asked, self.asked_score = self.asked + 1, score
            odds = single = of_both(score, ask())
        if max(box.width, box.height) > _ODD_SHAPE * min(box.width, box.height):
            odds, single = odds + _AGAINST_SHAPE, single + _AGAINST_SHAPE
        self.total = max(self.total, _AGAINST) + odds
        self.highest = max(self.highest, self.total, single)


def of_score(score: float) -> float:
    """Log odds of a detector's score, 0..1."""
    a, b = _ALONE
    return a + b * math.log(max(score, 1e-3))


def of_both(score: float, opinion: Opinion) -> float:
    """Log odds of a detector's score, 0..1, with the second opinion."""
    a, b, c, d = _TOGETHER
    return a + b * math.log(max(score, 1e-3)) + c * math.log(opinion.close + _LEAST_CLOSE) + d * opinion.flag
