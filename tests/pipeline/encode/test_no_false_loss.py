"""What looks different in an output and is the same is not called lost."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.decode.source import open_source
from pipeline.encode.verify import compare
from tests.support.clips import Audio, Extras, write_clip
from tests.support.remux import states, through

SMALL = {"width": 64, "height": 64}
CREATED = "2024-05-06T07:08:09.{}Z"


def clip_of(path: Path, audio: tuple[Audio, ...] = (), **metadata: str) -> Path:
    extras = Extras(audio=audio, metadata=metadata)
    return write_clip(path, frames=6, options={"bf": "0"}, time_base=Fraction(1, 25), extras=extras, **SMALL)


@pytest.mark.parametrize(("before", "after"), [(".mov", ".avi"), (".avi", ".mov"), (".avi", ".mkv")])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_channels_that_a_container_does_not_name(
    tmp_path: Path, before: str, after: str, layout: str
) -> None:
    clip = clip_of(tmp_path / f"in{before}", (Audio(codec="pcm_s16le", layout=layout),))
    _, _, result = through(clip, tmp_path / f"out{after}")
    assert "audio stream 1" not in states(result)


@pytest.mark.parametrize("suffix", [".nut", ".mkv"])
def test_channels_that_become_others_are_named(tmp_path: Path, suffix: str) -> None:
    """More than two that nobody names are not those that were named."""
    clip = clip_of(tmp_path / "in.mov", (Audio(codec="pcm_s16le", layout="5.1"),))
    _, encoder, result = through(clip, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as out:
        named = next(out.decode(audio=0)).layout.name
    assert named == "6 channels"
    assert states(result)["audio stream 1"] == "changed"
    assert any("has no names for 5.1" in sentence for sentence in encoder.lost)


@pytest.mark.parametrize("digits", ["000000", "123456", "999999"])
@pytest.mark.parametrize("after", [".mp4", ".mov", ".mkv"])
def test_times_of_creation_in_whole_seconds(tmp_path: Path, after: str, digits: str) -> None:
    clip = clip_of(tmp_path / "in.mkv", creation_time=CREATED.format(digits))
    _, _, result = through(clip, tmp_path / f"out{after}")
    assert states(result) == {}


def test_another_time_of_creation_is_named(tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "in.mkv", creation_time=CREATED.format("900000"))
    other = clip_of(tmp_path / "other.mp4", creation_time="2024-05-06T07:08:10.000000Z")
    assert states(compare(open_source(clip), other))["tag creation_time"] == "changed"


def test_the_program_that_wrote_an_avi_is_not_the_one_that_writes_the_next(tmp_path: Path) -> None:
    clip = clip_of(tmp_path / "in.avi")
    data = clip.read_bytes()
    begin = data.index(b"ISFT") + 8
    clip.write_bytes(data[:begin] + b"Dub01" + data[begin + 5 :])
    with av.open(str(clip)) as container:
        assert container.metadata["software"].startswith("Dub01")
    _, _, result = through(clip, tmp_path / "out.avi")
    assert "tag software" not in states(result)
    _, _, result = through(clip, tmp_path / "out.mkv")
    assert "tag software" not in states(result)
    clip = clip_of(tmp_path / "in.mkv", software="Camera 1.2")
    _, _, result = through(clip, tmp_path / "camera.avi")
    assert states(result)["tag software"] == "changed"
