"""``vidpipe bench``: what its figures mean, and that they come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vidpipe.conftest import Cli
from vidpipe.bench import BenchReport, StageRate

pytestmark = pytest.mark.slow

STAGES = ("decode", "find", "track", "crop", "window", "restore", "paste", "encode")


def _report(stages: list[tuple[float, float]], cores: int, end_to_end_fps: float) -> BenchReport:
    rates = [StageRate(stage=str(i), fps=fps, cpu_ms=cpu_ms) for i, (fps, cpu_ms) in enumerate(stages)]
    return BenchReport(
        clip="clip.mp4", size_px=(64, 48), frames=9, frames_restored=9, engine="none", stages=rates,
        cores=cores, end_to_end_fps=end_to_end_fps, bottleneck="0",
    )  # fmt: skip


def test_the_bound_is_that_of_the_cores_or_of_the_slowest_stage() -> None:
    # Alone, with 2 cores, 50 and 100 frames a second; both together take 40 + 10 ms of the cores' 2000.
    two = _report([(50, 40), (100, 10)], cores=2, end_to_end_fps=32)
    assert (two.share_of_slowest, two.bound, two.share_of_bound) == pytest.approx((0.64, 0.8, 0.8))
    many = _report([(50, 40), (100, 10)], cores=8, end_to_end_fps=32)
    assert (many.share_of_slowest, many.bound, many.share_of_bound) == pytest.approx((0.64, 1, 0.64))
    assert "64%" in two.as_markdown()
    assert "2 cores allow 80% at most" in two.as_markdown()


@given(
    cpu_ms=st.lists(st.floats(0.1, 100), min_size=1, max_size=8), cores=st.integers(1, 64), spread=st.data()
)
def test_stages_that_never_wait_reach_the_bound_and_no_more(
    cpu_ms: list[float], cores: int, spread: st.DataObject
) -> None:
    """Alone, a stage uses one core or several; end to end all cores are busy, or the slowest stage is."""
    used = [spread.draw(st.integers(1, cores)) for _ in cpu_ms]
    alone = [(1000 * n / ms, ms) for n, ms in zip(used, cpu_ms, strict=True)]
    ideal = min(1000 * cores / sum(cpu_ms), *(fps for fps, _ in alone))
    assert _report(alone, cores, ideal).share_of_bound == pytest.approx(1)


def test_every_stage_is_timed(
    cli: Cli, mosaic_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mosaic_clip.read_bytes()
    assert cli("bench", mosaic_clip, "--frames", "20", "--preset", "ultrafast", "--json") == 0
    report = BenchReport.model_validate(json.loads(capsys.readouterr().out))
    assert [rate.stage for rate in report.stages] == list(STAGES)
    assert (report.frames, report.frames_restored) == (20, 20)
    assert all(rate.fps > 0 for rate in report.stages)
    assert mosaic_clip.read_bytes() == before
    assert list(tmp_path.iterdir()) == []
    assert cli("bench", mosaic_clip, "--frames", "20", "--preset", "ultrafast") == 0
    assert "end to end" in capsys.readouterr().out
