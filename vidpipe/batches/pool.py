"""Where tasks run. A pool takes a task when it has room and gives outcomes as they come.

The local pool has one process per worker, each behind an executor of the standard library, so that a worker
that dies takes nothing with it but its own file. ``vidpipe.batches.ray_pool`` is the same on a Ray cluster.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from vidpipe.batches.worker import Outcome, Task, do, prepare

_SAFE = "PYTHONSAFEPATH"
DIED = "the worker died"
"""How the reason of an outcome begins whose process was killed or crashed."""


class Pool(Protocol):
    """Runs tasks."""

    @property
    def workers(self) -> int:
        """Tasks at a time."""
        ...

    def submit(self, task: Task) -> None:
        """Only while fewer than ``workers`` tasks are under way."""
        ...

    def ended(self, patience_s: float) -> list[Outcome]:
        """Outcomes that have come, after waiting for the first one so long at most."""
        ...

    def progress(self) -> Iterator[tuple[str, int, int]]:
        """(source, frames done, frames in all) that came since it was asked last."""
        ...

    def close(self) -> None:
        """Ends what is under way; its outputs are not left behind."""
        ...


_tell: Any = None
"""In a worker: the queue of its progress."""


def _begin(progress: Any, driver: int, threads: int, gpu: int | None) -> None:
    global _tell  # noqa: PLW0603  an executor's initializer has no other place
    _tell = progress
    if gpu is not None:
        named = os.environ.get("CUDA_VISIBLE_DEVICES")  # the user's: numbers count among those
        os.environ["CUDA_VISIBLE_DEVICES"] = named.split(",")[gpu] if named else str(gpu)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the driver ends its workers
    _end_with(driver)
    prepare(threads)


def _interrupted(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt


def _end_with(driver: int) -> None:
    """A worker whose driver was killed ends as well: nobody would write down what it made."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)  # a run closes what it has open; then the worker waits again
        while True:
            time.sleep(1.0)
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch driver", daemon=True).start()


def _work(task: Task) -> Outcome:
    signal.signal(signal.SIGTERM, _interrupted)  # a run closes what it has open
    try:
        return do(task, lambda *told: _tell.put(told))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _submitted(executor: ProcessPoolExecutor, task: Task) -> Future[Outcome]:
    """A process that it starts imports nothing from the working folder, which may be one of footage."""
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        return executor.submit(_work, task)
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before


class LocalPool:
    """Processes of this machine."""

    def __init__(self, workers: int, threads: int, gpus: int = 0) -> None:
        """``threads``: of each worker. With ``gpus`` each worker sees one of them."""
        self.workers = workers
        self._threads = threads
        self._gpus = gpus
        self._context = multiprocessing.get_context("spawn")
        self._told = self._context.Queue()
        self._free = [(index, self._executor(index)) for index in range(workers)]
        self._under_way: dict[Future[Outcome], tuple[Task, int, ProcessPoolExecutor]] = {}

    def _executor(self, index: int) -> ProcessPoolExecutor:
        gpu = index % self._gpus if self._gpus else None
        arguments = (self._told, os.getpid(), self._threads, gpu)
        return ProcessPoolExecutor(1, self._context, initializer=_begin, initargs=arguments)

    def submit(self, task: Task) -> None:
        index, executor = self._free.pop()
        try:
            future = _submitted(executor, task)
        except BrokenProcessPool:  # it died between two files
            executor = self._executor(index)
            future = _submitted(executor, task)
        self._under_way[future] = task, index, executor

    def ended(self, patience_s: float) -> list[Outcome]:
        done, _ = wait(self._under_way, patience_s, FIRST_COMPLETED)
        outcomes = []
        for future in done:
            task, index, executor = self._under_way.pop(future)
            try:
                outcomes.append(future.result())
            except BrokenProcessPool:
                executor.shutdown(wait=False)
                executor = self._executor(index)
                reason = f"{DIED}: killed from outside, out of memory, or a crash in a library"
                outcomes.append(Outcome(task.source, False, reason, exit_code=1))
            except Exception as error:  # noqa: BLE001  a fault of ours costs one file, not the batch
                text = f"a fault of vidpipe, please report it: {type(error).__name__}: {error}"
                outcomes.append(Outcome(task.source, False, " ".join(text.split()), exit_code=1))
            self._free.append((index, executor))
        return outcomes

    def progress(self) -> Iterator[tuple[str, int, int]]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._told.get_nowait()

    def close(self) -> None:
        busy = [executor for _, _, executor in self._under_way.values()]
        for executor in busy:
            for process in list((executor._processes or {}).values()):  # there is no public way
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
        for executor in (*busy, *(executor for _, executor in self._free)):
            executor.shutdown(wait=True, cancel_futures=True)
        self._under_way.clear()
        self._free.clear()
