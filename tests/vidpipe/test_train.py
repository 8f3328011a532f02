"""``vidpipe train``: refuses before the first step what cannot be trained on, resumes, gives weights."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from nets.checkpoint import load
from vidpipe.cli.main import Interrupts, run_command

pytestmark = pytest.mark.slow


def command(*arguments: object) -> int:
    return run_command([str(a) for a in arguments], Interrupts())


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    picture = np.random.default_rng(1).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "face.png"), cv2.GaussianBlur(picture, (0, 0), 5))
    return folder


def test_a_run_is_resumed_and_leaves_weights(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ("train", "idn", "--faces", faces, "-o", out, "--steps", 2, "--batch", 1, "-q")
    assert command(*arguments, "--max-minutes", 0) == 0
    assert "step 1 of 2" in capsys.readouterr().out
    assert command(*arguments) == 2  # would lose the run
    assert "--resume" in capsys.readouterr().err
    assert command(*arguments, "--resume") == 0
    assert "step 2 of 2" in capsys.readouterr().out
    assert sum(p.numel() for p in load(out / "idn.safetensors").parameters()) > 1e6


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("unet", "--faces", "."), 2, "idn"),
        (("idn", "--faces", "nowhere"), 1, "no folder"),
        (("idn", "--faces", "{empty}"), 1, "no usable face picture"),
        (("idn", "--faces", "{faces}", "--clips", "none.npy"), 1, "vidpipe pack"),
        (("idn", "--faces", "{faces}", "--clips", "{empty}"), 1, "vidpipe pack"),
        (("idn", "--faces", "{faces}", "--clips", "{small}"), 1, "256 x 256"),
        (("idn", "--faces", "{faces}", "--clips", "{text}"), 1, "vidpipe pack"),
        (("idn", "--faces", "{faces}", "--vgg", "none.safetensors"), 2, "VGG16"),
        (("idn", "--faces", "{faces}", "--style", "12"), 2, "--vgg"),
        (("pixelizer", "--faces", "{faces}", "--perturb", "noise"), 2, "block or pixel"),
        (("pixelizer", "--faces", "{faces}", "--clips", "x.npy"), 2, "--clips"),
        (("pixelizer", "--faces", "{faces}", "--against", "none.safetensors"), 2, "--against"),
        (("idn", "--faces", "{faces}", "--perturb", "block"), 2, "pixelizer"),
        (("idn", "--faces", "{faces}", "--identity", "{text}"), 2, "MobileFaceNet"),
        (("idn", "--faces", "{faces}", "--start", "{text}"), 2, "safetensors"),
        (("idn", "--faces", "{faces}", "--device", "gpu"), 2, "--device"),
        (("idn", "--faces", "{faces}", "-o", "{text}/run"), 1, "--output"),
    ],
)
def test_what_cannot_be_trained_on(
    arguments: tuple[str, ...],
    code: int,
    says: str,
    faces: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no weights")
    np.save(tmp_path / "small.npy", np.zeros((2, 12, 64, 64, 3), np.uint8))
    places = {"empty": tmp_path / "empty", "text": tmp_path / "text", "small": tmp_path / "small.npy"}
    given = [a.format(faces=faces, **places) for a in arguments]
    assert command("train", *given, *(() if "-o" in given else ("-o", tmp_path / "out"))) == code
    errors = capsys.readouterr().err
    assert says in errors and errors.count("\n") == 1
    assert not list(tmp_path.rglob("*.safetensors"))


def test_clips_that_cannot_be_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("decord")
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    target = tmp_path / "out.npy"
    for arguments, code, says in (
        ((tmp_path,), 2, "OUT.npy"),
        ((tmp_path / "none", target), 1, "no folder"),
        ((tmp_path, target), 1, "no face in any of the 1 clips"),
    ):
        assert command("pack", *arguments) == code and says in capsys.readouterr().err
    assert not target.exists()


def test_packing_without_decord_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").touch()
    monkeypatch.setitem(sys.modules, "decord", None)
    assert command("pack", tmp_path, tmp_path / "out.npy") == 5
    errors = capsys.readouterr().err
    assert "pip install decord" in errors and errors.count("\n") == 1
