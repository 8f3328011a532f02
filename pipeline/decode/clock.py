"""The clock of a transport or program stream, where it starts again within a file.

Joined segments, spliced recordings and captures that were interrupted are pieces with clocks of their own.
Rule: where the decoding time of the processed stream goes back, a new piece begins. It is moved so that its
first picture follows the last one of the piece before, one frame later; all streams move alike. A jump ahead
stays, save one by more than half the range of the clock's 33 bits, which is a step back across its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from av.container import InputContainer
from av.packet import Packet

_RESTARTS = 0x0200
"""AVFMT_TS_DISCONT: formats whose clock may start again"""
_HALF_RANGE = 1 << 32
"""of 33 bits, in units of 1/90000 s"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the file with a clock of its own, but the first."""

    pos: int
    """Byte at which it begins."""
    shift: int
    """Added to its times, in units of 1/90000 s."""


def may_restart(container: InputContainer) -> bool:
    """True for formats whose clock may start again."""
    return bool(container.format.flags & _RESTARTS)


def steps_back(last: int | None, dts: int | None) -> bool:
    """True where ``dts`` belongs to another clock than the one before it."""
    if last is None or dts is None:
        return False
    return dts < last or dts - last > _HALF_RANGE


class Clock:
    """Moves the packets of a file, read from its beginning on, to one clock."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._at: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def move(self, packet: Packet[Any]) -> None:
        """Change the packet's times. Packets of a stream come in the order of the file."""
        if not self._pieces:
            return
        index = packet.stream_index
        at = self._at.get(index, 0)
        stepped = steps_back(self._last.get(index), packet.dts)
        while at < len(self._pieces):
            passed = packet.pos is not None and packet.pos >= self._pieces[at].pos
            if not passed and not stepped:
                break
            at, stepped = at + 1, False
        self._at[index] = at
        if packet.dts is not None:
            self._last[index] = packet.dts
        shift = self._pieces[at - 1].shift if at else 0
        if shift:
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
