"""What a run says of a plain mosaic stands in the table that the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.run.recognition import NAMED, PEOPLE, recognised

PAGE = Path(__file__).parents[3] / "docs" / "attacks.md"


@pytest.mark.parametrize(("blocks", "measured"), [(1, 4), (4, 4), (5, 6), (6, 6), (9, 12), (12, 12), (40, 12)])
def test_what_was_measured_at_as_many_blocks_or_more_is_said(blocks: int, measured: int) -> None:
    assert f"with {measured} blocks across a face, {NAMED[measured]} of 100 were named" in recognised(blocks)


def test_the_figures_are_those_of_the_page() -> None:
    text = PAGE.read_text()
    _, _, clips = text.partition("two moments of one clip")
    assert f"{PEOPLE} people" in clips
    for blocks, named in NAMED.items():
        row = re.search(rf"^\| pixelize: {blocks} blocks \| (\d+) \[.*?\| (\d+) \[.*?\| (\d+) \[", clips, re.M)
        assert row is not None
        assert named == max(int(row[1]), int(row[3])), "top 1 of the better attacker on one frame"
