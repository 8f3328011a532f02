"""What MPEG-2 says beside its pictures: the part that displays show, and time codes of groups."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from av.packet import Packet

from pipeline.encode import EncodeSettings
from pipeline.encode.gop_codes import GopCode, compare_codes
from pipeline.encode.items import Item
from pipeline.encode.verify import Verification
from tests.support.clips import write_clip
from tests.support.remux import changed, remuxed, states, through

SMALL = {"width": 64, "height": 64}


def told(result: Verification, name: str) -> Item | None:
    return next((item for item in result.items if item.name == f"picture data {name}"), None)


def mpeg2(path: Path, *, frames: int = 10, start: int = 25, rate: int = 25, **options: str) -> Path:
    return write_clip(
        path,
        pts=range(start, start + frames),
        codec="mpeg2video",
        options={"bf": "2", **options},
        time_base=Fraction(1, rate),
        rate=Fraction(rate),
        **SMALL,
    )


def showing(width: int) -> Any:
    """Changes a packet of 64x64 px so that displays show ``width`` px of it (13818-2, 6.3.6)."""

    def change(_: int, packet: Packet[Any]) -> tuple[Packet[Any]]:
        data = bytearray(packet)
        at = data.find(b"\0\0\1\xb5")
        while at >= 0 and data[at + 4] >> 4 != 2:
            at = data.find(b"\0\0\1\xb5", at + 4)
        if at >= 0:
            size = at + 5 + 3 * (data[at + 4] & 1)
            bits = int.from_bytes(data[size : size + 4], "big")
            bits = bits & ((1 << 18) - 1) | width << 18
            data[size : size + 4] = bits.to_bytes(4, "big")
        return (changed(packet, bytes(data)),)

    return change


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mpg", "auto"), (".mkv", "mpeg2video")])
def test_the_part_that_displays_show_is_named_where_it_is_lost(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    plain = mpeg2(tmp_path / "plain.mpg", seq_disp_ext="always")
    clip = remuxed(plain, tmp_path / "in.mpg", showing(48))
    _, _, result = through(clip, tmp_path / f"out{suffix}", EncodeSettings(codec=codec))
    item = told(result, "PANSCAN")
    assert item is not None
    assert (item.source, item.output, str(item.state)) == ("48x64", "none", "lost")
    _, _, result = through(plain, tmp_path / f"whole{suffix}", EncodeSettings(codec=codec))
    assert told(result, "PANSCAN") is None


@pytest.mark.parametrize("suffix", [".mpg", ".mkv"])
def test_time_codes_that_begin_anew_in_the_middle_are_named(tmp_path: Path, suffix: str) -> None:
    one = mpeg2(tmp_path / "one.mpg", frames=30)
    other = mpeg2(tmp_path / "other.mpg", frames=30, gop_timecode="10:00:00:00")
    joined = tmp_path / "joined.mpg"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    settings = EncodeSettings(codec="mpeg2video")
    _, _, result = through(joined, tmp_path / f"out{suffix}", settings)
    item = told(result, "GOP_TIMECODE")
    assert item is not None
    assert str(item.state) == "changed"
    assert item.source.startswith("10:00:00:00 at picture ")
    _, _, result = through(one, tmp_path / f"same{suffix}", settings)
    assert "picture data GOP_TIMECODE" not in states(result)
    _, _, result = through(other, tmp_path / f"late{suffix}", settings)
    assert states(result)["picture data GOP_TIMECODE"] == "changed"


def code(picture: int, hours: int, minutes: int, seconds: int, frames: int, drops: bool = False) -> GopCode:
    return GopCode(picture, drops << 24 | hours << 19 | minutes << 13 | 1 << 12 | seconds << 6 | frames)


def test_codes_of_other_groups_tell_the_same_times() -> None:
    every_12 = [code(n, 1, 0, n // 25, n % 25) for n in range(0, 100, 12)]
    every_15 = [code(n + 2, 1, 0, n // 25, n % 25) for n in range(0, 100, 15)]
    assert str(compare_codes(every_12, every_15, 25).state) == "kept"
    again = [*every_12[:5], *(code(n, 1, 0, 0, 0) for n in range(60, 100, 12))]
    assert compare_codes(again, every_15, 25).source == "01:00:00:00 at picture 60"
    dropped = [code(0, 0, 0, 59, 20, drops=True), code(12, 0, 1, 0, 4, drops=True)]
    assert [one.begins(30) for one in dropped] == [1790, 1790]
    assert dropped[1].text == "00:01:00;04"
