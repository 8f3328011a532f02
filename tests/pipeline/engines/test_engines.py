"""One contract for every engine, on a network small enough to be written down here."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.calibration import make
from pipeline.engines import Engine, EngineSpec, Library, open_engine, tensorrt_library
from pipeline.engines.batching import in_parts
from pipeline.engines.detector_runtime import compile_on_cpu
from pipeline.engines.parity import Reference, parity
from pipeline.engines.spec import KEY, from_json, input_shapes, to_json
from pipeline.engines.torch import TorchEngine
from pipeline.errors import InputError, MissingError, UsageError
from tests.support import ROOT

pytestmark = pytest.mark.slow

SPEC = EngineSpec(net="tiny", version="1", weights_sha256="0" * 64, window=5, context=1, size_px=16, cells=4)


class Tiny(nn.Module):
    """residual = three features / 2 + mask / 4 on the core, trust = mean of the mask."""

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        core = slice(SPEC.context, SPEC.window - SPEC.context)
        seen = mask[:, core]
        return features[:, core, :3] * 0.5 + seen * 0.25, seen.mean((2, 3, 4))


def write_onnx(path: Path, metadata: dict[str, str], names: tuple[str, str] = ("features", "mask")) -> Path:
    """``Tiny`` as an ONNX graph with a free batch dimension."""
    shapes = dict(zip(names, (list(s[1:]) for s in input_shapes(SPEC, 1).values()), strict=True))
    features, mask = names
    indices = {"start": [SPEC.context], "end": [SPEC.window - SPEC.context], "time": [1], "space": [2, 3, 4]}
    indices |= {"zero": [0], "three": [3], "channel": [2]}
    initial = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in indices.items()]
    factors = {"half": 0.5, "quarter": 0.25}
    initial += [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in factors.items()]
    nodes = [
        helper.make_node("Slice", [features, "start", "end", "time"], ["features_core"]),
        helper.make_node("Slice", ["features_core", "zero", "three", "channel"], ["rgb"]),
        helper.make_node("Slice", [mask, "start", "end", "time"], ["seen"]),
        helper.make_node("Mul", ["rgb", "half"], ["some_rgb"]),
        helper.make_node("Mul", ["seen", "quarter"], ["some_mask"]),
        helper.make_node("Add", ["some_rgb", "some_mask"], ["residual"]),
        helper.make_node("ReduceMean", ["seen", "space"], ["trust"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", *s]) for n, s in shapes.items()],
        [
            helper.make_tensor_value_info("residual", TensorProto.FLOAT, ["B", SPEC.core, 3, 16, 16]),
            helper.make_tensor_value_info("trust", TensorProto.FLOAT, ["B", SPEC.core]),
        ],
        initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def write_pt2(path: Path) -> Path:
    example = tuple(inputs(2, 0).values())
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Tiny(), example, dynamic_shapes=tuple({0: batch} for _ in example))
    torch.export.save(program, path, extra_files={KEY: to_json(SPEC)})
    return path


def inputs(batch: int, seed: int) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=gen) for name, shape in input_shapes(SPEC, batch).items()}


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(tmp_path_factory.mktemp("net") / "tiny.onnx", {KEY: to_json(SPEC)})


@pytest.fixture(scope="module")
def pt2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pt2(tmp_path_factory.mktemp("net") / "tiny.pt2")


@pytest.fixture(scope="module")
def ir_file(onnx_file: Path) -> Path:
    """OpenVINO's own format, float32."""
    ov = pytest.importorskip("openvino")
    path = onnx_file.with_suffix(".xml")
    model = ov.Core().read_model(str(onnx_file))
    model.set_rt_info(to_json(SPEC), [KEY])
    ov.save_model(model, str(path), compress_to_fp16=False)
    return path


