"""What a run says of a plain mosaic stands in the table that the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.run.recognition import NAMED, PEOPLE, recognised

PAGE = Path(__file__).parents[3] / "docs" / "attacks.md"


@pytest.mark.parametrize(
    ("blocks", "measured"), [(1, 4), (4, 4), (5, 6), (6, 6), (9, 12), (12, 12), (40, 12)]
)
def test_what_was_measured_at_as_many_blocks_or_more_is_said(blocks: int, measured: int) -> None:
    assert f"with {measured} blocks across a face, {NAMED[measured]} of 100 were named" in recognised(blocks)


def test_the_figures_are_those_of_the_page() -> None:
    _, _, clips = PAGE.read_text().partition("### Two moments of one clip")
    assert f"{PEOPLE} people" in clips
    for blocks, named in NAMED.items():
        (row,) = re.findall(rf"^\| pixelize: {blocks} blocks \|(.*)", clips, re.M)
        nearest, _, network, *_ = (re.match(r" (\d+) \[", cell) for cell in row.split("|"))
        assert named == max(int(cell[1]) for cell in (nearest, network) if cell is not None)
