"""Streams whose packets are not one picture each, and streams that do not begin or go on as they should."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.packet import Packet

from pipeline.decode import open_decoder
from pipeline.decode.bits import Bits, escaped, nal_units, unescaped
from pipeline.decode.shown_pictures import picture_counter
from pipeline.decode.source import open_source
from pipeline.errors import InputError
from pipeline.types import Frame
from tests.support.clips import Audio, Extras, number_in, write_clip
from tests.support.remux import changed, remuxed

pytestmark = pytest.mark.slow

SMALL = {"width": 64, "height": 64}


def numbers(frames: list[Frame]) -> list[int]:
    return [number_in(frame.planes[0].numpy()) for frame in frames]


@pytest.mark.parametrize(
    ("codec", "suffix", "options", "first", "left"),
    [
        ("libx264", ".ts", {"g": "12", "bf": "2"}, 5, 12),
        ("mpeg4", ".mkv", {"g": "12", "bf": "2", "qscale": "2", "flags": "+qscale"}, 5, 12),
        ("mpeg2video", ".ts", {"g": "6", "bf": "2", "qscale": "2", "flags": "+qscale"}, 0, 0),
        (
            "libx265",
            ".ts",
            {"x265-params": "log-level=none:keyint=8:open-gop=1:bframes=3:scenecut=0"},
            15,
            16,
        ),
        ("libx264", ".mkv", {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}, 4, None),
    ],
)
def test_what_begins_in_the_middle_begins_with_its_first_whole_picture(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    codec: str,
    suffix: str,
    options: dict[str, str],
    first: int,
    left: int | None,
) -> None:
    """Cut between key frames, open groups, intra refresh: no grey picture, the times of the rest."""
    whole = write_clip(
        tmp_path / f"whole{suffix}",
        frames=24,
        codec=codec,
        options=options,
        time_base=Fraction(1, 25),
        **SMALL,
    )
    cut = remuxed(whole, tmp_path / f"cut{suffix}", lambda n, packet: (packet,) if n >= first else ())
    with open_decoder(whole) as decoder:
        reference = {frame.pts: frame for frame in decoder.frames()}
    with open_decoder(cut) as decoder:
        frames = list(decoder.frames())
        assert [frame.pts for frame in frames] == list(decoder.info.pts)
    assert numbers(frames)[-1] == 23
    assert np.all(np.diff(numbers(frames)) == 1)
    if left is not None:
        assert numbers(frames)[0] == left
        assert ("cannot be decoded" in caplog.text) == (left > 0)
    shift = frames[-1].pts - max(reference)
    for frame in frames:
        assert bool((frame.planes[0] == reference[frame.pts - shift].planes[0]).all())


def test_packets_that_show_nothing_are_no_frames(tmp_path: Path) -> None:
    """Hidden references of VP8: the frame's first byte has a bit for it (RFC 6386, 9.1)."""
    clip = write_clip(tmp_path / "in.webm", frames=12, codec="libvpx", options={"b": "2M"}, **SMALL)

    def hidden_before(number: int, packet: Packet[Any]) -> tuple[Packet[Any], ...]:
        data = bytes(packet)
        twin = changed(packet, bytes((data[0] & ~16,)) + data[1:])
        return (twin, packet) if number in {3, 7} else (packet,)

    source = open_source(remuxed(clip, tmp_path / "hidden.webm", hidden_before))
    assert not source.packets.regular
    with open_decoder(source) as decoder:
        assert (
            [frame.index for frame in decoder.frames()]
            == list(range(12))
            == list(range(len(source.info.pts)))
        )
        assert [frame.index for frame in decoder.frames(None, source.info.pts[9])] == list(range(9))


class Writer:
    """Bits of a header."""

    def __init__(self) -> None:
        self.bits = ""

    def u(self, width: int, value: int) -> Writer:
        self.bits += f"{value:0{width}b}" if width else ""
        return self

    def ue(self, value: int) -> Writer:
        code = f"{value + 1:b}"
        self.bits += "0" * (len(code) - 1) + code
        return self

    def data(self) -> bytes:
        padded = self.bits + "1" + "0" * (-len(self.bits) - 1 & 7)
        return bytes(int(padded[k : k + 8], 2) for k in range(0, len(padded), 8))


