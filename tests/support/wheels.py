"""A machine that has PyTorch, and of everything else only what lies in the folder of wheels.

``python -m tests.support.wheels`` collects the tests that run there, with all other packages hidden.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import pytest

from tests.support import ROOT

MACHINE = (
    "torch", "numpy", "scipy", "opencv-python-headless", "onnx", "onnxruntime", "openvino", "pytest",
    "setuptools",
)  # fmt: skip
"""What the machine has, as the head of requirements/gpu-wheels.txt says, with all that these ask for."""
MARKED = "gpu or dali or trt"


def plain(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def listed() -> set[str]:
    lines = (ROOT / "requirements" / "gpu-wheels.txt").read_text().splitlines()
    return {plain(re.split(r"[^\w.-]", line)[0]) for line in lines if line and not line.startswith("#")}


def with_needs(names: Iterable[str]) -> set[str]:
    """Packages and what they ask for, all the way down, as far as it is installed here."""
    found: set[str] = set()
    open_ = [plain(name) for name in names]
    while open_:
        name = open_.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        open_ += [plain(re.split(r"[^\w.-]", need)[0]) for need in needs if "extra ==" not in need]
    return found


class Without:
    """A finder of modules that does not know some."""

    def __init__(self, finder: Any, hidden: set[str]) -> None:
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in self.hidden else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def hidden() -> set[str]:
    """Modules that are installed here and would not be there."""
    there = with_needs(MACHINE) | listed() | {"vidpipe"}
    owners = metadata.packages_distributions()
    return {module for module, of in owners.items() if not {plain(name) for name in of} & there}


if __name__ == "__main__":
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # those that are installed here ask for more
    names = hidden()
    sys.meta_path[:] = [Without(finder, names) for finder in sys.meta_path]
    quiet = ["-p", "no:cacheprovider", "-p", "pytest_timeout", "-q"]
    sys.exit(pytest.main(["--collect-only", "-m", MARKED, *quiet, str(ROOT / "tests")]))
