"""Opening a source: one guarded place, footage in one file, no other file and no host."""

from __future__ import annotations

import ast
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av.logging
import pytest

import pipeline.decode.open as opening
from pipeline import machine
from pipeline.decode.open import open_decoder_context, open_input, parked
from pipeline.decode.side_data import description
from pipeline.decode.source import open_source
from pipeline.errors import InputError, MissingError
from tests.support import ROOT
from tests.support.clips import Extras, write_clip
from tests.support.hostile import PLAYLISTS, listener


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".sdp", ""])
def test_a_text_that_names_other_files_is_refused_unread(tmp_path: Path, kind: str, suffix: str) -> None:
    other = tmp_path / "other.ts"
    other.write_bytes(b"G" * 1000)
    os.utime(other, (1, 1))
    with listener() as (port, asked):
        text = PLAYLISTS[kind].format(other=other, url=f"http://127.0.0.1:{port}/x.ts", port=port)
        path = tmp_path / f"list{suffix}"
        path.write_text(text)
        with pytest.raises(InputError, match="is a text, such as a playlist"):
            open_input(path)
    assert asked == []
    assert other.stat().st_atime == 1


def test_a_name_with_a_pattern_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "frame%03d.mp4"
    write_clip(path, frames=3)
    assert len(open_source(path).info.pts) == 3


def test_more_streams_than_any_footage_has_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=3, extras=Extras(second_video=(64, 48)))
    monkeypatch.setattr(opening, "MAX_STREAMS", 1)
    with pytest.raises(InputError, match="more than 1 streams"):
        open_source(clip)


def test_a_picture_larger_than_the_memory_is_refused_with_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 1 << 12)
    with pytest.raises(MissingError, match=r"160x96 px takes about 0\.0 GiB of memory") as caught:
        open_source(clip)
    assert caught.value.exit_code == 5


def test_the_memory_of_the_machine_is_known() -> None:
    there = machine.memory_bytes()
    assert there is not None and there > 1 << 28
    machine.require(1 << 20, "nothing")


def test_no_other_place_of_the_runtime_opens_a_source() -> None:
    """``av.open`` for reading stands in ``decode/open.py``, OpenCV's reader and foreign programs nowhere."""
    found = []
    for file in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name = ast.unparse(node.func)
            modes = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
            if name in {"av.open", "av.container.open"} and modes != ["w"]:
                found.append(file.relative_to(ROOT).as_posix())
            assert name not in {"cv2.VideoCapture", "subprocess.run", "os.system"}, file
    assert found == ["pipeline/decode/open.py"]


def test_threads_that_describe_at_once_leave_the_log_as_it_was(tmp_path: Path) -> None:
    """A log that stays with Python costs a deadlock as soon as a decoder is freed while its threads log."""
    clip = write_clip(tmp_path / "clip.mp4", frames=3)

    def describe(times: int) -> None:
        for _ in range(times):
            with open_input(clip) as container:
                assert "Stream #0:0" in description(container)

    level, interval = av.logging.get_level(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(describe, [500] * 3))
    finally:
        sys.setswitchinterval(interval)
    assert av.logging.get_level() == level


def test_a_decoder_that_is_parked_has_nothing_under_way(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=12, options={"bf": "0"})

    def left(is_parked: bool) -> int:
        with open_input(clip) as container:
            context = open_decoder_context(container.streams.video[0])
            context.thread_count = 4
            packets = [packet for packet in container.demux(video=0) if packet.size][:4]
            if is_parked:
                with parked(context):
                    for packet in packets:
                        context.decode(packet)
            else:
                for packet in packets:
                    context.decode(packet)
            return len(context.decode(None))

    assert left(is_parked=False) > 0
    assert left(is_parked=True) == 0
