"""Carries what belongs to each picture from the source's packets to the encoder's."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard

from pipeline.decode.bits import escaped
from pipeline.decode.clock import Clock
from pipeline.decode.open import open_input
from pipeline.decode.picture_data import ATSC, T35, PictureData, PictureDataReader
from pipeline.decode.source import Source

CARRYING = ("h264", "hevc", "mpeg2video")
"""Codecs of outputs into which messages are put."""
_START = b"\x00\x00\x00\x01"
_UNIT = re.compile(b"\x00\x00\x01")


class PictureDataCarrier:
    """A reader of the source's packets, in step with the encoder's.

    It holds the data of pictures that the encoder has still to give: as many as either reorders.
    """

    def __init__(self, source: Source, start_pts: int | None) -> None:
        self._source = source
        self._clock = Clock(source.packets.pieces)
        self._waiting: dict[int, PictureData] = {}
        self._ended = False
        keys = source.packets.keys
        before = -1 if start_pts is None else int(np.searchsorted(keys[:, 0], start_pts, side="right")) - 1
        self._open()
        if before > 0 and not source.packets.pieces:
            stream = self._container.streams[source.info.stream_index]
            self._container.seek(int(keys[before, 1]), stream=stream)
            self._step()
            if min(self._waiting, default=keys[before, 0] + 1) > keys[before, 0]:  # the seek landed too late
                self._container.close()
                self._open()

    def _open(self) -> None:
        self._container = open_input(self._source.path)
        stream = self._container.streams[self._source.info.stream_index]
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        self._packets = self._container.demux(stream)
        self._read = PictureDataReader(self._source.info.codec, stream.codec_context.extradata)

    def of(self, pts: int, dts: int | None) -> PictureData:
        """What belongs to the picture that the source shows at ``pts``. Pictures decoded after ``dts`` are
        the only ones that are asked for later."""
        while pts not in self._waiting and not self._ended:
            self._step()
        found = self._waiting.pop(pts, PictureData())
        if dts is not None:
            for past in [time for time in self._waiting if time < dts]:
                del self._waiting[past]
        return found

    def close(self) -> None:
        """Let go of the source."""
        self._container.close()

    def _step(self) -> None:
        try:
            packet = next(self._packets, None)
        except FFmpegError:
            packet = None
        if packet is None or not packet.size:
            self._ended = packet is None
            return
        self._clock.move(packet)
        if packet.pts is not None:
            self._waiting[packet.pts] = self._read(bytes(packet))


def with_picture_data(packet: Packet[Any], data: PictureData, codec: str) -> Packet[Any]:
    """The packet of H.264, HEVC or MPEG-2 (``codec``, parted by start codes) with messages before its first
    slice. MPEG-2 takes captions and AFD."""
    if not data:
        return packet
    coded = bytes(packet)
    before = _first_slice(coded, codec)
    unit = _user_data(data) if codec == "mpeg2video" else _sei(data, codec)
    after = _START + data.rpu if data.rpu is not None and codec == "hevc" else b""
    return _with_bytes(packet, coded[:before] + unit + coded[before:] + after)


def padded(packet: Packet[Any], size: int) -> Packet[Any]:
    """The packet with zeros up to ``size`` bytes, which may stand before any start code."""
    coded = bytes(packet)
    return packet if len(coded) >= size else _with_bytes(packet, coded.ljust(size, b"\0"))


def _with_bytes(packet: Packet[Any], data: bytes) -> Packet[Any]:
    made: Packet[Any] = Packet(data)
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.time_base, made.is_keyframe = packet.time_base, packet.is_keyframe
    made.stream = packet.stream
    return made


def _sei(data: PictureData, codec: str) -> bytes:
    messages = b"".join(_message(kind, payload) for kind, payload in data.messages)
    if not messages:
        return b""
    head = b"\x06" if codec == "h264" else bytes((39 << 1, 1))
    return _START + head + escaped(messages + b"\x80")


def _user_data(data: PictureData) -> bytes:
    """ATSC A/53 part 4, 6.2.3: what an SEI message of ATSC's holds, as user data of MPEG-2."""
    of_atsc = [payload for kind, payload in data.messages if kind == T35 and payload.startswith(ATSC)]
    return b"".join(_UNIT.pattern + b"\xb2" + payload[len(ATSC) :] for payload in of_atsc)


def _first_slice(data: bytes, codec: str) -> int:
    """Where the start code of the first slice begins."""
    for match in _UNIT.finditer(data):
        if match.end() >= len(data):
            break
        head = data[match.end()]
        if codec == "mpeg2video":
            is_slice = 1 <= head <= 0xAF
        else:
            is_slice = head & 31 in range(1, 6) if codec == "h264" else (head >> 1 & 63) < 32
        if is_slice:
            at = match.start()
            return at - 1 if at and data[at - 1] == 0 else at
    return len(data)


def _message(kind: int, payload: bytes) -> bytes:
    size = b"\xff" * (len(payload) // 255) + bytes((len(payload) % 255,))
    return bytes((kind,)) + size + payload
