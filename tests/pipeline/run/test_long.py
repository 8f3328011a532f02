"""A long clip takes the memory of a short one, and the same work for each frame."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from time import process_time

import pytest

from pipeline.config import Given, resolve
from pipeline.faces import register
from pipeline.run.anonymize import anonymize
from pipeline.run.job import AnonymizeJob
from pipeline.run.lifecycle import Progress
from tests.support.clips import write_clip
from tests.support.toy_detector import KIND, bright_square

SIDE = {"width": 96, "height": 80}
SHORT, LONG = 200, 1600
FRAME_BYTES = 96 * 80 * 3 // 2
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measured(folder: Path, frames: int) -> tuple[int, dict[str, list[float]]]:
    """Peak memory in bytes of a run that covers a square on each frame, and processor time in seconds of each
    quarter of its frames, by stage."""
    source, target = folder / f"{frames}.mp4", folder / f"{frames} covered.mp4"
    write_clip(source, frames=frames, draw=lambda k, *shape: bright_square(abs(k % 20 - 10), *shape), **SIDE)
    asked = {"faces.finder": KIND.name, "faces.min_face_px": 8, "faces.every_s": 0, "mask.look": "solid"}
    settings = resolve({knob: Given(value, f"--{knob}") for knob, value in asked.items()})
    at: dict[str, dict[int, float]] = {"write": {}, "check": {}}

    def passed(done: Progress) -> None:
        if done.stage in at:
            at[done.stage].setdefault(done.frames_written * 4 // frames, process_time())

    CLEAR.write_text("5")  # the peak begins anew
    anonymize(AnonymizeJob(source, target), settings, passed)
    (peak,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    quarters = {stage: [b - a for a, b in pairwise(times.values())] for stage, times in at.items()}
    return int(peak.split()[1]) * 1024, quarters


@pytest.mark.slow
@pytest.mark.skipif(not CLEAR.exists(), reason="needs Linux, which tells the peak of memory")
def test_memory_is_bounded_and_work_is_constant(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    _, (short, _), (long, quarters) = json.loads(run.stdout.splitlines()[-1])
    assert long - short < (LONG - SHORT) * FRAME_BYTES / 2
    for first, *_, last in quarters.values():
        assert last < 1.7 * first


if __name__ == "__main__":
    register(KIND)
    sys.stdout.write(json.dumps([measured(Path(sys.argv[1]), frames) for frames in (100, SHORT, LONG)]))
