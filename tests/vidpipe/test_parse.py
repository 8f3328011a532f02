"""Times and regions on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.types import Cells
from vidpipe.cli.parse import cells, region, seconds


@given(ms=st.integers(0, 99 * 3_600_000))
def test_a_clock_time_and_its_seconds_are_the_same_time(ms: int) -> None:
    hours, rest = divmod(ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    clock = f"{hours:02}:{minutes:02}:{rest / 1000:06.3f}"
    assert seconds(clock, "--start") == pytest.approx(seconds(str(ms / 1000), "--start"), abs=1e-6)


@pytest.mark.parametrize("text", ["", "abc", "-1", "1:2:3:4", "1:75", "1:-5", "nan", "inf", "1.5:00", "1::2"])
def test_what_is_no_time_is_refused_with_the_option_and_the_text(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        seconds(text, "--start")
    assert "--start" in str(caught.value)
    assert repr(text) in str(caught.value)


def test_a_region_may_have_a_beginning_and_an_end() -> None:
    assert region("1,2,30,40").end_s is None
    whole = region("1.5,2,30,40@0:01-1:02:03.5")
    assert (whole.x, whole.y, whole.width, whole.height) == (1.5, 2, 30, 40)
    assert (whole.start_s, whole.end_s) == (1, 3723.5)
    assert region("1,2,30,40@5-").start_s == 5
    assert region("1,2,30,40@-5").end_s == 5


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1,2,3,x", "1,2,0,5", "1,2,3,-4", "nan,2,3,4", "1,2,3,4@", "1,2,3,4@5", "1,2,3,4@9-3"],
)
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--region"):
        region(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("1,nan,3,4", "not a number"), ("1,2,inf,4", "not a number"), ("1,2,3,4@0-1@2-3", "one @ only")],
)
def test_a_refused_region_is_told_why(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        region(text)


def test_cells_are_square_or_not_and_may_have_a_corner() -> None:
    assert cells(None, None, []) is None
    assert cells("8", None, ["1,2,3,4"]) == Cells(8, 8)
    assert cells("8x9.5", "412,80.5", ["1,2,3,4"]) == Cells(8, 9.5, (412, 80.5))


@pytest.mark.parametrize(
    ("size", "corner", "regions", "words"),
    [
        (None, "1,2", ["1,2,3,4"], "--cell"),
        ("8", None, [], "--region"),
        *((size, None, ["1,2,3,4"], "--cell is") for size in ("", "x", "0", "8x", "8x8x8", "nan", "1e9")),
        *(("8", corner, ["1,2,3,4"], "--grid is") for corner in ("", "1", "1,2,3", "a,b", "inf,1")),
    ],
)
def test_what_are_no_cells_is_refused(
    size: str | None, corner: str | None, regions: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        cells(size, corner, regions)
