"""What a comparison of an output with its source says, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    KEPT = "kept"
    CHANGED = "changed"
    LOST = "lost"
    REMOVED = "removed"
    """Left behind as the settings ask."""
    REPLACED = "replaced"
    """Encoded anew, as the settings or the container ask."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a run promises to keep."""

    name: str
    state: State
    source: str
    output: str


def item(name: str, source: object, output: object) -> Item:
    """Kept where both are equal."""
    state = State.KEPT if source == output else State.LOST if output in {None, "none", ""} else State.CHANGED
    return Item(name, state, str(source), "none" if output is None else str(output))
