"""Curves are drawn from what a run logs: ``vidpipe curves``."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from train.curves import read, smoothed
from vidpipe.cli.main import Interrupts, run_command


def curves(*arguments: object) -> int:
    return run_command(["curves", *map(str, arguments)], Interrupts())


def test_curves_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    lines = [f"{step},{1 / step:.5f},20.0,{step / 1000:.5f},1.2" for step in range(50, 1050, 50)]
    (tmp_path / "log.csv").write_text("\n".join(["step,pixelized,base_db,gain_db,seconds_per_step", *lines]))
    assert read(tmp_path)["gain_db"][-1] == 1.0
    assert curves(tmp_path, tmp_path / "curves.png") == 0
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None and len(np.unique(picture)) > 10
    assert curves(tmp_path, tmp_path / "curves.xyz") == 2 and "png" in capsys.readouterr().err


def test_smoothing_keeps_what_is_even_and_the_ends() -> None:
    assert smoothed([2.0] * 9) == [2.0] * 9
    assert smoothed([0.0, 7.0]) == [3.5, 3.5]


@pytest.mark.parametrize("text", [None, "", "step,gain_db\n", "a,b\n1,2\n", "step,gain_db\nx,y\n"])
def test_a_folder_without_curves(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "log.csv").write_text(text)
    assert curves(tmp_path, tmp_path / "curves.png") == 1
    assert "log.csv" in capsys.readouterr().err and curves() == 2
    assert not (tmp_path / "curves.png").exists()
