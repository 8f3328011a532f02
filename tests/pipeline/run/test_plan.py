"""Times become pts, sizes become bounds."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import RunConfig
from pipeline.decode import open_decoder
from pipeline.decode.source import probe
from pipeline.engines import EngineSpec
from pipeline.errors import UsageError
from pipeline.run.job import ReconstructJob
from pipeline.run.memory import MIB, frame_bytes
from pipeline.run.plan import absolute, reconstruct_plan
from pipeline.types import Box, ManualRegion, StreamInfo
from tests.support.clips import write_clip

SPEC = EngineSpec(net="nar", version="1", weights_sha256="0" * 64, window=8, context=2, size_px=128, cells=64)
JOB = ReconstructJob(Path("in.mp4"), Path("out.mp4"), network=Path("net.onnx"))


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> StreamInfo:
    return probe(write_clip(tmp_path_factory.mktemp("plan") / "clip.mp4", frames=3))


times = st.one_of(st.none(), st.integers(0, 4000).map(lambda ms: ms / 1000))


@given(
    pts=st.lists(st.integers(-900, 3000), min_size=1, max_size=40, unique=True).map(sorted),
    start_s=times,
    end_s=times,
)
def test_a_range_holds_the_frames_whose_time_lies_in_it(
    info: StreamInfo, pts: list[int], start_s: float | None, end_s: float | None
) -> None:
    film = replace(info, pts=pts, time_base=Fraction(1, 1000))
    job = replace(JOB, start_s=start_s, end_s=end_s)
    since = [Fraction(p - pts[0], 1000) for p in pts]
    start = Fraction(round((start_s or 0) * 1000), 1000)
    end = None if end_s is None else Fraction(round(end_s * 1000), 1000)
    wanted = sum(start <= time and (end is None or time < end) for time in since)
    if wanted == 0:
        with pytest.raises(UsageError, match="no frame"):
            reconstruct_plan(job, film, SPEC, RunConfig())
    else:
        assert reconstruct_plan(job, film, SPEC, RunConfig()).frames == wanted


def test_times_of_regions_count_from_the_first_frame(info: StreamInfo) -> None:
    film = replace(info, pts=[500, 540, 2500], time_base=Fraction(1, 1000))
    box = Box(0, 0, 9, 9)
    moved = absolute((ManualRegion(box, 1.0, None), ManualRegion(box, None, 2.0)), film)
    assert moved == (ManualRegion(box, 1.5, None), ManualRegion(box, None, 2.5))


edges = st.floats(-1e12, 1e12) | st.floats(-20, 400)
sides = st.floats(1, 1e12)


@given(x=edges, y=edges, width=sides, height=sides)
def test_a_region_is_clipped_to_the_picture_or_refused(
    info: StreamInfo, x: float, y: float, width: float, height: float
) -> None:
    box = Box(x, y, x + width, y + height)
    x0, y0, x1, y1 = box.pixels(info.width, info.height)
    if x0 < x1 and y0 < y1:
        (region,) = absolute((ManualRegion(box),), info)
        assert 0 <= region.box.x0 < region.box.x1 <= info.width
        assert 0 <= region.box.y0 < region.box.y1 <= info.height
        assert region.box.pixels(info.width, info.height) == (x0, y0, x1, y1)
    else:
        with pytest.raises(UsageError, match=f"outside the {info.width}x{info.height} picture"):
            absolute((ManualRegion(box),), info)


def test_a_region_at_a_time_without_frames_is_refused(info: StreamInfo) -> None:
    film = replace(info, pts=[500, 540, 580], time_base=Fraction(1, 1000))
    box = Box(0, 0, 9, 9)
    assert absolute((ManualRegion(box, 0.08, 99.0),), film)
    for start_s, end_s in ((0.081, None), (1.0, 2.0), (0.01, 0.02)):
        with pytest.raises(UsageError, match="no frame"):
            absolute((ManualRegion(box, start_s, end_s),), film)


@given(batch_frames=st.integers(1, 64), context=st.integers(0, 3), core=st.integers(1, 8))
def test_windows_of_a_batch_cover_about_the_frames_that_were_asked_for(
    info: StreamInfo, batch_frames: int, context: int, core: int
) -> None:
    config = RunConfig.model_validate({"window": {"batch_frames": batch_frames}})
    spec = replace(SPEC, window=core + 2 * context, context=context)
    plan = reconstruct_plan(JOB, info, spec, config)
    frames = plan.cores_per_batch * core
    assert frames <= max(batch_frames, core)
    assert frames > batch_frames - core


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "gray", "yuva420p"])
def test_the_bytes_of_a_frame_are_those_of_its_planes(tmp_path: Path, pix_fmt: str) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=2, width=50, height=34, pix_fmt=pix_fmt, codec="ffv1")
    with open_decoder(clip) as decoder:
        frame = next(decoder.frames())
        assert frame_bytes(decoder.info) == sum(p.numel() * p.element_size() for p in frame.planes)


@given(faces=st.integers(0, 9))
def test_the_formula_adds_up(info: StreamInfo, faces: int) -> None:
    memory = reconstruct_plan(JOB, info, SPEC, RunConfig()).memory
    formula = memory.formula(faces)
    left, right = formula.rsplit(" = ", 1)
    terms = left.replace(" x ", " * ")
    numbers = re.sub(r"[^0-9.+*() ]", "", terms)
    assert eval(numbers) == pytest.approx(memory.total_bytes(faces) / MIB, rel=2e-3)
    assert float(right.removesuffix(" MiB")) == pytest.approx(memory.total_bytes(faces) / MIB, rel=1e-3)
    assert memory.total_bytes(faces + 1) > memory.total_bytes(faces)
