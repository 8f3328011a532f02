"""Outputs that cannot be written: one line, and nothing under the output's name or beside it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.decode import open_decoder
from pipeline.decode.source import open_source, probe
from pipeline.encode import EncodeSettings
from pipeline.encode.atomic_file import AtomicFile
from pipeline.encode.pyav import PyAVEncoder
from pipeline.errors import InputError, OutputError, UsageError, VidpipeError
from tests.support import ROOT
from tests.support.clips import Audio, Extras, write_clip

pytestmark = pytest.mark.slow

FAST = EncodeSettings(preset="ultrafast")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "in.mp4", frames=30, extras=Extras(audio=[Audio()]))


@contextmanager
def refused(folder: Path, words: str, error: type[VidpipeError] = OutputError) -> Iterator[None]:
    """An error in one line, and a folder that is as it was."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(error, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def process(source: Path, output: Path, settings: EncodeSettings = FAST, *, overwrite: bool = False) -> None:
    with (
        open_decoder(source) as decoder,
        PyAVEncoder(decoder.source, output, settings, overwrite=overwrite) as encoder,
    ):
        for frame in decoder.frames():
            encoder.write(frame)
        encoder.finish()


def test_existing_output(tmp_path: Path, clip: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    with refused(tmp_path, "exists; choose another name, or replace it"):
        process(clip, output)
    process(clip, output, overwrite=True)
    assert len(probe(output).pts) == 30


def test_output_that_appears_meanwhile_is_left_alone(tmp_path: Path, clip: Path) -> None:
    output = tmp_path / "out.mp4"
    with open_decoder(clip) as decoder, PyAVEncoder(decoder.source, output, FAST) as encoder:
        for frame in decoder.frames():
            encoder.write(frame)
        output.write_text("precious")
        with pytest.raises(OutputError, match="appeared meanwhile"):
            encoder.finish()
    assert output.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_output_equal_to_input(tmp_path: Path, clip: Path, link: object) -> None:
    output = clip if link is None else tmp_path / "link.mp4"
    if callable(link):
        link(clip, output)
    with refused(tmp_path, "is the input itself"):
        process(clip, output, overwrite=True)


def test_missing_folder(tmp_path: Path, clip: Path) -> None:
    with refused(tmp_path, "does not exist; create it"):
        process(clip, tmp_path / "none" / "out.mp4")


def test_output_is_a_folder(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with refused(tmp_path, "is a folder"):
        process(clip, tmp_path / "out.mp4", overwrite=True)


@pytest.mark.parametrize(("number", "words"), [(errno.EACCES, "read-only"), (errno.EROFS, "read-only")])
def test_read_only_folder(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """Root may write anywhere, so the operating system's answer is played."""

    def deny(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    decoder = open_decoder(clip)
    monkeypatch.setattr(os, "open", deny)
    with refused(tmp_path, words), PyAVEncoder(decoder.source, tmp_path / "out.mp4", FAST):
        pass


@pytest.mark.parametrize("allowed_bytes", [0, 30_000, 60_000])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_disk_full(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, allowed_bytes: int, suffix: str
) -> None:
    """The disk takes so many bytes and no more, wherever in the run that is."""
    written = 0
    real = AtomicFile.write

    def full(self: AtomicFile, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > allowed_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(AtomicFile, "write", full)
    with refused(tmp_path, "no space left"):
        process(clip, tmp_path / f"out{suffix}")


def test_disk_full_when_the_last_bytes_go_out(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with refused(tmp_path, "no space left"):
        process(clip, tmp_path / "out.mp4")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_full_device(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's own ENOSPC, through the muxer and back."""
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: real("/dev/full", os.O_RDWR))
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(OutputError, match="no space left"):
        process(clip, tmp_path / "out.mkv")


def test_unknown_container(tmp_path: Path, clip: Path) -> None:
    with refused(tmp_path, r"no container is called \.xyz; end the name in \.mp4"):
        process(clip, tmp_path / "out.xyz")
    with refused(tmp_path, "it has no suffix"):
        process(clip, tmp_path / "out")


def test_container_that_cannot_hold_the_codec(tmp_path: Path, clip: Path) -> None:
    with refused(tmp_path, r"webm cannot hold libx264; write to \.mkv"):
        process(clip, tmp_path / "out.webm", EncodeSettings(codec="libx264"))


def test_unknown_encoder(tmp_path: Path, clip: Path) -> None:
    with refused(tmp_path, "no encoder h2645 in this FFmpeg; try"):
        process(clip, tmp_path / "out.mp4", EncodeSettings(codec="h2645"))


@pytest.mark.parametrize("codec", ["aac", "mov_text"])
def test_encoder_of_something_else(tmp_path: Path, clip: Path, codec: str) -> None:
    with refused(tmp_path, f"{codec} is no video encoder"):
        process(clip, tmp_path / "out.mp4", EncodeSettings(codec=codec))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("codec", "encoder"),
    [("h264", "libx264"), ("hevc", "libx265"), ("vp9", "libvpx-vp9"), ("av1", "libsvtav1")],
)
def test_a_preset_that_is_none_changes_no_codec(
    tmp_path: Path, clip: Path, capfd: pytest.CaptureFixture[str], codec: str, encoder: str, named: bool
) -> None:
    """Neither for a codec that is named, nor for that of the source; and no library speaks for itself."""
    if not named:
        clip = write_clip(tmp_path / "same.mkv", frames=3, codec=encoder, options={})
    settings = EncodeSettings(codec=codec if named else "auto", preset="warp9")
    capfd.readouterr()
    with refused(tmp_path, f"^{encoder} has no preset 'warp9'; wanted .*ultrafast, .*, placebo$", UsageError):
        process(clip, tmp_path / "out.mkv", settings)
    assert capfd.readouterr() == ("", "")


def test_a_quality_that_is_none_changes_no_codec(tmp_path: Path, clip: Path) -> None:
    for codec, crf, wanted in (("auto", 77, 51), ("hevc", 52, 51), ("av1", 64, 63), ("vp9", -1, 63)):
        words = rf"has no crf {crf}; wanted 0 \(best\) to {wanted}$"
        with refused(tmp_path, words, UsageError):
            process(clip, tmp_path / "out.mkv", EncodeSettings(codec=codec, crf=crf))


def test_av1_leaves_the_terminal_alone(tmp_path: Path, clip: Path) -> None:
    """In a process of its own, since SVT-AV1 asks once how much it may say."""
    script = f"""
        from pathlib import Path
        from pipeline.decode import open_decoder
        from pipeline.encode import EncodeSettings
        from pipeline.encode.pyav import PyAVEncoder
        with (
            open_decoder(Path({str(clip)!r})) as decoder,
            PyAVEncoder(
                decoder.source, Path({str(tmp_path / "out.mkv")!r}), EncodeSettings("av1", preset="fast")
            ) as encoder,
        ):
            for frame in decoder.frames():
                encoder.write(frame)
            encoder.finish()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Svt[" not in done.stdout + done.stderr


def test_size_beyond_the_codec(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "in.nut",
        frames=1,
        codec="rawvideo",
        pix_fmt="gray",
        width=17_000,
        height=2,
        time_base=Fraction(1, 25),
    )
    with refused(tmp_path, "17000x2 gray"):
        process(source, tmp_path / "out.mp4", EncodeSettings(codec="libx264", preset="ultrafast"))
    process(source, tmp_path / "out.mkv")
    assert probe(tmp_path / "out.mkv").width == 17_000


def test_no_frames_is_no_file(tmp_path: Path, clip: Path) -> None:
    with (
        refused(tmp_path, "no frame was written"),
        open_decoder(clip) as decoder,
        PyAVEncoder(decoder.source, tmp_path / "out.mp4", FAST) as encoder,
    ):
        encoder.finish()


def test_source_that_vanishes(tmp_path: Path, clip: Path) -> None:
    source = open_source(clip)
    clip.unlink()
    with (
        pytest.raises(InputError, match="does not exist"),
        PyAVEncoder(source, tmp_path / "out.mp4", FAST),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [0, 1, 29, 30])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, clip: Path, after: int, error: type[BaseException]
) -> None:
    def run() -> None:
        with (
            open_decoder(clip) as decoder,
            PyAVEncoder(decoder.source, tmp_path / "out.mkv", FAST) as encoder,
        ):
            for frame in decoder.frames():
                if frame.index == after:
                    break
                encoder.write(frame)
            raise error

    with pytest.raises(error):
        run()
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_killed_process_leaves_nothing_under_the_name(tmp_path: Path, clip: Path) -> None:
    program = f"""
    import os, signal
    from pathlib import Path
    from pipeline.decode import open_decoder
    from pipeline.encode.pyav import PyAVEncoder
    source, output = Path({str(clip)!r}), Path({str(tmp_path / "out.mkv")!r})
    with open_decoder(source) as decoder, PyAVEncoder(decoder.source, output) as encoder:
        for frame in decoder.frames():
            encoder.write(frame)
            if frame.index == 20:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.mkv").exists()


def test_metadata_of_any_script_is_kept(tmp_path: Path) -> None:
    extras = Extras(metadata={"title": "Größe 大小 \N{SNOWMAN}"})
    source = write_clip(tmp_path / "in.mp4", extras=extras)
    odd_name = tmp_path / "ünïcode: näme %03d [x].mp4"
    shutil.copy(source, odd_name)
    process(odd_name, tmp_path / "out %d: ö.mp4")
    with av.open(str(tmp_path / "out %d: ö.mp4")) as container:
        assert container.metadata["title"] == extras.metadata["title"]


@pytest.mark.parametrize("cut_bytes", [1, 300, 3000])
def test_sound_that_is_cut_off_is_told_of(tmp_path: Path, cut_bytes: int) -> None:
    """The index lies in front, and the end of the sound is missing."""
    whole = write_clip(tmp_path / "whole.mp4", frames=10, extras=Extras(audio=[Audio(seconds=2)]))
    front = tmp_path / "front.mp4"
    with av.open(str(whole)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as target:
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    clip = tmp_path / "cut.mp4"
    for content, told in ((front.read_bytes(), False), (front.read_bytes()[:-cut_bytes], True)):
        clip.write_bytes(content)
        with (
            open_decoder(clip) as decoder,
            PyAVEncoder(decoder.source, tmp_path / "out.mp4", FAST, overwrite=True) as encoder,
        ):
            for frame in decoder.frames():
                encoder.write(frame)
            encoder.finish()
            assert any("cut off in the source" in loss for loss in encoder.lost) is told
