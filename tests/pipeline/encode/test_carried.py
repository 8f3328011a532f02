"""What belongs to pictures and lies beside them: carried, or named; and what a covered file leaves behind."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.decode.field_order import is_top_first
from pipeline.decode.picture_data import PictureData, PictureDataReader
from pipeline.decode.side_data import hidden_edges
from pipeline.decode.source import open_source
from pipeline.encode import EncodeSettings
from pipeline.encode.codecs import choices
from pipeline.encode.container import moved_timecode
from pipeline.encode.container_name import container_format
from pipeline.encode.faststart import index_first
from pipeline.encode.picture_data import with_picture_data
from pipeline.encode.release import tells, to_look_at
from pipeline.encode.verify import compare
from pipeline.errors import OutputError
from tests.support.boxes import appended
from tests.support.clips import Audio, Chapter, Extras, Subtitle, picture, video_frame, write_clip
from tests.support.remux import FAST, remuxed, states, through

pytestmark = pytest.mark.slow

SMALL = {"width": 64, "height": 64}
CAPTION = b"\xb5\x00\x31GA94\x03\xc1\xff\xfc\x94\x2c\xff"
HDR10_PLUS = b"\xb5\x00\x3c\x00\x01\x04\x01\x40\x00\x00\x00\x00\x00\x00"
COVERING = EncodeSettings(preset="ultrafast", keep_streams=False, keep_metadata=False)


def fields(path: Path) -> list[bool]:
    with av.open(str(path)) as container:
        return [is_top_first(frame) for frame in container.decode(video=0) if frame.interlaced_frame]


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", ".mp4", {"preset": "ultrafast", "x264-params": "tff=1"}),
        ("libx264", ".ts", {"preset": "ultrafast", "x264-params": "tff=1"}),
        ("prores_ks", ".mov", {"flags": "+ildct"}),
        ("mpeg2video", ".mkv", {"flags": "+ildct+ilme"}),
        ("ffv1", ".mkv", {}),
    ],
)
def test_the_order_of_fields_is_kept_in_the_pictures(
    tmp_path: Path, order: int, codec: str, suffix: str, options: dict[str, str]
) -> None:
    pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    clip = write_clip(
        tmp_path / f"in{suffix}",
        frames=5,
        codec=codec,
        pix_fmt=pix_fmt,
        options=options,
        field_order=order,
        time_base=Fraction(1, 25),
        **SMALL,
    )
    assert fields(clip) == [order == 2] * 5
    _, _, result = through(clip, tmp_path / f"out{suffix}")
    assert fields(tmp_path / f"out{suffix}") == [order == 2] * 5
    assert "order of fields" not in states(result)
    assert open_source(tmp_path / f"out{suffix}").tags.field_order == order


def test_hevc_that_is_interlaced_becomes_what_can_say_so(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", frames=5, codec="ffv1", field_order=2, **SMALL)
    info = replace(open_source(clip).info, codec="hevc")
    assert next(choices(EncodeSettings(), info, "yuv420p", "mp4")).encoder == "libx264"
    assert (
        next(choices(EncodeSettings(), replace(info, interlaced=False), "yuv420p", "mp4")).encoder
        == "libx265"
    )
    _, encoder, result = through(
        clip, tmp_path / "asked.mp4", EncodeSettings(codec="libx265", preset="ultrafast")
    )
    assert "libx265 cannot hold the order of fields" in encoder.lost
    assert states(result)["order of fields"] == "changed"


@pytest.mark.parametrize(
    ("before", "after"), [("libx264", "libx264"), ("libx264", "libx265"), ("libx265", "libx264")]
)
def test_messages_stay_with_their_pictures(tmp_path: Path, before: str, after: str) -> None:
    """Captions on every second picture, dynamic tone mapping on every third."""
    quiet = {"preset": "ultrafast"} | ({"x265-params": "log-level=none"} if before == "libx265" else {})
    plain = write_clip(tmp_path / "plain.mp4", frames=12, codec=before, options=quiet, **SMALL)
    name = {"libx264": "h264", "libx265": "hevc"}[before]

    def data(pts: int) -> PictureData:
        number = pts // 512
        caption = ((4, CAPTION[:-1] + bytes((number,)) + b"\xff"),) if number % 2 == 0 else ()
        return PictureData(caption + (((4, HDR10_PLUS + bytes((number,))),) if number % 3 == 0 else ()))

    raw = tmp_path / "plain.ts"
    remuxed(plain, raw)
    with av.open(str(raw)) as container:
        first = min(p.pts for p in container.demux(video=0) if p.pts is not None)
    clip = remuxed(
        raw,
        tmp_path / "in.ts",
        lambda _, p: (with_picture_data(p, data(((p.pts or 0) - first) * 512 // 3600), name),),
    )

    def told(path: Path) -> dict[int, tuple[tuple[int, bytes], ...]]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            read = PictureDataReader(stream.codec_context.name, stream.codec_context.extradata)
            packets = [(p.pts or 0, read(bytes(p))) for p in container.demux(stream) if p.size]
        found = {pts: found.messages for pts, found in packets}
        return dict(enumerate(found[pts] for pts in sorted(found)))

    expected = {number: data(number * 512).messages for number in range(12)}
    assert told(clip) == expected
    _, _, result = through(clip, tmp_path / "out.mp4", EncodeSettings(codec=after, preset="ultrafast"))
    assert told(tmp_path / "out.mp4") == expected
    assert {name for name in states(result) if name.startswith("picture data")} == set()
    source = open_source(clip)
    through(
        clip,
        tmp_path / "cut.mp4",
        EncodeSettings(codec=after, preset="ultrafast"),
        start_pts=source.info.pts[5],
    )
    assert told(tmp_path / "cut.mp4") == {n - 5: messages for n, messages in expected.items() if n >= 5}


def test_a_codec_without_messages_says_what_is_lost(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.ts", frames=4, **SMALL)
    clip = remuxed(
        plain, tmp_path / "in.ts", lambda _, p: (with_picture_data(p, PictureData(((4, CAPTION),)), "h264"),)
    )
    _, _, result = through(clip, tmp_path / "out.mkv", EncodeSettings(codec="ffv1"))
    assert states(result)["picture data A53_CC"] == "lost"


def full_box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4sI", 12 + len(content), name, 0) + content


SPHERICAL = (
    full_box(b"st3d", b"\0"),
    struct.pack(">I4s", 8 + 13 + 8 + 24 + 28, b"sv3d")
    + full_box(b"svhd", b"\0")
    + struct.pack(">I4s", 8 + 24 + 28, b"proj")
    + full_box(b"prhd", bytes(12))
    + full_box(b"equi", bytes(16)),
)
CLEAN_APERTURE = struct.pack(">I4s8i", 40, b"clap", 32, 1, 40, 1, 8, 1, -4, 1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_boxes_of_stereo_and_sphere_are_carried(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / "in.mp4", frames=5, **SMALL)
    appended(clip, b"avc1", b"".join(SPHERICAL))
    source = open_source(clip)
    assert set(source.side_data) == {"Stereo 3D", "Spherical Mapping"}
    through(clip, tmp_path / f"out{suffix}")
    assert open_source(tmp_path / f"out{suffix}").side_data == source.side_data
    _, _, result = through(clip, tmp_path / "out.avi")
    assert states(result)["Spherical Mapping"] == "lost"


def test_what_a_container_hides_is_never_seen(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", frames=5, **SMALL)
    appended(clip, b"avc1", CLEAN_APERTURE)
    source = open_source(clip)
    edges = hidden_edges(source.side_data)
    assert edges == (8, 16, 24, 8)
    top, bottom, left, right = edges
    through(clip, tmp_path / "out.mkv")
    assert hidden_edges(open_source(tmp_path / "out.mkv").side_data) == edges
    _, encoder, _ = through(clip, tmp_path / "out.mp4")
    assert "mp4 cannot hide the picture's edges: they are black" in encoder.lost
    with av.open(str(tmp_path / "out.mp4")) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:64]
    assert luma[: top - 1].max() < 24
    assert luma[:, : left - 1].max() < 24
    assert luma[:, 64 - right + 1 :].max() < 24
    assert luma[top + 2 : 64 - bottom - 2, left + 2 : 64 - right - 2].mean() > 40


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
def test_display_matrices_are_read_as_players_do_and_kept(
    tmp_path: Path, turn: int, flips: tuple[bool, bool]
) -> None:
    clip = tmp_path / "in.mp4"
    with av.open(str(clip), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width = stream.height = 64
        stream.set_display_rotation(turn, hflip=flips[0], vflip=flips[1])
        frame = video_frame(picture(0, 64, 64, "yuv420p"), 64, 64, "yuv420p")
        frame.pts = 0
        out.mux([*stream.encode(frame), *stream.encode()])
    source = open_source(clip)
    # A flip upside down is one of left and right, turned by half.
    assert source.info.mirrored == any(flips)
    assert source.info.rotation == (turn + (180 if flips[1] else 0)) % 360
    _, _, result = through(clip, tmp_path / "out.mp4")
    assert open_source(tmp_path / "out.mp4").tags.display_matrix == source.tags.display_matrix
    assert states(result) == {}


def test_a_covered_file_leaves_pictures_places_and_devices_behind(tmp_path: Path) -> None:
    tags = {
        "title": "Street",
        "location": "+48.1+011.5/",
        "com.apple.quicktime.model": "Phone 9",
        "make": "Maker",
    }
    clip = write_clip(
        tmp_path / "in.mkv",
        frames=5,
        extras=Extras(
            metadata=tags,
            audio=(Audio(language="eng"),),
            subtitles=(Subtitle(((0, 0.1, "hello Ann"),)),),
            chapters=(Chapter(0, 0.2, "Ann"),),
            cover=True,
        ),
        **SMALL,
    )
    _, encoder, result = through(clip, tmp_path / "out.mkv", COVERING)
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert [stream.type for stream in out.streams] == ["video", "audio", "subtitle"]
        assert {name.lower() for name in out.metadata} == {"title", "encoder"}
    told = " ".join(encoder.removed).lower()
    assert all(name in told for name in ("location", "model", "make", "attached picture"))
    assert "removed" in states(result).values()
    assert result.broken == ()
    with av.open(str(clip)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        named = " ".join(to_look_at(before, after))
    assert all(word in named for word in ("sound", "subtitles", "chapters"))
    _, encoder, _ = through(clip, tmp_path / "kept.mkv")
    assert encoder.removed == ()


def test_attached_pictures_stay_behind_and_fonts_do_not(tmp_path: Path) -> None:
    files = (
        ("Arial.ttf", "font/ttf", b"\0\1\0\0font"),
        ("face.ttf", "font/ttf", b"\xff\xd8\xff\xe0"),
        ("me.jpg", "image/jpeg", b"me"),
        ("note.bin", "x/y", b"?"),
    )
    clip = write_clip(
        tmp_path / "in.mkv", frames=3, extras=Extras(attachments=files, second_video=(64, 64)), **SMALL
    )
    _, encoder, result = through(clip, tmp_path / "out.mkv", COVERING)
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert [s.type for s in out.streams] == ["video", "attachment"]
    assert len(encoder.removed) == 4
    assert result.broken == ()


def test_data_in_a_tag_stays_behind_and_what_goes_along_is_named(tmp_path: Path) -> None:
    """A picture may be written into a tag; free text may name somebody."""
    tags = {
        "comment": "with Jane",
        "x-mark": "iVBORw0KGgo" * 50,
        "written_by": "Jane Roe",
        "title": "Film",
        "synopsis": "映画" * 300,
    }
    clip = write_clip(tmp_path / "in.mkv", frames=3, extras=Extras(metadata=tags), **SMALL)
    through(clip, tmp_path / "out.mkv", COVERING)
    with av.open(str(tmp_path / "out.mkv")) as out:
        assert {"COMMENT", "SYNOPSIS", "title"} <= out.metadata.keys()
        assert not {"X-MARK", "WRITTEN_BY"} & {name.upper() for name in out.metadata}
    with av.open(str(clip)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        assert any(
            "tags are as they were: comment, synopsis, title" in told for told in to_look_at(before, after)
        )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_line_on_the_screen_where_a_part_begins_is_shown_from_there(tmp_path: Path, suffix: str) -> None:
    lines = ((0.0, 0.1, "gone"), (0.16, 0.8, "stays"), (1.0, 1.4, "comes"))
    clip = write_clip(
        tmp_path / f"in{suffix}", frames=50, extras=Extras(subtitles=(Subtitle(lines),)), **SMALL
    )
    _, _, result = through(clip, tmp_path / f"out{suffix}", start_pts=open_source(clip).info.pts[10])
    assert result.broken == ()
    with av.open(str(tmp_path / f"out{suffix}")) as out:
        shown = [
            (float((p.pts or 0) * p.time_base), float((p.duration or 0) * p.time_base), bytes(p))
            for p in out.demux(subtitles=0)
            if p.size > 2
        ]
    assert [time for time, _, _ in shown] == pytest.approx([0.0, 0.6], abs=2e-3)
    assert [lasts for _, lasts, _ in shown] == pytest.approx([0.4, 0.4], abs=2e-3)
    assert b"stays" in shown[0][2]


def test_what_the_output_does_not_hold_is_nothing_to_look_at(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "in.mkv",
        frames=5,
        extras=Extras(
            metadata={"title": "Ann", "comment": "of Ann"},
            audio=(Audio(codec="mp3"),),
            subtitles=(Subtitle(((0, 0.1, "hello"),)),),
            chapters=(Chapter(0, 0.2, "one"),),
        ),
        **SMALL,
    )
    through(clip, tmp_path / "out.avi", EncodeSettings(preset="ultrafast", metadata={"comment": "covered"}))
    with av.open(str(clip)) as before, av.open(str(tmp_path / "out.avi")) as after:
        told = to_look_at(before, after)
    assert told == ["tags are as they were: title", "sound (stream 1, mp3float): voices are as they were"]


def test_an_alpha_plane_is_named(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mov", frames=3, codec="qtrle", pix_fmt="argb", options={}, **SMALL)
    with av.open(str(clip)) as container:
        assert any("alpha" in told for told in to_look_at(container, container))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("com.apple.quicktime.location.ISO6709", True),
        ("location-eng", True),
        ("com.android.model", True),
        ("Camera Serial-Number", True),
        ("com.apple.proapps.cameraName", True),
        ("GPSLatitude", True),
        ("artist", True),
        ("title", False),
        ("comment", False),
        ("creation_time", False),
        ("modelling", False),
    ],
)
def test_tags_of_places_devices_and_people(name: str, told: bool) -> None:
    assert tells(name) == told


def data_clip(path: Path, letters: bytes) -> Path:
    """With a track of a camera's data, which MP4 names by four letters."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width = video.height = 64
        data = out.add_mux_stream("bin_data")
        data.time_base = Fraction(1, 1000)
        packets = []
        for number in range(5):
            frame = video_frame(picture(number, 64, 64, "yuv420p"), 64, 64, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
            packet = av.Packet(b"N48 E011 %d" % number)
            packet.stream, packet.time_base, packet.is_keyframe = data, Fraction(1, 1000), True
            packet.pts = packet.dts = 40 * number
            packet.duration = 40
            packets.append(packet)
        packets += video.encode()
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            out.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"gpmd", letters))
    return path


