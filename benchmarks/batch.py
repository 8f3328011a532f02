"""A batch of short clips beside the same files one after the other in one warm process, and on Ray.

    python -m benchmarks.batch --clips 24

In one run and in turn: ``alone``, one warm process that does all files; ``two``, that process beside another
one, each with half of the files (what this machine reaches at best); ``local``, ``vidpipe.batch`` with two
workers; ``ray``, the same on a Ray cluster that is started here, where Ray is installed. Start-up is
left out: a clock begins when the second file ends, and the files before that are left out of the count.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import vidpipe
from pipeline.config import resolve
from tests.support.portrait import write_portrait
from vidpipe.batches.worker import Task, do, prepare

WORKERS = 2


def _serial(files: list[Path], out: Path, ready: Any, seconds: Any) -> None:
    """In a process of its own: the files one after the other, when all processes are warm."""
    prepare(1)

    def one(file: Path) -> None:
        outcome = do(
            Task(str(file), str(out / file.name), "pixelize", resolve(), overwrite=True), lambda *_: None
        )
        assert outcome.ok, outcome.reason

    out.mkdir(parents=True, exist_ok=True)
    one(files[0])
    ready.wait()
    begun = time.perf_counter()
    for file in files:
        one(file)
    seconds.put((time.perf_counter() - begun) / len(files))


def processes(files: list[Path], out: Path, count: int) -> float:
    """Seconds a file of ``count`` independent processes that share them."""
    context = multiprocessing.get_context("spawn")
    ready, seconds = context.Barrier(count), context.Queue()
    parts = [files[number::count] for number in range(count)]
    started = [
        context.Process(target=_serial, args=(part, out / str(number), ready, seconds))
        for number, part in enumerate(parts)
    ]
    for process in started:
        process.start()
    each: list[float] = [seconds.get() for _ in started]
    for process in started:
        process.join()
    return statistics.mean(each) / count


def batch(folder: Path, out: Path, engine: Any) -> float:
    """Seconds a file, from the end of the first ``WORKERS`` files on."""
    shutil.rmtree(out, ignore_errors=True)
    ends = []
    for result in vidpipe.batch([folder], out, mode="pixelize", workers=WORKERS, engine=engine):
        assert result.state == "done", result.reason
        ends.append(time.perf_counter())
    return (ends[-1] - ends[WORKERS - 1]) / (len(ends) - WORKERS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    engines = ["local", "ray"] if find_spec("ray") else ["local"]
    rows: dict[str, list[float]] = {name: [] for name in ("alone", "two", *engines)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "in")
        folder.mkdir()
        clip = write_portrait(Path(place, "clip.mp4"))
        for number in range(given.clips):
            shutil.copy(clip, folder / f"{number:03}.mp4")
            os.utime(folder / f"{number:03}.mp4", (1e9, 1e9))
        files = sorted(folder.iterdir())
        for _ in range(given.rounds):
            rows["alone"].append(processes(files[: given.clips // WORKERS], Path(place, "one"), 1))
            rows["two"].append(processes(files, Path(place, "two"), WORKERS))
            for engine in engines:
                rows[engine].append(batch(folder, Path(place, engine), engine))
    means = {name: round(statistics.mean(values), 3) for name, values in rows.items()}
    ratios = {f"{name} over two": round(means[name] / means["two"], 3) for name in engines}
    if "ray" in means:
        ratios["ray over local"] = round(means["ray"] / means["local"], 3)
    print(json.dumps({"clips": given.clips, "seconds a file": means, "ratios": ratios, "rounds": rows}))


if __name__ == "__main__":
    main()
