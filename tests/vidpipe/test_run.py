"""``vidpipe run``: what it writes, what it refuses, what it says, with which exit code."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.config import RunConfig, meanings, settings_file
from pipeline.decode import open_decoder
from pipeline.encode.atomic_file import AtomicFile
from pipeline.mosaic import screening
from pipeline.run import reconstruct
from pipeline.run.reconstruct import chain
from pipeline.run.sidecar import NOTICE, ReconstructReport
from pipeline.types import Batch, Found, Frame, MosaicRegion, Patch
from tests.support.clips import write_clip
from tests.support.fixtures import MOSAIC_BOX, MOSAIC_SIZE
from tests.support.pretend import PRETENDED, pretended_device
from tests.support.scene import CubicEngine
from tests.vidpipe.conftest import Cli

pytestmark = pytest.mark.slow

TOLERANCE_LEVELS = 1
"""Codes by which a device may differ: sums in another order, rounded."""


def _report(output: Path) -> ReconstructReport:
    return ReconstructReport.model_validate_json(Path(f"{output}.json").read_text(encoding="utf-8"))


def _pts(path: Path) -> list[float]:
    with av.open(path) as container:
        return [frame.time for frame in container.decode(video=0) if frame.time is not None]


def _pictures(path: Path) -> NDArray[np.float64]:
    """(frames, H, W) luma of a file."""
    with av.open(path) as container:
        lumas = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return np.stack(lumas).astype(float)


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_mosaic_is_found_restored_and_told_of(cli: Cli, mosaic_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    assert cli("reconstruct", mosaic_clip, "-o", output) == 0
    report = _report(output)
    assert (report.frames_written, report.frames_restored) == (30, 30)
    (track,) = report.tracks
    assert (track.frames_seen + track.frames_filled, track.frames_restored) == (30, 30)
    assert track.grid is not None
    assert track.grid.x.pitch_px == pytest.approx(10, rel=0.02)
    first = track.boxes[0]
    assert np.allclose((first.x0, first.y0, first.x1, first.y1), MOSAIC_BOX, atol=4)
    assert report.output.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    assert report.input.sha256 == hashlib.sha256(mosaic_clip.read_bytes()).hexdigest()
    assert {stage.stage for stage in report.stages} >= {"decode", "find", "restore", "paste", "encode"}
    assert report.bottleneck in {stage.stage for stage in report.stages}
    assert _left(tmp_path) == ["out.mp4", "out.mp4.json"]


def test_a_whole_run_on_a_device(
    cli: Cli, mosaic_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that pretends, in one thread: frames lie there from the decoder to the encoder, which gets the
    picture that it gets on the CPU. The network is one of many frames that adds nothing."""
    found_on: list[torch.device] = []
    pasted: list[int] = []
    encoded: list[list[Frame]] = []

    class Watched(reconstruct.Stages):
        def find(self, frames: Iterator[Frame]) -> Iterator[Found[MosaicRegion]]:
            return super().find(self.seen(frames))

        def seen(self, frames: Iterator[Frame]) -> Iterator[Frame]:
            for frame in frames:
                found_on.append(frame.device)
                yield frame

        def paste(self, batches: Iterator[Batch[Patch]]) -> Iterator[Frame]:
            for frame in super().paste(batches):
                assert frame.device == PRETENDED
                pasted.append(len(counted.to_host))
                yield frame

    def chain_watched(*arguments: Any) -> Generator[Frame]:
        encoded.append([])
        for frame in chain(*arguments):
            encoded[-1].append(frame)
            yield frame

    def open_cubic(*_: object) -> CubicEngine:
        return CubicEngine(window=4, context=1, fused=True)

    here, there = tmp_path / "here.mp4", tmp_path / "there.mp4"
    monkeypatch.setattr("pipeline.run.reconstruct.open_restorer", open_cubic)
    monkeypatch.setattr("pipeline.run.reconstruct.chain", chain_watched)
    assert cli("reconstruct", mosaic_clip, "-o", here) == 0
    monkeypatch.setattr("pipeline.run.reconstruct.prefetch", lambda items, *_: (item for item in items))
    monkeypatch.setattr(
        "pipeline.run.lifecycle.open_decoder", lambda path, *_, **how: open_decoder(path, **how)
    )
    monkeypatch.setattr("pipeline.run.reconstruct.device_for", lambda config: PRETENDED)
    monkeypatch.setattr("pipeline.run.reconstruct.Stages", Watched)
    screening._inside.cache_clear()
    with pretended_device() as counted:
        assert cli("reconstruct", mosaic_clip, "-o", there) == 0
    luma = MOSAIC_SIZE[0] * MOSAIC_SIZE[1]
    assert found_on == 30 * [PRETENDED]
    assert counted.to_device.count(luma) == 30 + 1, "frames, and once what of their lines has neighbours"
    assert [counted.to_host[at] for at in pasted] == 30 * [luma * 3 // 2], "fetched once pasted"
    for ours, theirs in zip(*encoded, strict=True):
        for a, b in zip(ours.planes, theirs.planes, strict=True):
            assert b.device.type == "cpu"
            assert (a.int() - b.int()).abs().max() <= TOLERANCE_LEVELS
    one, two = _report(here), _report(there)
    assert (two.frames_written, two.frames_restored) == (one.frames_written, one.frames_restored) == (30, 30)
    assert [track.boxes for track in two.tracks] == [track.boxes for track in one.tracks]
    assert two.conservation == one.conservation
    x0, y0, x1, y1 = MOSAIC_BOX
    before, on_cpu, on_device = (_pictures(path) for path in (mosaic_clip, here, there))
    assert np.abs(on_device - before)[:, y0:y1, x0:x1].mean() > 3, "restored"
    assert np.abs(on_device - on_cpu).mean() < TOLERANCE_LEVELS


def test_a_file_without_a_mosaic_is_written_as_it_is_and_said_so(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("reconstruct", plain_clip, "-o", output) == 0
    assert "no mosaic found" in capsys.readouterr().err
    report = _report(output)
    assert (report.frames_written, report.frames_restored, report.tracks) == (25, 0, [])
    assert _pts(output) == _pts(plain_clip)


def test_the_file_says_that_it_is_a_reconstruction_after_what_it_said_before(
    cli: Cli, plain_clip: Path, tmp_path: Path
) -> None:
    once, twice = tmp_path / "once.mp4", tmp_path / "twice.mp4"
    assert cli("reconstruct", plain_clip, "-o", once) == 0
    assert cli("reconstruct", once, "-o", twice) == 0
    for path in (once, twice):
        with av.open(path) as container:
            assert container.metadata["comment"] == f"holiday {NOTICE}"
            assert container.metadata["title"] == "sea"
    assert _report(once).notice == NOTICE


def test_the_default_output_stands_beside_the_input(cli: Cli, plain_clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "sea.v1.mp4"
    source.write_bytes(plain_clip.read_bytes())
    assert cli("reconstruct", source) == 0
    assert _left(tmp_path) == ["sea.v1.mp4", "sea.v1.reconstruct.mp4", "sea.v1.reconstruct.mp4.json"]


def test_json_is_all_that_stdout_carries(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4", "--json", "-v") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out.mp4.json").read_text())
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4", "--json") == 1
    assert json.loads(capsys.readouterr().out)["exit_code"] == 1


def test_an_existing_output_is_left_alone_unless_told_otherwise(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("precious")
    assert cli("reconstruct", plain_clip, "-o", output) == 1
    assert "overwrit" in capsys.readouterr().err
    assert output.read_text() == "precious"
    (tmp_path / "out.mp4.json").write_text("precious")
    assert cli("reconstruct", plain_clip, "-o", output) == 1
    assert "out.mp4 exists" in capsys.readouterr().err, "the video is named first"
    assert cli("reconstruct", plain_clip, "-o", output, "-y") == 1, "that file is somebody else's"
    assert (output.read_text(), (tmp_path / "out.mp4.json").read_text()) == ("precious", "precious")
    (tmp_path / "out.mp4.json").unlink()
    assert cli("reconstruct", plain_clip, "-o", output, "-y") == 0
    assert _pts(output) == _pts(plain_clip)


def test_an_existing_sidecar_is_left_alone_too(cli: Cli, plain_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4.json").write_text("precious")
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4") == 1
    assert _left(tmp_path) == ["out.mp4.json"]
    assert (tmp_path / "out.mp4.json").read_text() == "precious"


@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
def test_the_input_is_never_the_output(cli: Cli, plain_clip: Path, tmp_path: Path, link: str) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(plain_clip.read_bytes())
    output = source if link == "same" else tmp_path / "link.mp4"
    if link == "symbolic":
        output.symlink_to(source)
    if link == "hard":
        output.hardlink_to(source)
    assert cli("reconstruct", source, "-o", output, "-y") == 1
    assert source.read_bytes() == plain_clip.read_bytes()


def test_a_part_of_the_file_is_cut_out_by_time(cli: Cli, plain_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    assert cli("reconstruct", plain_clip, "-o", output, "--start", "0.2", "--end", "00:00:00.600") == 0
    assert len(_pts(output)) == 10
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "none.mp4", "--start", "9") == 2
    assert not (tmp_path / "none.mp4").exists()


def test_a_region_given_by_hand_is_restored_where_and_when_it_was_given(
    cli: Cli, mosaic_clip: Path, tmp_path: Path
) -> None:
    x0, y0, x1, y1 = MOSAIC_BOX
    output = tmp_path / "out.mp4"
    region = f"{x0},{y0},{x1 - x0},{y1 - y0}@0-0.4"
    settings = tmp_path / "deaf.yaml"
    settings.write_text("find: {min_score: 1.0}")
    assert cli("reconstruct", mosaic_clip, "-o", output, "--region", region, "--config", settings) == 0
    assert _report(output).frames_restored == 10


def test_where_nothing_was_reconstructed_nobody_claims_it(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("reconstruct", plain_clip, "-o", output, "--region", "20,20,60,60") == 0
    report = _report(output)
    err = capsys.readouterr().err
    assert report.tracks, "a region by hand is a track"
    assert report.frames_restored == 0
    assert "0 of 1 mosaics reconstructed" in err
    assert "guess" not in err
    assert "may have been" in report.notice


@pytest.mark.parametrize("extra", [[], ["--explain"]])
@pytest.mark.parametrize("region", ["9000,9000,50,50", "10,10,20,20@60-90"])
def test_a_region_without_pixels_or_frames_is_refused(
    cli: Cli, plain_clip: Path, tmp_path: Path, region: str, extra: list[str]
) -> None:
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4", "--region", region, *extra) == 2
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--crf", "999"], 2, "--crf"),
        (["--net", "magic"], 2, "--net"),
        (["--device", "tpu"], 2, "--device"),
        (["--start", "soon"], 2, "--start"),
        (["--start", "2", "--end", "1"], 2, "--end"),
        (["--region", "1,2,3"], 2, "--region"),
        (["--no-such-option"], 2, "--no-such-option"),
        (["--config", "missing.yaml"], 1, "missing.yaml"),
        (["--codec", "no_such_codec"], 1, "no_such_codec"),
        (["--device", "cuda:0", "--engine", "openvino"], 2, "openvino"),
    ],
)
def test_what_cannot_work_is_one_line_with_the_culprit_and_leaves_nothing(
    cli: Cli,
    plain_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    word: str,
) -> None:
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4", *arguments) == code
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert word in captured.err
    assert captured.out == ""
    assert _left(tmp_path) == []


def test_bad_inputs_are_one_line_and_leave_nothing(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film")
    whole = write_clip(tmp_path / "whole.mp4", frames=40)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    before = _left(tmp_path)
    for name in ("missing.mp4", "empty.mp4", "text.mp4", "cut.mp4", "."):
        assert cli("reconstruct", tmp_path / name, "-o", tmp_path / "out.mp4", "-q") == 1, name
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
        assert _left(tmp_path) == before


def test_a_read_only_folder_is_told_of(
    cli: Cli,
    plain_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = os.open

    def read_only(path: str, flags: int, *rest: int) -> int:
        if Path(path).parent == tmp_path and flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return before(path, flags, *rest)

    def no_removal(path: str, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)  # the tests may run as root, who may write everywhere
    monkeypatch.setattr(os, "unlink", no_removal)
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4") == 1
    assert "read-only" in capsys.readouterr().err
    assert _left(tmp_path) == []


def test_a_full_disk_is_told_of_and_leaves_nothing(
    cli: Cli,
    plain_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(part: AtomicFile, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(AtomicFile, "write", full)
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4") == 1
    assert "space" in capsys.readouterr().err
    assert _left(tmp_path) == []


@pytest.mark.parametrize("suffix", [".m3u8", ".mpd", ".png"])
def test_a_container_of_many_files_is_refused(
    cli: Cli, plain_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """FFmpeg would write its pieces where the process stands, past us."""
    monkeypatch.chdir(tmp_path)
    assert cli("reconstruct", plain_clip, "-o", f"out{suffix}") == 1
    assert _left(tmp_path) == []


@pytest.mark.parametrize("extra", [[], ["-y"], ["--explain"]])
@pytest.mark.parametrize("letters", [300, 251, 247])
def test_a_name_that_is_too_long_is_told_of(
    cli: Cli,
    plain_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    letters: int,
    extra: list[str],
) -> None:
    """The video's, or that of the sidecar, which is longer; before anything is done."""
    code = cli("reconstruct", plain_clip, "-o", tmp_path / f"{'a' * letters}.mp4", *extra)
    assert code == 1
    assert "too long" in capsys.readouterr().err
    assert cli("reconstruct", tmp_path / f"{'a' * letters}.mp4", "-o", tmp_path / "out.mp4") == 1
    assert _left(tmp_path) == []


def test_the_longest_name_that_works_can_be_written_over(cli: Cli, plain_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / f"{'a' * 246}.mp4"  # 255 with .json
    assert cli("reconstruct", plain_clip, "-o", output) == 0
    assert cli("reconstruct", plain_clip, "-o", output, "-y") == 0
    assert _left(tmp_path) == [output.name, f"{output.name}.json"]


def test_nobody_hears_what_a_reader_thinks_of_the_output(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.avi"
    assert cli("reconstruct", plain_clip, "-o", output) == 0
    assert ".part" not in capsys.readouterr().err
    assert not any(".part" in warning for warning in _report(output).warnings)


def test_a_missing_folder_is_told_of(cli: Cli, plain_clip: Path, tmp_path: Path) -> None:
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "none" / "out.mp4") == 1
    assert _left(tmp_path) == []


def test_an_error_of_ours_keeps_its_traceback_and_leaves_nothing(
    cli: Cli, plain_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("pipeline.run.reconstruct.file_record", broken)
    with pytest.raises(ZeroDivisionError):
        cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4")
    assert _left(tmp_path) == []


def test_a_broken_promise_is_exit_code_4_and_leaves_nothing(
    cli: Cli, mosaic_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(*arguments: object, **keywords: object) -> object:
        frames = iter(paste(*arguments, **keywords))  # type: ignore[arg-type]
        next(frames)
        return frames

    from pipeline.stages.paste import paste  # noqa: PLC0415

    monkeypatch.setattr("pipeline.run.reconstruct.paste", forgetful)
    assert cli("reconstruct", mosaic_clip, "-o", tmp_path / "out.mp4") == 4
    assert _left(tmp_path) == []


def test_explain_does_nothing_and_names_every_setting_with_its_origin(
    cli: Cli,
    plain_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIDPIPE_ENCODE__PRESET", "fast")
    output = tmp_path / "out.mp4"
    assert cli("reconstruct", plain_clip, "-o", output, "--explain", "--crf", "21", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    origins = {setting["name"]: setting["origin"] for setting in told["settings"]}
    assert origins["encode.crf"] == "--crf"
    assert origins["encode.preset"] == "VIDPIPE_ENCODE__PRESET"
    assert origins["crop.margin"] == "default"
    assert len(origins) == sum(
        len(v) if isinstance(v, dict) else 1 for v in RunConfig().model_dump().values()
    )
    assert told["frames"] == 25
    assert any("openvino" in decision or "onnxruntime" in decision for decision in told["decisions"])
    assert _left(tmp_path) == []
    (tmp_path / "pipeline.yaml").write_text("encode: {crf: 11}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert cli("reconstruct", plain_clip, "-o", output, "--explain") == 0
    text = capsys.readouterr().out
    assert "MiB" in text and "pipeline.yaml of this folder is not; " in text
    assert "encode.crf" in text and meanings()["encode.crf"] in text
    assert cli("reconstruct", plain_clip, "-o", output, "--explain", "--config", "pipeline.yaml") == 0
    assert "of this folder is not" not in capsys.readouterr().out


def test_explain_and_a_run_agree_on_a_file_of_settings(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is the packaged one with a few values changed; a flag beats it."""
    text = settings_file().read_text(encoding="utf-8")
    config = tmp_path / "mine.yaml"
    config.write_text(
        text.replace("margin: 1.6", "margin: 1.7").replace("crf: null", "crf: 30"), encoding="utf-8"
    )
    output = tmp_path / "out.mp4"
    command = ("run", plain_clip, "--mode", "reconstruct", "-o", output, "--config", config, "--crf", "21")
    assert cli(*command, "--explain", "--json") == 0
    told = {s["name"]: s for s in json.loads(capsys.readouterr().out)["settings"]}
    assert cli(*command) == 0
    written = {s.name: s for s in _report(output).settings}
    assert written.keys() == told.keys()
    for name, setting in written.items():
        assert (setting.value, setting.origin) == (told[name]["value"], told[name]["origin"])
    assert (written["crop.margin"].value, written["crop.margin"].origin) == (1.7, str(config))
    assert (written["encode.crf"].value, written["encode.crf"].origin) == (21, "--crf")


def test_quiet_says_nothing(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4", "-q") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
