"""Dolby Vision's configuration: carried where the output's codec takes its metadata, else named."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pipeline.decode import open_decoder
from pipeline.decode.side_data import DOLBY_VISION
from pipeline.decode.source import open_source
from pipeline.encode import EncodeSettings
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.verify import compare
from tests.support.boxes import appended
from tests.support.clips import write_clip

pytestmark = pytest.mark.slow

PROFILE_5 = struct.pack(">I4sBBHB19x", 32, b"dvcC", 1, 0, 5 << 9 | 6 << 3 | 0b101, 0)
"""Level 6, with RPU and base layer, shown by nothing but Dolby Vision (green and purple elsewhere)"""


@pytest.mark.parametrize(
    ("codec", "entry", "suffix", "state"),
    [
        ("libx265", b"hev1", ".mp4", "kept"),
        ("libx265", b"hev1", ".mkv", "kept"),
        ("libx264", b"avc1", ".mp4", "lost"),
    ],
)
def test_the_configuration_is_carried_or_named(
    tmp_path: Path, codec: str, entry: bytes, suffix: str, state: str
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    clip = appended(write_clip(tmp_path / "in.mp4", frames=3, codec=codec, options=options), entry, PROFILE_5)
    source, output = open_source(clip), tmp_path / f"out{suffix}"
    assert "profile: 5" in source.side_data[DOLBY_VISION]
    with (
        open_decoder(source) as decoder,
        PyAVEncoder(source, output, EncodeSettings(preset="ultrafast")) as encoder,
    ):
        for frame in decoder.frames():
            encoder.write(frame)
        encoder.finish()
    (item,) = [item for item in compare(source, output).items if item.name == DOLBY_VISION]
    assert item.state.value == state
    assert (open_source(output).side_data.get(DOLBY_VISION) == source.side_data[DOLBY_VISION]) == (
        state == "kept"
    )
