"""Packets of an MPEG transport stream (ISO/IEC 13818-1, 2.4.3), where FFmpeg does not tell enough.

A picture lies in one packet of the elementary stream (PES), which begins in a transport packet of its own and
ends in one whose room it leaves is stuffed. Transport packets are counted by 16.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_PACKET_BYTES, _SYNC = 188, 0x47
_SPACINGS = (_PACKET_BYTES, 192, 204)
"""Bytes from packet to packet: plain, with a time in front (Blu-ray), with a code behind it (DVB)."""
_AT_ONCE = 1 << 18
"""Packets that are looked at together: memory does not grow with the file."""
_IN_A_ROW = 4
"""Packets that follow each other where a stretch of them begins."""
_OPTIONAL = ((0x10, 6), (0x08, 6), (0x04, 1))
"""Flags of an adaptation field, and bytes of what they announce: PCR, OPCR, splice countdown."""


def incomplete(path: Path, pid: int, *, at_end: bool) -> frozenset[int]:
    """Where packets of an elementary stream begin, as FFmpeg counts (`Packet.pos`), that lack a part: their
    transport packets break off or are counted with a gap, or the next ones have no beginning.

    With ``at_end`` the last one counts too if its last transport packet is full: it seems to go on, though
    one end in 184 is so.
    """
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    found: set[int] = set()
    begun: int | None = None
    last: int | None = None
    count = 0
    for heads, behind in _stretches(data):
        second = data[heads + 1]
        ours = heads[((second.astype(np.int32) & 0x1F) << 8 | data[heads + 2]) == pid]
        ours = ours[(data[ours + 3] & 0x10) > 0]
        if not len(ours):
            continue
        counts = (data[ours + 3] & 15).astype(np.int32)
        starts = (data[ours + 1] & 0x40) > 0
        faulty = (data[ours + 1] & 0x80) > 0
        steps = np.diff(counts, prepend=counts[0] if last is None else count) & 15
        breaks = (steps > 1) | faulty
        breaks[0] &= last is not None
        firsts = np.maximum.accumulate(np.where(starts, np.arange(len(ours)), -1))
        for at in np.flatnonzero(breaks).tolist():
            before = int(ours[at - 1]) if at else last
            owner = int(ours[firsts[at - 1]]) - behind if at and firsts[at - 1] >= 0 else begun
            whole = before is not None and _ends_in(data, before) and bool(starts[at])
            if owner is not None and not whole:
                found.add(owner)
            if faulty[at] and firsts[at] >= 0:
                found.add(int(ours[firsts[at]]) - behind)
        begun = int(ours[firsts[-1]]) - behind if firsts[-1] >= 0 else begun
        last, count = int(ours[-1]), int(counts[-1])
    if at_end and begun is not None and last is not None and not _ends_in(data, last):
        found.add(begun)
    return frozenset(found)


def _stretches(data: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Where transport packets begin that follow each other, `_AT_ONCE` at most, and how far before that
    FFmpeg says they do."""
    at, size = _next(data, 0)
    while size:
        heads = np.arange(at, min(len(data) - _PACKET_BYTES + 1, at + size * _AT_ONCE), size)
        lost = np.flatnonzero(data[heads] != _SYNC)
        heads = heads[: lost[0]] if len(lost) else heads
        if len(heads):
            yield heads, size - _PACKET_BYTES
            at = int(heads[-1]) + size
        if len(lost):
            at, size = _next(data, at - size + 1 if len(heads) else at + 1)
        elif at > len(data) - _PACKET_BYTES:
            return


def _next(data: NDArray[np.uint8], start: int) -> tuple[int, int]:
    """Where packets begin from ``start`` on, and their spacing; 0 for none."""
    window = 1 << 16
    for begin in range(start, len(data), window):
        places = np.flatnonzero(data[begin : begin + window] == _SYNC) + begin
        for at in places.tolist():
            for size in _SPACINGS:
                row = data[at : at + size * _IN_A_ROW : size]
                if len(row) and (row == _SYNC).all() and (len(row) == _IN_A_ROW or begin > start):
                    return at, size
    return 0, 0


def _ends_in(data: NDArray[np.uint8], head: int) -> bool:
    """True for a transport packet in which an elementary stream's packet ends: its adaptation field has more
    bytes than its flags announce."""
    if not data[head + 3] & 0x20:
        return False
    length, flags = int(data[head + 4]), int(data[head + 5])
    if length == 0:
        return True
    needed = 1 + sum(size for flag, size in _OPTIONAL if flags & flag)
    if flags & 0x03:  # private data or an extension, of a length of their own
        return True
    return length > needed
