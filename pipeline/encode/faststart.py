"""The index of an MP4 or MOV in front of its media, so that a player on the web can begin at once.

The muxer writes it at the end, since it is known no earlier. It is moved within the file: the media move
behind it, and the chunk offsets in it grow by its length (ISO/IEC 14496-12, 8.7.5).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_PIECE = 1 << 24
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_OFFSETS = {b"stco": ">I", b"co64": ">Q"}
_MOST_INDEX_BYTES = 1 << 28


def index_first(path: Path) -> bool:
    """Moves the index of a whole file to its front. False where it stays: it is there already, it is not the
    last box, or its offsets of 32 bits would overflow. Raises OSError."""
    with path.open("r+b") as file:
        boxes = list(_boxes(file, os.fstat(file.fileno()).st_size))
        names = [name for name, _, _ in boxes]
        if not names or names[-1] != b"moov" or b"mdat" not in names or boxes[-1][2] > _MOST_INDEX_BYTES:
            return False
        _, start, size = boxes[-1]
        place = boxes[names.index(b"ftyp")][1] + boxes[names.index(b"ftyp")][2] if b"ftyp" in names else 0
        file.seek(start)
        index = bytearray(file.read(size))
        if not _moved(index, size):
            return False
        _shift(file, place, start, size)
        file.seek(place)
        file.write(index)
        file.flush()
        os.fsync(file.fileno())
    return True


def _boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and size of the outermost boxes."""
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, name = struct.unpack_from(">I4s", head)
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, 8)
        size = size or end - at
        if size < 8:
            return
        yield name, at, size
        at += size


def _moved(index: bytearray, by: int) -> bool:
    """Adds ``by`` to all chunk offsets; False where one is too large for its field."""
    found = list(_offset_tables(index, 0, len(index)))
    for kind, at, count in found:
        form = _OFFSETS[kind]
        width = struct.calcsize(form)
        values = [struct.unpack_from(form, index, at + width * k)[0] + by for k in range(count)]
        if kind == b"stco" and values and max(values) >= 1 << 32:
            return False
        struct.pack_into(f">{count}{form[1]}", index, at, *values)
    return True


def _offset_tables(index: bytearray, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place of the first entry and number of entries."""
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", index, at)
        if size < 8:
            return
        if bytes(name) in _CONTAINERS:
            yield from _offset_tables(index, at + 8, at + size)
        elif bytes(name) in _OFFSETS:
            yield bytes(name), at + 16, struct.unpack_from(">I", index, at + 12)[0]
        at += size


def _shift(file: BinaryIO, start: int, end: int, by: int) -> None:
    """Moves bytes ``start`` to ``end`` to the back, the last ones first."""
    while end > start:
        begin = max(start, end - _PIECE)
        file.seek(begin)
        piece = file.read(end - begin)
        file.seek(begin + by)
        file.write(piece)
        end = begin
