"""Workers in processes of their own: whoever is killed, nothing is lost and nothing done twice."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import psutil
import pytest

from tests.support import ROOT
from tests.support.clips import write_clip
from vidpipe.batches.driver import BEFORE, Plan, run
from vidpipe.batches.ledger import NAME, State, entries
from vidpipe.batches.pool import LocalPool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILES = 100
FRAMES = 2


def test_kills_of_workers_and_of_the_driver_lose_nothing(tmp_path: Path) -> None:
    archive, out = tmp_path / "in", tmp_path / "out"
    archive.mkdir()
    clip = write_clip(tmp_path / "clip.mp4", frames=FRAMES, width=64, height=48)
    for number in range(FILES):
        shutil.copy(clip, archive / f"{number:02}.mp4")
        os.utime(archive / f"{number:02}.mp4", (1e9, 1e9))
    words = ["batch", str(archive), "-o", str(out), "--mode", "pixelize", "--workers", "1", "-q"]
    orphans: list[psutil.Process] = []
    points = sorted(random.Random(3).sample(range(1, FILES - 10), 2))
    for number, point in enumerate(points):
        with subprocess.Popen([sys.executable, "-m", "vidpipe", *words], cwd=ROOT) as driver:
            _wait_for(out, driver, point)
            if number == 0:  # a worker first; the batch goes on without it
                for worker in _workers(driver.pid):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        worker.kill()
                _wait_for(out, driver, point + 2)
            orphans += _workers(driver.pid)
            driver.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(orphans, timeout=60)
    assert orphans and not alive, "a worker ends with its driver"
    before = {entry.source for entry in entries(out) if entry.state is State.DONE}
    assert points[-1] <= len(before) < FILES
    results = list(run(Plan([str(archive)], out, "pixelize"), lambda: LocalPool(1, 1)))
    assert [result.state for result in results] == [State.DONE] * FILES
    assert {result.source for result in results if result.reason == BEFORE} == before
    left = sorted(path.name for path in out.iterdir() if not path.name.startswith("vidpipe-batch"))
    names = [f"{number:02}.pixelize.mp4" for number in range(FILES)]
    assert left == sorted(names + [f"{name}.json" for name in names]), "and no half of a file"
    for name in names:
        with av.open(str(out / name)) as container:
            assert sum(1 for _ in container.decode(video=0)) == FRAMES


def _wait_for(out: Path, driver: subprocess.Popen[bytes], files: int) -> None:
    """Until so many files are done."""
    while driver.poll() is None:
        if (out / NAME).is_file() and sum(e.state is State.DONE for e in entries(out)) >= files:
            return
        time.sleep(0.2)
    raise AssertionError(f"the batch ended with {driver.returncode} before {files} files were done")


def _workers(driver: int) -> list[psutil.Process]:
    children = psutil.Process(driver).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
