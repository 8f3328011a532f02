"""The video of an output in segments that stand by themselves, so that a run that goes on keeps those it has.

The encoder is opened anew for each segment, which therefore begins with a key frame and refers to nothing
before it. The packets of a segment that has ended are written to a file of their own, with a checksum. They
go into the output in the same form whether they come from the encoder or from the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal
from av.video.frame import VideoFrame

from pipeline.answers import Answers
from pipeline.encode.atomic_file import sync_folder
from pipeline.encode.video_track import VideoTrack
from pipeline.errors import OutputError

LEAST_FRAMES = 10
"""Of a segment; the last one has half of it at least. Of fewer than five x265 gives no decoding times."""
_MOST_BYTES = 256 << 20
"""Of the pictures of a segment whose codec keeps each whole: its packets are held in memory."""
_PIXEL_BYTES = 6
"""Of a coded pixel at most."""
_CARRIED = ("matroska_block_additional",)
"""Data beside a packet that containers write: the alpha plane of VP8 and VP9."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A packet of the encoder. Times in the track's time base."""

    data: bytes
    pts: int
    dts: int
    key: bool
    beside: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, packet: Packet[Any], dts: int) -> Coded:
        beside = tuple((s.data_type, bytes(s)) for s in packet.iter_sidedata() if s.data_type in _CARRIED)
        return cls(bytes(packet), packet.pts or 0, dts, packet.is_keyframe, beside)

    def packet(self, track: VideoTrack) -> Packet[Any]:
        """Of the output's stream."""
        packet: Packet[Any] = Packet(self.data)
        packet.stream, packet.time_base = track.stream, track.time_base
        packet.pts, packet.dts, packet.is_keyframe = self.pts, self.dts, self.key
        for kind, data in self.beside:
            side: Any = PacketSideData(packet_sidedata_type_from_literal(kind), len(data))  # type: ignore[call-arg,arg-type]
            side.update(data)
            packet.set_sidedata(side)
        return packet


