"""An output that differs from its source in one thing is caught by the comparison: one way a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.decode.picture_data import PictureData
from pipeline.decode.source import Source, open_source
from pipeline.encode.picture_data import with_picture_data
from pipeline.encode.verify import compare
from tests.support.boxes import appended
from tests.support.clips import Audio, Chapter, Extras, Planes, Subtitle, picture, write_clip
from tests.support.remux import remuxed, states

pytestmark = pytest.mark.slow

STEP = 512
CAPTION = PictureData(((4, b"\xb5\x00\x31GA94\x03\xc1\xff\xfc\x94\x2c\xff"),))
MONO_SPHERE = bytes.fromhex("0000000d737433640000000000")


def _beside() -> Extras:
    return Extras(
        audio=(Audio(language="eng"),),
        subtitles=(Subtitle(((0, 0.2, "one"), (0.2, 0.4, "two")), language="deu"),),
        chapters=(Chapter(0, 0.2, "A"), Chapter(0.2, 0.4, "B")),
        metadata={"title": "Film"},
    )


@dataclass(frozen=True)
class Clip:
    """What a clip is made of."""

    extras: Extras = field(default_factory=_beside)
    numbers: tuple[int, ...] = tuple(range(12))
    """Which picture is shown on each frame."""
    pts: tuple[int, ...] = tuple(STEP * k for k in range(12))
    order: int = 2
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        def draw(index: int, width: int, height: int, pix_fmt: str) -> Planes:
            return picture(self.numbers[index], width, height, pix_fmt)

        settings: dict[str, Any] = {"width": 64, "height": 64, "colour": {"matrix": "bt709"}, **self.options}
        return write_clip(
            path,
            pts=self.pts,
            draw=draw,
            extras=self.extras,
            field_order=self.order,
            sample_aspect=settings.pop("sample_aspect", Fraction(4, 3)),
            options={"preset": "ultrafast", "x264-params": "tff=1" if self.order else "", "qp": "10"},
            **settings,
        )


def sound(**changes: Any) -> Callable[[Clip], Clip]:
    return lambda clip: replace(
        clip, extras=replace(clip.extras, audio=(replace(clip.extras.audio[0], **changes),))
    )


def beside(**changes: Any) -> Callable[[Clip], Clip]:
    return lambda clip: replace(clip, extras=replace(clip.extras, **changes))


def made(**changes: Any) -> Callable[[Clip], Clip]:
    return lambda clip: replace(clip, options={**clip.options, **changes})


def exchanged(clip: Clip) -> Clip:
    numbers = list(clip.numbers)
    numbers[4], numbers[5] = numbers[5], numbers[4]
    return replace(clip, numbers=tuple(numbers))


MUTATIONS: dict[str, tuple[Callable[[Clip], Clip], str]] = {
    "two pictures exchanged": (exchanged, "order of pictures"),
    "a picture shown twice": (lambda c: replace(c, numbers=(0, 0, *c.numbers[2:])), "order of pictures"),
    "the last picture gone": (lambda c: replace(c, numbers=c.numbers[:-1], pts=c.pts[:-1]), "frames"),
    "one time moved": (lambda c: replace(c, pts=(*c.pts[:5], c.pts[5] + 8, *c.pts[6:])), "times"),
    "fields exchanged": (lambda c: replace(c, order=3), "order of fields"),
    "fields forgotten": (lambda c: replace(c, order=0), "interlaced"),
    "turned": (made(rotation=90), "rotation"),
    "another shape of pixels": (made(sample_aspect=Fraction(1)), "sample aspect"),
    "another matrix": (made(colour={"matrix": "smpte170m"}), "colour matrix"),
    "another range": (made(colour={"matrix": "bt709", "range": "pc"}), "colour range"),
    "smaller": (made(width=62), "size"),
    "colour halved": (made(pix_fmt="yuv444p"), "pixel format"),
    "sound a packet later": (sound(start_s=1024 / 48_000), "audio stream 1 times"),
    "sound shorter": (sound(seconds=0.3), "audio stream 1"),
    "another sound": (sound(hertz=450.0), "audio stream 1"),
    "another language": (sound(language="fra"), "audio stream 1 language"),
    "no sound": (beside(audio=()), "audio stream 1"),
    "another word": (
        beside(subtitles=(Subtitle(((0, 0.2, "one"), (0.2, 0.4, "too")), language="deu"),)),
        "subtitle stream 2",
    ),
    "no subtitles": (beside(subtitles=()), "subtitle stream 2"),
    "a chapter gone": (beside(chapters=(Chapter(0, 0.2, "A"),)), "chapters"),
    "a chapter moved": (beside(chapters=(Chapter(0, 0.22, "A"), Chapter(0.22, 0.4, "B"))), "chapters"),
    "another title": (beside(metadata={"title": "Movie"}), "tag title"),
    "a stream more": (beside(second_video=(64, 64), second_codec="libx264"), "video stream 3 of the output"),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_source(Clip().write(tmp_path_factory.mktemp("source") / "in.mp4"))


def test_an_output_without_a_difference_passes(source: Source, tmp_path: Path) -> None:
    assert compare(source, Clip().write(tmp_path / "out.mp4")).broken == ()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_difference_is_caught(source: Source, tmp_path: Path, name: str) -> None:
    change, item = MUTATIONS[name]
    found = states(compare(source, change(Clip()).write(tmp_path / "out.mp4")))
    assert item in found, found


def test_what_belongs_to_pictures_and_boxes_is_missed(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.ts", frames=6, width=64, height=64)
    told = remuxed(plain, tmp_path / "told.ts", lambda _, p: (with_picture_data(p, CAPTION, "h264"),))
    half = remuxed(
        plain, tmp_path / "half.ts", lambda n, p: (with_picture_data(p, CAPTION, "h264") if n < 5 else p,)
    )
    assert states(compare(open_source(told), told)) == {}
    assert states(compare(open_source(told), half)) == {"picture data A53_CC": "changed"}
    assert states(compare(open_source(told), plain)) == {"picture data A53_CC": "lost"}
    film = write_clip(tmp_path / "film.mp4", frames=3, width=64, height=64)
    bare = write_clip(tmp_path / "bare.mp4", frames=3, width=64, height=64)
    appended(film, b"avc1", MONO_SPHERE)
    assert states(compare(open_source(film), bare)) == {"Stereo 3D": "lost", "picture data STEREO3D": "lost"}


def test_a_mirror_and_a_cover_are_missed(tmp_path: Path) -> None:
    def mirrored(path: Path, flip: bool) -> Path:
        clip = write_clip(tmp_path / "plain.mp4", frames=2, width=64, height=64)
        with av.open(str(clip)) as before, av.open(str(path), "w") as out:
            stream = out.add_stream_from_template(before.streams.video[0], opaque=True)
            stream.set_display_rotation(0, hflip=flip)
            for packet in before.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
        return path

    found = states(
        compare(open_source(mirrored(tmp_path / "m.mp4", True)), mirrored(tmp_path / "u.mp4", False))
    )
    assert found == {"rotation": "changed"}
    size = {"width": 64, "height": 64, "frames": 2}
    with_cover = write_clip(tmp_path / "c.mp4", extras=Extras(cover=True), **size)  # type: ignore[arg-type]
    without = write_clip(tmp_path / "n.mp4", **size)  # type: ignore[arg-type]
    assert states(compare(open_source(with_cover), without)) == {"video stream 1": "lost"}
