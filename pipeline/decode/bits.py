"""Bits of a header, most significant first, and the units that H.264 and HEVC put them in."""

from __future__ import annotations

import re
from collections.abc import Iterator

_START = re.compile(b"\x00\x00\x01")


class Bits:
    """Reads numbers from a header, from its first bit on. Raises IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def bit(self) -> int:
        """The next bit."""
        octet = self._data[self._at >> 3]
        value = octet >> (7 - (self._at & 7)) & 1
        self._at += 1
        return value

    def number(self, width: int) -> int:
        """The next ``width`` bits as a number without sign."""
        value = 0
        for _ in range(width):
            value = value << 1 | self.bit()
        return value

    def golomb(self) -> int:
        """An Exp-Golomb number, ue(v) of H.264 (9.1); se(v) is read by the same bits."""
        zeros = 0
        while not self.bit():
            zeros += 1
            if zeros > 32:
                raise IndexError("no Exp-Golomb number")
        return (1 << zeros) - 1 + self.number(zeros)


def length_size(extradata: bytes | None, codec: str) -> int:
    """Bytes of the length before each NAL unit, as avcC and hvcC tell it; 0 where start codes part them."""
    if not extradata or extradata[0] != 1:
        return 0
    at = 4 if codec == "h264" else 21
    return (extradata[at] & 3) + 1 if len(extradata) > at else 0


def nal_units(data: bytes, length: int) -> Iterator[bytes]:
    """NAL units of an access unit without their lengths (of ``length`` bytes) or start codes (0)."""
    if length == 0:
        begin = None
        for match in _START.finditer(data):
            if begin is not None:
                yield data[begin : match.start()].rstrip(b"\x00")
            begin = match.end()
        if begin is not None:
            yield data[begin:]
        return
    at = 0
    while at + length <= len(data):
        end = at + length + int.from_bytes(data[at : at + length], "big")
        yield data[at + length : end]
        at = end


def unescaped(unit: bytes) -> bytes:
    """A NAL unit without its emulation prevention bytes (H.264, 7.3.1)."""
    return unit.replace(b"\x00\x00\x03", b"\x00\x00")


def escaped(unit: bytes) -> bytes:
    """A NAL unit in which no start code can be seen."""
    out, zeros = bytearray(), 0
    for octet in unit:
        if zeros >= 2 and octet <= 3:
            out.append(3)
            zeros = 0
        out.append(octet)
        zeros = zeros + 1 if octet == 0 else 0
    return bytes(out)
