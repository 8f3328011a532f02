"""``vidpipe export --to torch``, and the engine that runs it, at the precision that the device has."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import pytest
import torch

from export import select
from export.calibration import Faces
from export.convert import export
from export.graph_formats import Body, example_inputs
from export.networks import find, spec_of
from export.select import engine_for
from export.spec import Request
from nets.idn import IDN
from pipeline.engines import Precision, open_engine, tensorrt_library
from pipeline.engines.torch import TorchEngine
from pipeline.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_program_answers_as_pytorch_does(
    precision: Precision, tiny: Path, cache_folder: Path, noise: Faces
) -> None:
    entry = export(Request(str(tiny), "torch", precision), lambda: noise)
    assert entry.file.suffix == ".pt2"
    assert [record.holds for record in entry.report.parity] == [True]
    # On a CPU a file of fp16 runs in float32, and says so.
    kind = {"fp32": "float32", "fp16": "float32", "bf16": "bfloat16"}[precision]
    if not torch.cuda.is_available():
        assert entry.report.parity[0].engine == f"torch cpu {kind}"
    with closing(open_engine(entry.file, device="cpu")) as engine:
        assert engine.name == f"torch cpu {kind}"
        for batch in (1, 3):
            features, mask = example_inputs(engine.spec, batch)
            with torch.no_grad():
                wanted = Body(find(str(tiny)).net)(features, mask)
            got = engine.infer({"features": features, "mask": mask})
            assert got["residual"].dtype == torch.float32
            torch.testing.assert_close(got["residual"], wanted[0], atol=3e-2, rtol=0)
            torch.testing.assert_close(got["trust"], wanted[1], atol=3e-2, rtol=0)


def test_int8_is_refused(tiny: Path, cache_folder: Path, noise: Faces) -> None:
    with pytest.raises(UsageError, match="fp32, fp16 or bf16"):
        export(Request(str(tiny), "torch", "int8"), lambda: noise)


def test_what_cannot_be_compiled_runs_as_it_is(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ImportError("no C compiler\nwas found")

    monkeypatch.setattr("torch.compile", lambda module, **_: broken)
    checkpoint = find(str(tiny))
    spec = spec_of(checkpoint.net, checkpoint.sha256)
    engine = TorchEngine(Body(checkpoint.net).eval(), spec, "cpu", compiled=True)
    assert engine.name == "torch cpu float32, compiled"
    features, mask = example_inputs(spec, 1)
    with caplog.at_level(logging.WARNING), torch.no_grad():
        got = engine.infer({"features": features, "mask": mask})
        wanted = Body(checkpoint.net)(features, mask)
    assert engine.name == "torch cpu float32"
    assert "no C compiler" in caplog.text
    assert len(caplog.records) == 1
    torch.testing.assert_close(got["residual"], wanted[0])


def test_a_full_gpu_is_not_taken_for_a_broken_compiler(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("torch.compile", lambda module, **_: full)
    checkpoint = find(str(tiny))
    spec = spec_of(checkpoint.net, checkpoint.sha256)
    engine = TorchEngine(Body(checkpoint.net).eval(), spec, "cpu", compiled=True)
    features, mask = example_inputs(spec, 1)
    with pytest.raises(torch.OutOfMemoryError):
        engine.infer({"features": features, "mask": mask})


def test_a_gpu_that_onnxruntime_cannot_use_gets_a_program(
    tiny: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine with an H100, PyTorch with CUDA and nothing else."""
    monkeypatch.setattr(select, "_capability", lambda device: "9.0")
    monkeypatch.setattr(tensorrt_library, "is_installed", lambda library: False)
    monkeypatch.setattr(select, "onnxruntime_has_gpu", lambda: False)
    path = engine_for(str(tiny), "auto", "auto")
    assert path.suffix == ".pt2"
    monkeypatch.setattr(select, "onnxruntime_has_gpu", lambda: True)
    assert engine_for(str(tiny), "auto", "auto").suffix == ".onnx"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu(precision: Precision, tiny: Path, cache_folder: Path, noise: Faces) -> None:
    """Compiled, in a CUDA graph, fed and answering on the device, for batches of any size."""
    entry = export(Request(str(tiny), "torch", precision), lambda: noise)
    net = find(str(tiny)).net
    assert isinstance(net, IDN)
    with closing(open_engine(entry.file, device="cuda:0")) as engine:
        for batch in (1, 3, 4, 1):
            features, mask = example_inputs(engine.spec, batch, seed=batch)
            with torch.no_grad():
                wanted = Body(net)(features, mask)
            got = engine.infer({"features": features.cuda(), "mask": mask.cuda()})
            assert got["residual"].is_cuda
            torch.testing.assert_close(got["residual"].cpu(), wanted[0], atol=3e-2, rtol=0)
