"""A batch on a Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.support.clips import write_clip
from vidpipe.batches.driver import Plan, run
from vidpipe.batches.ledger import State
from vidpipe.batches.pool import LocalPool
from vidpipe.batches.ray_pool import RayPool

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MEMORY = 4 << 30
LOSSLESS = {"encode.codec": "ffv1"}
"""x264's rate control over macroblocks is not the same in every process."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that does nothing, and two nodes with one core each."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 0, "include_dashboard": False, "memory": MEMORY, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        made.add_node(num_cpus=1, memory=MEMORY, object_store_memory=100 << 20)
    yield made
    made.shutdown()  # type: ignore[no-untyped-call]


class ListeningPool(RayPool):
    """Remembers what the workers tell, and how many tasks there was room for at first."""

    def __init__(self, address: str) -> None:
        super().__init__(address, cpus=1, gpus=0)
        self.room = self.workers
        self.heard: list[tuple[str, int, int]] = []

    def progress(self) -> Iterator[tuple[str, int, int]]:
        self.heard += (words := list(super().progress()))
        return iter(words)


def test_a_batch_outlives_a_node_and_gives_what_the_local_pool_gives(cluster: Any, tmp_path: Path) -> None:
    archive = tmp_path / "in"
    archive.mkdir()
    for number in range(6):
        write_clip(archive / f"{number}.mkv", frames=5 + number, width=96, height=64)
        os.utime(archive / f"{number}.mkv", (1e9, 1e9))
    pools: list[ListeningPool] = []
    ended = []
    for result in run(
        Plan([str(archive)], tmp_path / "ray", "pixelize", LOSSLESS),
        lambda: pools.append(ListeningPool(cluster.address)) or pools[0],  # type: ignore[func-returns-value]
    ):
        ended.append((result.state, result.reason))
        if len(ended) == 1:
            cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    assert ended == [(State.DONE, "")] * 6
    assert pools[0].room == 2, "a core on each of two nodes"
    assert pools[0].heard, "the workers tell how far they are"
    for _ in run(Plan([str(archive)], tmp_path / "local", "pixelize", LOSSLESS), lambda: LocalPool(1, 1)):
        pass
    for number in range(6):
        name = f"{number}.pixelize.mkv"
        assert np.array_equal(_frames(tmp_path / "ray" / name), _frames(tmp_path / "local" / name))


def _frames(path: Path) -> Any:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