@pytest.mark.parametrize(
    ("letters", "carried"), [(b"gpmd", True), (b"rtmd", False), (b"mebx", False), (b"djmd", False)]
)
def test_data_of_cameras_is_carried_or_named_and_never_with_covered_faces(
    tmp_path: Path, letters: bytes, carried: bool
) -> None:
    clip = data_clip(tmp_path / "in.mp4", letters)
    _, encoder, result = through(clip, tmp_path / "out.mp4")
    assert states(result).get("data stream 1", "kept") == ("kept" if carried else "lost")
    assert any("data stream 1" in sentence for sentence in encoder.lost) == (not carried)
    _, encoder, result = through(clip, tmp_path / "covered.mp4", COVERING)
    with av.open(str(tmp_path / "covered.mp4")) as out:
        assert [stream.type for stream in out.streams] == ["video"]
    assert "N48" not in (tmp_path / "covered.mp4").read_bytes().decode("latin-1")
    assert states(result)["data stream 1"] == "removed"


@pytest.mark.parametrize("suffix", [".flv", ".avi", ".asf", ".ts"])
def test_containers_without_times_below_zero_begin_at_zero(tmp_path: Path, suffix: str) -> None:
    """Without B-frames in, none out: decoding would begin before 0."""
    clip = write_clip(
        tmp_path / f"in{suffix}", frames=8, options={"bf": "0"}, time_base=Fraction(1, 1000), **SMALL
    )
    _, _, result = through(clip, tmp_path / f"out{suffix}")
    assert result.broken == ()


