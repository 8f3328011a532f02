"""The graph says what it is, holds the precision that was asked for, and answers as PyTorch does."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from export.calibration import Faces
from export.graph_formats import Body, example_inputs, to_onnx
from export.networks import spec_of, with_window
from export.parity import reference_of
from nets.network import Network
from pipeline.engines import open_engine
from pipeline.engines.parity import measure
from pipeline.engines.spec import read_onnx
from pipeline.errors import UsageError
from tests.export.conftest import shaken

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["idn", "nar", "nar-seed", "pixelizer-block"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Network, Path]:
    net = shaken(request.param)
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    path.write_bytes(to_onnx(net, spec_of(net, "0" * 64)))
    return net, path


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_parity_with_pytorch(exported: tuple[Network, Path], library: str, portrait: Faces) -> None:
    net, path = exported
    if library == "openvino":
        pytest.importorskip("openvino")
    engine = open_engine(path, device="cpu", library=library, threads=1)  # type: ignore[arg-type]
    precision = "bf16" if "bf16" in engine.name else "fp32"
    parity = measure(engine, reference_of(net, engine.spec, portrait, windows=3), precision)
    assert parity.holds, parity
    assert parity.psnr_db < 195  # an answer of zeros would be infinitely close to another
    assert parity.max_trust_error < 0.02
    other = shaken(engine.spec.net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.2)
    changed = measure(engine, reference_of(other, engine.spec, portrait, windows=3), "fp32")
    assert not changed.holds


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch(exported: tuple[Network, Path], batch: int) -> None:
    net, path = exported
    engine = open_engine(path, device="cpu", library="onnxruntime", threads=1)
    features, mask = example_inputs(engine.spec, batch, seed=4)
    with torch.no_grad():
        residual, trust = Body(net)(features, mask)
    came = engine.infer({"features": features, "mask": mask})
    torch.testing.assert_close(came["residual"], residual, atol=1e-5, rtol=0)
    torch.testing.assert_close(came["trust"], trust, atol=1e-5, rtol=0)


def weight_types(content: bytes) -> set[str]:
    """Types of the tensors that an ONNX file keeps: FLOAT, FLOAT16, ..."""
    model = onnx.load_model_from_string(content)
    return {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in model.graph.initializer}


def test_the_file_says_what_it_is(exported: tuple[Network, Path]) -> None:
    net, path = exported
    model = onnx.load(path)
    assert model.opset_import[0].version == 20
    assert [value.name for value in model.graph.input] == ["features", "mask"]
    assert [value.name for value in model.graph.output] == ["residual", "trust"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert read_onnx(path) == spec_of(net, "0" * 64)


@pytest.mark.parametrize(("precision", "kept"), [("bf16", "BFLOAT16"), ("int8", "INT8")])
def test_reduced_precision_is_in_the_graph(
    precision: str, kept: str, tmp_path: Path, portrait: Faces
) -> None:
    net = shaken("idn")
    whole = to_onnx(net, spec_of(net, "0" * 64))
    spec = spec_of(net, "0" * 64, precision=precision)
    content = to_onnx(net, spec, portrait)
    assert kept in weight_types(content)
    assert kept not in weight_types(whole)
    path = tmp_path / "reduced.onnx"
    path.write_bytes(content)
    borders = [*onnx.load(path).graph.input, *onnx.load(path).graph.output]
    assert {value.type.tensor_type.elem_type for value in borders} == {onnx.TensorProto.FLOAT}
    library = "openvino" if precision == "bf16" else "onnxruntime"  # whose CPU has no bfloat16
    if library == "openvino":
        pytest.importorskip("openvino")
    engine = open_engine(path, device="cpu", library=library, threads=1)  # type: ignore[arg-type]
    parity = measure(engine, reference_of(net, spec, portrait, windows=3), precision)
    assert parity.holds, parity
    assert parity.psnr_db < 120, "a reduced precision is not exact"


def test_int8_for_tensorrt_is_signed_and_has_no_zero_point(portrait: Faces) -> None:
    net = shaken("idn")
    model = onnx.load_model_from_string(
        to_onnx(net, spec_of(net, "0" * 64, precision="int8"), portrait, symmetric=True)
    )
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    points = [constants[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert all(str(point.dtype) == "int8" and not point.any() for point in points)


def test_a_fixed_batch_is_fixed_and_engines_fill_it(tmp_path: Path) -> None:
    net = shaken("idn")
    path = tmp_path / "four.onnx"
    path.write_bytes(to_onnx(net, spec_of(net, "0" * 64, batch=(4, 4))))
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4
    engine = open_engine(path, device="cpu", library="onnxruntime", threads=1)
    for count in (1, 6):
        features, mask = example_inputs(engine.spec, count)
        with torch.no_grad():
            residual, _ = Body(net)(features, mask)
        came = engine.infer({"features": features, "mask": mask})["residual"]
        torch.testing.assert_close(came, residual, atol=1e-5, rtol=0)


def test_another_window_and_size(tmp_path: Path) -> None:
    net = with_window(shaken("nar"), 6)
    spec = spec_of(net, "0" * 64, size_px=256)
    assert (spec.window, spec.core) == (6, 4)
    path = tmp_path / "six.onnx"
    path.write_bytes(to_onnx(net, spec))
    engine = open_engine(path, device="cpu", library="onnxruntime", threads=1)
    features, mask = example_inputs(spec, 1)
    assert engine.infer({"features": features, "mask": mask})["residual"].shape == (1, 4, 3, 256, 256)


def test_what_a_network_cannot_take_is_a_usage_error() -> None:
    net = shaken("idn")
    with pytest.raises(UsageError, match="--size is 50"):
        to_onnx(net, spec_of(net, "0" * 64, size_px=50))
    with pytest.raises(UsageError, match="one frame at a time"):
        with_window(net, 5)
    with pytest.raises(UsageError, match="at least 3"):
        with_window(shaken("nar"), 2)
