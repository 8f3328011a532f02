"""Tasks on a Ray cluster: one remote function per file, with the resources that it needs.

Ray places the tasks and limits what runs; the driver hands it no more than the cluster can run at a time, so
that a million files wait in the ledger's process and not in Ray's memory. A task whose node was lost is
begun anew by the driver, which knows that what stands under the output's name is its own. Inputs and outputs
must be visible under the same names on all nodes (a shared folder or an object store).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

from pipeline.errors import MissingError, UsageError
from vidpipe.batches.pool import DIED
from vidpipe.batches.worker import Outcome, Task, do, prepare

_MEMORY = 2 << 30
"""Bytes that a task is given room for."""
_ANSWER_S = 10.0
"""For which an address is waited for."""
_TELL_S = 2.0
"""Between two words of a task on its progress."""
_LOOK_S = 5.0
"""Between two looks at the size of the cluster."""


def _work(task: Task, threads: int, progress: Any) -> Outcome:
    prepare(threads)
    told_s = 0.0

    def told(*word: Any) -> None:
        nonlocal told_s
        if (now_s := monotonic()) - told_s >= _TELL_S:
            told_s = now_s
            progress.actor.put_nowait.remote(word)  # nobody waits for it

    return do(task, told)


def _check_answers(address: str | None) -> None:
    """Ray itself waits for minutes. Raises UsageError."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto", "local"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray-address {address}: nothing answers there ({error})") from error


class RayPool:
    """The cluster at ``address``, or one that is started on this machine for as long as the pool lives.

    Raises MissingError where Ray is not installed, UsageError where the cluster is not reached.
    """

    def __init__(self, address: str | None, cpus: int, gpus: float, workers: int | None = None) -> None:
        """``cpus`` and ``gpus``: of one task. ``workers``: tasks at a time; None: what the cluster has room
        for, also when it grows or shrinks."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
            import ray.util.queue
        except ImportError as error:
            raise MissingError("--on ray: Ray is not installed; pip install 'vidpipe[ray]'") from error
        _check_answers(address)
        try:
            ray.init(
                address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"--ray-address {address}: {' '.join(str(error).split())}") from error
        self._ray: Any = ray
        self._needs = {"CPU": float(cpus), "GPU": gpus, "memory": float(_MEMORY)}
        self._asked = workers
        self._room, self._looked_s = 0, 0.0
        self._progress: Any = ray.util.queue.Queue(actor_options={"num_cpus": 0})
        self._work = ray.remote(
            num_cpus=cpus, num_gpus=gpus, memory=_MEMORY, max_retries=0, scheduling_strategy="SPREAD"
        )(_work)
        self._threads = cpus
        self._under_way: dict[Any, Task] = {}

    @property
    def workers(self) -> int:
        """Tasks at a time."""
        if self._asked is not None:
            return self._asked
        if not self._room or monotonic() - self._looked_s > _LOOK_S:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._room = max(sum(map(self._room_on, nodes)), 1)
            self._looked_s = monotonic()
        return self._room

    def _room_on(self, node: dict[str, float]) -> int:
        """Tasks that run on one node at a time."""
        return min(int(node.get(name, 0) / amount) for name, amount in self._needs.items() if amount)

    def submit(self, task: Task) -> None:
        self._under_way[self._work.remote(task, self._threads, self._progress)] = task

    def ended(self, patience_s: float) -> list[Outcome]:
        done, rest = self._ray.wait(list(self._under_way), num_returns=1, timeout=patience_s)
        if done and rest:
            done += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        outcomes = []
        for reference in done:
            task = self._under_way.pop(reference)
            try:
                outcomes.append(self._ray.get(reference))
            except self._ray.exceptions.RayTaskError as error:
                text = " ".join(str(error.cause).split())
                reason = f"a fault of vidpipe, please report it: {type(error.cause).__name__}: {text}"
                outcomes.append(Outcome(task.source, False, reason, exit_code=1))
            except self._ray.exceptions.RayError as error:
                reason = f"{DIED}: {' '.join(str(error).split())[:200]}"
                outcomes.append(Outcome(task.source, False, reason, exit_code=1))
        return outcomes

    def progress(self) -> Iterator[tuple[str, int, int]]:
        with contextlib.suppress(self._ray.exceptions.RayError):  # the node of the queue was lost
            if count := self._progress.qsize():
                yield from self._progress.get_nowait_batch(count)

    def close(self) -> None:
        for reference in self._under_way:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._under_way.clear()
        self._ray.shutdown()
