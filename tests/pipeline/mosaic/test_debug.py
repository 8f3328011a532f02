"""The debug view names the rule by which a mosaic is missed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.mosaic.debug import explain_region
from pipeline.mosaic.finder import find_mosaics_in_picture
from pipeline.mosaic.rejection import Rule
from pipeline.types import Box
from tests.support.mosaics import fixed, locked, noisy, pixelate, texture
from tools import explain_mosaic

pytestmark = pytest.mark.slow

SETTINGS = FindConfig()


def small() -> NDArray[np.uint8]:
    """A mosaic of 3 x 3 cells."""
    return noisy(pixelate(texture(240, 260, 3, 60.0), locked((100, 80, 163, 143), (3, 3))), 3, 0.5)


def faint_blocks() -> NDArray[np.uint8]:
    """Cells as a codec that keeps little more than means leaves them, on its own grid."""
    return noisy(pixelate(texture(240, 260, 3, 4.0), fixed((64, 48, 192, 176), 8.0)), 3, 1.0)


@pytest.mark.parametrize(
    ("picture", "box", "rule"),
    [
        pytest.param(small(), Box(100, 80, 163, 143), Rule.FEW_CELLS, id="fewer cells than min_cells"),
        pytest.param(faint_blocks(), Box(64, 48, 192, 176), Rule.CODEC_GRID, id="a codec's grid"),
    ],
)
def test_the_rule_that_rejects_a_candidate_is_named(picture: NDArray[np.uint8], box: Box, rule: Rule) -> None:
    explanation = explain_region(picture, SETTINGS, box)
    assert explanation.found == ()
    assert rule in [r.rule for r in explanation.rejected]
    assert rule in explanation.as_text()


def test_what_is_found_is_what_the_finder_finds_and_is_drawn() -> None:
    picture = noisy(pixelate(texture(240, 260, 3), locked((60, 50, 168, 158), (9, 9))), 3)
    explanation = explain_region(picture, SETTINGS)
    assert list(explanation.found) == find_mosaics_in_picture(picture, SETTINGS)
    assert explanation.picture.shape == (240, 260, 3)
    x0, y0 = (round(v) for v in (explanation.found[0].box.x0, explanation.found[0].box.y0))
    assert explanation.picture[y0, x0 + 40].tolist() == [0, 200, 0]


def test_a_place_that_is_no_candidate_is_examined_all_the_same() -> None:
    picture = noisy(texture(240, 260, 3), 3)
    explanation = explain_region(picture, SETTINGS, Box(60, 50, 168, 158))
    own_size = [r.rule for r in explanation.rejected if r.scale == 1]
    assert own_size[0] is Rule.NOT_SCREENED
    assert len(own_size) == 2
    assert explain_region(picture, SETTINGS, Box(900, 900, 950, 950)).rejected == ()


def test_the_command_writes_a_picture_and_says_what_it_found(
    mosaic_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen.png"
    assert explain_mosaic.main([str(mosaic_clip), "--frame", "1", "-o", str(out)]) == 0
    assert "found: " in capsys.readouterr().out
    assert cv2.imread(str(out)) is not None
    with pytest.raises(SystemExit):
        explain_mosaic.main([str(mosaic_clip), "--frame", "9999", "-o", str(out)])
    assert "has no frame 9999" in capsys.readouterr().err
