"""One pass over a stream's packets: the exact times of its frames, and whether the file is whole."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.decode.clock import Piece, may_restart, steps_back
from pipeline.decode.edit_lists import Edit, several_edits
from pipeline.decode.open import codec_name
from pipeline.decode.picture_data import CODECS, HEAD_BYTES, PictureDataReader
from pipeline.decode.pictures import CONCEALING
from pipeline.decode.shown_pictures import Counter, picture_counter
from pipeline.decode.transport_packets import incomplete
from pipeline.errors import InputError
from pipeline.notes import decided, warned

log = logging.getLogger(__name__)

_GEN_PTS = 1  # AVFMT_FLAG_GENPTS
_COLUMNS = 4
_NO_TIME = np.iinfo(np.int64).min
_DELAY_FRAMES = 2
"""that a decoder holds back, at most"""
_MOST_REORDERED = 16
"""Frames that a decoder of H.264 or HEVC holds back at most."""
_SEGMENT = b"\x18\x53\x80\x67"
_EBML = b"\x1a\x45\xdf\xa3"
"""EBML ids of a Matroska segment, and of the head of the file"""


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Times of all frames of a stream, from its packets alone, in units of the stream's time base."""

    pts: NDArray[np.int64]
    """Presentation times of all frames, strictly ascending."""
    last_duration: int
    """Duration of the frame that is shown last."""
    keys: NDArray[np.int64]
    """(n, 2): pts and dts of the key frames, by pts."""
    derived: bool
    """True where the file has no usable times, so that a frame is known only by its position."""
    breaks_off: str | None
    """Why the file ends before it should, None for a whole one."""
    headless: int = 0
    """Packets before the first key frame, which nobody can decode and which ``pts`` leaves out."""
    picture_data: bool = False
    """Packets carry more than pictures, see ``pipeline.decode.picture_data``."""
    regular: bool = True
    """Each packet is one frame of ``pts``."""
    pieces: tuple[Piece, ...] = ()
    """Where the file's clock starts again, see ``pipeline.decode.clock``; ``pts`` are of one clock."""
    edited: bool = False
    """The file's edit list leaves packets out after the first one that it shows."""
    lacking: frozenset[int] = frozenset()
    """Where packets begin (`Packet.pos`) that lack a part, as a transport stream tells."""
    ends_with: int | None = None
    """Time of the picture that is the last one in the file."""
    broken_end: int | None = None
    """Time of the last picture in the file, where a part of it is missing and ``pts`` leaves it out."""
    by_decoding: bool = False
    """The file tells when frames are decoded and nothing else, so ``pts`` are those times."""
    last_dts: int | None = None
    """Decoding time of the last packet in the file."""
    broken_dts: int | None = None
    """The same of a packet that is not decoded, because a part of it is missing and it has no other time."""

    def shown_with(self, first_dts: int | None) -> PacketIndex:
        """The index where frames are shown when they come out of the decoder: the first one once it has got
        the packet of ``first_dts``, the last ones after the last packet."""
        delay = 0 if first_dts is None else int(np.searchsorted(self.pts, first_dts))
        if not self.by_decoding or not 0 < delay <= min(_MOST_REORDERED, len(self.pts) - 1):
            return self
        after = self.pts[-1] + max(self.last_duration, 1) * np.arange(1, delay + 1)
        return replace(self, pts=np.concatenate([self.pts[delay:], after]))

    def without(self, before: int) -> PacketIndex:
        """The index of the frames from pts ``before`` on."""
        return replace(
            self, regular=False, pts=self.pts[self.pts >= before], keys=self.keys[self.keys[:, 0] >= before]
        )

    def until(self, end: int) -> PacketIndex:
        """The index of the frames before pts ``end``, which are whole."""
        pts = self.pts[self.pts < end]
        keys, last = self.keys[self.keys[:, 0] < end], int(self.pts[len(pts)] - pts[-1])
        return replace(
            self,
            regular=False,
            pts=pts,
            keys=keys,
            last_duration=last,
            breaks_off=None,
            broken_end=end,
            broken_dts=self.last_dts if self.by_decoding else None,
        )


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[Any]]:
    """All packets of ``stream``, with the times that the file states and no others."""
    # Without packets' own times FFmpeg would guess them, wrongly where frames are reordered (AVI).
    container.flags &= ~_GEN_PTS
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return container.demux(stream)


