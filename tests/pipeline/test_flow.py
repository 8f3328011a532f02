"""``prefetch`` and ``spread`` are specified by their deaths."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.flow import Waits, lookahead_items, prefetch, spread


class Source:
    """Counts what was made and says when and where it was closed."""

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.count, self.fail_at = count, fail_at
        self.made = 0
        self.closed_in: str | None = None

    def __iter__(self) -> Generator[int, None, None]:
        try:
            for i in range(self.count):
                if i == self.fail_at:
                    raise OSError(f"broke at {i}")
                self.made += 1
                yield i
        finally:
            self.closed_in = threading.current_thread().name


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("test-")]


@given(count=st.integers(0, 40), depth=st.integers(1, 8))
def test_order_is_kept_and_nothing_is_lost(count: int, depth: int) -> None:
    assert list(prefetch(iter(Source(count)), depth, "test-a")) == list(range(count))
    assert workers() == []


@given(count=st.integers(1, 20), fail_at=st.integers(0, 19), depth=st.integers(1, 5))
def test_upstream_error_arrives_in_its_place_with_traceback(count: int, fail_at: int, depth: int) -> None:
    got: list[int] = []
    source = Source(count + fail_at, fail_at)
    with pytest.raises(OSError, match=f"broke at {fail_at}") as caught:
        got.extend(_into(prefetch(iter(source), depth, "test-b"), got))
    assert got == list(range(fail_at))
    assert "raise OSError" in "".join(traceback.format_tb(caught.value.__traceback__))
    assert source.closed_in == "test-b"
    assert workers() == []


def _into(items: Iterator[int], got: list[int]) -> Iterator[int]:
    for item in items:
        got.append(item)
    return iter(())


@given(taken=st.integers(0, 10), depth=st.integers(1, 5))
def test_early_stop_joins_the_worker_and_closes_upstream(taken: int, depth: int) -> None:
    source = Source(1000)
    ahead = prefetch(iter(source), depth, "test-c")
    for expected in range(taken):
        assert next(ahead) == expected
    ahead.close()  # type: ignore[attr-defined]
    assert workers() == []
    assert source.made <= taken + depth + 1
    assert source.closed_in == (None if taken == 0 else "test-c")  # what never ran needs no closing


@pytest.mark.slow
@given(count=st.integers(1, 60), depth=st.integers(1, 6))
def test_never_more_than_depth_plus_two_are_alive(count: int, depth: int) -> None:
    source = Source(count)
    for finished, _ in enumerate(prefetch(iter(source), depth, "test-d")):
        threading.Event().wait(0.0005)
        assert source.made - finished <= depth + 2


def test_nested_boundaries_close_inside_out() -> None:
    closed: list[str] = []

    def stage(items: Iterator[int], name: str) -> Iterator[int]:
        try:
            yield from items
        finally:
            closed.append(name)

    chain = prefetch(stage(iter(range(1000)), "decode"), 2, "test-in")
    outer = prefetch(stage(chain, "paint"), 2, "test-out")
    del chain
    assert next(outer) == 0
    outer.close()  # type: ignore[attr-defined]
    assert closed == ["decode", "paint"]
    assert workers() == []


def test_interrupt_of_the_consumer_ends_the_worker() -> None:
    source = Source(1000)

    def consume() -> None:
        for item in prefetch(iter(source), 2, "test-e"):
            if item == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        consume()
    caught.value.__traceback__ = None  # the dead consumer's locals held the generator
    del caught
    assert workers() == []
    assert source.closed_in == "test-e"


def test_error_of_closing_is_handed_on() -> None:
    def source() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cannot close")

    with pytest.raises(OSError, match="cannot close"):
        list(prefetch(source(), 1, "test-f"))


def test_error_after_the_consumer_stopped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failed = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        failed.set()
        raise OSError("nobody asked")

    ahead = prefetch(source(), 2, "test-g")
    assert next(ahead) == 1
    assert failed.wait(10)
    with caplog.at_level(logging.WARNING):
        ahead.close()  # type: ignore[attr-defined]
    assert "nobody asked" in caplog.text
    assert workers() == []


def test_waits_name_the_slow_side() -> None:
    pause = threading.Event()

    def slow(count: int) -> Iterator[int]:
        for i in range(count):
            pause.wait(0.005)
            yield i

    upstream, downstream = Waits(), Waits()
    list(prefetch(slow(20), 2, "test-h", upstream))
    for _ in prefetch(iter(range(20)), 2, "test-i", downstream):
        pause.wait(0.005)
    assert upstream.get_s > upstream.put_s
    assert downstream.put_s > downstream.get_s


def test_depth_zero_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="depth is 0"):
        prefetch([1], 0, "test-j")


def _jobs(source: Source, every: int = 1) -> Iterator[tuple[int, Callable[[], int] | None]]:
    return ((i, partial(_square, i) if i % every == 0 else None) for i in source)


def _square(i: int) -> int:
    return i * i


@given(count=st.integers(0, 40), workers=st.integers(1, 5), every=st.integers(1, 4))
def test_spread_keeps_the_order_and_works_on_items_with_a_job(count: int, workers: int, every: int) -> None:
    got = list(spread(_jobs(Source(count), every), workers, "test-s"))
    assert got == [(i, i * i if i % every == 0 else None) for i in range(count)]
    assert not _alive()


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_a_job_comes_in_its_place_and_what_waits_behind_it_never_runs(workers: int) -> None:
    begun = []

    def job(i: int) -> int:
        begun.append(i)
        if i == 5:
            raise OSError("broke at 5")
        return i

    got = []
    with pytest.raises(OSError, match="broke at 5"):
        for item, _ in spread(((i, partial(job, i)) for i in range(1000)), workers, "test-s"):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]
    assert max(begun) < 5 + lookahead_items(workers)
    assert not _alive()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_consumer_of_spread_that_stops_early_closes_upstream_and_ends_the_threads(workers: int) -> None:
    source = Source(1000)
    pairs = cast("Generator[tuple[int, int | None]]", spread(_jobs(source), workers, "test-s"))
    for _ in range(3):
        next(pairs)
    pairs.close()
    assert source.closed_in is not None
    assert source.made <= 3 + lookahead_items(workers)
    assert not _alive()


@given(count=st.integers(1, 30), workers=st.integers(1, 4))
def test_spread_holds_no_more_than_it_says(count: int, workers: int) -> None:
    source = Source(count)
    for finished, _ in enumerate(spread(_jobs(source), workers, "test-s")):
        assert source.made - finished <= lookahead_items(workers)


def _alive() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("test-s")]


def test_a_thread_that_dies_before_it_begins_is_an_error_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no memory for its first step."""
    monkeypatch.setattr(threading.Thread, "run", lambda self: None)
    with pytest.raises(MemoryError, match="the thread x has died"):
        next(iter(prefetch([1], 1, "x")))
