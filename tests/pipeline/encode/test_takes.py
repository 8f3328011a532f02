"""Sound that a container does not take is told of before anything runs, with a way out that works."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.decode.source import open_source
from pipeline.encode import EncodeSettings
from pipeline.encode.codecs import choices
from pipeline.encode.takes import encoders_for, keeps_raw
from pipeline.errors import OutputError, UsageError
from pipeline.run.early import check_files, check_sound
from tests.support.clips import Audio, Extras, Subtitle, write_clip
from tests.support.faces_scene import stream_info
from tests.support.remux import FAST, states, through

SMALL = {"width": 64, "height": 64}


def clip_with(folder: Path, suffix: str, *codecs: str, subtitles: tuple[Subtitle, ...] = ()) -> Path:
    return write_clip(
        folder / f"in{suffix}",
        frames=6,
        codec="mpeg2video" if suffix == ".mpg" else "libx264",
        options={"bf": "0"},
        time_base=Fraction(1, 25),
        extras=Extras(audio=tuple(Audio(codec=codec) for codec in codecs), subtitles=subtitles),
        **SMALL,
    )


@pytest.mark.parametrize(
    ("codecs", "source", "target", "ways"),
    [
        (("pcm_bluray",), ".m2ts", ".mp4", "add --audio aac, opus or drop, or write to .m2ts"),
        (("pcm_dvd",), ".mpg", ".mp4", "add --audio aac, opus or drop, or write to .mpg"),
        (("adpcm_ms",), ".avi", ".mkv", "add --audio aac, opus or drop, or write to .avi"),
        (("adpcm_ms", "libopus"), ".nut", ".mkv", "add --audio aac, opus or drop"),
        (("flac",), ".mkv", ".3gp", "add --audio aac or drop, or write to .mkv"),
        (("pcm_s16le",), ".mov", ".mpg", "add --audio drop, or write to .mkv"),
        (("adpcm_ima_qt",), ".mov", ".mov", None),
        (("adpcm_ima_qt",), ".mov", ".webm", None),
    ],
)
def test_the_way_out_works(
    tmp_path: Path, codecs: tuple[str, ...], source: str, target: str, ways: str | None
) -> None:
    clip, output = clip_with(tmp_path, source, *codecs), tmp_path / f"out{target}"
    if ways is None:
        check_sound(clip, output, "copy")
        return
    with pytest.raises(UsageError) as told:
        check_files(clip, output)
    assert str(told.value).endswith(f"; {ways}")
    check_sound(clip, output, "drop")
    for audio in {"aac", "opus"} & set(ways.replace(",", "").split()):
        check_sound(clip, output, audio)
    if "write to " in ways:
        elsewhere = tmp_path / f"elsewhere.{ways.rpartition('.')[2]}"
        check_sound(clip, elsewhere, "copy")
        _, encoder, _ = through(clip, elsewhere, FAST)
        assert encoder.lost_sound == ()
        with av.open(str(elsewhere)) as out:
            assert [stream.codec_context.name for stream in out.streams.audio] == list(codecs)


def test_a_codec_that_the_container_does_not_take_is_no_way_out(tmp_path: Path) -> None:
    clip = clip_with(tmp_path, ".mov", "pcm_s16le")
    with pytest.raises(UsageError, match=r"avi takes no opus; add --audio aac or drop, or write to \.mkv"):
        check_sound(clip, tmp_path / "out.avi", "opus")
    check_sound(clip, tmp_path / "out.avi", "aac")


def test_a_container_that_takes_subtitles_too_is_named_first(tmp_path: Path) -> None:
    clip = clip_with(tmp_path, ".mov", "alac", subtitles=(Subtitle(((0, 0.1, "a"),)),))
    with pytest.raises(UsageError, match=r"or write to \.mov"):
        check_sound(clip, tmp_path / "out.avi", "copy")


def test_an_encoder_that_no_container_fits_is_told_of_early(tmp_path: Path) -> None:
    clip = clip_with(tmp_path, ".mov", "pcm_s16le")
    with pytest.raises(OutputError, match=r"webm cannot hold ffv1; write to \.mkv or choose another"):
        check_files(clip, tmp_path / "out.webm", codec="ffv1")
    assert encoders_for("h264", "mp4")[0] == "libx264"


def test_it_is_told_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    clip = clip_with(tmp_path, ".mov", "pcm_s16le")
    program = (
        "import sys; from vidpipe.cli.main import main\n"
        f"sys.argv = ['vidpipe', 'pixelize', {str(clip)!r}, '-o', {str(tmp_path / 'out.mpg')!r}]\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.strip() == "False False"
    assert "add --audio drop, or write to .mkv" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("pix_fmt", "container", "kept"),
    [
        ("yuv422p", "avi", True),
        ("gbrp", "avi", False),
        ("yuv422p", "mov", False),
        ("gray", "mov", False),
        ("gray", "matroska", True),
        ("gbrp10le", "nut", True),
    ],
)
def test_raw_video_is_made_where_it_comes_back_as_it_was(pix_fmt: str, container: str, kept: bool) -> None:
    assert keeps_raw(pix_fmt, 127, 63, container) == kept
    info = replace(stream_info(1, width=127, height=63), codec="rawvideo", pix_fmt=pix_fmt)
    names = [choice.encoder for choice in choices(EncodeSettings(), info, pix_fmt, container)]
    assert ("rawvideo" in names) == kept
    assert names


def test_text_in_a_transport_stream_is_left_out_and_named(tmp_path: Path) -> None:
    clip = clip_with(tmp_path, ".mkv", subtitles=(Subtitle(((0, 0.1, "hello"),)),))
    _, encoder, _ = through(clip, tmp_path / "out.ts", FAST)
    with av.open(str(tmp_path / "out.ts")) as out:
        assert [stream.type for stream in out.streams] == ["video"]
    assert any("subtitle" in sentence for sentence in encoder.lost)


@pytest.mark.parametrize(
    ("name", "codec", "layout", "out"),
    [
        ("in.mkv", "pcm_s16le", "stereo", "out.mp4"),
        ("in.avi", "pcm_s16le", "stereo", "out.mov"),
        ("in.mkv", "pcm_s24le", "5.1", "out.mp4"),
        ("in.mkv", "flac", "5.1", "out.mp4"),
        ("in.wmv", "wmav2", "stereo", "out.avi"),
    ],
)
def test_channels_without_names_and_blocks_of_sound_go_along(
    tmp_path: Path, name: str, codec: str, layout: str, out: str
) -> None:
    extras = Extras(audio=(Audio(codec=codec, layout=layout),))
    clip = write_clip(tmp_path / name, frames=10, options={"bf": "0"}, extras=extras, **SMALL)
    _, encoder, result = through(clip, tmp_path / out, FAST)
    assert not [sentence for sentence in encoder.lost if "audio" in sentence]
    assert states(result).get("audio stream 1") is None


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_packets_that_are_shorter_than_the_clock_s_unit_keep_their_times(tmp_path: Path, suffix: str) -> None:
    """As TrueHD's in Matroska, of 0.83 ms: the times of two packets are one."""
    clip = write_clip(tmp_path / "whole.mkv", frames=10, extras=Extras(audio=(Audio(codec="ac3"),)), **SMALL)
    with av.open(str(clip)) as before, av.open(str(tmp_path / "in.mkv"), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in before.streams}
        count = 0
        for packet in before.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                packet.pts = packet.dts = count * 5 // 6
                packet.duration, count = 1, count + 1
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    _, encoder, result = through(tmp_path / "in.mkv", tmp_path / f"out{suffix}", FAST)
    assert "audio stream 1 times" not in states(result)
    assert not any("go back" in sentence for sentence in encoder.lost)


