"""AVI tells one rate of frames and when they are decoded: what an output keeps of other times, and says."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.decode.source import open_source
from tests.support.clips import Audio, Extras, number_in, write_clip
from tests.support.remux import states, through

SMALL = {"width": 64, "height": 64}
_GEN_PTS = 1
GUESS = "avi tells decoding times only: readers that guess the times of h264 show its pictures a frame later"


def shown_s(path: Path) -> list[float]:
    """Times at which FFmpeg's decoder gives pictures, which are those of showing in a file without others."""
    with av.open(str(path)) as container:
        container.flags &= ~_GEN_PTS
        stream = container.streams.video[0]
        stream.thread_count = 1
        frames = list(container.decode(stream))
        assert stream.time_base is not None
        ticks = [frame.dts if frame.pts is None else frame.pts for frame in frames]
        return [float(tick * stream.time_base) for tick in ticks if tick is not None]


@pytest.mark.parametrize(
    ("suffix", "unit", "rate", "options"),
    [
        (".mp4", Fraction(1, 12800), Fraction(25), {"preset": "medium"}),
        (".mov", Fraction(1, 600), Fraction(25), {"bf": "0"}),
        (".mkv", Fraction(1, 1000), Fraction(24_000, 1001), {"preset": "medium"}),
        (".mkv", Fraction(1, 1000), Fraction(60_000, 1001), {"bf": "0"}),
        (".mp4", Fraction(1, 90_000), Fraction(30_000, 1001), {"preset": "medium"}),
    ],
)
@pytest.mark.parametrize("gap", [0, 3])
def test_the_rate_of_an_avi_is_that_of_its_frames(
    tmp_path: Path, suffix: str, unit: Fraction, rate: Fraction, options: dict[str, str], gap: int
) -> None:
    """Also where frames are missing in between."""
    pts = [round((k + gap * (k > 10)) / rate / unit) for k in range(24)]
    clip = write_clip(tmp_path / f"in{suffix}", pts=pts, time_base=unit, rate=rate, options=options, **SMALL)
    _, encoder, result = through(clip, tmp_path / "out.avi")
    with av.open(str(tmp_path / "out.avi")) as out:
        assert out.streams.video[0].base_rate == rate
    info = open_source(clip).info
    before = [float(time * info.time_base) for time in info.pts]
    assert shown_s(tmp_path / "out.avi") == pytest.approx(before, abs=0.6 * float(unit))
    rounded = unit == Fraction(1, 1000)
    assert [GUESS in sentence or "rounded" in sentence for sentence in encoder.lost] == [True] * (1 + rounded)
    assert states(result) == ({"times": "changed"} if rounded else {})


def test_an_avi_of_variable_times_says_so(tmp_path: Path) -> None:
    pts = [0, 40, 83, 130, 200, 237, 280]
    clip = write_clip(tmp_path / "in.mkv", pts=pts, time_base=Fraction(1, 1000), **SMALL)
    _, encoder, result = through(clip, tmp_path / "out.avi")
    assert any("times that vary" in sentence for sentence in encoder.lost)
    assert states(result) == {}
    assert shown_s(tmp_path / "out.avi") == pytest.approx([time / 1000 for time in pts])
    fine = [time * 90 + 40 * (time > 0) for time in pts]
    clip = write_clip(tmp_path / "fine.mp4", pts=fine, time_base=Fraction(1, 90_000), **SMALL)
    _, encoder, result = through(clip, tmp_path / "fine.avi")
    assert any("rounded by up to 0.444 ms" in sentence for sentence in encoder.lost)
    assert shown_s(tmp_path / "fine.avi") == pytest.approx([time / 90_000 for time in fine], abs=5e-4)


@pytest.mark.parametrize("pts", [[0, 10, 100_000, 100_010], [100_000, 100_040]])
def test_an_avi_of_long_gaps_is_written(tmp_path: Path, pts: Sequence[int]) -> None:
    """FFmpeg's muxer takes 65,000 empty frames in a row."""
    clip = write_clip(tmp_path / "in.mkv", pts=pts, time_base=Fraction(1, 1000), **SMALL)
    _, encoder, _ = through(clip, tmp_path / "out.avi")
    assert encoder.lost


def test_avi_to_avi_loses_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.avi", frames=12, options={"bf": "0"}, time_base=Fraction(1, 25), **SMALL)
    _, encoder, result = through(clip, tmp_path / "out.avi")
    assert encoder.lost == ()
    assert result.broken == ()


def test_where_sound_begins_before_0_the_picture_moves_by_whole_frames(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", frames=20, extras=Extras(audio=(Audio(codec="mp3"),)), **SMALL)
    _, encoder, _ = through(clip, tmp_path / "out.avi")
    assert any("the picture by whole frames (0.0400 s)" in sentence for sentence in encoder.lost)
    assert any("readers show that one from 0 on" in sentence for sentence in encoder.lost)
    assert shown_s(tmp_path / "out.avi")[1:4] == pytest.approx([0.08, 0.12, 0.16])


@pytest.mark.parametrize("codec", ["pcm_s16le", "mp3"])
def test_late_sound_is_named(tmp_path: Path, codec: str) -> None:
    extras = Extras(audio=(Audio(codec=codec, start_s=0.5, seconds=0.5),))
    clip = write_clip(tmp_path / "in.mov", frames=30, time_base=Fraction(1, 25), extras=extras, **SMALL)
    _, encoder, result = through(clip, tmp_path / "out.avi")
    assert states(result)["audio stream 1 times"] == "changed"
    late = "0.476" if codec == "mp3" else "0.500"
    assert f"avi begins sound at 0: audio stream 1 is {late} s earlier against the picture" in encoder.lost


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize(
    ("codec", "options", "held_back"),
    [("mpeg4", {"bf": "2"}, 1), ("mpeg4", {"bf": "0"}, 0), ("libx264", {"preset": "medium"}, 2)],
)
def test_pictures_of_an_avi_stay_with_its_sound(
    tmp_path: Path, codec: str, options: dict[str, str], held_back: int, suffix: str
) -> None:
    """Where frames are reordered readers show the first one as soon as the decoder gives it."""
    sound = Extras(audio=(Audio(codec="pcm_s16le"),))
    clip = write_clip(
        tmp_path / "in.avi",
        frames=20,
        codec=codec,
        options=options,
        time_base=Fraction(1, 25),
        extras=sound,
        **SMALL,
    )
    before = shown_s(clip)  # without the last ones, which no packet brings out
    assert before[0] == pytest.approx(held_back / 25)
    frames, encoder, result = through(clip, tmp_path / f"out{suffix}")
    assert [number_in(frame.planes[0].numpy()) for frame in frames] == list(range(20))
    after = shown_s(tmp_path / f"out{suffix}")
    late = suffix == ".avi" and held_back > 0
    assert after[late : len(before)] == pytest.approx(before[late:], abs=1e-3)
    assert any("show that one from 0 on" in s for s in encoder.lost) == late
    with av.open(str(tmp_path / f"out{suffix}")) as out:
        assert next(out.decode(audio=0)).pts == 0
    assert "audio stream 1" not in states(result)
