"""``--decoder``: the same result whoever decodes, and what is said where DALI cannot."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

from pipeline.decode import open_decoder
from pipeline.decode.dali import DaliDecoder
from pipeline.decode.relay import RelayDecoder
from pipeline.decode.source import open_source
from pipeline.run import lifecycle
from pipeline.run.sidecar import ReconstructReport
from tests.pipeline.decode.test_relay import breaks
from tests.support.clips import write_clip
from tests.support.fixtures import MOSAIC_SIZE
from tests.vidpipe.conftest import Cli
from vidpipe import explanation

VP9 = {"cpu-used": "8", "deadline": "realtime", "g": "10", "crf": "4", "b": "0"}


@pytest.fixture(scope="module")
def vp9_clip(mosaic_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip with a mosaic, which is grey, in VP9."""
    with open_decoder(mosaic_clip) as decoder:
        frames = [[plane.numpy() for plane in frame.planes] for frame in decoder.frames()]
    width, height = MOSAIC_SIZE
    return write_clip(
        tmp_path_factory.mktemp("vp9") / "clip.webm",
        frames=len(frames),
        width=width,
        height=height,
        codec="libvpx-vp9",
        options=VP9,
        draw=lambda index, *_: frames[index],
    )


def pixels(path: Path) -> str:
    digest = hashlib.sha256()
    with open_decoder(path) as decoder:
        for frame in decoder.frames():
            digest.update(repr((frame.index, frame.pts)).encode())
            for plane in frame.planes:
                digest.update(plane.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.dali
@pytest.mark.parametrize("span", [[], ["--start", "0.3", "--end", "1.0"]])
def test_a_run_is_the_same_whoever_decodes(cli: Cli, vp9_clip: Path, tmp_path: Path, span: list[str]) -> None:
    reports = []
    for decoder in ("pyav", "dali"):
        output = tmp_path / f"{decoder}.mkv"
        command = ["reconstruct", vp9_clip, "-o", output, "--decoder", decoder, "--codec", "ffv1", *span]
        assert cli(*command) == 0
        reports.append(
            ReconstructReport.model_validate_json(Path(f"{output}.json").read_text(encoding="utf-8"))
        )
    pyav, dali = reports
    assert pixels(tmp_path / "pyav.mkv") == pixels(tmp_path / "dali.mkv")
    assert dali.tracks == pyav.tracks != []
    assert dali.frames_restored == pyav.frames_restored > 0
    assert not any("DALI" in warning for warning in dali.warnings)


@pytest.mark.dali
def test_colours_that_dali_changes_are_told_in_the_sidecar(cli: Cli, tmp_path: Path) -> None:
    source, output = tmp_path / "in.webm", tmp_path / "out.mkv"
    write_clip(source, frames=6, codec="libvpx-vp9", options=VP9)
    assert cli("reconstruct", source, "-o", output, "--decoder", "dali", "--codec", "libx264") == 0
    report = ReconstructReport.model_validate_json(Path(f"{output}.json").read_text(encoding="utf-8"))
    assert any("DALI gives no native planes" in warning for warning in report.warnings)


@pytest.mark.dali
@pytest.mark.parametrize("mode", ["reconstruct", "protect"])
@pytest.mark.parametrize(
    ("decoder", "stage", "why"),
    [
        ("auto", "decode    PyAV, vp9", "decoder: PyAV, for the CPU"),
        ("pyav", "decode    PyAV, vp9", "decoder: PyAV, as asked"),
        ("dali", "decode    DALI, vp9", "decoder: DALI on cpu, as asked"),
    ],
)
def test_explain_tells_who_decodes_and_why(
    cli: Cli,
    vp9_clip: Path,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    decoder: str,
    stage: str,
    why: str,
) -> None:
    assert cli("run", vp9_clip, "--mode", mode, "--decoder", decoder, "--explain") == 0
    told = capsys.readouterr().out
    assert stage in told
    assert why in told


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that an error is."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.dali
def test_a_codec_that_dali_lacks_ends_with_5(
    cli: Cli, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4", "--decoder", "dali", "-q") == 5
    assert "DALI does not decode h264 on the CPU; use --decoder pyav" in refusal(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.dali
def test_a_file_that_dali_would_spoil_ends_with_1(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "in.webm", frames=3, width=67, codec="libvpx-vp9", options=VP9)
    assert cli("reconstruct", source, "-o", tmp_path / "out.mkv", "--decoder", "dali", "-q") == 1
    assert "67x96 px is odd" in refusal(capsys)


def test_without_dali_a_run_that_wants_it_ends_with_5(
    cli: Cli,
    plain_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    assert cli("reconstruct", plain_clip, "-o", tmp_path / "out.mp4", "--decoder", "dali", "-q") == 5
    assert "vidpipe[dali]" in refusal(capsys)


def test_an_unknown_decoder_ends_with_2(
    cli: Cli, plain_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("reconstruct", plain_clip, "--decoder", "ffmpeg", "-q") == 2
    assert "--decoder" in refusal(capsys)


@pytest.mark.slow
@pytest.mark.dali
def test_a_run_goes_on_where_dali_fails(
    cli: Cli, vp9_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``auto`` does on a GPU; by name it ends in one line."""

    def relay(source: Path, device: str, decoder: str) -> RelayDecoder:
        del device, decoder
        return RelayDecoder(DaliDecoder(open_source(source)))

    command = ["reconstruct", vp9_clip, "--codec", "ffv1", "-o"]
    assert cli(*command, tmp_path / "whole.mkv", "--decoder", "pyav") == 0
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "open_decoder", relay)
        breaks(patch, 4)
        assert cli(*command, tmp_path / "relay.mkv") == 0
    assert pixels(tmp_path / "relay.mkv") == pixels(tmp_path / "whole.mkv")
    report = json.loads((tmp_path / "relay.mkv.json").read_text(encoding="utf-8"))
    assert any("DALI stopped at frame 8 " in warning for warning in report["warnings"])


@pytest.mark.slow
@pytest.mark.dali
def test_a_run_whose_dali_fails_ends_in_a_line_that_names_the_other_decoder(
    cli: Cli,
    vp9_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaks(monkeypatch, 4)
    assert cli("reconstruct", vp9_clip, "-o", tmp_path / "out.mkv", "--decoder", "dali", "-q") == 1
    told = capsys.readouterr().err
    assert "DALI fails at frame 8 or soon after (it broke); use --decoder pyav" in told
    assert told.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.dali
def test_explain_names_nvdec_only_where_there_is_a_gpu(
    cli: Cli, vp9_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pixelize", vp9_clip, "-o", tmp_path / "out.mkv", "--decoder", "dali", "--explain"]
    assert cli(*command) == 0
    assert "decode    DALI, vp9\n" in capsys.readouterr().out
    with open_decoder(vp9_clip) as decoder:
        told = explanation._decode("DALI", decoder.info, torch.device("cuda:0"))
    assert told == "decode    DALI, vp9, one NVDEC unit of the GPU; vidpipe batch does several files on one"
