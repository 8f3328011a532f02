"""``vidpipe train``: refuses before the first step what cannot be trained on, resumes, gives weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from nets.checkpoint import load
from vidpipe.cli.main import Interrupts, run_command


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
    assert command(*arguments, "--resume") == 0
    assert "step 2 of 2" in capsys.readouterr().out
    assert sum(p.numel() for p in load(out / "idn.safetensors").parameters()) > 1e6


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("unet", "--faces", "."), 2, "idn"),
        (("idn", "--faces", "nowhere"), 1, "no usable face picture"),
        (("idn", "--faces", "{faces}", "--clips", "none.npy"), 1, "train.pack"),
        (("idn", "--faces", "{faces}", "--vgg", "none.safetensors"), 2, "VGG16"),
        (("pixelizer", "--faces", "{faces}", "--perturb", "noise"), 2, "block or pixel"),
        (("pixelizer", "--faces", "{faces}", "--clips", "x.npy"), 2, "--clips"),
        (("pixelizer", "--faces", "{faces}", "--against", "none.safetensors"), 2, "--against"),
        (("idn", "--faces", "{faces}", "--perturb", "block"), 2, "pixelizer"),
    ],
)
def test_what_cannot_be_trained_on(
    arguments: tuple[str, ...], code: int, says: str, faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [a.format(faces=faces) for a in arguments]
    assert command("train", *given) == code
    assert says in capsys.readouterr().err
