"""Time codes of MPEG video's groups of pictures: do those of two files tell the same times?

Encoders begin a group where they like, so codes are compared as what they tell of the pictures between them.
ISO/IEC 13818-2, 6.3.8: of the group's first picture as it is shown, which may be some before the one that
carries the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.encode.items import Item, State

_REORDERED = 4
"""Pictures by which a code may lie beside the first one of its group."""


@dataclass(frozen=True, slots=True)
class GopCode:
    """As the header of a group tells it."""

    picture: int
    """Position of the picture that carries it, from the first one that is compared on."""
    bits: int
    """Drop-frame flag, hours (5 bits), minutes (6), one bit, seconds (6), frames (6)."""

    @property
    def text(self) -> str:
        hours, minutes, seconds, frames = (self.bits >> n & 63 for n in (19, 13, 6, 0))
        return f"{hours & 31:02}:{minutes:02}:{seconds:02}{';' if self.drops else ':'}{frames:02}"

    @property
    def drops(self) -> bool:
        """Whether numbers of frames are left out, so that it keeps to the clock."""
        return bool(self.bits >> 24 & 1)

    def begins(self, rate: int) -> int:
        """Number of the picture at position 0, counted from time code 0 at ``rate`` frames/s."""
        hours, minutes, seconds, frames = (self.bits >> n & 63 for n in (19, 13, 6, 0))
        minutes += (hours & 31) * 60
        dropped = round(rate / 15) * (minutes - minutes // 10) if self.drops else 0
        return (minutes * 60 + seconds) * rate + frames - dropped - self.picture


def compare_codes(ours: Sequence[GopCode], theirs: Sequence[GopCode], rate: int) -> Item:
    """``ours`` of the source and ``theirs`` of the output, one at least of each, in order of their pictures;
    at ``rate`` frames/s, rounded."""
    differing = next((pair for pair in _in_force(ours, theirs) if _differ(*pair, rate)), None)
    one, other = differing or (ours[0], theirs[0])
    state = State.KEPT if differing is None else State.CHANGED
    told = [f"{code.text} at picture {code.picture}" for code in (one, other)]
    return Item("picture data GOP_TIMECODE", state, *told)


def _in_force(ours: Sequence[GopCode], theirs: Sequence[GopCode]) -> list[tuple[GopCode, GopCode]]:
    """The codes of both that were told last, at each place where one of them tells another."""
    pairs = []
    for at in sorted({code.picture for code in (*ours, *theirs)}):
        one, other = ([code for code in codes if code.picture <= at] for codes in (ours, theirs))
        if one and other:
            pairs.append((one[-1], other[-1]))
    return pairs or [(ours[0], theirs[0])]


def _differ(one: GopCode, other: GopCode, rate: int) -> bool:
    off = one.begins(rate) - other.begins(rate)
    return one.drops != other.drops or abs(off) > _REORDERED
