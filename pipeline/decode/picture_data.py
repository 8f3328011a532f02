"""What belongs to a picture and lies beside its samples: messages of H.264 and HEVC, user data of MPEG-2.

Captions (A53), dynamic tone mapping (HDR10+, HDR Vivid), ambient light, packing of stereo pictures, time
codes and Dolby Vision's RPU are told so. They are read from packets as they are, not interpreted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pipeline.decode.bits import length_size, nal_units, unescaped

CODECS = ("h264", "hevc", "mpeg2video", "mpeg1video")
"""Codecs that are read."""
HEAD_BYTES = 1 << 15
"""Messages stand before the first slice of a packet."""
_CARRIED = {4, 5, 45, 136, 147, 148, 149, 150, 151, 154, 155, 156}
"""SEI messages that mean the same in H.264 and HEVC, and in another encoding of the picture (annex D of
H.264 and H.265): registered and unregistered user data, frame packing, time code, transfer, ambient light,
colour volume, projections."""
_ENCODER_NOTES = (
    bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),
    bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"),
)
"""UUIDs under which x264 and x265 write their settings: of no use in what another encoder wrote."""
T35 = 4
_UNREGISTERED = 5
_RPU = 62
_CAPTIONS = re.compile(rb"\x00\x00\x01\xb2(GA94\x03.*?|DTG1.*?)(?=\x00\x00\x01)", re.DOTALL)
ATSC = b"\xb5\x00\x31"
"""T.35 codes of the country and of ATSC"""


@dataclass(frozen=True, slots=True)
class PictureData:
    """Of one picture."""

    messages: tuple[tuple[int, bytes], ...] = ()
    """SEI messages: payload type and payload."""
    rpu: bytes | None = None
    """Dolby Vision's NAL unit, with its header."""

    def without_private(self) -> PictureData:
        """Without messages of which only their writer knows what they tell (drones write places there)."""
        return replace(self, messages=tuple(m for m in self.messages if m[0] != _UNREGISTERED))

    def __bool__(self) -> bool:
        return bool(self.messages) or self.rpu is not None


def is_encoder_note(payload: bytes) -> bool:
    """True for unregistered user data in which an encoder names itself and its settings."""
    return payload[:16] in _ENCODER_NOTES


class PictureDataReader:
    """Reads the packets of one stream."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec = codec
        self._length = length_size(extradata, codec)

    def __call__(self, packet: bytes) -> PictureData:
        """What the packet carries; ``packet`` may be cut after ``HEAD_BYTES``, which loses an RPU."""
        if self._codec in {"mpeg2video", "mpeg1video"}:
            found = _CAPTIONS.findall(packet[:HEAD_BYTES])
            return PictureData(tuple((T35, ATSC + text) for text in found))
        messages: list[tuple[int, bytes]] = []
        rpu = None
        coded = False
        for unit in nal_units(packet, self._length):
            if len(unit) < 3:
                continue
            if self._codec == "h264":
                kind, head = unit[0] & 31, 1
                coded = coded or kind in range(1, 6)
                is_sei = kind == 6
            else:
                kind, head = unit[0] >> 1 & 63, 2
                coded = coded or kind < 32
                is_sei = kind == 39
            if is_sei:
                messages += _messages(unescaped(unit[head:]))
            elif kind == _RPU and self._codec == "hevc":
                rpu = unit
            elif coded and self._codec == "h264":
                break
        return PictureData(tuple(messages), rpu)


def _messages(data: bytes) -> list[tuple[int, bytes]]:
    """Those of an SEI unit's messages that are carried (H.264, 7.3.2.3)."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data) - 2:
        numbers = []
        for _ in range(2):
            value = 0
            while at < len(data) and data[at] == 255:
                value, at = value + 255, at + 1
            if at >= len(data):
                return found
            numbers.append(value + data[at])
            at += 1
        kind, size = numbers
        payload = data[at : at + size]
        at += size
        notes = kind == _UNREGISTERED and is_encoder_note(payload)
        if kind in _CARRIED and len(payload) == size and not notes:
            found.append((kind, payload))
    return found
