"""How many samples and edits the index of an MP4 or MOV states, before FFmpeg makes room for them.

FFmpeg keeps an entry for each sample of a track, once for each edit that shows it; a few bytes of a file may
state thousands of millions. Boxes: ISO/IEC 14496-12.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import InputError
from pipeline.machine import require

_AROUND = frozenset(
    b"moov cmov trak mdia minf stbl edts dinf mvex moof traf tref udta wave meta gmhd sinf schi".split()
)
"""Boxes whose content FFmpeg reads as boxes."""
_ENTRY_BYTES = 48
"""Of FFmpeg's memory for a sample, measured."""
_MAX_EDITS = 4096
_MAX_ENTRIES = 1 << 26
"""Of a track with several edits, of which each may show all samples: 3 GB."""
_MAX_BOXES = 1 << 21
_MAX_INDEX_BYTES = 1 << 26
"""Of an index that is compressed."""
_PACKED_SAMPLES = 1024
_OTHER_HANDLERS = {b"vide", b"subp", b"clcp"}
"""That FFmpeg takes for no sound."""
_MAX_DEPTH = 16
_COUNTING = (b"hdlr", b"elst", b"stts", b"stsz", b"stz2", b"trun")


def check_counts(path: Path) -> None:
    """Raises InputError for an index that cannot be meant, MissingError where this machine has too little
    memory for it. Any file: what holds no boxes passes."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        counts = _Counts(path, size)
        counts.read(file, 0, size)
    require(counts.entries * _ENTRY_BYTES, f"{path}: an index of {counts.entries:,} entries")


@dataclass(slots=True)
class _Track:
    handlers: set[bytes] = field(default_factory=set)
    samples: int = 0
    fixed: bool = False
    """Its samples have one size."""
    edits: int = 1
    single: bool = False
    """Each sample lasts one unit of time, as those of PCM do."""

    @property
    def entries(self) -> int:
        """That FFmpeg makes for one edit: it takes PCM by the thousand."""
        is_sound = b"soun" in self.handlers and not self.handlers & _OTHER_HANDLERS
        packed = self.fixed and self.single and is_sound
        return self.samples // _PACKED_SAMPLES if packed else self.samples


class _Counts:
    def __init__(self, path: Path, file_bytes: int) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._boxes = 0
        self._track = _Track()
        self._samples = 0
        """Of all tracks and fragments."""
        self.entries = 0
        """Of FFmpeg's index, at most."""

    def read(self, file: BinaryIO, start: int, end: int, depth: int = 0) -> None:
        """The boxes between two places."""
        for name, at, stop in boxes(file, start, end):
            self._boxes += 1
            if self._boxes > _MAX_BOXES:
                self._refuse(f"its index has more than {_MAX_BOXES:,} boxes; remux it first")
            file.seek(at)
            if name == b"trak":
                self._track = _Track()
            if name in _AROUND and depth < _MAX_DEPTH:
                self.read(file, at + (4 if name == b"meta" else 0), stop, depth + 1)
            elif name == b"cmvd":
                self._read_compressed(file.read(min(stop - at, _MAX_INDEX_BYTES)), depth)
            elif name in _COUNTING:
                self._note(name, file.read(min(stop - at, 16)), stop - at)
            if name == b"trak":
                self._count_track()

    def _note(self, name: bytes, head: bytes, size: int) -> None:
        track = self._track
        if name == b"hdlr":
            track.handlers.add(head[8:12])
        elif name == b"elst":
            track.edits = max(min(_number(head[4:8]), size // 12), 1)
        elif name == b"stts":
            track.single = (_number(head[4:8]), _number(head[12:16])) == (1, 1)
        elif name == b"trun":
            self._add(_number(head[4:8]))
        else:
            track.fixed = name == b"stsz" and _number(head[4:8]) > 0
            track.samples += _number(head[8:12])

    def _count_track(self) -> None:
        track = self._track
        self._add(track.entries)
        shown = track.entries * track.edits
        if track.edits > _MAX_EDITS or (track.edits > 1 and shown > _MAX_ENTRIES):
            self._refuse(f"a track has {track.edits:,} edits of {track.samples:,} samples; remux it first")
        self.entries += shown - track.entries

    def _add(self, samples: int) -> None:
        self._samples += samples
        if self._samples > 2 * self._file_bytes:  # of half a byte each, at least
            self._refuse(
                f"its index states {self._samples:,} samples in {self._file_bytes:,} bytes; it is damaged"
            )
        self.entries += samples

    def _refuse(self, why: str) -> None:
        raise InputError(f"{self._path}: {why}")

    def _read_compressed(self, data: bytes, depth: int) -> None:
        try:
            index = zlib.decompressobj().decompress(data[4:], _MAX_INDEX_BYTES)
        except zlib.error:  # FFmpeg will say so
            return
        self.read(io.BytesIO(index), 0, len(index), depth + 1)


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, where it ends) of boxes that follow each other."""
    while start <= end - 8:
        file.seek(start)
        head = file.read(16)
        size, name, inner = _number(head[:4]), head[4:8], 8
        if size == 1:
            size, inner = _number(head[8:16]), 16
        elif size == 0:
            size = end - start
        if size < inner:
            return
        yield name, min(start + inner, end), min(start + size, end)
        start += size


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