class Segments:
    """The files of the segments of one output, in a folder that belongs to it."""

    def __init__(self, folder: Path, pts: Sequence[int], segment_frames: int, answers: Answers) -> None:
        """``pts``: of the frames of the output, ascending. ``answers``: what its pictures depend on, which is
        brought to disk before they are."""
        self._folder = folder
        self._answers = answers
        self._length = segment_frames
        self.pts = pts
        self.ends: list[int] = []
        """Position after each segment's last frame, once ``begin`` was called."""
        self._coder = ""
        self._count = 0

    @property
    def count(self) -> int:
        """Segments that have ended."""
        return self._count

    @property
    def frames_kept(self) -> int:
        """Frames of the output whose packets are on disk."""
        return self.ends[self._count - 1] if self._count else 0

    def begin(self, coder: str, most_frames: int | None = None) -> None:
        """Looks through what is there. ``coder`` says how packets are coded. The first segment of another
        one, or that is not whole, is removed with all that follow. ``most_frames``: of a segment, about."""
        self._coder, self._count = coder, 0
        length = max(min(self._length, most_frames or self._length), LEAST_FRAMES)
        count = max((len(self.pts) + length // 2) // length, 1)
        self.ends = [*(length * number for number in range(1, count)), len(self.pts)]
        while self._count < len(self.ends) and self._is_believed(self._count):
            self._count += 1
        kept = {self._path(number) for number in range(self._count)}
        for path in set(self._folder.glob("*.segment*")) - kept:
            path.unlink()

    def read(self, number: int) -> list[Coded]:
        """Of a segment that has ended. Raises OutputError where the file is not what it was."""
        head, payload = self._read(number)
        if head is None:
            raise OutputError(f"{self._path(number)} was changed while it was in use; run the command again")
        return _packets(head["packets"], payload)

    def put(self, packets: Sequence[Coded]) -> None:
        """The next segment, on disk when this returns. Raises OSError."""
        rows = [
            [len(p.data), p.pts, p.dts, p.key, [[kind, len(data)] for kind, data in p.beside]]
            for p in packets
        ]
        head = {"coder": self._coder, "answers": self._answers.sync(), "packets": rows}
        parts = [json.dumps(head).encode() + b"\n"]
        parts += [part for p in packets for part in (p.data, *(data for _, data in p.beside))]
        path = self._path(self._count)
        part = path.with_suffix(".segment-part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_digest(parts))
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(self._folder)
        self._count += 1

    def _is_believed(self, number: int) -> bool:
        head, _ = self._read(number)
        return (
            head is not None
            and head["coder"] == self._coder
            and head["answers"] <= self._answers.believed_bytes
        )

    def _read(self, number: int) -> tuple[dict[str, Any] | None, bytes]:
        """What a segment's file says of its packets, and their bytes; None for one that is not there, or not
        whole."""
        with suppress(FileNotFoundError):
            digest, _, content = self._path(number).read_bytes().partition(b"\n")
            if digest + b"\n" == _digest([content]):
                line, _, payload = content.partition(b"\n")
                return json.loads(line), payload
        return None, b""

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.segment"


class SegmentedTrack:
    """Pictures in, packets of whole segments out."""

    def __init__(self, track: VideoTrack, segments: Segments, coder: str, shift_pts: int) -> None:
        """``coder``: name of the encoder. Times of packets are ``shift_pts`` below those of the frames."""
        self._track = track
        self._segments = segments
        self._shift_pts = shift_pts
        context = track.stream.codec_context
        extradata, codec = context.extradata or b"", track.coder.codec
        frame_bytes = _PIXEL_BYTES * track.coder.width * track.coder.height
        is_large = codec.intra_only or not codec.lossy
        segments.begin(
            f"{coder} {hashlib.sha256(extradata).hexdigest()}",
            _MOST_BYTES // frame_bytes + 1 if is_large else None,
        )
        self._kept = segments.frames_kept
        self._frames = 0
        """that have come"""
        self._number = 0
        """of the segment that the next frame belongs to"""
        self._is_used = False
        """the encoder has had a picture"""
        self._delay: int | None = None
        """frames by which decoding comes before showing"""
        self._packets: list[Packet[Any]] = []

    @property
    def is_kept(self) -> bool:
        """Whether the next frame's packets are there already."""
        return self._frames < self._kept

    def skip(self) -> list[Packet[Any]]:
        """Takes the next frame as coded. Packets of its segment, if it is the last one of it."""
        self._frames += 1
        if self._frames < self._segments.ends[self._number]:
            return []
        coded = self._segments.read(self._number)
        self._number += 1
        return self._out(coded)

    def encode(self, picture: VideoFrame | None) -> list[Packet[Any]]:
        """The same for a picture that is encoded. None: there are no more. Raises OSError."""
        if picture is None:
            return self._flushed() if self._packets or self._is_begun else []
        if not self._is_begun and self._is_used:
            self._track.renew()
        self._is_used = True
        self._packets += self._track.encode(picture)
        self._frames += 1
        return self._flushed() if self._frames == self._segments.ends[self._number] else []

    @property
    def _is_begun(self) -> bool:
        """Whether the segment has frames."""
        return self._frames > (self._segments.ends[self._number - 1] if self._number else 0)

    def _flushed(self) -> list[Packet[Any]]:
        packets, self._packets = [*self._packets, *self._track.encode(None)], []
        coded = self._timed(packets)
        self._segments.put(coded)
        self._number += 1
        return self._out(coded)

    def _timed(self, packets: Sequence[Packet[Any]]) -> list[Coded]:
        """Decoding times go on over the border: each is the pts of the frame ``_delay`` before, as the
        encoder has it within the first segment."""
        if self._number == 0:
            return [Coded.of(p, (p.pts or 0) if p.dts is None else p.dts) for p in packets]
        first, delay = self._segments.ends[self._number - 1], self._delay or 0
        times = self._segments.pts[first - delay : self._frames - delay]
        coded = [Coded.of(p, time - self._shift_pts) for p, time in zip(packets, times, strict=False)]
        if len(packets) != self._frames - first or any(packet.dts > packet.pts for packet in coded):
            raise OutputError(
                f"what encodes {self._track.codec} here cannot be parted in segments; leave --resume out"
            )
        return coded

    def _out(self, coded: Sequence[Coded]) -> list[Packet[Any]]:
        if self._delay is None:
            self._delay = sum(p.dts < self._segments.pts[0] - self._shift_pts for p in coded)
        return [packet.packet(self._track) for packet in coded]


def _packets(rows: Sequence[Sequence[Any]], payload: bytes) -> list[Coded]:
    packets, at = [], 0

    def taken(size: int) -> bytes:
        nonlocal at
        at += size
        return payload[at - size : at]

    for size, pts, dts, key, beside in rows:
        data = taken(size)
        packets.append(Coded(data, pts, dts, key, tuple((kind, taken(n)) for kind, n in beside)))
    return packets


def _digest(parts: Sequence[bytes]) -> bytes:
    """The first line of a file."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode() + b"\n"
