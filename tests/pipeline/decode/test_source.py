"""A source is looked at once: what it holds, and how often a run opens the file."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import pytest

from pipeline.decode import open_decoder
from pipeline.decode.source import open_source, probe
from pipeline.encode import EncodeSettings
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.verify import compare
from pipeline.errors import InputError
from pipeline.notes import collecting
from tests.support.clips import Extras, write_clip

FAST = EncodeSettings(preset="ultrafast")
FIELDS_UNKNOWN = "does not say which field comes first"


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was opened for reading, by its name."""
    counted: Counter[str] = Counter()
    opened = av.open

    def count(file: object, mode: str | None = None, *rest: object, **how: object) -> object:
        if isinstance(file, str) and mode in {None, "r"}:
            counted[Path(file).name] += 1
        return opened(file, mode, *rest, **how)  # type: ignore[call-overload]

    monkeypatch.setattr(av, "open", count)
    return counted


def test_all_that_is_known_of_a_file_comes_from_one_opening(tmp_path: Path, openings: Counter[str]) -> None:
    extras = Extras(metadata={"title": "one"}, second_video=(320, 240))
    clip = write_clip(tmp_path / "clip.mkv", frames=7, extras=extras)
    source = open_source(clip)
    assert openings["clip.mkv"] == 1
    assert source.path == clip
    assert source.metadata["title"] == "one"
    assert source.video_streams == 2
    assert list(source.packets.pts) == list(source.info.pts)
    assert source.info == probe(clip)


def test_a_decoder_of_a_source_opens_the_file_to_decode_and_no_more(
    tmp_path: Path, openings: Counter[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=7)
    source = open_source(clip)
    with open_decoder(source) as decoder:
        assert decoder.source is source
        assert len(list(decoder.frames())) == 7
    assert openings["clip.mp4"] == 2
    with open_decoder(str(clip)) as by_name:
        assert by_name.info == source.info


def test_the_order_of_fields_is_assumed_where_a_file_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads only is not warned of what the output would say."""
    clip = write_clip(tmp_path / "in.mkv", options={"preset": "ultrafast", "x264-params": "tff=1"})
    source = open_source(clip)
    unsaid = replace(source, tags=replace(source.tags, field_order=0))
    assert source.info.interlaced
    assert FIELDS_UNKNOWN not in caplog.text
    with (
        collecting() as notes,
        open_decoder(unsaid) as decoder,
        PyAVEncoder(unsaid, tmp_path / "out.mkv", FAST) as encoder,
    ):
        for frame in decoder.frames():
            encoder.write(frame)
        encoder.finish()
    assert [note for note in notes.warnings if FIELDS_UNKNOWN in note] == [
        f"in.mkv {FIELDS_UNKNOWN}; the top one is assumed"
    ]
    assert open_source(tmp_path / "out.mkv").tags.field_order == 2


def test_what_is_odd_about_an_output_is_no_warning_of_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / "in.mkv", extras=Extras(second_video=(64, 48)))
    source = open_source(clip)
    caplog.clear()
    with caplog.at_level(logging.INFO), collecting() as notes:
        compare(source, clip)
    assert notes.all == caplog.messages == []


def test_a_file_without_a_picture_is_refused_with_its_name(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=20)
    content = bytearray(clip.read_bytes())
    content[6000:] = bytes(len(content) - 6000)
    clip.write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.avi: no picture of stream 0 \(h264\) can be decoded"):
        open_source(clip)