@pytest.fixture(scope="module")
def fixed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that says it takes 2 or 3 windows only."""
    spec = dataclasses.replace(SPEC, batch_min=2, batch_max=3)
    return write_onnx(tmp_path_factory.mktemp("fixed") / "fixed.onnx", {KEY: to_json(spec)})


ON_A_GPU = [
    pytest.param("onnxruntime cuda", marks=pytest.mark.gpu),
    pytest.param("module cuda", marks=pytest.mark.gpu),
    pytest.param("tensorrt", marks=[pytest.mark.gpu, pytest.mark.trt]),
]
ENGINES = [
    "module",
    "pt2",
    "onnxruntime",
    "onnxruntime, 2 or 3",
    "openvino",
    "openvino IR",
    *ON_A_GPU,
]


def open_built(onnx_file: Path, folder: Path) -> Engine:
    """The network as an engine for the GPU here, by the library that is here."""
    from export.calibration import Faces  # noqa: PLC0415
    from export.spec import Batch, Request  # noqa: PLC0415
    from export.tensorrt import build  # noqa: PLC0415

    target = "tensorrt" if tensorrt_library.is_installed("tensorrt") else "tensorrt-rtx"
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    crops = make(Faces((picture,), "noise"), SPEC, windows=2, seed=0)
    residual, trust = Tiny()(*crops.inputs(SPEC).values())
    path = folder / "tiny.engine"
    request = Request("tiny", target, batch=Batch(1, 2, 4))  # type: ignore[arg-type]
    spec = dataclasses.replace(SPEC, batch_max=4)
    build(request, onnx_file, spec, Reference(crops, residual, trust), path, lambda what, share: None)
    return open_engine(path)


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, onnx_file: Path, pt2_file: Path, fixed_file: Path, tmp_path: Path
) -> Engine:
    make: dict[str, Callable[[], Engine]] = {
        "module": lambda: TorchEngine(Tiny().eval(), SPEC),
        "pt2": lambda: open_engine(pt2_file, device="cpu", library="torch"),
        "onnxruntime": lambda: open_engine(onnx_file, device="cpu", library="onnxruntime", threads=1),
        "onnxruntime, 2 or 3": lambda: open_engine(fixed_file, device="cpu", library="onnxruntime"),
        "openvino IR": lambda: open_engine(request.getfixturevalue("ir_file"), device="cpu"),
        "onnxruntime cuda": lambda: open_engine(onnx_file, device="cuda:0", library="onnxruntime"),
        "module cuda": lambda: TorchEngine(Tiny().eval(), SPEC, "cuda:0"),
        "tensorrt": lambda: open_built(onnx_file, tmp_path),
        "openvino": lambda: open_engine(onnx_file, device="cpu", library="openvino", threads=1),
    }
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return make[request.param]()


def test_engine_gives_what_the_network_computes(engine: Engine) -> None:
    tolerance = 2**-7 if "bf16" in engine.name else 1e-6  # bfloat16 has 8 bits of mantissa
    assert dataclasses.replace(engine.spec, batch_min=1, batch_max=1024) == SPEC
    for batch in (3, 1, 4, 2):  # a smaller batch after a larger one, and one that is padded
        feed = inputs(batch, batch)
        residual, trust = Tiny()(*feed.values())
        outputs = engine.infer(feed)
        assert set(outputs) == {"residual", "trust"}
        for came, wanted in ((outputs["residual"], residual), (outputs["trust"], trust)):
            assert came.dtype == torch.float32
            assert came.shape == wanted.shape
            assert torch.allclose(came, wanted, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ON_A_GPU, indirect=True)
def test_results_lie_where_the_inputs_do(engine: Engine) -> None:
    feed = {name: value.to("cuda:0") for name, value in inputs(3, 1).items()}
    residual, trust = Tiny()(*inputs(3, 1).values())
    outputs = engine.infer(feed)
    for came, wanted in ((outputs["residual"], residual), (outputs["trust"], trust)):
        assert came.device == torch.device("cuda:0")
        assert torch.allclose(came.cpu(), wanted, atol=1e-3)


def test_outputs_belong_to_the_caller(engine: Engine) -> None:
    first = engine.infer(inputs(2, 1))
    kept = {name: value.clone() for name, value in first.items()}
    engine.infer(inputs(2, 2))
    assert all(torch.equal(first[name], kept[name]) for name in kept)
    first["residual"].zero_()  # and may be written to


@pytest.mark.parametrize("library", ["openvino", "onnxruntime"])
def test_two_calls_at_a_time_give_what_calls_in_turn_give(onnx_file: Path, library: Library) -> None:
    pytest.importorskip(library)
    engine = open_engine(onnx_file, device="cpu", library=library, threads=2, calls=2)
    assert engine.calls == 2
    feeds = [inputs(batch, seed) for seed in range(12) for batch in (1, 2, 3)]
    in_turn = [engine.infer(feed) for feed in feeds]
    with ThreadPoolExecutor(2) as pool:
        at_once = list(pool.map(engine.infer, feeds))
    for came, wanted in zip(at_once, in_turn, strict=True):
        assert all(torch.equal(came[name], wanted[name]) for name in wanted)


def test_openvino_ties_no_thread_to_a_core(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino as ov  # noqa: PLC0415

    made: list[ov.CompiledModel] = []
    compile_model = ov.Core.compile_model

    def noted(core: ov.Core, *how: object) -> ov.CompiledModel:
        made.append(compile_model(core, *how))
        return made[-1]

    monkeypatch.setattr(ov.Core, "compile_model", noted)
    monkeypatch.setattr("pipeline.engines.compiled._entries", OrderedDict())
    open_engine(onnx_file, device="cpu", library="openvino").infer(inputs(1, 1))
    compile_on_cpu(pooling(), (32, 32), "openvino", 3)(np.zeros((32, 32, 3), np.uint8))
    assert [model.get_property("ENABLE_CPU_PINNING") for model in made] == [False, False]


FIRST_CALLS = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(60, exit=True)  # what a deadlock ends with
sys.setswitchinterval(1e-6)
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, torch
from pipeline.engines import open_engine
from pipeline.engines.detector_runtime import compile_on_cpu

path, way = Path(sys.argv[1]), sys.argv[2]
at_once = threading.Barrier(3)
if way == "plain":
    from tests.pipeline.engines.test_engines import pooling
    program = compile_on_cpu(pooling(), (32, 32), "openvino", 3)
    call = lambda: program(np.zeros((32, 32, 3), np.uint8))
else:
    engine = open_engine(path, device="cpu", library="openvino", threads=3, calls=3)
    from tests.pipeline.engines.test_engines import inputs
    call = lambda: engine.infer(inputs(1, 1))

def first(_):
    at_once.wait()
    return call()

with ThreadPoolExecutor(3) as pool:
    assert len(list(pool.map(first, range(3)))) == 3
"""


