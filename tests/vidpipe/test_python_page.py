"""docs/python.md: every example runs, in order, in a folder with two clips."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.portrait import read_clip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.slow
def test_every_example_of_the_page_runs(
    portrait_clip: Path,
    mosaic_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(portrait_clip, tmp_path / "in.mp4")
    shutil.copy(mosaic_clip, tmp_path / "pixelated.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) >= 7
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"docs/python.md, example {number + 1}", "exec"), {"__name__": "example"})
    made = {path.name for path in tmp_path.iterdir()}
    assert {"safe.mp4", "safer.mp4", "chosen.mp4", "chosen.preview.png", "guess.mp4", "black.mp4"} <= made
    told = capsys.readouterr().out
    assert "30 of 30" in told and "MiB" in told
    (picture,) = read_clip(tmp_path / "black.mp4", [15])
    (before,) = read_clip(tmp_path / "pixelated.mp4", [15])
    assert picture.astype(int).sum() < before.astype(int).sum(), "something is black now"
