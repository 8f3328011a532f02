"""How many pictures a decoder gives for a packet, read from the packet's own headers.

Most packets hold one picture. Some show nothing: hidden references of VP8, VP9 and AV1, VOPs of MPEG-4 that
are not coded. Others hold two (packed B-VOPs), or half of one (a field of H.264).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pipeline.decode.bits import Bits, length_size, nal_units, unescaped

Counter = Callable[[bytes], int]
"""Packet -> pictures that it shows: 0, 1 or 2."""

_H264_SLICES = {1, 2, 5}
_H264_SPS = 7
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
"""That state their chroma format in the sequence's parameters (H.264, 7.3.2.1.1)"""
_VOP = re.compile(b"\x00\x00\x01\xb6")
_SEQUENCE = re.compile(b"\x00\x00\x01[\x07\x27\x47\x67]")
_LOOK_BYTES = 1024
"""Parameters of a sequence stand at the head of a packet."""
_AV1_FRAMES = {3, 6}
"""OBUs that begin with a frame header: OBU_FRAME_HEADER, OBU_FRAME"""


def picture_counter(codec: str, extradata: bytes | None) -> Counter | None:
    """A function to be called with each packet of a stream, in order; None where each is one picture."""
    head = extradata or b""
    match codec:
        case "vp8":
            return lambda data: data[0] >> 4 & 1
        case "vp9" | "libvpx-vp9":
            return _vp9
        case "av1" | "libdav1d":
            return _av1
        case "mpeg4":
            return _Mpeg4(head)
        case "h264":
            return _H264(head)
    return None


def _vp9(data: bytes) -> int:
    return min(sum(_vp9_shows(frame) for frame in _vp9_frames(data)), 1)


def _vp9_frames(data: bytes) -> Iterator[bytes]:
    """Frames of a superframe (VP9 bitstream specification, annex B)."""
    mark = data[-1]
    count, width = (mark & 7) + 1, (mark >> 3 & 3) + 1
    size = 2 + count * width
    if mark & 0xE0 != 0xC0 or len(data) < size or data[-size] != mark:
        yield data
        return
    at = 0
    for k in range(count):
        place = len(data) - size + 1 + k * width
        length = int.from_bytes(data[place : place + width], "little")
        if length:
            yield data[at : at + length]
        at += length


def _vp9_shows(frame: bytes) -> int:
    bits = Bits(frame)
    bits.number(2)
    if bits.number(2) == 3:  # both bits of the profile
        bits.bit()
    if bits.bit():  # show_existing_frame
        return 1
    bits.bit()
    return bits.bit()


def _av1(data: bytes) -> int:
    """AV1 bitstream specification, 5.3 and 5.9.2; a packet without a frame header is taken for a picture."""
    at, seen = 0, False
    while at < len(data):
        head = data[at]
        kind, extended, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        at += 1 + extended
        length = len(data) - at
        if sized:
            length, at = _leb128(data, at)
        if kind in _AV1_FRAMES and length:
            seen = True
            bits = Bits(data[at : at + 1])
            if bits.bit() or (bits.number(2), bits.bit())[1]:
                return 1
        at += length
    return 0 if seen else 1


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[at]
        value |= (octet & 127) << shift
        at, shift = at + 1, shift + 7
        if octet < 128:
            return value, at


class _Mpeg4:
    """MPEG-4 part 2: ISO/IEC 14496-2, 6.2.3 and 6.2.5."""

    def __init__(self, extradata: bytes) -> None:
        self._time_bits = 0
        self._waiting = 0
        self._look_for_layer(extradata)

    def __call__(self, data: bytes) -> int:
        self._look_for_layer(data)
        vops = [match.end() for match in _VOP.finditer(data)]
        if not vops:
            return 1
        coded = sum(self._is_coded(data[at : at + 20]) for at in vops)
        if coded > 1:  # a packed B-VOP, whose place is held by a VOP that is not coded
            self._waiting += coded - 1
        elif coded == 0 and self._waiting:
            self._waiting -= 1
            return 1
        return min(coded, 1)

    def _is_coded(self, vop: bytes) -> bool:
        if not self._time_bits:
            return True
        bits = Bits(vop)
        bits.number(2)
        while bits.bit():
            pass
        bits.number(1 + self._time_bits + 1)
        return bool(bits.bit())

    def _look_for_layer(self, data: bytes) -> None:
        at = data.find(b"\x00\x00\x01")
        while 0 <= at < len(data) - 4:
            if data[at + 3] & 0xF0 == 0x20:
                self._time_bits = max(_time_resolution(Bits(data[at + 4 : at + 40])) - 1, 1).bit_length()
                return
            at = data.find(b"\x00\x00\x01", at + 3)


