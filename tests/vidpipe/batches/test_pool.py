"""Workers in processes of their own: one that is killed costs an attempt; a killed driver, nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.clips import write_clip
from vidpipe.batches.driver import Plan, run
from vidpipe.batches.ledger import NAME, State, entries
from vidpipe.batches.pool import DIED, LocalPool
from vidpipe.batches.worker import Task

pytestmark = pytest.mark.slow


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(3):
        write_clip(folder / f"{index}.mp4", frames=60, width=96, height=64)
        os.utime(folder / f"{index}.mp4", (1e9, 1e9))
    return folder


def _left(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if not path.name.startswith("vidpipe-batch"))


def _until(condition: Iterator[bool]) -> None:
    for met in condition:
        if met:
            return
        time.sleep(0.02)


def test_a_worker_that_is_killed_takes_nothing_else_along(archive: Path) -> None:
    with closing(LocalPool(1, 1)) as pool:
        out = archive.parent / "out"
        out.mkdir()
        tasks = [Task(str(archive / f"{i}.mp4"), str(out / f"{i}.mp4"), "pixelize") for i in range(2)]
        pool.submit(tasks[0])
        (process,) = next(iter(pool._under_way.values()))[2]._processes.values()
        process.kill()
        (outcome,) = pool.ended(60)
        assert outcome.reason.startswith(DIED)
        pool.submit(tasks[1])
        (outcome,) = pool.ended(60)
        assert outcome.ok
    assert _left(out) == ["1.mp4", "1.mp4.json"]


def test_a_batch_whose_driver_is_killed_goes_on(archive: Path) -> None:
    out = archive.parent / "out"
    words = [*(sys.executable, "-m", "vidpipe", "batch", str(archive), "-o", str(out)), "--mode", "pixelize"]
    driver = subprocess.Popen([*words, "--workers", "1"], cwd=ROOT, start_new_session=True)

    def one_is_done() -> Iterator[bool]:
        while driver.poll() is None:
            yield (out / NAME).is_file() and any(entry.state is State.DONE for entry in entries(out))

    _until(one_is_done())
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    before = {entry.source: entry.state for entry in entries(out)}
    assert State.DONE in before.values()
    results = list(run(Plan([str(archive)], out, "pixelize"), lambda: LocalPool(1, 1)))
    assert [result.state for result in results] == [State.DONE] * 3
    done_again = [result.source for result in results if result.report]
    assert all(before.get(source) is not State.DONE for source in done_again)
    parts = [name for name in _left(out) if name.startswith(".")]
    assert [name for name in _left(out) if name not in parts] == [
        f"{index}.pixelize.mp4{suffix}" for index in range(3) for suffix in ("", ".json")
    ]
