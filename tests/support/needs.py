"""What some tests need beside the packages that vidpipe requires, by the marker that they carry."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch

from tests.support import SHARED


def _has_shared() -> bool:
    return (SHARED / "data").is_dir()


def _has_module(*names: str) -> Callable[[], bool]:
    return lambda: any(_is_installed(name) for name in names)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that it would lie in
        return False


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "shared": (_has_shared, "the private clips are not beside the checkout"),
    "gpu": (torch.cuda.is_available, "torch sees no CUDA device"),
    "dali": (_has_module("nvidia.dali"), "nvidia-dali is not installed"),
    "trt": (_has_module("tensorrt", "tensorrt_rtx"), "neither tensorrt nor tensorrt_rtx is installed"),
}
"""Whether it is here, and what is said where it is not."""
