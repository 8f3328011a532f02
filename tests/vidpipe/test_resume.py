"""A run with a journal that is stopped and run again gives what it gives without being stopped."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import leftovers
from pipeline.config import Given, Resolved, resolve
from pipeline.errors import OutputError
from pipeline.faces.input_picture import DetectorView
from pipeline.picture.grid_paint import cells_across
from pipeline.run.anonymize import anonymize
from pipeline.run.lifecycle import Progress
from pipeline.run.reconstruct import reconstruct
from pipeline.types import Box
from tests.support.clips import write_clip
from tests.support.scene import CubicEngine
from tests.vidpipe.conftest import Cli
from vidpipe.batches.recipe import resolved
from vidpipe.batches.worker import Task, do
from vidpipe.cli.main import _quoted
from vidpipe.jobs import anonymize_job, reconstruct_job

pytestmark = pytest.mark.slow

UNEVEN = [0, 1, 3, 4, 7, 8, 9, 13, 14, 15, 16, 20, 22, 23, 24, 25, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41]
"""Times of frames, in 1/25 s."""

Run = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, network: Path) -> Run:
    """Runs a mode with a journal; returns the report."""
    monkeypatch.setattr("export.select.default_net", lambda: "idn")
    monkeypatch.setattr("export.select.engine_for", lambda *asked: network)

    def call(
        mode: str,
        source: Path,
        target: Path,
        on_frame: Callable[[Progress], None] = lambda progress: None,
        **values: Any,
    ) -> Any:
        settings = _settings(**values)
        make = {"source": source, "target": target, "settings": settings, "resume_from_s": 0.0}
        if mode == "reconstruct":
            return reconstruct(reconstruct_job(**make), settings, on_frame)
        return anonymize(anonymize_job(**make, mode=mode), settings, on_frame)

    return call


def _settings(**values: Any) -> Resolved:
    """Without x264's look-ahead over macroblocks, whose bytes are not the same in every run."""
    given: dict[str, Any] = {"encode.segment_s": 0.4, "encode.preset": "superfast"}
    given |= {name.replace("__", "."): value for name, value in values.items()}
    return resolve({name: Given(value, "test") for name, value in given.items()})


_Stream = tuple[list[tuple[Any, Any, bytes]], list[Any], list[bytes]]


def _stream(path: Path) -> _Stream:
    """Packets of the video (pts, dts, bytes), times of its frames, and these as bytes."""
    with av.open(path) as container:
        packets = [(p.pts, p.dts, bytes(p)) for p in container.demux(video=0) if p.size]
    with av.open(path) as container:
        frames = [(f.pts, f.to_ndarray().tobytes()) for f in container.decode(video=0)]
    return packets, [pts for pts, _ in frames], [picture for _, picture in frames]


def _alike(got: _Stream, wanted: _Stream, kept: int) -> None:
    """Bits are those of the first run as far as they were kept. Sums of floats may differ in their last bits
    from run to run, where memory lies otherwise, so what is made anew may differ by what the encoder makes
    of that."""
    packets, times, pictures = got
    assert [packet[:2] for packet in packets] == [packet[:2] for packet in wanted[0]]
    assert packets[:kept] == wanted[0][:kept]
    assert times == wanted[1]
    for one, other in zip(pictures, wanted[2], strict=True):
        off = np.frombuffer(one, np.uint8).astype(float) - np.frombuffer(other, np.uint8)
        assert abs(off).mean() < 0.25 and abs(off).max() <= 24


def _decided(report: Any) -> dict[str, Any]:
    """What a report says of the video, without times and of whom."""
    told: dict[str, Any] = report.model_dump(mode="json")
    for name in ("stages", "waits_s", "bottleneck", "streaming_s", "elapsed_s"):
        del told[name]
    return told


def _but_bits(report: Any) -> dict[str, Any]:
    """Without the size and hash of the output."""
    return {name: value for name, value in _decided(report).items() if name != "output"}