def _time_resolution(bits: Bits) -> int:
    """vop_time_increment_resolution of a video object layer."""
    bits.number(9)
    version = 1
    if bits.bit():
        version = bits.number(4)
        bits.number(3)
    if bits.number(4) == 15:  # aspect_ratio_info
        bits.number(16)
    if bits.bit():  # vol_control_parameters
        bits.number(3)
        if bits.bit():
            bits.number(79)
    if bits.number(2) == 3 and version != 1:
        bits.number(4)
    bits.bit()
    return bits.number(16)


class _H264:
    """H.264 where each field has its own packet: the second field of a picture shows nothing new."""

    def __init__(self, extradata: bytes) -> None:
        self._length = length_size(extradata, "h264")
        self._frames_only = True
        self._separate_planes = False
        self._number_bits = 0
        self._field: tuple[int, int] | None = None
        """frame_num and parity of a first field whose second has not come"""
        if self._length:
            at = 6
            for _ in range(extradata[5] & 31 if len(extradata) > 5 else 0):
                size = int.from_bytes(extradata[at : at + 2], "big")
                self._read_sequence(extradata[at + 2 : at + 2 + size])
                at += 2 + size
        else:
            self._look_for_sequence(extradata)

    def __call__(self, data: bytes) -> int:
        if self._frames_only and (self._length or not _SEQUENCE.search(data[:_LOOK_BYTES])):
            return 1
        for unit in nal_units(data, self._length):
            kind = unit[0] & 31 if unit else 0
            if kind == _H264_SPS:
                self._read_sequence(unit)
            elif kind in _H264_SLICES:
                return 1 if self._frames_only else int(self._begins_picture(unit))
        return 1

    def _look_for_sequence(self, data: bytes) -> None:
        for unit in nal_units(data, 0):
            if unit and unit[0] & 31 == _H264_SPS:
                self._read_sequence(unit)

    def _begins_picture(self, unit: bytes) -> bool:
        """H.264, 7.3.3 and 7.4.1.2.4: true for a frame and a first field, by their first slice."""
        bits = Bits(unescaped(unit[1:40]))
        if bits.golomb():  # first_mb_in_slice
            return False
        bits.golomb()
        bits.golomb()
        bits.number(2 if self._separate_planes else 0)
        number = bits.number(self._number_bits)
        if not bits.bit():  # field_pic_flag
            self._field = None
            return True
        bottom = bits.bit()
        if self._field == (number, 1 - bottom):
            self._field = None
            return False
        self._field = number, bottom
        return True

    def _read_sequence(self, unit: bytes) -> None:
        """H.264, 7.3.2.1.1, up to frame_mbs_only_flag."""
        bits = Bits(unescaped(unit[1:]))
        profile = bits.number(8)
        bits.number(16)
        bits.golomb()
        self._separate_planes = False
        if profile in _HIGH_PROFILES:
            chroma = bits.golomb()
            self._separate_planes = chroma == 3 and bool(bits.bit())
            bits.golomb()
            bits.golomb()
            bits.bit()
            if bits.bit():
                for k in range(8 if chroma != 3 else 12):
                    if bits.bit():
                        _skip_scaling_list(bits, 16 if k < 6 else 64)
        self._number_bits = bits.golomb() + 4
        order = bits.golomb()
        if order == 0:
            bits.golomb()
        elif order == 1:
            bits.bit()
            bits.golomb()
            bits.golomb()
            for _ in range(bits.golomb()):
                bits.golomb()
        bits.golomb()
        bits.bit()
        bits.golomb()
        bits.golomb()
        self._frames_only = bool(bits.bit())


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + (-(code >> 1) if code % 2 == 0 else (code + 1) >> 1)) % 256
        last = following or last
