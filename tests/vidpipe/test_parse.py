"""Times and regions on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from vidpipe.cli.parse import region, seconds


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
