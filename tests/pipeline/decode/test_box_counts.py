"""An index that states more than a file can hold is refused before FFmpeg makes room for it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from pipeline.decode.box_counts import check_counts
from pipeline.decode.source import probe
from pipeline.errors import InputError, MissingError
from tests.support.boxes import replaced
from tests.support.clips import Audio, Extras, write_clip

MANY = 50_000_000
ONE_CHUNK = struct.pack(">IIIII", 0, 1, 1, MANY, 1)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    extras = Extras(audio=(Audio(codec="pcm_s16le"),))
    return write_clip(tmp_path / "in.mov", frames=8, width=64, height=48, extras=extras)


@pytest.mark.parametrize("track", [0, 1])
def test_more_samples_than_bytes_are_refused(clip: Path, track: int) -> None:
    replaced(clip, b"stsz", struct.pack(">III", 0, 1, MANY), track)
    replaced(clip, b"stsc", ONE_CHUNK, track)
    replaced(clip, b"stts", struct.pack(">IIII", 0, 1, MANY, 2), track)
    with pytest.raises(InputError, match=r"states 50,000,0\d\d samples"):
        probe(clip)


def test_pcm_is_counted_in_packets(clip: Path) -> None:
    check_counts(clip)
    replaced(clip, b"stsz", struct.pack(">III", 0, 2, 10_000_000), 1)  # a film that was cut off
    check_counts(clip)


def test_fragments_and_compressed_indices_are_counted(clip: Path, tmp_path: Path) -> None:
    run = struct.pack(">I4sII", 16, b"trun", 0, MANY)
    fragment = struct.pack(">I4s", 16 + len(run), b"moof") + struct.pack(">I4s", 8 + len(run), b"traf") + run
    whole = clip.read_bytes()
    clip.write_bytes(whole + fragment)
    with pytest.raises(InputError, match=r"states 50,000,0\d\d samples"):
        check_counts(clip)
    sizes = struct.pack(">I4sIII", 20, b"stsz", 0, 1, MANY)
    inner = zlib.compress(struct.pack(">I4s", 8 + len(sizes), b"trak") + sizes)
    packed = struct.pack(">I4sI", 12 + len(inner), b"cmvd", 100) + inner
    packed = struct.pack(">I4s", 8 + len(packed), b"cmov") + packed
    other = tmp_path / "packed.mov"
    other.write_bytes(struct.pack(">I4s", 8 + len(packed), b"moov") + packed)
    with pytest.raises(InputError, match=r"states 50,000,0\d\d samples"):
        check_counts(other)


def test_edits_without_end_are_refused(clip: Path) -> None:
    edit = struct.pack(">IiI", 320, 0, 1 << 16)
    replaced(clip, b"elst", struct.pack(">II", 0, 1 << 31) + edit * 2)  # FFmpeg reads two
    assert len(probe(clip).pts) > 0
    replaced(clip, b"elst", struct.pack(">II", 0, 200_000) + edit * 200_000)
    with pytest.raises(InputError, match="200,000 edits"):
        probe(clip)


def test_an_index_that_memory_does_not_hold_is_told(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.machine.memory_bytes", lambda: 1000)
    with pytest.raises(MissingError, match="an index of"):
        check_counts(clip)