def sequence(interlaced: bool) -> bytes:
    bits = Writer().u(8, 77).u(16, 30).ue(0).ue(4).ue(2).ue(1).u(1, 0).ue(3).ue(3).u(1, not interlaced)
    return b"\x00\x00\x00\x01\x67" + escaped(bits.u(8, 0).data())


def field(number: int, bottom: int | None) -> bytes:
    """A slice of a field, of a frame for None."""
    bits = Writer().ue(0).ue(7).ue(0).u(8, number).u(1, bottom is not None)
    bits.u(0 if bottom is None else 1, bottom or 0)
    return b"\x00\x00\x01\x65" + escaped(bits.u(16, 0).data())


def test_two_fields_are_one_picture() -> None:
    count = picture_counter("h264", None)
    assert count is not None
    packets = [sequence(True) + field(0, 0), field(0, 1), field(1, None), field(2, 1), field(2, 0)]
    assert [count(packet) for packet in packets] == [1, 0, 1, 1, 0]
    lost_second = [field(3, 0), field(4, 0), field(4, 1)]
    assert [count(packet) for packet in lost_second] == [1, 1, 0]
    assert count(field(5, 0) + field(5, 1)) == 1
    progressive = picture_counter("h264", sequence(False))
    assert progressive is not None
    assert [progressive(field(0, None)), progressive(field(1, None))] == [1, 1]


def test_vops_that_are_not_coded_show_nothing() -> None:
    layer = Writer().u(9, 0).u(1, 0).u(4, 1).u(1, 0).u(2, 0).u(1, 1).u(16, 25).u(1, 1)
    head = b"\x00\x00\x01\x20" + layer.data()

    def vop(kind: int, coded: int) -> bytes:
        return b"\x00\x00\x01\xb6" + Writer().u(2, kind).u(1, 0).u(1, 1).u(5, 3).u(1, 1).u(1, coded).data()

    count = picture_counter("mpeg4", head)
    assert count is not None
    assert [count(vop(0, 1)), count(vop(1, 0)), count(vop(1, 1))] == [1, 0, 1]
    packed = [vop(1, 1) + vop(2, 1), vop(1, 0), vop(1, 0)]
    assert [count(packet) for packet in packed] == [1, 1, 0]


def test_hidden_frames_of_vp9_and_av1() -> None:
    vp9, av1 = picture_counter("vp9", None), picture_counter("av1", None)
    assert vp9 is not None
    assert av1 is not None
    shown, hidden = bytes((0b10000010, 0, 0)), bytes((0b10000100, 0, 0))
    superframe = hidden + shown + bytes((0b11000001, 3, 3, 0b11000001))
    assert [vp9(shown), vp9(hidden), vp9(superframe)] == [1, 0, 1]
    frame = bytes((6 << 3 | 2, 2))
    assert [av1(frame + b"\x10\x00"), av1(frame + b"\x00\x00"), av1(b"\x12\x00" + frame + b"\x80\x00")] == [
        1,
        0,
        1,
    ]


def test_bits() -> None:
    bits = Bits(bytes((0b10100110, 0b01000000)))  # 1, 010, 011, 00100 of H.264, table 9-2
    assert [bits.golomb() for _ in range(4)] == [0, 1, 2, 3]
    raw = bytes((0, 0, 1, 0, 0, 0, 0, 3, 7))
    assert unescaped(escaped(raw)) == raw
    assert list(nal_units(b"\x00\x00\x00\x01ab\x00\x00\x01c", 0)) == [b"ab", b"c"]
    assert list(nal_units(b"\x00\x02ab\x00\x01c", 2)) == [b"ab", b"c"]


