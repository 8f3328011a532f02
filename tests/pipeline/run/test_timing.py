"""The stage clock charges each stage its own seconds, and names the bottleneck."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run import timing as clock_module
from pipeline.run.timing import RunTimes, StageClock, StageTime, bottleneck


class FakeTime:
    """Seconds that pass only when a stage says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _stage(items: Iterator[int], time: FakeTime, cost_s: float) -> Iterator[int]:
    for item in items:
        time.now += cost_s
        yield item


@given(costs=st.lists(st.floats(0, 10), min_size=1, max_size=5), count=st.integers(0, 20))
def test_every_stage_is_charged_what_it_took_itself(costs: list[float], count: int) -> None:
    time = FakeTime()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock_module, "perf_counter", time)
        clock = StageClock()
        items: Iterator[int] = iter(range(count))
        for position, cost_s in enumerate(costs):
            items = clock.timed(f"stage {position}", "find", _stage(items, time, cost_s))
        assert list(items) == list(range(count))
        times = clock.times({})
    assert [time.stage for time in times] == [f"stage {position}" for position in range(len(costs))]
    assert [time.seconds for time in times] == pytest.approx([cost * count for cost in costs], abs=1e-6)


def test_a_stage_that_is_opened_late_is_charged_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime()
    monkeypatch.setattr(clock_module, "perf_counter", time)
    clock = StageClock()

    def found() -> Iterator[int]:
        yield from clock.timed("find", "find", _stage(iter(range(3)), time, 2.0))

    assert list(clock.timed("paint", "find", _stage(found(), time, 1.0))) == [0, 1, 2]
    assert clock.times({}) == [StageTime("find", "find", 6.0), StageTime("paint", "find", 3.0)]


def test_times_of_a_file_that_is_covered_again_add_up() -> None:
    first = RunTimes()
    first.clock.add("find", "find", 3.0)
    first.clock.add("paint", "find", 4.0)
    first.boundary("decode", "find").get_s = 2.0
    second = RunTimes(first)
    second.clock.add("replay", "find", 1.0)
    second.clock.add("paint", "find", 2.0)
    second.boundary("decode", "find").get_s = 0.5
    second.add_afterwards("gate", "encode", 1.0)
    assert second.times() == [
        StageTime("find", "find", 1.0),
        StageTime("paint", "find", 2.0),
        StageTime("replay", "find", 0.5),
        StageTime("gate", "encode", 1.0),
    ]
    assert second.waits_s()["find thread, for frames"] == 2.5


def test_waiting_for_the_decoder_is_not_work() -> None:
    clock = StageClock()
    clock.add("decode", "decode", 9.0)
    clock.add("find", "find", 10.0)
    clock.add("encode", "encode", 2.0)
    clock.add("restore", "paint", 7.0)
    assert clock.times({"find": 8.0, "paint": 4.0}) == [
        StageTime("decode", "decode", 9.0),
        StageTime("find", "find", 2.0),
        StageTime("encode", "encode", 2.0),
        StageTime("restore", "paint", 3.0),
    ]


def test_an_error_passes_and_its_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime()
    monkeypatch.setattr(clock_module, "perf_counter", time)

    def broken() -> Iterator[int]:
        yield from ()
        time.now += 3.0
        raise ValueError("broken")

    clock = StageClock()
    with pytest.raises(ValueError, match="broken"):
        next(clock.timed("find", "find", broken()))
    assert clock.times({}) == [StageTime("find", "find", 3.0)]


def test_the_bottleneck_is_the_longest_stage_of_the_busiest_thread() -> None:
    times = [
        StageTime("decode", "decode", 5.0),
        StageTime("find", "find", 3.0),
        StageTime("restore", "find", 4.0),
        StageTime("encode", "encode", 6.0),
    ]
    assert bottleneck(times) == "restore"
