"""Where parts of a run overlap, and the only threads in the project: ``prefetch``, the boundary between two
stages, and ``spread``, one stage's work on several items at a time."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4
"""Items that ``spread`` takes ahead for each of its threads, where the caller says nothing else."""


@dataclass(slots=True)
class Waits:
    """Seconds that the two sides of one boundary stood still; whole once the boundary has closed."""

    put_s: float = 0.0
    """The worker waited for room: what comes after the boundary is the bottleneck."""
    get_s: float = 0.0
    """The consumer waited for an item: what comes before the boundary is the bottleneck."""


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T, R]):
    item: T
    future: Future[R] | None

    def result(self) -> R | None:
        return None if self.future is None else self.future.result()


def prefetch(items: Iterable[T], depth: int, name: str, waits: Waits | None = None) -> Iterator[T]:
    """The same items in the same order, made ahead by a worker thread called ``name``.

    At most ``depth`` + 2 items exist that ``items`` has made and the consumer has not finished with:
    one in the worker's hand, ``depth`` in the queue, one in the consumer's.

    - The thread starts with the first ``next``. ``items`` runs in it and is closed in it.
    - An exception of ``items`` reaches the consumer in its place in the order, with its traceback.
    - A consumer that stops early, by ``close``, an exception or Ctrl-C, stops the worker after the
      item in its hand, waits for it, and so closes ``items`` and every boundary before it.

    Nothing else should iterate ``items``. An error that strikes after the consumer has stopped is
    logged. Raises ValueError for a depth below 1.
    """
    if depth < 1:
        raise ValueError(f"{name}: depth is {depth}; a queue holds 1 item at least")
    return _consume(items, depth, name, waits if waits is not None else Waits())


def _consume(items: Iterable[T], depth: int, name: str, waits: Waits) -> Generator[T, None, None]:
    ready: SimpleQueue[_Item[T] | _End] = SimpleQueue()
    room = threading.Semaphore(depth)
    stop = threading.Event()

    def work() -> None:
        """Fills ``ready``; its last entry is _End, which needs no room and so can never block."""
        source = iter(items)
        error: BaseException | None = None
        try:
            for item in source:
                started = perf_counter()
                room.acquire()
                waits.put_s += perf_counter() - started
                ready.put(_Item(item))
                del item  # else this frame stays alive while the next one is made
                if stop.is_set():
                    break
        except BaseException as caught:  # noqa: BLE001  it is raised again on the consumer's side
            error = caught
        ready.put(_End(_close(source, error)))

    worker = threading.Thread(target=copy_context().run, args=(work,), name=name, daemon=True)
    ended = False
    try:
        worker.start()
        while True:
            started = perf_counter()
            got = _taken(ready, worker)
            waits.get_s += perf_counter() - started
            if isinstance(got, _End):
                ended = True
                if got.error is not None:
                    raise got.error
                return
            room.release()
            yield got.value
            del got
    finally:
        stop.set()
        room.release()  # wakes a worker that waits for room, which then sees `stop`
        if worker.ident is not None:
            worker.join()
        if not ended:
            _log_unseen(ready, name)


def _taken(ready: SimpleQueue[_Item[T] | _End], worker: threading.Thread) -> _Item[T] | _End:
    """The next entry. Raises MemoryError where the worker has died without a word, for want of memory."""
    while True:
        try:
            return ready.get(timeout=1.0)
        except Empty:
            if not worker.is_alive() and ready.empty():
                raise MemoryError(f"the thread {worker.name} has died") from None


def spread(
    items: Iterable[tuple[T, Callable[[], R] | None]], workers: int, name: str, ahead: int = AHEAD
) -> Iterator[tuple[T, R | None]]:
    """Each item with what its job returns, None where it has no job; in order, ``workers`` jobs at a time.

    At most ``lookahead_items(workers, ahead)`` items exist that ``items`` has made and the consumer has not
    finished with. With one worker jobs run in the consumer's thread, and nothing is taken ahead. An exception
    of a job reaches the consumer in its place in the order; jobs that have not begun by then, or when the
    consumer stops early, never run, and those that have are waited for.
    """
    waiting: deque[_Waiting[T, R]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name) if workers > 1 else None
    try:
        for item, job in source:
            if pool is None:
                yield item, None if job is None else job()
                del item, job  # else this frame holds them while the next one is made
                continue
            waiting.append(_Waiting(item, None if job is None else pool.submit(copy_context().run, job)))
            del item, job
            if len(waiting) > ahead * workers:
                oldest = waiting.popleft()
                yield oldest.item, oldest.result()
                del oldest
        while waiting:
            oldest = waiting.popleft()
            yield oldest.item, oldest.result()
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        _close(source, None)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lookahead_items(workers: int, ahead: int = AHEAD) -> int:
    """The most items that ``spread`` holds."""
    return 1 if workers <= 1 else ahead * workers + 1


def _close(source: Iterator[T], error: BaseException | None) -> BaseException | None:
    """Closes a generator; returns the error to hand on: the first one."""
    close = getattr(source, "close", None)
    if close is not None:
        try:
            close()
        except BaseException as caught:  # noqa: BLE001  it is raised again on the consumer's side
            return caught if error is None else error
    return error


def _log_unseen(ready: SimpleQueue[_Item[T] | _End], name: str) -> None:
    """Reports an error that nobody will ask for any more."""
    while not ready.empty():
        got = ready.get()
        if isinstance(got, _End) and got.error is not None:
            log.warning("%s: %r, after the consumer had stopped", name, got.error, exc_info=got.error)
