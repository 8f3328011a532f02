"""How long a batch of many finished files takes to begin its first new one, and how much memory.

    python -m benchmarks.batch_ledger --entries 100000

The files are empty and the ledger is filled by hand: what is measured is the search for what is left to do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vidpipe.batches.driver import Plan, run
from vidpipe.batches.ledger import Entry, Ledger, Seen, State
from vidpipe.batches.recipe import recipe, resolved
from vidpipe.batches.worker import Outcome, Task


class _FirstTaskError(Exception):
    """The first new file was begun."""


class _Pool:
    workers = 1

    def submit(self, task: Task) -> None:
        raise _FirstTaskError(task.source)

    def ended(self, patience_s: float) -> list[Outcome]:
        del patience_s
        return []

    def progress(self) -> Iterator[tuple[str, int, int]]:
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


def _fill(folder: Path, entries: int) -> Plan:
    """An archive whose files are all done but for the last one."""
    archive, out = folder / "in", folder / "out"
    plan = Plan([str(archive)], out, "pixelize")
    made_by = recipe(plan.mode, resolved({}, None))
    for number in range(entries + 1):
        path = archive / f"{number // 1000:04}" / f"{number:07}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1e9, 1e9))
    out.mkdir()
    with Ledger(out) as ledger:
        done = []
        for path in sorted(archive.rglob("*.mp4"))[:-1]:
            target = out / path.parent.name / f"{path.stem}.pixelize.mp4"
            target.parent.mkdir(exist_ok=True)
            target.touch()
            seen = Seen.of(str(path))
            done.append(Entry(str(path), str(target), seen, "0" * 64, made_by, State.DONE))
        ledger.put_all(done)
    return plan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=100_000)
    entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as folder:
        plan = _fill(Path(folder), entries)
        before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            for _ in run(plan, _Pool):
                pass
        except _FirstTaskError:
            pass
        result = {
            "entries": entries,
            "seconds": round(time.perf_counter() - begun, 2),
            "processor_seconds": round(time.process_time() - cpu, 2),
            "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "memory_before_mb": round(before_mb),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