@pytest.mark.parametrize(("second_s", "codec"), [(0, "libx264"), (0.5, "libx264"), (0, "mpeg2video")])
def test_a_clock_that_starts_again_goes_on(tmp_path: Path, second_s: float, codec: str) -> None:
    """Joined segments: of one clock each, and of clocks that overlap."""
    parts = []
    for number, first_s in enumerate((1, 1 + second_s)):
        first = round(first_s * 90_000)
        base = Fraction(1, 25) if codec == "mpeg2video" else Fraction(1, 90_000)
        pts = [round(first * base.denominator / 90_000) + k * round(base.denominator / 25) for k in range(15)]
        clip = write_clip(
            tmp_path / f"{number}.ts",
            frames=15,
            codec=codec,
            options={"g": "10", "bf": "2"},
            pts=pts,
            time_base=base,
            extras=Extras(audio=(Audio(start_s=first_s, seconds=0.6),)),
            **SMALL,
        )
        parts.append(clip.read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    with open_decoder(joined) as decoder:
        frames = list(decoder.frames())
        assert np.diff(decoder.info.pts).tolist() == [3600] * 29
        assert numbers(frames) == [*range(15), *range(15)]
        assert numbers(list(decoder.frames(decoder.info.pts[20]))) == list(range(5, 15))


def test_joined_program_streams_keep_all_pictures(tmp_path: Path) -> None:
    """Of which several share a pack, so that only the first of them has a time."""
    joined = tmp_path / "joined.mpg"
    for number in range(2):
        clip = write_clip(
            tmp_path / f"{number}.mpg",
            frames=20,
            codec="mpeg2video",
            options={"bf": "2"},
            time_base=Fraction(1, 25),
            extras=Extras(audio=(Audio(codec="mp2"),)),
            **SMALL,
        )
        with joined.open("ab") as file:
            file.write(clip.read_bytes())
    with open_decoder(joined) as decoder:
        frames = list(decoder.frames())
        assert np.diff(decoder.info.pts).tolist() == [3600] * 39
        assert numbers(frames) == [*range(20), *range(20)]


def test_a_shape_of_pixels_that_changes_is_noticed(tmp_path: Path) -> None:
    parts = []
    for first, aspect in ((0, Fraction(4, 3)), (100, Fraction(16, 9))):
        pts = [first + k for k in range(6)]
        base = Fraction(1, 25)
        clip = write_clip(tmp_path / "part.ts", pts=pts, time_base=base, sample_aspect=aspect, **SMALL)
        parts.append(clip.read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    with open_decoder(joined) as decoder:
        assert decoder.info.sample_aspect == Fraction(4, 3)
        assert len(list(decoder.frames())) == 12
        (sentence,) = decoder.source.noticed
    assert "from 4/3 to 16/9" in sentence
    with open_decoder(clip) as decoder:
        list(decoder.frames())
        assert decoder.source.noticed == []


def test_what_refers_to_damage_is_never_given_and_what_does_not_is(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "whole.ts", frames=30, options={"g": "10", "bf": "0"}, **SMALL)
    harmed = remuxed(
        clip,
        tmp_path / "harmed.mkv",
        lambda n, p: (changed(p, bytes(p)[: p.size // 2] + bytes(20)),) if n == 13 else (p,),
    )
    with open_decoder(harmed) as decoder:
        pts = decoder.info.pts
        assert len(list(decoder.frames(None, pts[12]))) == 12
        assert numbers(list(decoder.frames(pts[20]))) == list(range(20, 30))
        for start in (10, 15, 19):
            with pytest.raises(InputError, match=r"damaged|cannot be decoded"):
                list(decoder.frames(pts[start], pts[20]))


def test_a_file_that_grows_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.ts", frames=4, **SMALL)
    source = open_source(clip)
    source.check_unchanged()
    with clip.open("ab") as file:
        file.write(bytes(188))
    with pytest.raises(InputError, match="has changed while it was read"):
        source.check_unchanged()


def test_the_end_of_the_clock_of_33_bits_is_no_jump(tmp_path: Path) -> None:
    first = (1 << 33) - 5 * 3600
    pts = [first + 3600 * k for k in range(12)]
    clip = write_clip(tmp_path / "wrap.ts", pts=pts, time_base=Fraction(1, 90_000), **SMALL)
    with open_decoder(clip) as decoder:
        assert np.diff(decoder.info.pts).tolist() == [3600] * 11
        assert numbers(list(decoder.frames())) == list(range(12))


def test_a_live_recording_states_no_length(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "live.webm",
        frames=8,
        codec="libvpx",
        options={"b": "1M"},
        container_options={"live": "1"},
        **SMALL,
    )
    with open_decoder(clip) as decoder:
        assert decoder.source.packets.breaks_off is None
        assert len(list(decoder.frames())) == 8


def test_tags_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mkv", frames=2, extras=Extras(metadata={"title": "cafe"}), **SMALL)
    clip.write_bytes(clip.read_bytes().replace(b"cafe", b"caf\xe9"))
    assert open_source(clip).metadata["title"] == "caf\ufffd"
