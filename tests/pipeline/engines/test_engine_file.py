"""An engine file is opened only if it is whole, of this version, and built by this user; no GPU is needed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engines import EngineSpec, engine_file, open_engine
from pipeline.engines.engine_file import MAGIC, Header, machine
from pipeline.engines.tensorrt import fits
from pipeline.engines.trust import sign
from pipeline.errors import InputError, MissingError, UsageError

SPEC = EngineSpec(net="nar", version="1", weights_sha256="0" * 64, window=5, context=1, size_px=16, cells=4)
HEADER = Header(
    spec=SPEC,
    library="tensorrt_rtx",
    library_version="1.7.1.116",
    version_compatible=False,
    capabilities=("8.6", "8.9"),
    newer_gpus=False,
    platform=machine(),
    batch_opt=4,
)
PARTS = {"reference": b"reference", "plan": b"plan" * 100}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.engine"
    with path.open("wb") as file:
        engine_file.write(file, HEADER, PARTS)
    path.chmod(0o600)
    return path


def test_what_was_written_comes_back(path: Path) -> None:
    opened = engine_file.read(path)
    assert opened.header == HEADER
    assert {name: opened.part(name) for name in PARTS} == PARTS


@pytest.mark.parametrize("at", range(0, 1400, 7))
def test_no_changed_byte_passes(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    at = at % len(content)
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"build it anew with vidpipe export$") as caught:
        opened = engine_file.read(path)
        for name in PARTS:
            opened.part(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, len(MAGIC) + 3, len(MAGIC) + 8, 200, -1])
def test_a_file_that_is_cut_off(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"cut off|not an engine file"):
        engine_file.read(path)


def test_a_file_that_is_too_long(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match="cut off or extended"):
        engine_file.read(path)


def test_a_plan_of_somebody_elses_tool(tmp_path: Path) -> None:
    plan = tmp_path / "foreign.engine"
    plan.write_bytes(b"ftrt" + bytes(1000))
    plan.chmod(0o600)
    with pytest.raises(InputError, match="not an engine file of this version of vidpipe"):
        open_engine(plan)


def test_an_engine_of_another_cache_is_not_ours(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "other"))
    with pytest.raises(InputError, match="not built by you with this cache"):
        engine_file.read(path)


def test_an_engine_that_others_may_change(path: Path) -> None:
    path.chmod(0o660)
    with pytest.raises(InputError, match="chmod go-w"):
        engine_file.read(path)


def test_a_header_of_another_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()
    start = len(MAGIC) + 8
    length = int.from_bytes(content[len(MAGIC) : start], "little")
    said = json.loads(content[start : start + length])
    del said["batch_opt"], said["signature"]
    said["signature"] = sign(engine_file._canonical(said))
    text = json.dumps(said).encode()
    path.write_bytes(MAGIC + len(text).to_bytes(8, "little") + text + content[start + length :])
    with pytest.raises(InputError, match=r"made by another version of vidpipe .*batch_opt"):
        engine_file.read(path)


@pytest.mark.parametrize(
    ("header", "version", "capability", "says"),
    [
        (HEADER, "1.7.1.116", "8.6", ""),
        (HEADER, "1.8.0.1", "8.6", "built by tensorrt_rtx 1.7.1.116, here is 1.8.0.1"),
        (HEADER, "1.7.1.116", "9.0", "built for GPUs of compute capability 8.6, 8.9, here is 9.0"),
        (replace(HEADER, newer_gpus=True), "1.7.1.116", "12.0", ""),
        (replace(HEADER, newer_gpus=True), "1.7.1.116", "8.0", "here is 8.0"),
        (replace(HEADER, version_compatible=True), "1.8.0.1", "8.9", ""),
        (replace(HEADER, version_compatible=True), "2.0.0.0", "8.9", "here is 2.0.0.0"),
        (replace(HEADER, version_compatible=True), "1.6.0.0", "8.9", "here is 1.6.0.0"),
        (replace(HEADER, platform="windows amd64"), "1.7.1.116", "8.6", "built for windows amd64"),
    ],
)
def test_which_library_and_gpu_an_engine_is_for(
    header: Header, version: str, capability: str, says: str
) -> None:
    if not says:
        fits(header, Path("x.engine"), version, capability)
        return
    with pytest.raises(InputError, match=says.replace(".", r"\.")):
        fits(header, Path("x.engine"), version, capability)


def test_an_engine_wants_a_gpu(path: Path) -> None:
    with pytest.raises((UsageError, MissingError), match=r"TensorRT runs on an NVIDIA GPU|cannot be loaded"):
        open_engine(path, device="cpu")
