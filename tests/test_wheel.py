"""The wheel: one top-level package that does the main job outside the checkout.

It is built from the source distribution and installed into an empty environment that sees the dependencies
of this Python, and nothing of the checkout. ``NEWEST_PYTHON=/path/to/python`` names another Python that has
the dependencies (``make newest`` makes one); without it the test for it is skipped.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support import ROOT

BUNDLED = ("pipeline", "nets", "export", "train")
NEWEST = os.environ.get("NEWEST_PYTHON", "")


def _done(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Its stdout; what it said where it failed."""
    words = [str(word) for word in command]
    ended = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{words}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds it for somebody who has the source distribution alone."""
    folder = tmp_path_factory.mktemp("wheel")
    _done(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder)
    (source,) = folder.glob("vidpipe-*.tar.gz")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-index", "--no-deps")
    _done(*pip, "--no-build-isolation", "-w", folder, source, cwd=folder)
    (built,) = folder.glob("vidpipe-*.whl")
    return built


@dataclass(frozen=True, slots=True)
class User:
    """Somebody's Python with the wheel, and a folder whose modules have the names of our packages."""

    python: Path
    folder: Path
    cache: Path

    def run(self, *arguments: object) -> str:
        """``python ARGUMENTS`` in the folder, where the user's own modules are found first."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["VIDPIPE_CACHE"] = str(self.cache)
        return _done(self.python, *arguments, cwd=self.folder, env=environment)


def _user(interpreter: str, wheel: Path, clip: Path, folder: Path) -> User:
    """Plain lines of a .pth file are put on the path; .pth files there, as the checkout's, are not read."""
    _done(interpreter, "-m", "venv", "--without-pip", folder / "env")
    python = folder / "env" / "bin" / "python"
    where = "import sys; print(*(entry for entry in sys.path if entry.endswith('-packages')), sep='\\n')"
    (packages,) = _done(python, "-c", where).split()
    Path(packages, "dependencies.pth").write_text(_done(interpreter, "-c", where))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install")
    _done(*pip, "--no-index", "--no-deps", wheel)
    own = folder / "own"
    (own / "pipeline").mkdir(parents=True)
    for file in (own / "pipeline" / "__init__.py", own / "train.py"):
        file.write_text("MINE = True\n")
    shutil.copy(clip, own / "clip.mp4")
    return User(python, own, wheel.parent / "cache")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(sys.executable, id="this"),
        pytest.param(
            NEWEST,
            id="newest",
            marks=pytest.mark.skipif(not NEWEST, reason="NEWEST_PYTHON names no other Python"),
        ),
    ],
)
def user(
    request: pytest.FixtureRequest, wheel: Path, mosaic_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> User:
    return _user(request.param, wheel, mosaic_clip, tmp_path_factory.mktemp("user"))


@pytest.mark.slow
def test_the_wheel_holds_one_package_and_all_its_files(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"vidpipe"}
    tracked = _done("git", "ls-files", "vidpipe", *BUNDLED).splitlines()
    ours = {x if x.startswith("vidpipe/") else f"vidpipe/_bundled/{x}" for x in tracked}
    shipped = {name for name in names if name.startswith("vidpipe/")}
    assert shipped == ours | {"vidpipe/_bundled/__init__.py", "vidpipe/_bundled/pipeline/pipeline.yaml"}
    assert "vidpipe/py.typed" in shipped


@pytest.mark.slow
def test_no_file_of_the_wheel_names_a_module_of_the_checkout(wheel: Path) -> None:
    """Neither by an import, also one that no run comes by, nor as text of a command, a logger or a test."""
    archive = ZipFile(wheel)
    module = re.compile(rf"(?:{'|'.join(BUNDLED)})(?:\.\w+)+")
    modules = {x.removesuffix(".py").replace("/", ".") for x in archive.namelist() if x.endswith(".py")}
    for name in archive.namelist():
        if not name.endswith(".py"):
            continue
        text = archive.read(name).decode()
        assert not re.search(rf"-m (?:{'|'.join(BUNDLED)})\.", text), name
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Import(names=names):
                    assert not {alias.name.partition(".")[0] for alias in names} & {*BUNDLED}, name
                case ast.ImportFrom(module=str(source), level=0):
                    assert source.partition(".")[0] not in BUNDLED, name
                case ast.Constant(value=str(value)) if module.fullmatch(value):
                    assert f"vidpipe._bundled.{value}" not in modules, f"{name}: {value}"


@pytest.mark.slow
@pytest.mark.timeout(900)  # the engine is made of the network's weights first
def test_the_main_jobs_run_beside_modules_of_the_same_names(user: User) -> None:
    user.run("-m", "vidpipe", "reconstruct", "clip.mp4", "--net", "idn", "-o", "out.mp4", "-q")
    user.run("-m", "vidpipe", "run", "clip.mp4", "--mode", "pixelize", "-o", "safe.mp4", "-q")
    for name in ("out.mp4", "safe.mp4"):
        report = json.loads((user.folder / f"{name}.json").read_text())
        assert (user.folder / name).stat().st_size == report["output"]["size_bytes"] > 0
    assert json.loads((user.folder / "out.mp4.json").read_text())["tracks"], "the clip has a mosaic"
    assert "Usage: vidpipe" in _done(user.python.parent / "vidpipe", "--help")


@pytest.mark.slow
def test_python_users_keep_their_modules(user: User) -> None:
    program = """
import sys, vidpipe, pipeline
assert vidpipe.probe("clip.mp4").width > 0
report = vidpipe.pixelize("clip.mp4", "api.mp4")
assert report.output.name == "api.mp4", report
assert "site-packages" in vidpipe.__file__, vidpipe.__file__
import train
assert pipeline.MINE and train.MINE
assert not {"nets", "export"} & set(sys.modules)
"""
    user.run("-c", program)
    assert (user.folder / "api.mp4").stat().st_size > 0


@pytest.mark.slow
def test_the_builder_of_engines_is_found_from_any_folder(user: User) -> None:
    program = """
import subprocess
from vidpipe._bundled.export import background
asked = [*background.COMMAND, "none", "onnx", "fp32", "progress"]
done = subprocess.run(asked, cwd=background._ROOT, capture_output=True, text=True)
assert done.returncode == 1 and done.stderr.startswith("vidpipe: ") and "none" in done.stderr, done
"""
    user.run("-c", program)


@pytest.fixture
def rewritten() -> Callable[[str], str]:
    from hatch_build import rewritten  # noqa: PLC0415  it needs hatchling, which a machine of gpu.sh lacks

    return rewritten


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("from pipeline.types import Frame\n", "from vidpipe._bundled.pipeline.types import Frame\n"),
        ("from train import (\n    loop,\n)\n", "from vidpipe._bundled.train import (\n    loop,\n)\n"),
        ("import nets.idn as n\n", "import vidpipe._bundled.nets.idn as n\n"),
        ("é = 1; from nets import idn\n", "é = 1; from vidpipe._bundled.nets import idn\n"),
        ("if f:\n    from export import cache\n", "if f:\n    from vidpipe._bundled.export import cache\n"),
        ("import training\nfrom . import pipeline\nfrom netscape import nets\n", None),
        ('"from nets import idn"\n', None),
    ],
)  # fmt: skip
def test_imports_are_rewritten_and_nothing_else(
    rewritten: Callable[[str], str], source: str, wanted: str | None
) -> None:
    assert rewritten(source) == (source if wanted is None else wanted)


@pytest.mark.parametrize("source", ["import nets.idn\n", "import nets.idn as n, os\n"])
def test_an_import_that_cannot_be_rewritten_is_refused(rewritten: Callable[[str], str], source: str) -> None:
    with pytest.raises(ValueError, match=r"line 1 imports nets\.idn"):
        rewritten(source)