def index_packets(
    packets: Iterator[Packet[Any]], container: InputContainer, stream: VideoStream, path: Path
) -> PacketIndex:
    """Reads ``packets_of`` the stream from the container's start to its end. Frames are not decoded.

    Negative times are kept. Missing or repeated ones are replaced, with a line in the log. Raises
    InputError for a stream without frames.
    """
    rows = _Rows(stream, may_restart(container))
    breaks_off = _missing_bytes(path)
    try:
        for packet in packets:
            if not packet.size:
                continue
            if packet.has_sidedata("encryption_info") or packet.has_sidedata("encryption_init_info"):
                raise InputError(f"{path}: stream {stream.index} is encrypted; decrypt it first")
            rows.add(packet)
    except FFmpegError as error:
        breaks_off = breaks_off or str(error.strerror)
    lacking: frozenset[int] = frozenset()
    if container.format.name == "mpegts":
        lacking = incomplete(path, stream.id, at_end=codec_name(stream) in CONCEALING)
        rows.ends_incomplete |= rows.last_pos in lacking
    if rows.ends_incomplete:
        breaks_off = breaks_off or "a packet is incomplete"
    if "mp4" in container.format.name and rows.read < len(stream.index_entries):
        breaks_off = breaks_off or f"{rows.read} of {len(stream.index_entries)} frames are in the file"
    table = rows.table()
    untimed = int((table[:, 0] == _NO_TIME).sum())
    headless = rows.headless(table)
    table, pieces = rows.on_one_clock(table, headless, _unit(stream))
    if not len(table):
        raise InputError(f"{path}: stream {stream.index} has no frames; nothing to process")
    if pieces:
        warned(
            log,
            "%s: its clock starts again %d times; each piece follows the one before",
            path.name,
            len(pieces),
        )
    if "mp4" in container.format.name:
        table = _from_zero(table)
        table = _without_gaps(table, several_edits(path).get(stream.id, ()), stream.time_base)
    if untimed > int((table[:, 0] == _NO_TIME).sum()):
        decided(log, "%s: %d pictures lack a time; their decoding times tell it", path.name, untimed)
    index = _times(table, _unit(stream), path, breaks_off)
    regular = len(index.pts) == rows.read
    return replace(
        index,
        headless=headless,
        picture_data=rows.picture_data,
        regular=regular,
        edited=rows.edited,
        lacking=lacking,
        pieces=pieces,
        last_dts=rows.last_dts,
    )