def test_mxf_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"end the name in \.mov"):
        container_format(tmp_path / "out.mxf")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / os.fsdecode(b"caf\xe9 12:30:45 %03d.mp4"), frames=3, **SMALL)
    output = tmp_path / os.fsdecode(b"\xff:out.mp4")
    _, _, result = through(clip, output)
    assert output.exists()
    assert result.broken == ()


@pytest.mark.parametrize(
    ("text", "frames", "rate", "moved"),
    [
        ("01:00:00:00", 30, Fraction(25), "01:00:01:05"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("00:00:59;29", 1, Fraction(30_000, 1001), "00:01:00;02"),
        ("00:09:59;29", 1, Fraction(30_000, 1001), "00:10:00;00"),
        ("00:00:59;59", 1, Fraction(60_000, 1001), "00:01:00;04"),
        ("00:00:00;00", 17_982, Fraction(30_000, 1001), "00:10:00;00"),
        ("noon", 1, Fraction(25), None),
    ],
)
def test_time_codes_move(text: str, frames: int, rate: Fraction, moved: str | None) -> None:
    assert moved_timecode(text, frames, rate) == moved


def test_the_time_code_is_that_of_the_first_frame(tmp_path: Path) -> None:
    extras = Extras(stream_metadata={"timecode": "10:00:00:20"})
    clip = write_clip(tmp_path / "in.mov", frames=12, extras=extras, **SMALL)
    source = open_source(clip)
    _, _, result = through(clip, tmp_path / "out.mov", FAST, start_pts=source.info.pts[7])
    with av.open(str(tmp_path / "out.mov")) as out:
        assert out.streams.video[0].metadata["timecode"] == "10:00:01:02"
    assert result.broken == ()


def test_time_codes_of_ten_minutes_are_all_different() -> None:
    rate = Fraction(30_000, 1001)
    codes = {moved_timecode("00:00:00;00", k, rate) for k in range(0, 17_982, 7)}
    assert len(codes) == len(range(0, 17_982, 7))
    assert None not in codes


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("first", [True, False])
def test_the_index_stands_in_front_unless_told(tmp_path: Path, suffix: str, first: bool) -> None:
    extras = Extras(audio=(Audio(),), chapters=(Chapter(0, 0.2, "A"),), metadata={"title": "Film"})
    clip = write_clip(tmp_path / f"in{suffix}", frames=10, extras=extras, **SMALL)
    output = tmp_path / f"out{suffix}"
    _, _, result = through(clip, output, replace(FAST, faststart=first))
    data = output.read_bytes()
    assert (data.index(b"moov") < data.index(b"mdat")) == first
    assert result.broken == ()
    assert not index_first(output) or not first


@pytest.mark.parametrize(
    ("codec", "order", "rate"),
    [("mpeg1video", 0, 25), ("mpeg2video", 2, 25), ("mpeg2video", 0, 12), ("libx264", 0, 25)],
)
def test_mpg_stays_mpeg_video(tmp_path: Path, codec: str, order: int, rate: int) -> None:
    """Also of variable times, with B-frames and pictures so small that several fit a pack."""
    start = 2 * rate if codec == "libx264" else rate
    pts = (
        [start + k + (k > 7) * 3 + (k > 11) for k in range(24)]
        if codec == "libx264"
        else range(start, start + 24)
    )
    options = {"preset": "ultrafast"} if codec == "libx264" else {"bf": "2"}
    clip = write_clip(
        tmp_path / ("in.mkv" if codec == "libx264" else "in.mpg"),
        codec=codec,
        pts=pts,
        time_base=Fraction(1, rate),
        rate=Fraction(rate),
        field_order=order,
        options=options | ({"flags": "+ildct+ilme"} if order else {}),
        extras=Extras(audio=(Audio(codec="mp2", start_s=1.0, seconds=1.0),)),
        draw=lambda k, w, h, f: [np.full_like(plane, 100 + 5 * (k % 3)) for plane in picture(k, w, h, f)],
        **SMALL,
    )
    _, encoder, result = through(clip, tmp_path / "out.mpg")
    assert encoder.encoder.startswith("mpeg1video" if codec == "mpeg1video" else "mpeg2video")
    found = states(result)
    later = found.pop("times", "kept") == "changed"
    assert later == any("half a second" in sentence for sentence in encoder.lost)
    if later:
        (times,) = (i.output for i in result.items if i.name == "times")
        assert times.endswith("ms later")
        assert found.pop("audio stream 1 times") == "changed"
    assert found == {}
    assert fields(tmp_path / "out.mpg") == [True] * (24 if order else 0)
    _, encoder, _ = through(clip, tmp_path / "told.mpg", EncodeSettings(codec="libx264", preset="ultrafast"))
    assert encoder.encoder.startswith("libx264")


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".avi"])
def test_raw_dv_that_states_its_clock_for_its_rate(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(
        tmp_path / "in.dv",
        **{"frames": 6, "width": 720, "height": 576, "codec": "dvvideo", "time_base": Fraction(1, 25)},
        options={},
    )
    assert open_source(clip).info.rate == 25
    _, _, result = through(clip, tmp_path / f"out{suffix}")
    assert not {"frames", "times", "size", "order of fields"} & states(result).keys()


@pytest.mark.parametrize(
    ("name", "lines", "rate", "pix_fmt", "aspect"),
    [
        ("in.dv", 576, Fraction(25), "yuv420p", Fraction(16, 15)),
        ("in.dv", 576, Fraction(25), "yuv420p", Fraction(64, 45)),
        ("in.dv", 480, Fraction(30000, 1001), "yuv411p", Fraction(8, 9)),
        ("in.mov", 576, Fraction(25), "yuv420p", Fraction(16, 15)),
    ],
)
def test_raw_dv_is_made_with_its_sound(
    tmp_path: Path, name: str, lines: int, rate: Fraction, pix_fmt: str, aspect: Fraction
) -> None:
    clip = write_clip(
        tmp_path / name,
        **{"frames": 6, "width": 720, "height": lines, "codec": "dvvideo"},
        **{"pix_fmt": pix_fmt, "rate": rate, "time_base": 1 / rate, "sample_aspect": aspect},
        options={},
        field_order=3,
        extras=Extras(audio=(Audio(codec="pcm_s16le", layout="stereo"),)),
    )
    _, encoder, result = through(clip, tmp_path / "out.dv")
    assert encoder.encoder.startswith("dvvideo")
    assert states(result) == {}
    kept = {i.name: i.output for i in result.items}
    assert kept["order of fields"] == "bottom first"
    assert "48000 Hz, stereo" in kept["audio stream 1"]


@pytest.mark.parametrize(("first", "late"), [(0, True), (15, False)])
def test_mpg_says_that_it_begins_later_where_it_does(tmp_path: Path, first: int, late: bool) -> None:
    clip = write_clip(tmp_path / "in.mkv", pts=range(first, first + 12), time_base=Fraction(1, 25), **SMALL)
    _, encoder, result = through(clip, tmp_path / "out.mpg")
    assert any("half a second" in sentence for sentence in encoder.lost) == late
    assert (states(result).get("times") == "changed") == late


def test_captions_of_mpeg_video_stay_with_their_pictures(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.mpg", codec="mpeg2video", time_base=Fraction(1, 25), **SMALL)
    data = PictureData(((4, CAPTION), (4, HDR10_PLUS)))
    clip = remuxed(plain, tmp_path / "in.mpg", lambda _, p: (with_picture_data(p, data, "mpeg2video"),))
    _, _, result = through(clip, tmp_path / "out.mpg")
    kept = [i for i in result.items if i.name == "picture data A53_CC"]
    assert [(i.source, i.state) for i in kept] == [("10 pictures", "kept")]


def test_the_stream_that_was_written_is_compared(tmp_path: Path) -> None:
    """Not the one beside it, whichever players show first."""
    clip = write_clip(tmp_path / "in.mkv", frames=5, extras=Extras(second_video=(128, 128)), **SMALL)
    _, encoder, result = through(clip, tmp_path / "out.mkv")
    other = compare(open_source(clip), tmp_path / "out.mkv", FAST, video=1 - encoder.video)
    assert result.broken == ()
    assert states(other)["size"] == "changed"


@pytest.mark.parametrize("chapters", [(), (Chapter(0, 0.2, "one"),)])
def test_chapters_that_do_not_move_with_the_streams_are_named(
    tmp_path: Path, chapters: tuple[Chapter, ...]
) -> None:
    extras = Extras(audio=(Audio(codec="aac"),), chapters=chapters)
    clip = write_clip(tmp_path / "in.mp4", frames=10, extras=extras, **SMALL)
    _, encoder, _ = through(clip, tmp_path / "out.mkv")
    told = [sentence for sentence in encoder.lost if "priming" in sentence]
    assert [sentence.endswith("chapters are not") for sentence in told] == [bool(chapters)]
