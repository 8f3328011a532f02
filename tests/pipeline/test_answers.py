"""The log of answers: what comes back, and what is not believed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nets.pixelation import Operator
from pipeline.answers import Answers, answered, answering
from pipeline.faces import Face
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape, Strips

BOX = Box(0.1, 1e-17, np.float64(2 / 3), 4.0)
FACE = Face(0.5, BOX, np.array([[0.1, 0.2]], np.float32))
STRIPS = Strips(np.arange(3.0), np.array([-np.inf, 0.3]))
GRID = Grid(Axis(8.1, 0.3), Axis(8.2, 0.4), Operator.AREA, 0.9)
MOSAIC = MosaicRegion(BOX, Shape.ELLIPSE, np.float32(0.7), GRID, (STRIPS, None))


def _same(value: Any) -> Any:
    return value


def _forbidden() -> Any:
    raise AssertionError("worked out again")


def test_answers_come_back_with_every_bit(tmp_path: Path) -> None:
    given = [[FACE], [MOSAIC], (0.3, True), None]
    log = Answers(tmp_path / "log")
    with answering(log):
        first = [answered(str(number), partial(_same, value)) for number, value in enumerate(given)]
    log.close()
    again = Answers(tmp_path / "log")
    with answering(again):
        # threads ask in another order
        second = [answered(str(number), _forbidden) for number in (2, 0, 3, 1)]
    assert [second[at] for at in (0, 2)] == given[2:]
    for faces, mosaics in ((first[0], first[1]), (second[1], second[3])):
        assert faces[0].box == BOX and faces[0].landmarks.dtype == np.float32
        assert np.array_equal(faces[0].landmarks, FACE.landmarks)
        assert mosaics == [MOSAIC]
        assert isinstance(mosaics[0].shape, Shape) and isinstance(mosaics[0].grid.operator, Operator)
        columns, rows = mosaics[0].strips
        assert rows is None and np.array_equal(columns.log_odds, STRIPS.log_odds)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_line_and_what_follows_is_worked_out_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "log"
    log = Answers(path)
    for number in range(4):
        log.of(str(number), partial(_same, number))
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:-3] if damage == "cut" else lines[2].replace(b", 2]", b", 3]")
    path.write_bytes(b"".join(lines[:3] if damage == "cut" else lines))
    again = Answers(path)
    assert again.believed_bytes == len(b"".join(lines[:2]))
    assert [again.of(str(number), partial(_same, 10 + number)) for number in range(4)] == [0, 1, 12, 13]
    again.close()
    assert Answers(path).of("3", _forbidden) == 13


def test_without_a_log_nothing_is_kept() -> None:
    assert [answered("a", lambda: 1), answered("a", lambda: 2)] == [1, 2]
