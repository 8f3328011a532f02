"""TensorRT for RTX parses and builds every shipped network, without a GPU; what it refuses is one line."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from export import tensorrt
from export.calibration import Faces
from export.convert import export
from export.networks import shipped
from export.spec import DEFAULT_CAPABILITIES, Batch, Request
from export.tensorrt_worker import Job
from nets.observation import CHANNELS
from pipeline.engines import Precision, engine_file, open_engine, tensorrt_library
from pipeline.engines.parity import Reference
from pipeline.engines.tensorrt import check_plan
from pipeline.errors import InputError, MissingError, OutputError

pytestmark = [pytest.mark.trt, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def _rtx() -> None:
    if not tensorrt_library.is_installed("tensorrt_rtx"):
        pytest.skip("tensorrt_rtx is not installed, only tensorrt, which needs a GPU to build")


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_network_builds_for_four_targets(
    name: str, shared_cache: Path, portrait: Faces
) -> None:
    entry = export(Request(name, "tensorrt-rtx"), lambda: portrait)
    header = engine_file.read(entry.file).header
    assert header.capabilities == DEFAULT_CAPABILITIES == ("8.0", "8.6", "8.9", "12.0")
    assert (header.spec.batch_min, header.batch_opt, header.spec.batch_max) == (1, 4, 4)
    assert entry.report.parity[0].engine.startswith("its graph on")
    assert all(record.holds for record in entry.report.parity)
    assert "compared with PyTorch when it is first opened" in entry.report.not_run


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_every_precision_builds(
    precision: Precision, tiny: Path, cache_folder: Path, portrait: Faces
) -> None:
    request = Request(str(tiny), "tensorrt-rtx", precision, capabilities=("8.9",))
    opened = engine_file.read(export(request, lambda: portrait).file)
    assert opened.header.spec.precision == precision


@pytest.mark.parametrize("capability", DEFAULT_CAPABILITIES)
def test_an_engine_for_one_gpu(capability: str, tiny: Path, cache_folder: Path, noise: Faces) -> None:
    request = Request(str(tiny), "tensorrt-rtx", batch=Batch(1, 2, 4), capabilities=(capability,))
    opened = engine_file.read(export(request, lambda: noise).file)
    assert opened.header.capabilities == (capability,)
    reference = Reference.from_bytes(opened.part("reference"))
    assert reference.residual.shape == (2, 1, 3, 128, 128)
    assert reference.residual.std() > 0
    module = tensorrt_library.load("tensorrt_rtx")
    runtime = module.Runtime(tensorrt_library.logger(module, []))
    plan = bytearray(opened.part("plan"))
    plan[:4] = b"none"
    with pytest.raises(InputError, match="malformed engine"):
        check_plan(module, runtime, bytes(plan), Path("x.engine"))
    if not _gpu():
        with pytest.raises(MissingError, match="sees no GPU"):
            open_engine(export(request, lambda: noise).file)


def _gpu() -> bool:
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


def job(tmp_path: Path, graph: Path, size: int = 128) -> Job:
    shapes = {"features": (1, 1, CHANNELS, size, size), "mask": (1, 1, 1, size, size)}
    return Job(
        library="tensorrt_rtx",
        graph=graph,
        plan=tmp_path / "net.plan",
        shapes={name: (shape, shape, shape) for name, shape in shapes.items()},
        float32=True,
        capabilities=("8.9",),
        version_compatible=False,
        hardware="none",
        timing_cache=None,
    )


def quiet(what: str, share: float) -> None:
    """No progress."""


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 1, CHANNELS, 128, 128])
    out = helper.make_tensor_value_info("residual", TensorProto.FLOAT, [1, 1, CHANNELS, 128, 128])
    node = helper.make_node("Sharpen", ["features"], ["residual"], domain="custom")
    graph = helper.make_graph([node], "unknown", [value], [out])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("custom", 1)]
    path = tmp_path / "unknown.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    with pytest.raises(InputError, match="does not take the operator Sharpen") as caught:
        tensorrt.run_child(job(tmp_path, path), quiet)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.glob("*.plan")) == []


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="tensorrt_rtx"):
        tensorrt.run_child(job(tmp_path, path), quiet)


def test_shapes_that_the_graph_does_not_have(
    tiny: Path, cache_folder: Path, noise: Faces, tmp_path: Path
) -> None:
    graph = export(Request(str(tiny), "onnx"), lambda: noise).file
    with pytest.raises(InputError, match="cannot build it"):
        tensorrt.run_child(job(tmp_path, graph, size=64), quiet)


def test_a_disk_that_is_full(tiny: Path, cache_folder: Path, noise: Faces, tmp_path: Path) -> None:
    graph = export(Request(str(tiny), "onnx"), lambda: noise).file
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OutputError, match="No space left on device"):
        tensorrt.run_child(job(tmp_path, graph).model_copy(update={"plan": full}), quiet)


def test_ctrl_c_ends_the_builder(tiny: Path, cache_folder: Path, noise: Faces, tmp_path: Path) -> None:
    graph = export(Request(str(tiny), "onnx"), lambda: noise).file

    def interrupt(what: str, share: float) -> None:
        raise KeyboardInterrupt

    before = _children()
    with pytest.raises(KeyboardInterrupt):
        tensorrt.run_child(job(tmp_path, graph), interrupt)
    assert _children() == before
    assert not (tmp_path / "net.plan").exists()


def _children() -> set[int]:
    import psutil  # noqa: PLC0415

    return {child.pid for child in psutil.Process().children()}


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A process of pytest-xdist ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_of_a_process_leaves_nothing(tiny: Path, cache_folder: Path, noise: Faces) -> None:
    """SIGINT while the builder is at work; it is a child of ours, so that it can be seen."""
    main = threading.main_thread().ident
    assert main is not None
    kept = {path.name for path in (cache_folder / "engines").iterdir()}

    def send() -> None:
        while not _children():
            time.sleep(0.005)
        time.sleep(0.3)  # the library is loading or building
        signal.pthread_kill(main, signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        export(Request(str(tiny), "tensorrt-rtx"), lambda: noise)
    sender.join()
    assert not _children()
    assert {path.name for path in (cache_folder / "engines").iterdir()} == kept


def test_a_builder_that_crashes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = f"import os, sys; sys.stdin.read(); os.kill(os.getpid(), {int(signal.SIGKILL)})"
    monkeypatch.setattr(tensorrt, "COMMAND", [sys.executable, "-c", crash])
    with pytest.raises(OutputError, match="ended with code -9, without a word"):
        tensorrt.run_child(job(tmp_path, tmp_path / "none.onnx"), quiet)


def test_a_library_that_is_not_here(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.engines.tensorrt_library.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'vidpipe\[rtx\]'"):
        tensorrt.devices(Request(str(tiny), "tensorrt-rtx"))


def test_the_api_that_is_called_is_there() -> None:
    module = tensorrt_library.load("tensorrt_rtx")
    described = {
        module.IExecutionContext: tensorrt_library.Context,
        module.ICudaEngine: tensorrt_library.RtxEngine,
        module.Runtime: tensorrt_library.RtxRuntime,
    }
    for real, ours in described.items():
        wanted = {
            name for kind in ours.__mro__ for name in (*vars(kind), *vars(kind).get("__annotations__", ()))
        }
        assert {name for name in wanted if not name.startswith("_")} <= {*dir(real)}
    assert {"cuda_graph_strategy", "create_runtime_cache", "set_runtime_cache"} <= {
        *dir(module.IRuntimeConfig)
    }
    assert {"serialize", "deserialize"} <= {*dir(module.IRuntimeCache)}
    assert {"create_timing_cache", "set_timing_cache", "progress_monitor"} <= {*dir(module.IBuilderConfig)}
    assert module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert module.float32 == module.DataType.FLOAT
