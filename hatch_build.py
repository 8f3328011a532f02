"""Build hook: the wheel holds one top-level package, ``vidpipe``.

In the repository ``pipeline``, ``nets``, ``export`` and ``train`` lie beside ``vidpipe`` and are imported by
those names. Installed like that they would take four general names from the user's own modules. So the wheel
has them as ``vidpipe._bundled.pipeline`` and so on, and this hook rewrites their imports while the wheel is
built. An editable installation is left as it is.
"""

from __future__ import annotations

import ast
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLED = ("pipeline", "nets", "export", "train")
PREFIX = "vidpipe._bundled."
_NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.py[cod]", ".*")


def rewritten(source: str) -> str:
    """A module's text with the bundled packages imported from ``vidpipe._bundled``.

    Raises ValueError for ``import pipeline.x``: its uses by the full name could not be rewritten with it.
    """
    lines = source.encode().splitlines(keepends=True)  # ast counts columns in bytes
    for row, column in _imports(ast.parse(source)):
        line = lines[row]
        name = re.compile(rb"(from|import)\s+").match(line, column)
        assert name is not None
        lines[row] = line[: name.end()] + PREFIX.encode() + line[name.end() :]
    return b"".join(lines).decode()


def _imports(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """Line, from 0, and column in bytes of each import of a bundled package."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(name), level=0) if _is_bundled(name):
                yield node.lineno - 1, node.col_offset
            case ast.Import(names=[ast.alias(name=name, asname=str())]) if _is_bundled(name):
                yield node.lineno - 1, node.col_offset
            case ast.Import(names=names) if named := [x.name for x in names if _is_bundled(x.name)]:
                raise ValueError(
                    f"line {node.lineno} imports {named[0]}; write 'from PACKAGE import NAME', "
                    "or 'import PACKAGE.NAME as NAME' by itself"
                )


def _is_bundled(module: str) -> bool:
    return module.partition(".")[0] in BUNDLED


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]  # generic over hatchling's own configuration
    """Ships a rewritten copy of the five packages in place of the files of the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fills a temporary folder and has it shipped; hatchling calls it before it builds."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        root, package = Path(self.root), Path(self._folder.name) / "vidpipe"
        shutil.copytree(root / "vidpipe", package, ignore=_NOT_SHIPPED)
        bundle = package / "_bundled"
        for name in BUNDLED:
            shutil.copytree(root / name, bundle / name, ignore=_NOT_SHIPPED)
        shutil.copy(root / "pipeline.yaml", bundle / "pipeline" / "pipeline.yaml")
        (bundle / "__init__.py").write_text(
            '"""The packages that vidpipe consists of."""\n', encoding="utf-8"
        )
        for file in package.rglob("*.py"):
            try:
                text = rewritten(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{file.relative_to(package.parent)}: {error}") from error
            file.write_text(text, encoding="utf-8")
        build_data["force_include"][str(package)] = "vidpipe"
        build_data["pure_python"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the temporary folder."""
        if version != "editable":
            self._folder.cleanup()
