"""Where the time of a run goes: seconds per stage, and which of them holds the others up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeVar

from pipeline.flow import Waits

T = TypeVar("T")

Thread = Literal["decode", "find", "paint", "encode"]
"""The threads of a run. The encoder works in the caller's."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """Seconds that a stage took by itself."""

    stage: str
    thread: Thread
    seconds: float


class StageClock:
    """Times the ``next`` calls of chained generators.

    A call includes everything upstream in the same thread, so each stage is charged what its predecessor was
    not. Stages have the order in which their first items came, upstream first.
    """

    def __init__(self) -> None:
        self._inclusive: dict[tuple[Thread, str], float] = {}

    def timed(self, stage: str, thread: Thread, items: Iterator[T]) -> Iterator[T]:
        """The same items; call it once per stage."""
        while True:
            started = perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.add(stage, thread, perf_counter() - started)
            yield item
            del item  # else this frame stays alive while the next one is made

    def add(self, stage: str, thread: Thread, seconds: float) -> None:
        """Charges a stage."""
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


@dataclass(frozen=True, slots=True)
class _Boundary:
    before: Thread
    after: Thread
    waits: Waits


class RunTimes:
    """The clock of a run, and the waits at the boundaries between its threads. ``before``: of the same run,
    when it painted other masks; all is added up."""

    def __init__(self, before: RunTimes | None = None) -> None:
        self.clock = StageClock()
        self._before = before
        self._boundaries: list[_Boundary] = []
        self._afterwards: list[StageTime] = []

    def boundary(self, before: Thread, after: Thread) -> Waits:
        """To be handed to ``prefetch`` between the stages of two threads."""
        waits = Waits()
        self._boundaries.append(_Boundary(before, after, waits))
        return waits

    def times(self) -> list[StageTime]:
        """Seconds of every stage alone, once the run is over."""
        # The encoder's stages are charged by ``add``, without their waits.
        waited: dict[Thread, float] = {
            b.after: b.waits.get_s for b in self._boundaries if b.after != "encode"
        }
        seconds: dict[tuple[str, Thread], float] = {}
        earlier = [] if self._before is None else self._before.times()
        for time in [*earlier, *self.clock.times(waited), *self._afterwards]:
            key = (time.stage, time.thread)
            seconds[key] = seconds.get(key, 0.0) + time.seconds
        return [StageTime(stage, thread, spent) for (stage, thread), spent in seconds.items()]

    def add_afterwards(self, stage: str, thread: Thread, seconds: float) -> None:
        """Charges a stage that ran when the frames had all been written."""
        self._afterwards.append(StageTime(stage, thread, seconds))

    def waits_s(self) -> dict[str, float]:
        """Seconds that a thread stood still, by the thread and what it waited for."""
        waits = {} if self._before is None else self._before.waits_s()
        for boundary in self._boundaries:
            for name, spent in (
                (f"{boundary.before} thread, for room", boundary.waits.put_s),
                (f"{boundary.after} thread, for frames", boundary.waits.get_s),
            ):
                waits[name] = waits.get(name, 0.0) + spent
        return waits


def bottleneck(times: Sequence[StageTime]) -> str:
    """The longest stage of the thread that was busy longest."""
    busy: dict[Thread, float] = {}
    for time in times:
        busy[time.thread] = busy.get(time.thread, 0.0) + time.seconds
    busiest = max(busy, key=lambda thread: busy[thread])
    return max((time for time in times if time.thread == busiest), key=lambda time: time.seconds).stage