def pooling() -> bytes:
    """A picture's mean per channel, as an ONNX file without metadata."""
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, None, None])
    means = helper.make_tensor_value_info("means", TensorProto.FLOAT, [1, 3, 1, 1])
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["picture"], ["means"])], "p", [picture], [means]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("way", ["plain", "engine"])
def test_first_calls_from_several_threads_do_not_wait_for_each_other_for_ever(
    onnx_file: Path, way: str
) -> None:
    """Without ``alone_at_first`` they deadlock nearly every time."""
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", FIRST_CALLS, str(onnx_file), way]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr


def test_auto_says_what_it_chose_and_why(
    onnx_file: Path, pt2_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino")
    with caplog.at_level(logging.INFO):
        assert open_engine(onnx_file, device="cpu").name.startswith("openvino cpu")
        assert open_engine(pt2_file, device="cpu").name == "torch cpu float32"
    assert "fastest on a CPU" in caplog.text
    assert "a .pt2 file" in caplog.text


def test_batches_are_split_and_filled_within_the_range_of_the_file() -> None:
    sizes: list[int] = []

    def run(feed: dict[str, Tensor]) -> dict[str, Tensor]:
        sizes.append(len(feed["mask"]))
        return {"residual": feed["features"] * 2, "trust": feed["mask"] + 1}

    for least, most, count, wanted in (
        (1, 1024, 5, [8]),
        (1, 4, 11, [4, 4, 4]),
        (4, 4, 5, [4, 4]),
        (2, 6, 5, [6]),
        (1, 8, 1, [1]),
    ):
        spec = dataclasses.replace(SPEC, batch_min=least, batch_max=most)
        x = torch.arange(float(count)).reshape(count, 1)
        sizes.clear()
        out = in_parts({"features": x, "mask": x}, spec, run)
        assert sizes == wanted
        assert torch.equal(out["residual"], x * 2)
        assert torch.equal(out["trust"], x + 1)


@pytest.mark.parametrize("broken", [math.nan, 1.0, 0.0])
def test_a_wrong_answer_does_not_hold(broken: float) -> None:
    """A picture that differs by one grey level somewhere is another one in float32; NaN never holds."""
    from export.calibration import Faces  # noqa: PLC0415

    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    crops = make(Faces((picture,), "noise"), SPEC, windows=2, seed=0)
    residual, trust = Tiny()(*crops.inputs(SPEC).values())
    reference = Reference.from_bytes(Reference(crops, residual, trust).to_bytes())
    answer = {"residual": residual + broken / 255, "trust": trust}
    assert parity("tiny", SPEC, reference, answer, "fp32").holds == (broken == 0)


def test_spec_survives_json() -> None:
    assert from_json(to_json(SPEC), Path("x.onnx")) == SPEC


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{", "no JSON"),
        ("[1]", "hold list"),
        (json.dumps({"net": "nar"}), "hold net: str, wanted batch_max: int"),
        (to_json(SPEC).replace('"window": 5', '"window": "5"'), "window: str"),
        (to_json(SPEC).replace('"window": 5', '"window": 2'), "make no sense"),
    ],
)
def test_foreign_metadata_are_refused(tmp_path: Path, text: str, wanted: str) -> None:
    path = write_onnx(tmp_path / "foreign.onnx", {KEY: text})
    with pytest.raises(InputError, match=wanted):
        open_engine(path, device="cpu", library="onnxruntime")


