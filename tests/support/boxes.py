"""Changes to the boxes of an MP4 or MOV whose index stands at the end, so that no offset moves."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path


def edited(path: Path, edits: Sequence[tuple[int, int]], track: int = 0) -> Path:
    """Gives a track an edit list: (duration in units of the movie, first media time or -1) each."""
    entries = b"".join(struct.pack(">IiI", length, begin, 1 << 16) for length, begin in edits)
    return replaced(path, b"elst", struct.pack(">II", 0, len(edits)) + entries, track)


def replaced(path: Path, name: bytes, content: bytes, number: int = 0) -> Path:
    """Replaces what the ``number``-th box of a name in the index holds; boxes around it grow."""
    data = path.read_bytes()
    at = data.index(b"moov")
    for _ in range(number + 1):
        at = data.index(name, at + 1)
    start = at - 4
    size = int.from_bytes(data[start:at], "big")
    new = struct.pack(">I", 8 + len(content)) + name + content
    made = bytearray(data[:start] + new + data[start + size :])
    for parent in parents(data, start):
        (old,) = struct.unpack_from(">I", made, parent)
        struct.pack_into(">I", made, parent, old + len(new) - size)
    path.write_bytes(bytes(made))
    return path


def parents(data: bytes, place: int) -> list[int]:
    """Where the boxes begin that hold the one at ``place``, the outermost first."""
    found, begin, end = [], 0, len(data)
    while begin < end - 8:
        size, name = struct.unpack_from(">I4s", data, begin)
        size = size or end - begin
        if begin < place < begin + size:
            found.append(begin)
            end = begin + size
            begin += {b"stsd": 16, b"meta": 12}.get(name, 8)
            if name in {b"avc1", b"hvc1", b"vp09", b"mp4v"}:
                begin += 78
        else:
            begin += size
    return found


def appended(path: Path, name: bytes, content: bytes) -> Path:
    """Adds boxes at the end of what the first box of a name holds."""
    data = path.read_bytes()
    start = data.index(name, data.index(b"moov")) - 4
    size = int.from_bytes(data[start : start + 4], "big")
    return replaced(path, name, data[start + 8 : start + size] + content)
