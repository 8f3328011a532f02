"""Where the time of a run goes: seconds per stage, and which of them holds the others up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeVar

T = TypeVar("T")

Thread = Literal["decode", "find", "paint", "encode"]
"""The threads of a run, by the names that ``pipeline.run.reconstruct`` gives them."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """Seconds that a stage took by itself."""

    stage: str
    thread: Thread
    seconds: float


class StageClock:
    """Times the ``next`` calls of chained generators.

    A call includes everything upstream in the same thread, so stages are timed in the order of the chain and
    each is charged what its predecessor was not.
    """

    def __init__(self) -> None:
        self._inclusive: dict[tuple[Thread, str], float] = {}

    def timed(self, stage: str, thread: Thread, items: Iterator[T]) -> Iterator[T]:
        """The same items; call it once per stage, upstream first."""
        key = (thread, stage)
        self._inclusive[key] = 0.0
        return self._run(key, items)

    def _run(self, key: tuple[Thread, str], items: Iterator[T]) -> Iterator[T]:
        while True:
            started = perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._inclusive[key] += perf_counter() - started
            yield item
            del item  # else this frame stays alive while the next one is made

    def add(self, stage: str, thread: Thread, seconds: float) -> None:
        """Charges a stage that is no generator."""
        key = (thread, stage)
        self._inclusive[key] = self._inclusive.get(key, 0.0) + seconds

    def times(self, waited_s: Mapping[Thread, float]) -> list[StageTime]:
        """Seconds of every stage alone. ``waited_s``: how long a thread waited for its first input."""
        before = dict(waited_s)
        times = []
        for (thread, stage), inclusive in self._inclusive.items():
            upstream = before.get(thread, 0.0)
            times.append(StageTime(stage, thread, max(0.0, inclusive - upstream)))
            before[thread] = max(inclusive, upstream)
        return times


def bottleneck(times: Sequence[StageTime]) -> str:
    """The longest stage of the thread that was busy longest."""
    busy: dict[Thread, float] = {}
    for time in times:
        busy[time.thread] = busy.get(time.thread, 0.0) + time.seconds
    busiest = max(busy, key=lambda thread: busy[thread])
    return max((time for time in times if time.thread == busiest), key=lambda time: time.seconds).stage
