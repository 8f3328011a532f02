"""``vidpipe eval``: tables from a folder of faces, and one line for what cannot be measured."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from nets.checkpoint import WEIGHTS
from train.evaluation import suite
from train.evaluation.conditions import Condition
from train.evaluation.evaluate import Outcome, evaluate
from vidpipe.cli.main import Interrupts, run_command

pytestmark = pytest.mark.slow


def command(*arguments: object) -> int:
    return run_command([str(a) for a in arguments], Interrupts())


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets PyTorch's threads for its own process."""
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    for n in range(2):
        picture = np.random.default_rng(n).integers(0, 255, (128, 128, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{n}.png"), cv2.GaussianBlur(picture, (0, 0), 6))
    return folder


def test_tables_of_a_folder(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ("eval", "idn", "--faces", faces, "-o", out, "--conditions", "clean-8,wild", "--metrics", "")
    assert command(*arguments, "--json", "-q") == 0
    result = json.loads(capsys.readouterr().out)
    assert [r["condition"] for r in result["results"]] == ["clean-8", "wild"]
    assert list(result["results"][0]["methods"]) == ["nearest", "bicubic", "bicubic + projection", "idn"]
    assert result["networks"][0]["parameters"] > 1e6
    assert json.loads((out / "eval.json").read_text()) == result
    assert (out / "eval.md").read_text().count("| idn |") == 2
    assert sorted(p.name for p in out.glob("*.png")) == ["sheet-faces-clean-8.png", "sheet-faces-wild.png"]


def test_a_missing_metric_network_is_said_before_the_first_step(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    arguments = ("eval", "--faces", faces, "-o", tmp_path / "out", "--conditions", "clean-8", "--count", 1)
    assert command(*arguments, "--metrics", "fd-vgg") == 5
    assert "--vgg16 FILE" in capsys.readouterr().err
    assert command(*arguments) == 0
    captured = capsys.readouterr()
    assert "fd-vgg is left out" in captured.err and "FD-VGG" not in captured.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "nothing to measure on"),
        (("--faces", "nowhere"), 1, "nowhere is no folder"),
        (("--clips", "none.npy"), 1, "vidpipe pack"),
        (("none.safetensors", "--faces", "{faces}"), 1, "none.safetensors"),
        (("--faces", "{faces}", "--conditions", "dirty"), 2, "clean-BLOCKS"),
        (("--faces", "{faces}", "--frames", "one"), 2, "--frames"),
        (("--faces", "{faces}", "--metrics", "kid"), 2, "fd-vgg"),
        (("--faces", "{faces}", "--metrics", "fid"), 5, "--inception FILE"),
        (("--faces", "{faces}", "--inception", "none.pt"), 1, "none.pt is no Inception"),
        (("--faces", "{faces}", "--alexnet", "none"), 1, "alexnet"),
        (("--faces", "{faces}", "--device", "tpu"), 2, "wanted auto, cpu or cuda:N"),
        (("--faces", "{faces}", "--device", "cuda:99"), 5, "give cpu"),
        (("--faces", "{faces}", "--seed", -1), 2, "--seed"),
        ((WEIGHTS / "pixelizer-block.safetensors", "--faces", "{faces}"), 1, "holds a pixelizer"),
        (("--faces", "{faces}", "--table", "9"), 2, "known are 1, 2, 3, 4, nar, 5"),
        (("--faces", "{faces}", "--table", "5", "--conditions", "x264 crf 99"), 2, "x264 crf 28"),
        (("--faces", "{faces}", "--table", "5", "--budget-minutes", 1), 2, "--retrain-steps"),
        (("--faces", "{faces}", "--table", "5", "--retrain-steps", 1), 2, "--train-faces"),
        (("--faces", "{faces}", "--blocks", 4), 2, "--table 5"),
        (("--faces", "{faces}", "--table", "5", "--inversion"), 2, "--inversion"),
        (("--faces", "{faces}", "--table", "2"), 2, "--train-faces"),
        (("--faces", "{faces}", "--table", "3", "--conditions", "wild"), 2, "--conditions"),
        (("--faces", "{faces}", "--budget-minutes", "5"), 2, "--table"),
        (("--faces", "{faces}", "--table", "2", "--train-faces", "none", "--budget-minutes", 1), 1, "none"),
        (("--clips", "{faces}"), 1, "no clip"),
    ],
)
def test_what_cannot_be_measured(
    arguments: tuple[object, ...], code: int, says: str, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(a).format(faces=faces) for a in arguments]
    assert command("eval", *given, "-o", faces.parent / "out") == code
    captured = capsys.readouterr()
    assert says in captured.err and len(captured.err.strip().splitlines()) == 1
    assert not (faces.parent / "out").exists()


def test_an_output_that_is_no_folder_is_refused_before_anything_is_measured(
    faces: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.evaluation.suite.evaluate", lambda *given, **options: pytest.fail("measured"))
    assert command("eval", "--faces", faces, "-o", faces / "0.png", "--metrics", "") == 1
    assert "give another --output" in capsys.readouterr().err


def test_sheets_of_an_earlier_test_go(faces: Path, tmp_path: Path) -> None:
    for condition in ("clean-8", "clean-9"):
        arguments = ("eval", "--faces", faces, "-o", tmp_path / "out", "--metrics", "", "--count", 1, "-q")
        assert command(*arguments, "--conditions", condition) == 0
    assert [p.name for p in (tmp_path / "out").glob("*.png")] == ["sheet-faces-clean-9.png"]


def test_an_interrupt_keeps_what_is_measured(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, ended = tmp_path / "out", 1

    def interrupted(source: Any, condition: Condition, *rest: Any, **options: Any) -> Outcome:
        if condition.blocks == 8 + ended:
            raise KeyboardInterrupt
        return evaluate(source, condition, *rest, **options)

    monkeypatch.setattr(suite, "evaluate", interrupted)
    arguments = (
        "eval",
        "--faces",
        faces,
        "-o",
        out,
        "--conditions",
        "clean-8,clean-9",
        "--metrics",
        "",
        "-q",
    )
    assert command(*arguments) == 130
    assert [r["condition"] for r in json.loads((out / "eval.json").read_text())["results"]] == ["clean-8"]
    ended = 0
    assert command(*arguments) == 130
    assert len(json.loads((out / "eval.json").read_text())["results"]) == 1


def test_a_picture_that_breaks_off_is_left_out(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = cv2.imencode(".jpg", cv2.imread(str(faces / "0.png")))[1].tobytes()
    (faces / "whole.jpg").write_bytes(whole)
    (faces / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    arguments = ("eval", "--faces", faces, "-o", tmp_path / "out", "--metrics", "", "--conditions", "clean-8")
    assert command(*arguments) == 0
    said = capsys.readouterr().err
    assert "cut.jpg: not a picture that can be read" in said and "whole.jpg" not in said


def test_a_table_of_given_networks(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ("eval", "--table", "3", "--faces", faces, "-o", out, "--metrics", "", "--count", 1, "-q")
    assert command(*arguments) == 0
    text = (out / "table.md").read_text()
    assert "| idn |" in text and "clean-12.8-gamma1.4" in text
    assert text.strip() == capsys.readouterr().out.strip()
