"""Bad input: one line that says what came and what to do; never a traceback of a library, never a hang."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.decode import open_decoder, transport_packets
from pipeline.decode.source import probe
from pipeline.encode import EncodeSettings
from pipeline.encode.pyav import PyAVEncoder
from pipeline.errors import InputError, VidpipeError
from tests.support.clips import Audio, Extras, number_in, write_clip

pytestmark = pytest.mark.slow


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        probe(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_missing(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.mp4")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "empty.mp4")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "not a regular file" in refusal(tmp_path / "pipe.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=1)
    clip.chmod(0)
    assert "no permission" in refusal(clip)


@pytest.mark.parametrize(
    "content",
    [
        b"hello, this is a text\n" * 50,
        bytes(5000),
        np.random.default_rng(0).bytes(5000),
        b"\x00",
        b"#EXTM3U\nx\n",
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".txt", ".avi", ".m3u8", ""])
def test_not_a_video(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    refusal(path)


def test_a_picture_is_not_a_video(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "photo.png", frames=1, codec="png", pix_fmt="rgb24", draw=_gray, format="image2"
    )
    assert "is a picture" in refusal(path)


def _gray(index: int, width: int, height: int, pix_fmt: str) -> list[np.ndarray]:
    return [np.full((height, 3 * width), index, np.uint8)]


def test_audio_only(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        stream.codec_context.layout = "mono"
        for packet in [*stream.encode(frame), *stream.encode()]:
            out.mux(packet)
    assert "no video stream, only 0: audio" in refusal(path)


def test_encrypted(tmp_path: Path) -> None:
    keys = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    assert "encrypted" in refusal(write_clip(tmp_path / "clip.mp4", container_options=keys))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi", ".ts"])
def test_no_frames(tmp_path: Path, suffix: str) -> None:
    refusal(write_clip(tmp_path / f"clip{suffix}", frames=0, pts=[], time_base=Fraction(1, 25)))


def test_no_decoder_for_the_codec(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mov", frames=2)
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"zzz9"))
    assert "no decoder" in refusal(clip)


def test_absurd_sizes(tmp_path: Path) -> None:
    ivf = write_clip(tmp_path / "clip.ivf", frames=1, codec="libvpx", options={"deadline": "realtime"})
    head = bytearray(ivf.read_bytes())
    start = 32 + 12  # IVF's header, a frame's header; then 3 bytes, a start code of 3 and two 14-bit sizes
    head[start + 6 : start + 10] = (0x3FFF).to_bytes(2, "little") * 2
    head[12:16] = (0x3FFF).to_bytes(2, "little") * 2
    ivf.write_bytes(head)
    with pytest.raises(InputError), open_decoder(ivf) as decoder:
        list(decoder.frames())


def test_one_frame(tmp_path: Path) -> None:
    with open_decoder(write_clip(tmp_path / "clip.mp4", frames=1)) as decoder:
        assert [number_in(f.planes[0].numpy()) for f in decoder.frames()] == [0]
        assert decoder.info.duration_s == pytest.approx(1 / 25)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *(
            (".mkv", "libx264"),
            (".mp4", "libx264"),
            (".avi", "mpeg4"),
            (".flv", "libx264"),
            (".ts", "libx264"),
        ),
        *((".ts", "mpeg2video"), (".m2ts", "libx264"), (".ts", "libx265"), (".mpg", "mpeg2video")),
    ],
)
@pytest.mark.parametrize("share", [0.4, 0.61, 0.83])
def test_a_truncated_file_is_read_up_to_its_last_whole_picture(
    tmp_path: Path, suffix: str, codec: str, share: float
) -> None:
    whole = write_clip(
        tmp_path / f"whole{suffix}",
        frames=30,
        codec=codec,
        time_base=Fraction(1, 1000) if suffix == ".flv" else Fraction(1, 25),
        options={"x265-params": "log-level=none"} if codec == "libx265" else {"g": "12"},
        container_options={"movflags": "+faststart"} if suffix == ".mp4" else None,
    )
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: round(len(content) * share)])
    with open_decoder(whole) as decoder:
        expected = [frame.planes[0].numpy() for frame in decoder.frames()]
    with open_decoder(cut) as decoder:
        frames = list(decoder.frames())
        said = list(decoder.source.noticed)
        count = len(decoder.info.pts)
    assert len(frames) == count and 2 < count < 28
    numbers = [number_in(frame.planes[0].numpy()) for frame in frames]
    assert numbers == sorted(set(numbers))
    for number, frame in zip(numbers, frames, strict=True):
        assert (frame.planes[0].numpy() == expected[number]).all()
    assert all("left out" in sentence for sentence in said) and len(said) <= 1


@pytest.mark.parametrize("share", [0.4, 0.57, 0.66, 0.83, 0.9])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".avi", "libx264"),
        (".avi", "mpeg4"),
        (".mpg", "mpeg2video"),
        (".mpg", "mpeg1video"),
        (".ts", "mpeg2video"),
    ],
)
def test_a_recording_with_b_frames_that_breaks_off_is_read_as_far_as_all_is_there(
    tmp_path: Path, suffix: str, codec: str, share: float
) -> None:
    whole = write_clip(
        tmp_path / f"whole{suffix}",
        frames=40,
        width=320,
        height=192,
        codec=codec,
        time_base=Fraction(1, 25),
        options={"g": "15", "bf": "2"},
    )
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: round(len(content) * share)])
    with open_decoder(whole) as decoder:
        expected = [frame.planes[0].numpy() for frame in decoder.frames()]
    with open_decoder(cut) as decoder:
        frames = [frame.planes[0].numpy() for frame in decoder.frames()]
        assert len(frames) == len(decoder.info.pts) and share * 40 - 16 < len(frames) <= 40
    assert all((frame == whole).all() for frame, whole in zip(frames, expected[: len(frames)], strict=True))


def test_damage_before_the_last_picture_is_no_end(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", frames=30, options={"g": "30"}, time_base=Fraction(1, 25))
    data = clip.read_bytes()
    at = inner_packets(clip)[-12]
    clip.write_bytes(data[:at] + data[at + 188 :])
    with open_decoder(clip) as decoder, pytest.raises(InputError, match=r"frame \d+ of 30"):
        list(decoder.frames())


def inner_packets(clip: Path) -> list[int]:
    """Where the packets of a transport stream begin that hold video alone, the middle of a picture."""
    data = clip.read_bytes()
    with av.open(str(clip)) as container:
        pid = container.streams.video[0].id
    packets = [at for at in range(0, len(data), 188) if (data[at + 1] & 31) << 8 | data[at + 2] == pid]
    return [at for at in packets if not data[at + 1] & 0x40 and not data[at + 3] & 0x20]


@pytest.mark.parametrize("lost", [0.0, 0.01, 0.3, 0.5, 0.7])
@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx265", ".ts"), ("libx264", ".ts"), ("libx264", ".m2ts"), ("mpeg2video", ".ts")]
)
def test_a_lost_transport_packet_never_gives_a_damaged_picture(
    tmp_path: Path, codec: str, suffix: str, lost: float
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"g": "12", "bf": "2"}
    clip = write_clip(
        tmp_path / f"clip{suffix}",
        frames=30,
        codec=codec,
        options=options,
        time_base=Fraction(1, 25),
        width=320,
        height=192,
    )
    with open_decoder(clip) as decoder:
        whole = {frame.pts: frame.planes[0].numpy() for frame in decoder.frames()}
        assert not decoder.source.packets.lacking
    with av.open(str(clip)) as container:
        pid = container.streams.video[0].id
    data, size = clip.read_bytes(), 192 if suffix == ".m2ts" else 188
    heads = range(size - 188, len(data), size)
    ours = [at for at in heads if (data[at + 1] & 31) << 8 | data[at + 2] == pid]
    at = ours[round((len(ours) - 8) * lost) + 1] - (size - 188)
    clip.write_bytes(data[:at] + data[at + size :])
    given = []
    with open_decoder(clip) as decoder, pytest.raises(InputError, match="frame") as caught:
        for frame in decoder.frames():
            assert (frame.planes[0].numpy() == whole[frame.pts]).all()
            given.append(frame.pts)
    assert len(given) < 30 and "damaged" in str(caught.value)


@pytest.mark.parametrize("at_once", [1, 7, 1 << 18])
def test_transport_packets_are_told_alike_in_parts_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(transport_packets, "_AT_ONCE", at_once)
    clip = write_clip(tmp_path / "clip.ts", frames=20, time_base=Fraction(1, 25))
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        pid, begins = video.id, [p.pos for p in container.demux(video) if p.size]
    data, inner = clip.read_bytes(), inner_packets(clip)
    lost = inner[len(inner) // 2]
    owner = max(begin for begin in begins if begin is not None and begin < lost)
    assert transport_packets.incomplete(clip, pid, at_end=True) == frozenset()
    clip.write_bytes(data[:lost] + data[lost + 188 :])
    assert transport_packets.incomplete(clip, pid, at_end=True) == {owner}
    clip.write_bytes(data[:lost] + bytes(100) + data[lost + 188 :])  # out of step, too
    assert transport_packets.incomplete(clip, pid, at_end=True) == {owner}
    clip.write_bytes(b"")
    assert transport_packets.incomplete(clip, pid, at_end=True) == frozenset()


def test_lost_packets_between_whole_pictures_are_no_damage(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "clip.ts", frames=20, options={"g": "1", "bf": "0"}, time_base=Fraction(1, 25)
    )
    data = clip.read_bytes()
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        pid, begins = video.id, [p.pos for p in container.demux(video) if p.size and p.pos is not None]
    lost = [at for at in range(begins[9], begins[10], 188) if (data[at + 1] & 31) << 8 | data[at + 2] == pid]
    clip.write_bytes(b"".join(data[at : at + 188] for at in range(0, len(data), 188) if at not in lost))
    with open_decoder(clip) as decoder:
        numbers = [number_in(frame.planes[0].numpy()) for frame in decoder.frames()]
    assert numbers == [n for n in range(20) if n != 9]


def test_a_whole_range_of_a_truncated_file_can_be_read(tmp_path: Path) -> None:
    content = write_clip(tmp_path / "whole.mkv", frames=30).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(content[: len(content) * 6 // 10])
    with open_decoder(cut) as decoder:
        assert len(list(decoder.frames(None, decoder.info.pts[5]))) == 5


def test_damage_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=30, options={"preset": "medium"})
    with av.open(str(clip)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.pos is not None]
    content = bytearray(clip.read_bytes())
    start = starts[15]
    content[start : start + 200] = bytes(200)  # headers, too: H.264 has no checksum for the rest
    clip.write_bytes(content)
    with open_decoder(clip) as decoder, pytest.raises(InputError, match="damaged"):
        list(decoder.frames())


def test_a_picture_whose_packet_broke_off_is_not_passed_on(tmp_path: Path) -> None:
    """MPEG-2 gives what it has of it, unmarked; here a slice says that it lies below the picture."""
    options = {"g": "12", "bf": "0"}
    clip = write_clip(tmp_path / "clip.mpg", codec="mpeg2video", time_base=Fraction(1, 25), options=options)
    data = bytearray(clip.read_bytes())
    data[data.index(b"\x00\x00\x01\x02") + 3] = 0x7F  # the second slice of the first picture
    clip.write_bytes(data)
    with open_decoder(clip) as decoder, pytest.raises(InputError, match="frame 0 of 10"):
        next(decoder.frames())


@pytest.mark.parametrize("size", [(64, 48), (200, 120)])
def test_a_size_that_changes_is_refused_where_it_changes(tmp_path: Path, size: tuple[int, int]) -> None:
    paths = [
        write_clip(tmp_path / f"{k}.h264", frames=5, width=w, height=h, options={"preset": "ultrafast"})
        for k, (w, h) in enumerate([(160, 96), size])
    ]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(p.read_bytes() for p in paths))
    with (
        open_decoder(joined) as decoder,
        pytest.raises(InputError, match=f"frame 5 .* is {size[0]}x{size[1]}"),
    ):
        list(decoder.frames())


def _process(path: Path, output: Path) -> None:
    with (
        open_decoder(path) as decoder,
        PyAVEncoder(decoder.source, output, EncodeSettings(preset="ultrafast")) as out,
    ):
        for frame in decoder.frames():
            out.write(frame)
        out.finish()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".webm"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "zero"])
def test_fuzz(tmp_path: Path, suffix: str, harm: str) -> None:
    """Whatever is done to a file: a result, or one of our errors and nothing under the output's name."""
    webm = suffix == ".webm"
    whole = write_clip(
        tmp_path / f"whole{suffix}",
        frames=12,
        width=64,
        height=48,
        pts=range(12),
        time_base=Fraction(1, 25),
        codec="libvpx-vp9" if webm else "libx264",
        options={"cpu-used": "8", "deadline": "realtime"} if webm else None,
        extras=Extras(audio=[Audio(codec="libopus" if webm else "aac")]),
    )
    content = whole.read_bytes()
    rng = np.random.default_rng(len(content))
    outcomes = set()
    for trial in range(25):
        harmed = bytearray(content)
        at = int(rng.integers(0, len(content)))
        if harm == "truncate":
            del harmed[at:]
        elif harm == "flip":
            for place in rng.integers(0, len(content), 1 + trial):
                harmed[place] ^= 1 << int(rng.integers(0, 8))
        else:
            harmed[at : at + 300] = bytes(len(harmed[at : at + 300]))
        path, output = tmp_path / f"harmed{suffix}", tmp_path / f"out{trial}{suffix}"
        path.write_bytes(harmed)
        try:
            _process(path, output)
        except VidpipeError as error:
            assert "\n" not in str(error)
            assert not output.exists()
            outcomes.add("error")
        else:
            assert len(probe(output).pts) > 0
            outcomes.add("result")
        assert not list(tmp_path.glob(".*"))
    assert "error" in outcomes
