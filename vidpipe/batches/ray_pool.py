"""Tasks on a Ray cluster: one remote function per file, with the resources that it needs.

Ray places the tasks, starts them anew where a node is lost, and limits what runs; the driver hands it no more
than the cluster can run at a time, so that a million files wait in the ledger's process and not in Ray's
memory. Inputs and outputs must be visible under the same names on all nodes (a shared folder or an object
store).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from pipeline.errors import MissingError, UsageError
from vidpipe.batches.pool import DIED
from vidpipe.batches.worker import Outcome, Task, do, prepare

_RETRIES = 3
"""By Ray, of a task whose node or worker was lost."""


def _work(task: Task, threads: int) -> Outcome:
    prepare(threads)
    return do(task, lambda source, done, total: None)


class RayPool:
    """The cluster at ``address``, or one that is started on this machine for as long as the pool lives.

    Raises MissingError where Ray is not installed, UsageError where the cluster is not reached.
    """

    def __init__(self, address: str | None, cpus: int, gpus: float, workers: int | None = None) -> None:
        """``cpus`` and ``gpus``: of one task. ``workers``: tasks at a time; None: what the cluster has room
        for."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingError("--engine ray: Ray is not installed; pip install 'vidpipe[ray]'") from error
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"--ray-address {address}: {' '.join(str(error).split())}") from error
        self._ray: Any = ray
        have = ray.cluster_resources()
        room = int(have.get("CPU", 1) // cpus)
        if gpus:
            room = min(room, int(have.get("GPU", 0) / gpus))
        self.workers = workers or max(room, 1)
        self._work = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES, scheduling_strategy="SPREAD"
        )(_work)
        self._threads = cpus
        self._under_way: dict[Any, Task] = {}

    def submit(self, task: Task) -> None:
        self._under_way[self._work.remote(task, self._threads)] = task

    def ended(self, patience_s: float) -> list[Outcome]:
        done, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=patience_s)
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
                reason = f"{DIED} {_RETRIES + 1} times: {' '.join(str(error).split())[:200]}"
                outcomes.append(Outcome(task.source, False, reason, exit_code=1))
        return outcomes

    def progress(self) -> Iterator[tuple[str, int, int]]:
        """None: Ray's tasks tell of their end alone."""
        return iter(())

    def close(self) -> None:
        for reference in self._under_way:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(reference, force=True)
        self._under_way.clear()
        self._ray.shutdown()
