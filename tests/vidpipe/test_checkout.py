"""vidpipe from its checkout, in a program whose own folder has modules of the same names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a user who has a package ``pipeline`` and a module ``train``."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "train.py").write_text("MINE = True\n")
    return tmp_path


def run(folder: Path, program: str, name: str = "script.py") -> subprocess.CompletedProcess[str]:
    """As a script of that folder, with the checkout later on the path, as an editable installation has it."""
    script = folder / name
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_packages_of_the_checkout_are_found_before_the_users(folder: Path) -> None:
    program = (
        "import vidpipe, pipeline.errors, train; print(pipeline.errors.__file__, train.__file__, sep='\\n')"
    )
    ended = run(folder, program)
    assert ended.returncode == 0, ended.stderr
    found = [Path(line) for line in ended.stdout.splitlines()]
    assert found == [ROOT / "pipeline" / "errors.py", ROOT / "train" / "__init__.py"]


def test_a_script_that_is_called_train_can_use_vidpipe(folder: Path) -> None:
    ended = run(folder, "import vidpipe.cli.app, pipeline.errors", "train.py")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", ["pipeline", "train"])
def test_a_module_that_is_imported_already_is_told(folder: Path, name: str) -> None:
    ended = run(folder, f"import {name}, vidpipe")
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"the package '{name}'" in last
    assert "install vidpipe as a wheel" in last


def test_without_modules_of_such_names_the_path_is_left_alone(tmp_path: Path) -> None:
    ended = run(tmp_path, "import sys; before = list(sys.path); import vidpipe; print(before == sys.path)")
    assert ended.stdout == "True\n", ended.stderr
