"""The table of face detectors: a new one is one file and one row, and a run takes it by its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import Given, Resolved, resolve
from pipeline.cuda import CPU
from pipeline.decode import open_decoder
from pipeline.errors import UsageError
from pipeline.faces import DETECTORS, names, open_detector, register
from pipeline.run.anonymize import anonymize
from pipeline.run.job import AnonymizeJob
from tests.support.clips import write_clip
from tests.support.toy_detector import KIND, SIDE_PX, bright_square

WIDTH, HEIGHT, FRAMES = 160, 96, 12


@pytest.fixture
def toy() -> Iterator[None]:
    """The toy detector in the table."""
    register(KIND)
    yield
    del DETECTORS[KIND.name]


def settings(name: str) -> Resolved:
    asked = {"faces.finder": name, "faces.min_face_px": 8, "faces.every_s": 0, "mask.look": "solid"}
    return resolve({knob: Given(value, f"--{knob}") for knob, value in asked.items()})


@pytest.mark.usefixtures("toy")
def test_a_detector_of_the_table_covers_what_it_detects(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    write_clip(
        source, frames=FRAMES, width=WIDTH, height=HEIGHT, codec="ffv1", options={}, draw=bright_square
    )
    seen: list[tuple[str, int]] = []
    report = anonymize(
        AnonymizeJob(source, target),
        settings(KIND.name),
        lambda done: seen.append((done.stage, done.frames_written)),
    )
    assert report.finder is not None and set(report.finder.split(", ")) == {"brightest square"}
    assert report.gate is not None and report.gate.passed and report.gate.finder == "brightest square"
    assert report.frames_covered == FRAMES
    assert max(done for stage, done in seen if stage == "check") == FRAMES
    with open_decoder(source) as before, open_decoder(target) as after:
        for old, new in zip(before.frames(), after.frames(), strict=True):
            x = 20 + 2 * old.index
            inside = (slice(44, 44 + SIDE_PX // 2), slice(x + 4, x + SIDE_PX - 4))
            assert old.planes[0][inside].max() == 220
            assert new.planes[0][inside].max() < 150
            assert bool((new.planes[0][:16] == old.planes[0][:16]).all())


@pytest.mark.usefixtures("toy")
def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="a face detector brightest already"):
        register(KIND)
    assert open_detector("brightest", (64, 64)).device == CPU


def test_a_name_that_is_not_in_the_table_is_one_line_with_those_that_are() -> None:
    wanted = rf"faces.finder is 'haar' \(from --faces.finder\); it should be {names()}"
    with pytest.raises(UsageError, match=wanted):
        settings("haar")
    with pytest.raises(UsageError, match=f"it should be {names()}"):
        open_detector("haar", (64, 64))


@pytest.mark.parametrize("name", ["centerface", "s3fd", "blazeface"])
def test_every_row_says_how_many_calls_run_at_a_time(name: str) -> None:
    kind = DETECTORS[name]
    assert kind.calls((64, 64), 1, on_gpu=False) == 1
    assert kind.calls((64, 64), 8, on_gpu=True) == 1
    assert kind.calls((64, 64), 8, on_gpu=False) == (4 if name == "centerface" else 1)
    assert kind.memory_bytes((10, 20), 1) == 200 * 400
    assert kind.memory_bytes((10, 20), 3) == 200 * (400 + 2 * (150 if name == "centerface" else 0))