class _Rows:
    """pts, dts, duration and key of every picture, in the order of the file."""

    def __init__(self, stream: VideoStream, may_restart: bool) -> None:
        self._may_restart = may_restart
        self.last_dts: int | None = None
        self.last_pos = 0
        self._begins: list[tuple[int, int]] = []
        """Row and byte at which the clock starts again."""
        context = stream.codec_context
        self._count: Counter | None = picture_counter(context.name, context.extradata)
        known = context.name in CODECS
        self._read_data = PictureDataReader(context.name, context.extradata) if known else None
        self._intra_only = context.codec.intra_only
        self._values = array("q")
        self._begins_with_key = False
        self.read = 0
        """Packets."""
        self.ends_incomplete = False
        """The last packet lacks a part."""
        self.picture_data = False
        self.edited = False

    def add(self, packet: Packet[Any]) -> None:
        self._begins_with_key |= self.read == 0 and packet.is_keyframe
        self.read += 1
        self.ends_incomplete = packet.is_corrupt
        self.last_pos = self.last_pos if packet.pos is None else packet.pos
        if self._may_restart and steps_back(self.last_dts, packet.dts):
            self._begins.append((len(self._values) // _COLUMNS, self.last_pos))
        self.last_dts = self.last_dts if packet.dts is None else packet.dts
        shown = 1 if self._count is None else _shown(self._count, packet)
        if self._read_data is not None and not self.picture_data:
            self.picture_data = bool(self._read_data(bytes(memoryview(packet)[:HEAD_BYTES])))
        if packet.is_discard:  # outside the file's edit list: decoders drop it
            self.edited |= bool(self._values)
            return
        if shown:
            pts = _NO_TIME if packet.pts is None else packet.pts
            dts = _NO_TIME if packet.dts is None else packet.dts
            self._values.extend((pts, dts, packet.duration or 0, packet.is_keyframe))
        elif self._values and packet.pts is None:  # a second field, which lasts as long as the first
            self._values[-2] += packet.duration or 0

    def table(self) -> NDArray[np.int64]:
        return np.frombuffer(self._values, np.int64).reshape(-1, _COLUMNS)

    def on_one_clock(
        self, table: NDArray[np.int64], headless: int, unit: int
    ) -> tuple[NDArray[np.int64], tuple[Piece, ...]]:
        """The table from row ``headless`` on with the pieces one after the other. Of a further piece,
        pictures are left out that refer to what came before it."""
        if not self._begins:
            return (_filled(table[headless:], unit) if self._may_restart else table[headless:]), ()
        starts = [headless, *(max(row, headless) for row, _ in self._begins), len(table)]
        parts, pieces, end = [], [], None
        for number, (start, stop) in enumerate(pairwise(starts)):
            part = _filled(table[start:stop].copy(), unit)
            if number:
                part = _decodable_alone(part, self._intra_only)
            timed = part[part[:, 0] != _NO_TIME]
            shift = 0 if end is None or not len(timed) else end + unit - int(timed[:, 0].min())
            if number:
                pieces.append(Piece(self._begins[number - 1][1], shift))
            part[:, :2] = np.where(part[:, :2] == _NO_TIME, _NO_TIME, part[:, :2] + shift)
            parts.append(part)
            end = int(timed[:, 0].max()) + shift if len(timed) else end
        return np.concatenate(parts), tuple(pieces)

    def headless(self, table: NDArray[np.int64]) -> int:
        """Rows before the first key frame, where there is one."""
        if self._begins_with_key or self._intra_only or not table[:, 3].any():
            return 0
        return int(np.argmax(table[:, 3] > 0))


def _from_zero(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows without those before time 0, where others remain: the edit list of a fragmented MP4 hides them, of
    which FFmpeg takes the beginning only."""
    hidden = (table[:, 0] < 0) & (table[:, 0] != _NO_TIME)
    return table if hidden.all() else table[~hidden]


def _without_gaps(
    table: NDArray[np.int64], edits: Sequence[Edit], unit: Fraction | None
) -> NDArray[np.int64]:
    """Rows without those within an edit that shows nothing: FFmpeg gives hidden pictures there."""
    if unit is None:
        return table
    for edit in edits:
        if edit.media_s is None:
            begin, end = ceil(edit.begin_s / unit), ceil(edit.end_s / unit)
            table = table[(table[:, 0] < begin) | (table[:, 0] >= end)]
    return table


def _decodable_alone(part: NDArray[np.int64], intra_only: bool) -> NDArray[np.int64]:
    """Rows from the first key frame on, without those that are shown before it."""
    if intra_only or not part[:, 3].any():
        return part
    part = part[int(np.argmax(part[:, 3] > 0)) :]
    shown: NDArray[np.int64] = part[part[:, 0] >= part[0, 0]]
    return shown


def _shown(count: Counter, packet: Packet[Any]) -> int:
    try:
        return count(bytes(packet))
    except IndexError:  # a header that breaks off: the decoder will say so
        return 1


def _missing_bytes(path: Path) -> str | None:
    """Matroska, WebM and AVI state their length in the head of the file."""
    with path.open("rb") as file:
        head = file.read(4096)
    at = head.find(_SEGMENT)
    if head.startswith(b"RIFF") and len(head) > 8:
        end = 8 + int.from_bytes(head[4:8], "little")
        live = end == 8
    elif head.startswith(_EBML) and 0 <= at < len(head) - 12 and head[at + 4]:
        octets = 9 - head[at + 4].bit_length()
        unknown = (1 << 7 * octets) - 1  # all ones
        length = int.from_bytes(head[at + 4 : at + 4 + octets], "big") & unknown
        end = at + 4 + octets + length
        live = length == unknown
    else:
        return None
    missing = end - path.stat().st_size
    return f"{missing:,} bytes are missing at the end" if missing > 0 and not live else None


def _unit(stream: VideoStream) -> int:
    """Length of a frame at the stream's average rate, in units of its time base."""
    rate = stream.average_rate or stream.guessed_rate
    return max(round(1 / (rate * stream.time_base)), 1) if rate and stream.time_base else 1


def _times(table: NDArray[np.int64], unit: int, path: Path, breaks_off: str | None) -> PacketIndex:
    """Columns of ``table``: pts, dts, duration, key; in the order of the file."""
    pts, dts, durations = table[:, 0], table[:, 1], np.where(table[:, 2] > 0, table[:, 2], unit)
    order = np.argsort(pts, kind="stable")
    if pts[order[0]] != _NO_TIME and bool((np.diff(pts[order]) > 0).all()):
        times = pts[order]
        keys = table[order][table[order, 3] > 0, :2]
        keys[:, 1] = np.where(keys[:, 1] == _NO_TIME, keys[:, 0], keys[:, 1])
        last, ends_with = int(durations[order[-1]]), int(pts[-1])
        return PacketIndex(times, last, keys, derived=False, breaks_off=breaks_off, ends_with=ends_with)
    by_decoding = pts[order[0]] == _NO_TIME and bool((dts != _NO_TIME).all())
    if pts[order[0]] != _NO_TIME:
        what, times = "repeated times: each is moved behind the one before", pts[order]
    elif by_decoding:
        what, times = "no presentation times: they are taken from the decoding times", np.sort(dts)
    else:
        what, times = "no times: they are taken from the frame rate", np.cumsum(durations) - durations[0]
    warned(log, "%s has %s", path.name, what)
    none = np.zeros((0, 2), np.int64)
    times, last = _strictly_ascending(times), int(durations[-1])
    return PacketIndex(times, last, none, derived=True, breaks_off=breaks_off, by_decoding=by_decoding)


def _filled(part: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """The table with all presentation times where some pictures lack theirs, as in MPEG-PS; the same one
    where that fails. A key frame without a time is none any more: nobody finds it by its time.

    At a constant delay a picture is decoded when an earlier one is shown: the decoding times but the first
    ones are presentation times, of all pictures but the last ones. A picture that nothing refers to is shown
    when it is decoded.
    """
    pts, dts = part[:, 0], np.sort(part[:, 1])
    missing = np.flatnonzero(pts == _NO_TIME)
    known = np.unique(pts[pts != _NO_TIME])
    if not len(missing) or not len(known) or dts[0] == _NO_TIME:
        return part
    delay = int(np.searchsorted(dts, known[0]))
    free = np.setdiff1d(dts[delay:], known)
    last = max(int(dts[-1]), int(known[-1])) + unit * np.arange(1, len(missing) - len(free) + 1)
    told = np.isin(known, dts[delay:]).sum() >= len(known) - delay
    if delay > _DELAY_FRAMES or not told or len(free) + len(last) != len(missing) or len(last) > delay:
        return part
    made, own = part.copy(), np.isin(part[missing, 1], free)
    made[missing, 3] = 0
    made[missing[own], 0] = part[missing[own], 1]
    made[missing[~own], 0] = np.setdiff1d(np.concatenate([free, last]), part[missing[own], 1])
    return made


def _strictly_ascending(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest increase that leaves no two times equal."""
    steps = np.arange(len(times), dtype=np.int64)
    return np.maximum.accumulate(times - steps) + steps
