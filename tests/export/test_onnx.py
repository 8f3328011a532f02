"""An exported network answers as PyTorch does, whatever engine runs it; the cache exports once."""

import dataclasses
from pathlib import Path

import onnx
import pytest
import torch

from export.cache import engine_file
from export.onnx import example_inputs, export_onnx, spec_of
from export.parity import compare
from nets.checkpoint import WEIGHTS, load, save
from nets.idn import IDN, IDNConfig
from nets.nar import NAR, NARConfig
from pipeline.engines import open_engine
from pipeline.errors import InputError, MissingError, OutputError

NETS = {
    "idn": lambda: IDN(IDNConfig(width=8, widths=(16, 24), tail=8, kernel=3)),
    "nar": lambda: NAR(NARConfig(width=8, widths=(16, 24), tail=8, blocks=1, core=2, context=1)),
}


def shaken(name: str) -> IDN | NAR:
    """Layers that start at 0 would make every engine agree."""
    net = NETS[name]()
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return net.eval()


@pytest.fixture(scope="module", params=["idn", "nar"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[IDN | NAR, Path]:
    net = shaken(request.param)
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    export_onnx(net, spec_of(net, "0" * 64, "1.0"), path)
    return net, path


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch", [1, 3])
def test_parity_with_pytorch(exported: tuple[IDN | NAR, Path], library: str, batch: int) -> None:
    net, path = exported
    if library == "openvino":
        pytest.importorskip("openvino")
    engine = open_engine(path, device="cpu", library=library, threads=1)  # type: ignore[arg-type]
    parity = compare(net, engine, *example_inputs(engine.spec, batch, seed=4))
    assert parity.holds("bf16" if "bf16" in engine.name else "fp32"), parity
    assert parity.max_trust_error < 0.02
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.2)
    changed = compare(net, engine, *example_inputs(engine.spec, batch, seed=4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.div_(1.2)
    assert not changed.holds("fp32")


def test_the_file_says_what_it_is(exported: tuple[IDN | NAR, Path]) -> None:
    net, path = exported
    model = onnx.load(path)
    assert model.opset_import[0].version == 20
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param
    spec = open_engine(path, device="cpu", library="onnxruntime").spec
    assert spec == spec_of(net, "0" * 64, "1.0")


@pytest.mark.parametrize("name", ["idn", "nar"])
def test_the_shipped_networks_hold_parity(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path))
    path = engine_file(name)
    net = load(WEIGHTS / f"{name}.safetensors")
    engine = open_engine(path, device="cpu", threads=1)
    parity = compare(net, engine, *example_inputs(engine.spec, 1))
    assert parity.holds("bf16" if "bf16" in engine.name else "fp32"), parity
    assert parity.psnr_db < 200  # an answer of zeros would be infinitely close to another
    before = path.stat().st_mtime_ns
    assert engine_file(name) == path and path.stat().st_mtime_ns == before


def test_other_weights_are_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "cache"))
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    net = shaken("idn")
    save(one, net)
    with torch.no_grad():
        next(net.parameters()).add_(1.0)
    save(two, net)
    assert engine_file("idn", one) != engine_file("idn", two)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_cannot_be_exported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingError, match="vidpipe train"):
        engine_file("idn", tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(InputError):
        engine_file("idn", broken)
    good = tmp_path / "good.safetensors"
    save(good, shaken("idn"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="VIDPIPE_CACHE"):
        engine_file("idn", good)


def test_the_spec_is_plain_data() -> None:
    spec = spec_of(shaken("nar"), "0" * 64, "1.0", size_px=128)
    assert (spec.window, spec.context, spec.core) == (4, 1, 2)
    assert dataclasses.replace(spec, context=0).core == 4
