"""Where a checkout's other packages are imported from, whatever the user's own folder holds.

A checkout has ``pipeline``, ``nets``, ``export`` and ``train`` beside ``vidpipe``, and they are imported by
those names. Importing this module puts the checkout's root first on ``sys.path`` where somebody else's
module of such a name would be found before. The wheel has them inside ``vidpipe``; there it does nothing.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "nets", "export", "train")


def _is_ours(name: str, file: str | None) -> bool:
    return file is not None and Path(file).resolve() == ROOT / name / "__init__.py"


def put_first() -> None:
    """Raises ImportError where another module of such a name is imported already."""
    for name in PACKAGES:
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in sys.modules and not _is_ours(name, file):
            raise ImportError(
                f"vidpipe runs from its checkout {ROOT} and needs the package '{name}' there, but another "
                f"module of that name is imported already ({file or 'a folder'}); install vidpipe as a "
                f"wheel, which keeps its packages to itself: pip install {ROOT}"
            )
    specs = {name: PathFinder.find_spec(name) for name in PACKAGES}
    if not all(spec is not None and _is_ours(name, spec.origin) for name, spec in specs.items()):
        sys.path.insert(0, str(ROOT))


if not (ROOT / "vidpipe" / "_bundled").is_dir():
    put_first()
