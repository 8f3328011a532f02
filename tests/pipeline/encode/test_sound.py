"""Sound that is cut within its packets, or encoded anew: to the sample where the codec allows, in its place
where it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.decode.edit_lists import Edit, several_edits
from pipeline.decode.source import open_source
from pipeline.encode import EncodeSettings
from pipeline.encode.cut import WHOLE, Cut
from pipeline.encode.shown_sound import continuous, shown_sound
from pipeline.encode.sound import codec_anew
from pipeline.encode.verify import compare
from pipeline.encode.waveform import compare_heard
from pipeline.errors import UsageError
from pipeline.run.job import Job
from pipeline.run.output import refuse_silence
from tests.support.boxes import edited
from tests.support.clips import AUDIO_RATE, Audio, Extras, number_in, tone_of, write_clip
from tests.support.remux import FAST, states, through

pytestmark = pytest.mark.slow

SMALL = {"width": 64, "height": 64}
PICTURE_UNIT, SOUND_UNIT = 12_800, 48_000
JOINTS: Sequence[tuple[tuple[int, float | None], ...]] = (
    ((400, 0.0), (480, 0.8)),
    ((480, 0.8), (400, 0.0)),
    ((400, 0.0), (80, None), (400, 1.0)),
    ((120, None), (240, 0.52), (600, 0.2)),
    ((200, 0.04), (200, 0.04), (200, 0.04)),
)
"""Edits: milliseconds, and where they begin in the film in seconds; None for nothing."""


def sounding(path: Path, codec: str, seconds: float = 1.6, **more: Any) -> tuple[Path, NDArray[np.float32]]:
    """A clip with a tone that rises, and its samples."""
    track = Audio(codec=codec, hertz=300, rise=1500, **more)
    frames = round(seconds * 25)
    write_clip(
        path, frames=frames, width=64, height=64, options={"bf": "0", "g": "5"}, extras=Extras(audio=(track,))
    )
    return path, tone_of(track, round(seconds * AUDIO_RATE))


def with_edits(path: Path, edits: Sequence[tuple[int, float | None]], priming: int = 0) -> None:
    for track, unit, first in ((0, PICTURE_UNIT, 0), (1, SOUND_UNIT, priming)):
        edited(path, [(ms, -1 if at is None else first + round(at * unit)) for ms, at in edits], track)


def meant(tone: NDArray[np.float32], edits: Sequence[tuple[int, float | None]]) -> NDArray[np.float32]:
    """The samples that the edits show, from the first that shows any on."""
    parts = []
    for ms, at in edits:
        first = round((at or 0) * AUDIO_RATE)
        silent = np.zeros(ms * AUDIO_RATE // 1000, np.float32)
        parts.append(silent if at is None else tone[first : first + len(silent)])
    return np.concatenate(parts[1:] if edits[0][1] is None else parts)


def decoded(path: Path) -> tuple[NDArray[np.float64], float]:
    """Samples from -1 to 1, and the time of the first in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    first = frames[0]
    assert first.pts is not None and first.time_base is not None
    scale = {"s16": 32768, "s32": 2**31, "flt": 1}[first.format.name.rstrip("p")]
    samples = np.concatenate([frame.to_ndarray().ravel() for frame in frames]) / scale
    return samples, float(first.pts * first.time_base)


