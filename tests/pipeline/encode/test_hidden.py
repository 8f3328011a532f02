"""What an edit list hides: left behind where faces are covered, said where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.config import RunConfig
from pipeline.decode.source import open_source
from pipeline.encode import EncodeSettings
from pipeline.notes import collecting
from pipeline.run.output import encode_settings
from tests.support.boxes import edited
from tests.support.clips import Audio, Extras, Subtitle, write_clip
from tests.support.remux import FAST, states, through

pytestmark = pytest.mark.slow

COVERING = replace(FAST, keep_streams=False, keep_metadata=False, keep_hidden=False)
PICTURE, SOUND = 12_800, 48_000
"""Units per second of the tracks of a clip."""


def trimmed(path: Path, edits: Sequence[tuple[int, float]], *, codec: str = "aac", frames: int = 75) -> Path:
    """A clip of 25 frames/s with sound, of which (milliseconds, from second on) each are shown."""
    extras = Extras(audio=(Audio(codec=codec),))
    write_clip(path, frames=frames, width=64, height=64, options={"bf": "0", "g": "10"}, extras=extras)
    for track, unit in enumerate((PICTURE, SOUND)):
        edited(path, [(length, round(begin * unit)) for length, begin in edits], track)
    return path


def packets(path: Path, kind: str, *, all_of_them: bool = False) -> list[tuple[float, bytes]]:
    """(seconds, bytes) of the packets that are shown, or of all that are in the file."""
    options = {"ignore_editlist": "1"} if all_of_them else {}
    with av.open(str(path), options=options) as container:
        stream: Any = next(stream for stream in container.streams if stream.type == kind)
        found = [packet for packet in container.demux(stream) if packet.size]
        return [(float(p.pts * p.time_base), bytes(p)) for p in found if all_of_them or not p.is_discard]


@pytest.mark.parametrize("audio", ["copy", "opus"])
@pytest.mark.parametrize(
    ("name", "codec", "edits"),
    [
        ("head.mp4", "aac", [(2000, 1.0)]),
        ("both.mp4", "aac", [(1000, 1.0)]),
        ("both.mov", "pcm_s16le", [(1000, 1.0)]),
        ("tail.mov", "aac", [(1000, 0.0)]),
        ("middle.mp4", "aac", [(480, 0.4), (480, 2.0)]),
    ],
)
def test_what_an_edit_list_hides_is_not_in_a_covered_file(
    tmp_path: Path, name: str, codec: str, edits: list[tuple[int, float]], audio: Any
) -> None:
    clip, out = trimmed(tmp_path / name, edits, codec=codec), tmp_path / f"out{Path(name).suffix}"
    if audio == "opus":
        out = out.with_suffix(".mkv")
    _, encoder, result = through(clip, out, replace(COVERING, audio=audio))
    shown_s = sum(length for length, _ in edits) / 1000
    assert len(packets(out, "video", all_of_them=True)) == round(shown_s * 25)
    sound = packets(out, "audio", all_of_them=True)
    assert shown_s - 0.16 < len(sound) * (1024 / SOUND if audio == "copy" else 0.02) < shown_s + 0.03
    inside = [
        data
        for time, data in packets(clip, "audio", all_of_them=True)
        if any(begin <= time and time + 1024 / SOUND <= begin + length / 1000 for length, begin in edits)
    ]
    copied = audio == "copy" and len(edits) == 1
    if copied:
        assert {data for _, data in sound} <= set(inside)
    removed = [sentence for sentence in encoder.removed if "edit list hides" in sentence]
    assert len(removed) == 1 and removed[0].startswith("audio stream 1")
    assert {"frames", "times", "audio stream 1 times"}.isdisjoint(states(result))
    assert states(result).get("audio stream 1") == (None if copied else "replaced")


def test_hidden_sound_of_a_file_that_is_not_covered_is_said(tmp_path: Path) -> None:
    clip = trimmed(tmp_path / "in.mp4", [(1000, 1.0)])
    source = open_source(clip)
    assert encode_settings(source, RunConfig(), "").keep_hidden
    assert not encode_settings(source, RunConfig(), "", covers=True).keep_hidden
    with collecting() as notes:
        _, encoder, _ = through(clip, tmp_path / "out.mp4", FAST)
    (said,) = [sentence for sentence in notes.warnings if "edit list" in sentence]
    assert "audio stream 1" in said and "0.98" in said
    assert not encoder.removed
    assert len(packets(tmp_path / "out.mp4", "video", all_of_them=True)) == 25


@pytest.mark.parametrize("settings", [FAST, COVERING])
def test_priming_is_no_hidden_sound(tmp_path: Path, settings: EncodeSettings) -> None:
    extras = Extras(audio=(Audio(),), subtitles=(Subtitle([(0.1, 0.3, "hallo")]),))
    clip = write_clip(tmp_path / "in.mp4", frames=10, width=64, height=64, extras=extras)
    with collecting() as notes:
        _, encoder, result = through(clip, tmp_path / "out.mp4", settings)
    assert result.broken == () and not encoder.removed
    assert not [sentence for sentence in notes.warnings if "edit list" in sentence]
    assert packets(tmp_path / "out.mp4", "audio") == packets(clip, "audio")


@pytest.mark.parametrize("settings", [FAST, COVERING])
def test_pictures_before_the_edit_of_a_fragmented_file_are_not_shown(
    tmp_path: Path, settings: EncodeSettings
) -> None:
    clip = write_clip(
        tmp_path / "in.mp4",
        frames=50,
        width=64,
        height=64,
        options={"bf": "0", "g": "10"},
        extras=Extras(audio=(Audio(),)),
        container_options={"movflags": "frag_keyframe+empty_moov+delay_moov"},
    )
    data, at = bytearray(clip.read_bytes()), 0
    for unit in (PICTURE, SOUND):
        at = data.index(b"elst", at + 1)
        data[at + 16 : at + 20] = unit.to_bytes(4, "big")  # the media's time at which the edit begins
    clip.write_bytes(data)
    _, _, result = through(clip, tmp_path / "out.mp4", settings)
    shown = packets(tmp_path / "out.mp4", "video", all_of_them=True)
    assert len(shown) == 25 and "frames" not in states(result)
    sound = {data for _, data in packets(tmp_path / "out.mp4", "audio", all_of_them=True)}
    early = {data for time, data in packets(clip, "audio", all_of_them=True) if time < 1}
    assert bool(sound & early) == settings.keep_hidden
