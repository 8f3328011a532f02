"""``vidpipe export`` as a command: outputs, exit codes, the cache listed and pruned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.engines import open_engine
from tests.export.conftest import _warm, cache_folder, noise, tiny
from vidpipe.cli.main import Interrupts, run_command

pytestmark = pytest.mark.slow

__all__ = ["_warm", "cache_folder", "noise", "tiny"]


def command(*arguments: object) -> int:
    return run_command(["export", *map(str, arguments)], Interrupts())


def test_an_output_by_name_with_its_report(
    tiny: Path, cache_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.xml"
    assert command(tiny, "--to", "openvino", "-o", out) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == str(out)
    assert "dB from PyTorch" in told
    assert open_engine(out, device="cpu").spec.net == "idn"
    report = json.loads((tmp_path / "net.xml.json").read_text())
    assert report["parity"][0]["holds"] is True
    assert sorted(p.name for p in tmp_path.glob("net*")) == ["net.bin", "net.xml", "net.xml.json"]
    assert command(tiny, "--to", "openvino", "-o", out) == 1
    assert "add --overwrite" in capsys.readouterr().err
    assert command(tiny, "--to", "openvino", "-o", out, "-y", "--json") == 0
    assert json.loads(capsys.readouterr().out) == report


def test_list_and_prune(tiny: Path, cache_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--list") == 0
    assert "1 in the cache" in capsys.readouterr().out
    assert command("--list", "--json") == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["state"], line["net"], line["target"]) == ("current", "idn", "onnx")
    Path(line["path"]).write_bytes(b"broken")
    assert command("--prune") == 0
    assert "1 deleted" in capsys.readouterr().out
    assert list((cache_folder / "engines").iterdir()) == []


def test_a_difference_from_pytorch_is_exit_code_4(
    tiny: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.engines.parity import LIMITS, Limits  # noqa: PLC0415

    monkeypatch.setitem(LIMITS, "fp32", Limits(300.0, 0.0))
    assert command(tiny, "--to", "openvino") == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not answer as PyTorch does" in line


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "wanted a network and a target"),
        (("idn",), 2, "wanted a network and a target"),
        (("idn", "--to", "coreml"), 2, "--to is 'coreml'"),
        (("idn", "--to", "onnx", "--precision", "fp8"), 2, "--precision is 'fp8'"),
        (("idn", "--to", "onnx", "--batch", "8:4:2"), 2, "--batch is '8:4:2'"),
        (("idn", "--to", "onnx", "-o", "x.engine"), 2, "makes .onnx files"),
        (("idn", "--to", "onnx", "-o", "none/x.onnx"), 1, "is no folder"),
        (("sharpen", "--to", "onnx"), 5, "no network 'sharpen'"),
        (("idn", "--list"), 2, "take no network"),
        (("idn", "--to", "onnx", "--faces", "none", "--rebuild"), 1, "no folder with pictures"),
    ],
)
def test_one_line_for_what_cannot_be(
    arguments: tuple[str, ...],
    code: int,
    says: str,
    cache_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
