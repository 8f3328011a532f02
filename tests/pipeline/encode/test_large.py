"""What does not fit in 32 bits: offsets beyond 4 GB and times of long files in fine units."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.decode import open_decoder
from pipeline.decode.source import open_source, probe
from pipeline.encode import EncodeSettings
from pipeline.encode.faststart import index_first
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.verify import compare
from tests.support.clips import Audio, Extras, number_in, write_clip

pytestmark = pytest.mark.slow

HOLE = 9 << 29
"""4.5 GB, of which the disk stores nothing"""
_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


def _boxes(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append(data[at : at + size])
        at += size
    return found


def _behind(box: bytes, by: int) -> bytes:
    """The same index for media that lie ``by`` bytes further back, with offsets of 64 bits."""
    name = box[4:8]
    if name in _PARENTS:
        inner = b"".join(_behind(child, by) for child in _boxes(box[8:]))
        return struct.pack(">I4s", 8 + len(inner), name) + inner
    if name != b"stco":
        return box
    offsets = struct.unpack_from(f">{(len(box) - 16) // 4}I", box, 16)
    head = struct.pack(">I4sII", 16 + 8 * len(offsets), b"co64", 0, len(offsets))
    return head + struct.pack(f">{len(offsets)}Q", *(offset + by for offset in offsets))


def beyond_4_gb(path: Path) -> Path:
    """A clip with sound whose media lie behind a hole."""
    clip = write_clip(path.with_name("small.mp4"), extras=Extras(audio=[Audio()]))
    boxes = _boxes(clip.read_bytes())
    assert [box[4:8] for box in boxes] == [b"ftyp", b"free", b"mdat", b"moov"]
    with path.open("wb") as file:
        file.write(boxes[0])
        file.write(struct.pack(">I4sQ", 1, b"free", HOLE))
        file.seek(HOLE - 16, 1)
        file.write(b"".join(boxes[1:3]))
        file.write(_behind(boxes[3], HOLE))
    return path


def _copy(source: Path, output: Path) -> None:
    opened = open_source(source)
    with (
        open_decoder(opened) as decoder,
        PyAVEncoder(opened, output, EncodeSettings(preset="ultrafast")) as encoder,
    ):
        for frame in decoder.frames():
            encoder.write(frame)
        encoder.finish()
    assert not compare(opened, output).broken


def test_media_beyond_4_gb_are_read(tmp_path: Path) -> None:
    large = beyond_4_gb(tmp_path / "large.mp4")
    if large.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("this file system stores holes")
    _copy(large, tmp_path / "out.mp4")
    with open_decoder(tmp_path / "out.mp4") as decoder:
        assert [number_in(frame.planes[0].numpy()) for frame in decoder.frames()] == list(range(10))
    assert open_source(tmp_path / "out.mp4").info.pts == open_source(tmp_path / "small.mp4").info.pts


def test_an_index_whose_offsets_would_overflow_stays_where_it_is(tmp_path: Path) -> None:
    """Offsets of 32 bits that end just below 4 GB: the length of the index is too much for them."""
    path = write_clip(tmp_path / "clip.mp4")
    data = bytearray(path.read_bytes())
    table = data.index(b"stco")
    struct.pack_into(">I", data, table + 12, (1 << 32) - 100)
    path.write_bytes(data)
    assert not index_first(path)
    assert path.read_bytes() == bytes(data)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_beyond_32_bits_stay(tmp_path: Path, suffix: str) -> None:
    """15 hours in units of 100 ns."""
    unit = Fraction(1, 10**7)
    first, step = 15 * 3600 * 10**7, 400_000
    pts = [first + step * k for k in range(8)]
    clip = write_clip(tmp_path / f"in{suffix}", frames=8, time_base=unit, pts=pts)
    _copy(clip, tmp_path / f"out{suffix}")
    made = probe(tmp_path / f"out{suffix}")
    assert [time * made.time_base for time in made.pts] == [time * unit for time in pts]