def test_files_that_are_no_network_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such network file"):
        open_engine(tmp_path / "missing.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="not a readable ONNX file"):
        open_engine(broken, device="cpu")
    broken_pt2 = tmp_path / "broken.pt2"
    broken_pt2.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match=r"not a torch\.export archive"):
        open_engine(broken_pt2, device="cpu")
    with pytest.raises(InputError, match="no 'vidpipe' metadata"):
        open_engine(write_onnx(tmp_path / "bare.onnx", {}), device="cpu")
    renamed = write_onnx(tmp_path / "renamed.onnx", {KEY: to_json(SPEC)}, ("x", "mask"))
    with pytest.raises(InputError, match="wanted"):
        open_engine(renamed, device="cpu")


def test_combinations_that_cannot_be(onnx_file: Path, pt2_file: Path) -> None:
    with pytest.raises(UsageError, match="wanted auto, cpu or cuda:N"):
        open_engine(onnx_file, device="gpu")
    with pytest.raises(UsageError, match="runs on the CPU"):
        open_engine(onnx_file, device="cuda:0", library="openvino")
    with pytest.raises(UsageError, match=r"torch runs \.pt2"):
        open_engine(onnx_file, library="torch")
    if not torch.cuda.is_available():
        for path in (onnx_file, pt2_file):
            with pytest.raises(MissingError, match="device cuda:0"):
                open_engine(path, device="cuda:0")


def test_a_missing_library_is_named(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.engines.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pip install openvino"):
        open_engine(onnx_file, device="cpu", library="openvino")