def alike(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Correlation within the millisecond that Matroska counts in."""
    inner = ours[48:-48]
    found: float = np.correlate(theirs, inner, "valid").max()
    return found / float(np.linalg.norm(inner) * np.linalg.norm(theirs))


@pytest.mark.parametrize("edits", JOINTS)
@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_pcm_of_several_edits_is_whole_and_in_its_place(
    tmp_path: Path, edits: Sequence[tuple[int, float | None]], suffix: str
) -> None:
    clip, tone = sounding(tmp_path / "in.mov", "pcm_s16le")
    with_edits(clip, edits)
    _, encoder, result = through(clip, tmp_path / f"out{suffix}")
    assert states(result) == {"audio stream 1": "replaced"} and encoder.lost_sound == ()
    samples, start_s = decoded(tmp_path / f"out{suffix}")
    wanted = meant(tone, edits)
    assert len(samples) == len(wanted)
    assert np.abs(samples - wanted).max() < 1e-4
    assert start_s == pytest.approx((edits[0][0] / 1000) if edits[0][1] is None else 0.0, abs=0.001)


@pytest.mark.parametrize("edits", JOINTS)
@pytest.mark.parametrize(
    ("codec", "audio", "suffix"), [("aac", "copy", ".mp4"), ("aac", "opus", ".mkv"), ("mp3", "copy", ".mov")]
)
def test_other_sound_of_several_edits_is_encoded_anew_in_its_place(
    tmp_path: Path, edits: Sequence[tuple[int, float | None]], codec: str, audio: Any, suffix: str
) -> None:
    clip, tone = sounding(tmp_path / "in.mp4", codec)
    with_edits(clip, edits, priming=1024 if codec == "aac" else 1105)
    out = tmp_path / f"out{suffix}"
    _, encoder, result = through(clip, out, replace(FAST, audio=audio))
    assert states(result) == {"audio stream 1": "replaced"}
    assert bool([s for s in encoder.lost if "encoded anew" in s]) == (audio == "copy")
    wanted = meant(tone, edits)
    samples, start_s = decoded(out)
    first = round((start_s - (edits[0][0] / 1000 if edits[0][1] is None else 0)) * AUDIO_RATE)
    samples = samples[max(-first, 0) :][: len(wanted)]
    wanted = wanted[max(first, 0) :][: len(samples)]
    assert len(samples) > len(wanted) - 2500
    for at in range(0, len(samples) - 4800, 4800):
        ours, theirs = wanted[at : at + 4800], samples[at : at + 4800]
        if np.abs(ours).max() > 0:
            assert alike(ours, theirs) > 0.7, at


@pytest.mark.parametrize(
    ("codec", "suffix"), [("pcm_s16le", ".mov"), ("pcm_s24le", ".mkv"), ("alac", ".mp4"), ("flac", ".mkv")]
)
def test_lossless_sound_is_cut_to_the_sample(tmp_path: Path, codec: str, suffix: str) -> None:
    clip, tone = sounding(tmp_path / f"in{suffix}", codec)
    pts = open_source(clip).info.pts
    out = tmp_path / f"out{suffix}"
    _, _, result = through(clip, out, start_pts=pts[7], end_pts=pts[24])
    assert states(result) == {"audio stream 1": "replaced"}
    samples, start_s = decoded(out)
    first, end = (round(number * AUDIO_RATE / 25) for number in (7, 24))
    assert start_s == pytest.approx(0, abs=0.001)
    assert abs(len(samples) - (end - first)) <= 24  # Matroska's millisecond
    best = min(
        float(np.abs(samples[:9600] - tone[first + lag : first + lag + 9600]).max()) for lag in range(-24, 25)
    )
    assert best < 1e-3


def test_lost_packets_of_sound_that_is_encoded_anew_are_silent(tmp_path: Path) -> None:
    clip, tone = sounding(tmp_path / "in.mkv", "pcm_s16le")
    holed, out = tmp_path / "holed.mkv", tmp_path / "out.mp4"
    with av.open(str(clip)) as before, av.open(str(holed), "w") as after:
        made = {s.index: after.add_stream_from_template(s, opaque=True) for s in before.streams}
        for packet in before.demux():
            time_s = (packet.pts or 0) * packet.time_base
            if packet.size and not (packet.stream.type == "audio" and 0.3 < time_s < 0.6):
                packet.stream = made[packet.stream.index]
                after.mux(packet)
    _, _, result = through(holed, out, replace(FAST, audio="aac"))
    assert states(result) == {"audio stream 1": "replaced"}
    samples, start_s = decoded(out)
    late = tone[round(AUDIO_RATE * 0.9) :][:9600]
    at = round((0.9 - start_s) * AUDIO_RATE)
    found = samples[at : at + 9600]
    assert alike(late, found) > 0.7


@pytest.mark.parametrize("late_ms", [0, 40])
def test_sound_that_is_encoded_anew_at_another_time_is_not_kept(tmp_path: Path, late_ms: int) -> None:
    clip, _ = sounding(tmp_path / "in.mkv", "flac", seconds=3)
    settings = replace(FAST, audio="opus")
    through(clip, tmp_path / "out.mkv", settings)
    moved = tmp_path / "moved.mkv"
    with av.open(str(tmp_path / "out.mkv")) as before, av.open(str(moved), "w") as after:
        made = {s.index: after.add_stream_from_template(s, opaque=True) for s in before.streams}
        for packet in before.demux():
            if packet.size:
                if packet.stream.type == "audio" and (packet.pts or 0) * packet.time_base > 1.5:
                    packet.pts = packet.dts = (packet.pts or 0) + late_ms
                packet.stream = made[packet.stream.index]
                after.mux(packet)
    found = states(compare(open_source(clip), moved, settings))
    assert found.get("audio stream 1 times", "kept") == ("changed" if late_ms else "kept")


def test_a_comparison_by_ear_finds_what_is_missing_and_what_is_moved(tmp_path: Path) -> None:
    clip, _ = sounding(tmp_path / "in.mkv", "flac", seconds=3)

    def part(start: float | None = None, end: float | None = None, shift: float = 0) -> Iterator[Any]:
        times = [None if t is None else Fraction(t) for t in (start, end)]
        return continuous(shown_sound(clip, 1), Cut(times[0], times[1], Fraction(shift)))

    assert compare_heard(part(), part()).off == 0
    assert not compare_heard(part(), part(end=2)).same
    assert not compare_heard(part(end=2), part()).same
    moved = compare_heard(part(), part(shift=-0.03))
    assert not moved.same and moved.shift_s == pytest.approx(0.03, abs=0.001)


def test_edits_that_part_nothing_are_none(tmp_path: Path) -> None:
    clip, _ = sounding(tmp_path / "in.mov", "pcm_s16le")
    assert several_edits(clip) == {}
    for edits in ([(400, 0.0), (400, 0.4)], [(120, None), (400, 0.2)], [(400, 0.2), (120, None)]):
        with_edits(clip, edits)
        assert several_edits(clip) == {}
    with_edits(clip, [(400, 0.0), (80, None), (400, 1.0)])
    half = Fraction(2, 5)
    assert several_edits(clip)[2] == (
        Edit(Fraction(0), half, Fraction(0)),
        Edit(half, Fraction(12, 25), None),
        Edit(Fraction(12, 25), Fraction(22, 25), Fraction(1)),
    )


def test_which_sound_is_encoded_anew() -> None:
    assert codec_anew("aac", "copy", joined=False, is_cut=True) is None
    assert codec_anew("aac", "aac", joined=False, is_cut=True) is None
    assert codec_anew("aac", "opus", joined=False, is_cut=False) == "opus"
    assert codec_anew("aac", "copy", joined=True, is_cut=False) == "aac"
    assert codec_anew("dts", "copy", joined=True, is_cut=False) == "aac"
    assert codec_anew("pcm_s24be", "copy", joined=False, is_cut=True) == "pcm_s24be"
    assert codec_anew("pcm_s24be", "copy", joined=False, is_cut=False) is None
    assert WHOLE.is_part is False


@pytest.mark.parametrize(
    "edits", [((200, 0), (200, 10)), ((200, 10), (200, 0)), ((120, -1), (200, 4), (160, 12))]
)
@pytest.mark.parametrize("start", [None, 6])
def test_several_edits_of_each_track_are_carried(
    tmp_path: Path, edits: tuple[tuple[int, int], ...], start: int | None
) -> None:
    clip = write_clip(
        tmp_path / "in.mp4",
        frames=20,
        options={"bf": "0", "g": "5"},
        extras=Extras(audio=(Audio(),)),
        **SMALL,
    )
    for track, unit, first in ((0, 512, 0), (1, 1920, 1024)):
        edited(clip, [(length, -1 if k < 0 else first + k * unit) for length, k in edits], track)
    source = open_source(clip)
    expected = [k + n for length, k in edits if k >= 0 for n in range(length // 40)]
    cut = {} if start is None else {"start_pts": source.info.pts[start]}
    frames, _, result = through(clip, tmp_path / "out.mp4", **cut)
    assert [number_in(frame.planes[0].numpy()) for frame in frames] == expected[start or 0 :]
    assert states(result) == {"audio stream 1": "replaced"}


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        *(("pcm_s16le", ".mov"), ("adpcm_ima_wav", ".avi"), ("pcm_s24le", ".mkv"), ("pcm_s16be", ".mov")),
        *(("pcm_bluray", ".m2ts"), ("pcm_u8", ".avi")),
    ],
)
def test_pcm_is_compared_as_samples_and_decodes(tmp_path: Path, codec: str, suffix: str) -> None:
    clip = write_clip(
        tmp_path / f"in{suffix}",
        frames=10,
        extras=Extras(audio=(Audio(codec=codec),)),
        time_base=Fraction(1, 25),
        options={"bf": "0"},
        **SMALL,
    )
    _, _, result = through(clip, tmp_path / f"out{suffix}")
    assert result.broken == ()

    def samples(path: Path) -> bytes:
        with av.open(str(path)) as container:
            return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0))

    assert samples(tmp_path / f"out{suffix}") == samples(clip) != b""


def test_sound_that_no_reader_of_mpegts_would_know_is_lost_before_the_run(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", frames=5, extras=Extras(audio=(Audio(codec="flac"),)), **SMALL)
    _, encoder, result = through(clip, tmp_path / "out.ts")
    assert len(encoder.lost_sound) == 1
    assert states(result)["audio stream 1"] == "lost"


@pytest.mark.parametrize("suffix", [".mpg", ".ts", ".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("part", [3, 2])
def test_a_program_stream_that_begins_within_a_packet_of_sound(
    tmp_path: Path, suffix: str, part: int
) -> None:
    whole = write_clip(
        tmp_path / "whole.mpg",
        frames=50,
        codec="mpeg2video",
        time_base=Fraction(1, 25),
        extras=Extras(audio=(Audio(codec="mp2"),)),
        width=192,
        height=160,
    )
    data = whole.read_bytes()
    packs = [found.start() for found in re.finditer(b"\0\0\1\xba", data)]
    clip = tmp_path / "in.mpg"
    clip.write_bytes(data[packs[len(packs) // part] :])
    _, encoder, result = through(clip, tmp_path / f"out{suffix}")
    assert encoder.lost_sound == ()
    found = states(result)
    assert "audio stream 0" not in found
    assert ("audio stream 0 times" in found) == any("times that go back" in s for s in encoder.lost)


def test_mpeg_sound_has_another_name_in_mp4(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", frames=5, extras=Extras(audio=(Audio(codec="mp2"),)), **SMALL)
    _, _, result = through(clip, tmp_path / "out.mpg")
    assert "audio stream 1" not in states(result)


@pytest.mark.parametrize(
    ("audio", "suffix", "codec"),
    [("opus", ".mkv", "opus"), ("aac", ".mp4", "aac"), ("opus", ".mp4", "opus"), ("copy", ".webm", "opus")],
)
@pytest.mark.parametrize("start", [None, 10])
def test_sound_is_encoded_anew_where_it_is_asked_for_or_nothing_else_fits(
    tmp_path: Path, audio: Literal["copy", "aac", "opus"], suffix: str, codec: str, start: int | None
) -> None:
    extras = Extras(audio=(Audio(codec="flac", language="eng"),))
    clip = write_clip(tmp_path / "in.mkv", frames=25, extras=extras, time_base=Fraction(1, 1000), **SMALL)
    settings = EncodeSettings(preset="ultrafast" if suffix != ".webm" else "8", audio=audio)
    cut = {} if start is None else {"start_pts": open_source(clip).info.pts[start]}
    _, encoder, result = through(clip, tmp_path / f"out{suffix}", settings, **cut)
    assert encoder.lost_sound == ()
    found = states(result)
    assert found.pop("audio stream 1") == "replaced"
    assert not any(name.startswith("audio") for name in found)
    with av.open(str(tmp_path / f"out{suffix}")) as out:
        (stream,) = out.streams.audio
        assert (stream.name, stream.language) == (codec, "eng")
        frames = list(out.decode(stream))
        seconds = sum(frame.samples for frame in frames) / stream.rate
        middle = frames[len(frames) // 2].to_ndarray().astype(float).ravel()
    assert abs(seconds - (1.0 if start is None else 0.6)) < 0.15
    assert abs(middle).max() > 0.1


def test_lost_sound_is_told_apart(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", frames=5, extras=Extras(audio=(Audio(codec="flac"),)), **SMALL)
    _, encoder, _ = through(clip, tmp_path / "out.3gp")
    assert len(encoder.lost_sound) == 1
    job = Job(clip, tmp_path / "out.3gp")
    with pytest.raises(UsageError, match="--audio aac or drop, or write to"):
        refuse_silence(encoder, job)


def test_a_gap_in_the_edits_shows_no_hidden_picture(tmp_path: Path) -> None:
    clip, _ = sounding(tmp_path / "in.mov", "pcm_s16le", seconds=2.4)
    with_edits(clip, [(400, 1.0), (200, None), (400, 0.2)])
    frames, _, result = through(clip, tmp_path / "out.mov")
    assert [number_in(frame.planes[0].numpy()) for frame in frames] == [*range(25, 35), *range(5, 15)]
    assert states(result) == {"audio stream 1": "replaced"}


@pytest.mark.parametrize(("codec", "source"), [("flac", ".mkv"), ("pcm_s16le", ".mkv"), ("alac", ".mov")])
@pytest.mark.parametrize("audio", ["aac", "opus"])
def test_sound_that_is_encoded_anew_for_a_transport_stream(
    tmp_path: Path, codec: str, source: str, audio: Literal["aac", "opus"]
) -> None:
    clip, _ = sounding(tmp_path / f"in{source}", codec)
    _, encoder, result = through(clip, tmp_path / "out.ts", replace(FAST, audio=audio))
    found = states(result)
    assert "times" not in found or any("streams are later" in sentence for sentence in encoder.lost)
    assert found["audio stream 1"] == "replaced"


def test_pcm_of_blurays_is_copied_where_a_part_is_kept(tmp_path: Path) -> None:
    extras = Extras(audio=(Audio(codec="pcm_bluray"),))
    clip = write_clip(
        tmp_path / "in.m2ts",
        frames=40,
        time_base=Fraction(1, 25),
        options={"bf": "0"},
        extras=extras,
        **SMALL,
    )
    end = open_source(clip).info.pts[0] + 111_111
    _, encoder, result = through(clip, tmp_path / "out.m2ts", end_pts=end)
    assert not any(name.startswith("audio") for name in states(result)) and not encoder.lost_sound


@pytest.mark.parametrize(
    ("suffix", "audio"),
    [(".mp4", "copy"), (".mkv", "aac"), (".mp4", "opus"), (".mkv", "opus"), (".ts", "copy")],
)
def test_damaged_packets_of_sound_are_left_out_and_named(
    tmp_path: Path, suffix: str, audio: Literal["copy", "aac", "opus"]
) -> None:
    track = Audio(hertz=300, rise=1500)
    clip = write_clip(
        tmp_path / "in.ts",
        frames=75,
        time_base=Fraction(1, 25),
        options={"bf": "0"},
        extras=Extras(audio=(track,)),
        **SMALL,
    )
    data = clip.read_bytes()
    with av.open(str(clip)) as container:
        pid = container.streams.audio[0].id
    ours = [at for at in range(0, len(data), 188) if (data[at + 1] & 31) << 8 | data[at + 2] == pid]
    lost = ours[len(ours) // 2 : len(ours) // 2 + 6]
    clip.write_bytes(b"".join(data[at : at + 188] for at in range(0, len(data), 188) if at not in lost))
    _, encoder, result = through(clip, tmp_path / f"out{suffix}", replace(FAST, audio=audio))
    broken = {name for name in states(result) if name.startswith("audio stream 1")} - {"audio stream 1"}
    named = any("audio stream 1 is damaged" in sentence for sentence in encoder.lost)
    assert named or not broken
