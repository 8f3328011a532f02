"""A run opens the best engine that there is, and has a better one built meanwhile."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import pytest

from export import background, select
from export.select import engine_for
from pipeline.engines import tensorrt_library
from pipeline.errors import MissingError


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with an RTX 4090: the choice asks for the GPU's capability only."""
    monkeypatch.setattr(select, "_capability", lambda device: "8.9")
    monkeypatch.setattr(select, "onnxruntime_has_gpu", lambda: True)
    monkeypatch.setattr(tensorrt_library, "find_spec", lambda name: True if name == "tensorrt_rtx" else None)


def _until_free(cache_folder: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (note,) = cache_folder.glob("building-*.log")
    deadline = time.monotonic() + 250
    while time.monotonic() < deadline:
        with note.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
                continue
            return
    pytest.fail("the builder does not end")


@pytest.mark.slow
def test_on_a_cpu_it_is_the_onnx_file(tiny: Path, cache_folder: Path) -> None:
    for engine in ("auto", "openvino", "onnxruntime"):
        assert engine_for(str(tiny), engine, "cpu").suffix == ".onnx"
    assert not list(cache_folder.glob("building-*"))


@pytest.mark.slow
@pytest.mark.trt
@pytest.mark.usefixtures("gpu")
def test_the_first_run_waits_for_an_engine_that_is_built_in_seconds(
    tiny: Path, cache_folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says how long it took."""
    tensorrt_library.load("tensorrt_rtx")
    monkeypatch.setattr(select, "BUILD_FIRST_S", 250.0)
    with caplog.at_level(logging.INFO):
        assert engine_for(str(tiny), "auto", "auto").suffix == ".engine"
    assert "building its tensorrt-rtx engine for this GPU, once; a run waits" in caplog.text
    assert "engine was built in" in caplog.text


@pytest.mark.slow
@pytest.mark.trt
@pytest.mark.usefixtures("gpu")
def test_meanwhile_the_next_best_runs_and_the_next_run_takes_the_engine(
    tiny: Path, cache_folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorrt_library.load("tensorrt_rtx")
    monkeypatch.setattr(select, "BUILD_FIRST_S", 0.0)
    with caplog.at_level(logging.WARNING):
        assert engine_for(str(tiny), "auto", "auto").suffix == ".onnx"
        assert "it is being built in the background, 0% after 0 s; this run uses the next best" in caplog.text
        caplog.clear()
        assert engine_for(str(tiny), "auto", "auto").suffix == ".onnx"
        assert "it is being built in the background, " in caplog.text, "and not a second time"
        _until_free(cache_folder)
        assert not list(cache_folder.glob("*.progress"))
        caplog.clear()
        path = engine_for(str(tiny), "auto", "auto")
    assert path.suffix == ".engine"
    assert caplog.text == ""
    assert engine_for(str(tiny), "tensorrt-rtx", "auto") == path
    assert engine_for(str(tiny), "onnxruntime", "auto").suffix == ".onnx", "what is asked for is not replaced"


@pytest.mark.slow
@pytest.mark.trt
@pytest.mark.usefixtures("gpu")
def test_a_build_that_fails_is_told_and_not_repeated(
    tiny: Path, cache_folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys; print('vidpipe: no luck', file=sys.stderr)"
    monkeypatch.setattr(background, "COMMAND", [sys.executable, "-c", program])
    with caplog.at_level(logging.WARNING):
        engine_for(str(tiny), "auto", "auto")
    assert "building it failed: vidpipe: no luck" in caplog.text
    caplog.clear()
    (note,) = cache_folder.glob("building-*.log")
    before = note.read_text()
    with caplog.at_level(logging.WARNING):
        assert engine_for(str(tiny), "auto", "auto").suffix == ".onnx"
    assert "building it failed: vidpipe: no luck (to try again, delete" in caplog.text
    assert note.read_text() == before


BUILDER = """
import json, sys, time
from pathlib import Path
net, target, precision, progress = sys.argv[1:]
Path(progress).write_text(json.dumps({"what": "tactics", "share": 0.45, "begun": time.time() - float(AGE)}))
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("gpu", "cache_folder")
@pytest.mark.trt
def test_a_run_that_waits_is_told_how_far_the_build_is(
    tiny: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that comes when the build has gone on for longer than a run waits does not wait again."""
    monkeypatch.setattr(background, "COMMAND", [sys.executable, "-c", BUILDER.replace("AGE", "'100'")])
    monkeypatch.setattr(background, "TELL_S", 0.0)
    monkeypatch.setattr(select, "BUILD_FIRST_S", 101.0)
    building = background.begin(str(tiny), "tensorrt-rtx", "fp16", "key")
    assert isinstance(building, background.Building) and building.process is not None
    try:
        while not building._told():
            time.sleep(0.01)
        with caplog.at_level(logging.WARNING):
            building.wait(101.0)
        assert "it is being built in the background, 45% after 10" in caplog.text
        joined = background.begin(str(tiny), "tensorrt-rtx", "fp16", "key")
        assert isinstance(joined, background.Building) and joined.process is None and joined.goes_on()
        looked: list[float] = []
        monkeypatch.setattr(background, "sleep", looked.append)
        joined.wait(30.0)
        assert not looked
    finally:
        building.process.kill()
        building.process.wait()
    assert not joined.goes_on()
    assert "ended without a word" in joined.progress()


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_for_a_gpu_that_is_not_here_is_refused_before_it_is_built(
    tiny: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingError, match="--engine auto"):
        engine_for(str(tiny), engine, "auto")
