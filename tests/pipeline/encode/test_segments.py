"""Segments on disk: which are believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.answers import Answers
from pipeline.encode.segments import Coded, Segments

PTS = list(range(0, 70, 2))


@pytest.fixture
def segments(tmp_path: Path) -> Callable[[], Segments]:
    """Opens the same three segments, of the answers that are there."""
    return lambda: Segments(tmp_path, PTS, 10, Answers(tmp_path / "answers"))


def _packets(number: int) -> list[Coded]:
    return [
        Coded(bytes([number, at]) * at, at, at - 2, at == 0, (("matroska_block_additional", b"alpha"),))
        for at in range(5)
    ]


@pytest.mark.parametrize(
    ("frames", "most", "ends"),
    [
        *((1, 3, [1]), (14, None, [14]), (29, 12, [12, 29])),
        *((32, None, [20, 32]), (36, 12, [12, 24, 36]), (40, 99, [20, 40])),
    ],
)
def test_the_last_segment_is_never_tiny(
    tmp_path: Path, frames: int, most: int | None, ends: list[int]
) -> None:
    segments = Segments(tmp_path, range(frames), 20, Answers(tmp_path / "answers"))
    segments.begin("x264", most)
    assert segments.ends == ends


def test_what_was_put_comes_back(segments: Callable[[], Segments], tmp_path: Path) -> None:
    first = segments()
    first.begin("x264")
    for number in range(2):
        first.put(_packets(number))
    again = segments()
    again.begin("x264")
    assert (again.count, again.frames_kept) == (2, 20)
    assert [again.read(number) for number in range(2)] == [_packets(0), _packets(1)]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def _cut(folder: Path) -> None:
    path = folder / "000001.segment"
    path.write_bytes(path.read_bytes()[:-1])


def _change(folder: Path) -> None:
    path = folder / "000001.segment"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def _lose_answers(folder: Path) -> None:
    (folder / "answers").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "coder", "kept"),
    [
        (_cut, "x264", 1),
        (_change, "x264", 1),
        (_lose_answers, "x264", 1),
        (lambda folder: None, "x265", 0),
    ],
)
def test_what_is_not_whole_is_not_believed_nor_what_follows(
    segments: Callable[[], Segments], tmp_path: Path, damage: Callable[[Path], None], coder: str, kept: int
) -> None:
    answers = Answers(tmp_path / "answers")
    first = Segments(tmp_path, PTS, 10, answers)
    first.begin("x264")
    for number in range(3):
        first.put(_packets(number))
        answers.of(str(number), lambda: 1)
    damage(tmp_path)
    again = segments()
    again.begin(coder)
    assert again.count == kept
    assert len(list(tmp_path.glob("*.segment"))) == kept