@pytest.mark.parametrize("first", [8, 40, 61])
@pytest.mark.parametrize(("name", "codec"), [("in.vob", "ac3"), ("in.mpg", "mp2")])
def test_a_part_of_a_program_stream_has_the_sound_of_its_time(
    tmp_path: Path, name: str, codec: str, first: int
) -> None:
    clip = write_clip(
        tmp_path / name,
        **{"frames": 75, "codec": "mpeg2video", "time_base": Fraction(1, 25), "options": {"g": "12"}},
        extras=Extras(audio=(Audio(codec=codec),)),
        **SMALL,
    )
    _, _, result = through(clip, tmp_path / "out.mkv", FAST, start_pts=open_source(clip).info.pts[first])
    assert not {"audio stream 1", "audio stream 1 times"} & states(result).keys()


@pytest.mark.parametrize(("suffix", "heard"), [(".mp4", True), (".ts", True), (".mkv", False)])
def test_padding_that_becomes_audible_is_named(tmp_path: Path, suffix: str, heard: bool) -> None:
    clip = write_clip(tmp_path / "in.mkv", frames=11, extras=Extras(audio=(Audio(codec="opus"),)), **SMALL)
    _, encoder, _ = through(clip, tmp_path / f"out{suffix}", FAST)
    counts = []
    for path in (clip, tmp_path / f"out{suffix}"):
        with av.open(str(path)) as container:
            counts.append(sum(frame.samples for frame in container.decode(audio=0)))
    assert (counts[0] < counts[1]) == heard
    assert any("hidden are heard" in sentence for sentence in encoder.lost) == heard


def test_vorbis_of_a_part_in_ogg_is_named_and_not_refused(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "in.ogv",
        **{"frames": 30, "codec": "libvpx", "options": {}, "time_base": Fraction(1, 25)},
        extras=Extras(audio=(Audio(codec="vorbis", layout="stereo"),)),
        **SMALL,
    )
    _, encoder, _ = through(
        clip, tmp_path / "out.ogv", EncodeSettings(), start_pts=open_source(clip).info.pts[8]
    )
    assert any("times of its pages" in sentence for sentence in encoder.lost)
