"""How a run was begun: its recipe beside its weights, so that going on with other settings is refused.

A resumed run goes through the losses of an uninterrupted one only with the same recipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nets.checkpoint import CheckpointError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECIPE = "recipe.json"

LENGTH = ("steps", "adversarial_from")
"""What may change: a schedule may be made longer."""


def write(folder: Path, recipe: DataclassInstance) -> None:
    """Keeps a recipe beside the state of its run."""
    (folder / RECIPE).write_text(json.dumps(asdict(recipe), indent=1) + "\n")


def check(folder: Path, recipe: DataclassInstance) -> None:
    """Raises CheckpointError where the folder's run was begun with another recipe. Runs of versions that
    kept none are taken as they are."""
    try:
        begun = _flat(json.loads((folder / RECIPE).read_text()))
    except FileNotFoundError:
        return
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / RECIPE} cannot be read: {error}") from error
    wanted = _flat(json.loads(json.dumps(asdict(recipe))))
    differing = [k for k in wanted if k not in LENGTH and begun.get(k) != wanted[k]]
    if differing:
        told = ", ".join(f"{k} {begun.get(k)} (now {wanted[k]})" for k in differing)
        raise CheckpointError(
            f"{folder} was begun with {told}; give the same options to resume it, or another --output"
        )


def _flat(tree: Mapping[str, object], before: str = "") -> dict[str, object]:
    """Nested fields as ``outer.inner``."""
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = value
    return flat
