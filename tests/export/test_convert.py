"""An export from request to entry: made once, compared, refused where it differs; failures leave nothing."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from export.cache import Entry
from export.calibration import Faces, faces
from export.convert import export
from export.networks import find, shipped
from export.parity import gate, reference_of
from export.select import engine_file
from export.spec import Batch, Request, Target
from nets.checkpoint import WEIGHTS, save
from pipeline.engines import Engine, Precision, open_engine
from pipeline.engines.spec import read_onnx
from pipeline.errors import CheckError, InputError, MissingError, OutputError, UsageError
from tests.export.conftest import shaken

pytestmark = pytest.mark.slow


def made(weights: Path, target: Target, pictures: Faces, precision: Precision = "fp32") -> Entry:
    return export(Request(str(weights), target, precision), lambda: pictures)


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_network_holds_parity(name: str, shared_cache: Path, portrait: Faces) -> None:
    """By way of ONNX, in every library that is here."""
    pytest.importorskip("openvino")
    report = export(Request(name, "openvino"), lambda: portrait).report
    assert report.parity
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    assert report.version == card["version"]
    assert all(record.holds for record in report.parity)
    assert report.crops == portrait.source
    assert 15 < report.parity[0].truth_db < 35, "dB over real crops"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["idn"])  # of nar it takes half a minute
def test_parity_on_people_that_training_never_saw(name: str, shared_cache: Path, shared: Path) -> None:
    people = faces(shared / "data" / "faces" / "test" / "faker")
    assert len(people.pictures) > 10
    checkpoint = find(name)
    path = export(Request(name, "onnx"), lambda: people).file
    reference = reference_of(checkpoint.net, read_onnx(path), people, windows=4)
    records = gate(path, reference, ("onnxruntime", "openvino"))
    assert len(records) == 2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_openvino_runs_what_the_file_says(
    precision: Precision, tiny: Path, cache_folder: Path, portrait: Faces
) -> None:
    pytest.importorskip("openvino")
    entry = made(tiny, "openvino", portrait, precision)
    assert [Path(name).suffix for name in entry.report.files] == [".xml", ".bin"]
    engine = open_engine(entry.file, device="cpu")
    assert engine.spec.precision == precision
    assert {"fp32": "float32", "bf16": "bf16", "int8": "int8"}[precision] in engine.name


def test_a_second_time_comes_from_the_cache(tiny: Path, cache_folder: Path, noise: Faces) -> None:
    entry = made(tiny, "openvino", noise)
    before = entry.file.stat().st_mtime_ns
    assert made(tiny, "openvino", noise).file == entry.file
    assert entry.file.stat().st_mtime_ns == before
    anew = export(Request(str(tiny), "openvino"), lambda: noise, anew=True)
    assert anew.folder == entry.folder
    assert anew.file.stat().st_mtime_ns > before


def test_what_run_asks_for(tiny: Path, cache_folder: Path) -> None:
    path = engine_file("idn", tiny)
    assert open_engine(path, device="cpu").spec.net == "idn"
    assert path.is_relative_to(cache_folder)


def test_an_export_that_answers_differently_is_refused(
    tiny: Path, cache_folder: Path, noise: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import parity  # noqa: PLC0415

    class Wrong:
        """Adds five grey levels to every pixel."""

        def __init__(self, engine: Engine) -> None:
            self.engine, self.spec, self.name = engine, engine.spec, engine.name

        def infer(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            outputs = self.engine.infer(inputs)
            return outputs | {"residual": outputs["residual"] + 5 / 255}

        def close(self) -> None:
            self.engine.close()

    true_open = open_engine
    monkeypatch.setattr(parity, "open_engine", lambda *a, **k: Wrong(true_open(*a, **k)))
    before = sorted((cache_folder / "engines").iterdir())
    with pytest.raises(CheckError, match="does not answer as PyTorch does") as caught:
        made(tiny, "openvino", noise)
    assert caught.value.exit_code == 4
    assert sorted((cache_folder / "engines").iterdir()) == before


def test_no_space_is_one_line_and_leaves_nothing(
    tiny: Path, cache_folder: Path, noise: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *args: object, **kwargs: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    before = sorted((cache_folder / "engines").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="No space left on device; free some space"):
            made(tiny, "openvino", noise)
    assert sorted((cache_folder / "engines").iterdir()) == before
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1 << 20}))
        with pytest.raises(OutputError, match="1 MiB free, the export needs about"):
            made(tiny, "openvino", noise)


def test_what_cannot_be_exported_says_why(
    tmp_path: Path, cache_folder: Path, noise: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingError, match="vidpipe train"):
        made(tmp_path / "none.safetensors", "onnx", noise)
    with pytest.raises(MissingError, match=r"no network 'sharpen' is here; there are .*idn"):
        export(Request("sharpen", "onnx"), lambda: noise)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(InputError, match="safetensors"):
        made(broken, "onnx", noise)
    good = tmp_path / "good.safetensors"
    save(good, shaken("idn"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="VIDPIPE_CACHE"):
        made(good, "onnx", noise)


@pytest.mark.parametrize("text", ["0:1:2", "8:4:16", "1:4", "4:8:2000", "a", "-1:1:1", ""])
def test_impossible_batches(text: str) -> None:
    with pytest.raises(UsageError, match="--batch"):
        Batch.parse(text)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(UsageError, match="options of tensorrt"):
        Request("idn", "onnx", version_compatible=True)
    with pytest.raises(UsageError, match="--compute-capability"):
        Request("idn", "onnx", capabilities=("8.6",))
    with pytest.raises(UsageError, match=r"wanted 7\.5"):
        Request("idn", "tensorrt-rtx", capabilities=("9.9",))
    with pytest.raises(UsageError, match="--to is 'coreml'"):
        Request("idn", "coreml")  # type: ignore[arg-type]
    assert Batch.parse("4") == Batch(4, 4, 4)