class Stopped:
    """Copies the journal while a run goes on, as a SIGKILL at these moments would leave it."""

    def __init__(self, target: Path, *moments: tuple[str, int]) -> None:
        self._journal = leftovers.journal_name(target)
        self._moments = moments
        self.kept: list[tuple[Path, int | None]] = []
        """The copies, with the frames that are said to be kept."""

    def __call__(self, progress: Progress) -> None:
        if (progress.stage, progress.frames_written) in self._moments:
            copy = self._journal.with_name(f"stopped-{len(self.kept)}")
            shutil.copytree(self._journal, copy)
            self.kept.append((copy, progress.frames_kept))

    def put_back(self) -> Iterator[int | None]:
        """Each copy in turn under its name, with nothing else there."""
        for copy, kept in self.kept:
            copy.chmod(0o700)
            copy.rename(self._journal)
            yield kept


@pytest.mark.parametrize(
    ("mode", "values", "moments"),
    [
        ("pixelize", {}, {7: 0, 33: 30}),
        ("protect", {}, {24: 20}),
        ("protect", {"protect__epsilon": 5.0, "gate__scan": False}, {33: 30}),
    ],
)
def test_a_covering_run_that_was_killed_goes_on_as_if_it_had_not_been(
    run: Run,
    portrait_clip: Path,
    tmp_path: Path,
    mode: str,
    values: dict[str, Any],
    moments: dict[int, int],
) -> None:
    """``moments``: frames written when it is killed, and how many of them are kept."""
    target = tmp_path / "out.mp4"
    stopped = Stopped(target, *(("write", frame) for frame in moments))
    whole = run(mode, portrait_clip, target, stopped, **values)
    assert not leftovers.journal_name(target).exists()
    wanted = _stream(target)
    dts = [packet[1] for packet in wanted[0]]
    assert dts == sorted(set(dts))
    for kept, frames in zip(stopped.put_back(), moments.values(), strict=True):
        assert kept == frames
        target.unlink()
        Path(f"{target}.json").unlink()
        again = run(mode, portrait_clip, target, **values)
        assert _stream(target) == wanted
        assert _decided(again) == _decided(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_a_file_that_is_covered_again_goes_on_as_if_it_had_not_been_killed(
    run: Run, portrait_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finer(box: Box, blocks: int, *more: float) -> tuple[int, int]:
        return cells_across(box, 16 if blocks == 6 else blocks, *more)

    monkeypatch.setattr("pipeline.stages.lattices.cells_across", finer)
    target = tmp_path / "out.mp4"
    stopped = Stopped(target, ("write", 33))
    whole = run("pixelize", portrait_clip, target, stopped)
    assert [record.blocks for record in whole.fewer_blocks] == [4]
    wanted = _stream(target)
    for kept, frames in zip(stopped.put_back(), [30, 0], strict=True):
        assert kept == frames
        target.unlink()
        Path(f"{target}.json").unlink()
        assert _decided(run("pixelize", portrait_clip, target)) == _decided(whole)
        assert _stream(target) == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_what_networks_said_is_not_asked_again(
    run: Run, portrait_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.mp4"
    stopped = Stopped(target, ("publish", 50))
    whole = run("pixelize", portrait_clip, target, stopped)
    target.rename(tmp_path / "whole.mp4")
    Path(f"{target}.json").unlink()
    assert next(stopped.put_back()) == 50

    def asked(*_: object) -> None:
        raise AssertionError("a network was asked")

    monkeypatch.setattr(DetectorView, "faces", asked)
    monkeypatch.setattr("pipeline.run.release.see_through.MaskView.score", asked)
    monkeypatch.setattr("pipeline.encode.video_track.VideoTrack.encode", asked)
    monkeypatch.setattr("pipeline.stages.paint.paint_all", asked)
    assert _decided(run("pixelize", portrait_clip, target)) == _decided(whole)


def test_a_reconstruction_goes_on_with_windows_over_the_border(
    run: Run, mosaic_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[CubicEngine] = []

    def open_cubic(*_: object) -> CubicEngine:
        engines.append(CubicEngine(window=4, context=1, fused=True))
        return engines[-1]

    monkeypatch.setattr("pipeline.run.reconstruct.open_restorer", open_cubic)
    target = tmp_path / "out.mp4"
    stopped = Stopped(target, ("write", 13), ("write", 25))
    whole = run("reconstruct", mosaic_clip, target, stopped)
    wanted = _stream(target)
    for kept, frames in zip(stopped.put_back(), (10, 20), strict=True):
        assert kept == frames
        target.unlink()
        Path(f"{target}.json").unlink()
        again = run("reconstruct", mosaic_clip, target)
        _alike(_stream(target), wanted, kept)
        assert _but_bits(again) == _but_bits(whole)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9"])
def test_uneven_times_stay_over_the_borders(run: Run, tmp_path: Path, codec: str) -> None:
    pts = [time * 512 for time in UNEVEN]
    source = write_clip(tmp_path / "in.mkv", frames=len(pts), pts=pts)
    target = tmp_path / "out.mkv"
    stopped = Stopped(target, ("write", len(pts) - 1))
    run("reconstruct", source, target, stopped, encode__codec=codec)
    wanted = _stream(target)
    with av.open(source) as container:
        assert wanted[1] == [frame.pts for frame in container.decode(video=0)]
    target.unlink()
    Path(f"{target}.json").unlink()
    assert next(stopped.put_back()) == 20
    run("reconstruct", source, target, encode__codec=codec)
    assert _stream(target) == wanted


def test_another_input_or_other_settings_begin_anew(run: Run, plain_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    stopped = Stopped(target, ("write", 24))
    run("reconstruct", plain_clip, target, stopped)
    ((copy, kept),) = stopped.kept
    assert kept == 20
    for source, values, said in (
        (plain_clip, {"encode__crf": 30.0}, "the settings changed"),
        (write_clip(tmp_path / "other.mp4", frames=25), {}, "the input changed"),
    ):
        shutil.copytree(copy, leftovers.journal_name(target))
        target.unlink()
        Path(f"{target}.json").unlink()
        seen: list[int | None] = []
        report = run("reconstruct", source, target, lambda p, seen=seen: seen.append(p.frames_kept), **values)
        assert seen[0] == 0
        assert any(said in warning for warning in report.warnings)


def test_two_runs_do_not_share_a_journal(run: Run, plain_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    journal = leftovers.journal_name(target)
    lock = leftovers.open_journal(journal)
    with pytest.raises(OutputError, match="another run"):
        run("reconstruct", plain_clip, target)
    leftovers.remove_journal(journal)
    os.close(lock)
    journal.mkdir(0o755)
    with pytest.raises(OutputError, match="this user alone"):
        run("reconstruct", plain_clip, target)


def test_a_process_that_is_stopped_says_how_to_go_on(
    start: Callable[..., subprocess.Popen[str]],
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIDPIPE_ENCODE__SEGMENT_S", "0.4")
    target = tmp_path / "it's out.mp4"
    arguments = ["pixelize", str(portrait_clip), "-o", str(target), "--care", "strict", "--resume"]
    journal = leftovers.journal_name(target)

    def stopped(number: signal.Signals, segment: int) -> str:
        process = start(*arguments)
        while not (journal / f"{segment:06}.segment").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(number)
        return process.communicate(timeout=120)[1]

    err = stopped(signal.SIGINT, 0)
    told = re.search(r"vidpipe: kept: [12345]?0 of 50 frames; to go on: vidpipe (.*)\n", err)
    assert told is not None and shlex.split(told.group(1)) == arguments
    assert list(tmp_path.iterdir()) == [journal]
    stopped(signal.SIGKILL, 2)
    assert cli(*arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name, f"{target.name}.json"]
    assert len(_stream(target)[1]) == 50


def test_a_batch_goes_on_inside_of_a_file(portrait_clip: Path, tmp_path: Path) -> None:
    values = {"encode.segment_s": 0.4, "gate.scan": False}
    settings = resolved(values, None)
    task = Task(str(portrait_clip), str(tmp_path / "out.mp4"), "pixelize", settings, resume_from_s=2.0)

    def killed(source: str, done: int, total: int) -> None:
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(task, killed)
    assert len(list(leftovers.journal_name(tmp_path / "out.mp4").glob("*.segment"))) == 2
    assert do(task, lambda *told: None).ok
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(KeyboardInterrupt):
        do(replace(task, resume_from_s=2.1, overwrite=True), killed)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_command_is_quoted_for_a_shell() -> None:
    names = ["plain.mp4", "it's a b.mp4", "-\n'\x1b\\ü.mp4", "$HOME", os.fsdecode(b"\xff.mp4")]
    command = "printf '%s\\0' " + " ".join(map(_quoted, names))
    assert command.isprintable()
    said = subprocess.run(["bash", "-c", os.fsencode(command)], capture_output=True, check=True).stdout
    assert [os.fsdecode(name) for name in said.split(b"\0")[:-1]] == names
