"""What a recogniser makes of a plain mosaic: the line that a run says, from the table in docs/attacks.md."""

from __future__ import annotations

PEOPLE = 79
"""of the list in that table"""
NAMED = {4: 91, 6: 91, 8: 91, 12: 92}
"""By blocks across the face: percent of them whom the better attacker names from one frame, first guess"""


def recognised(blocks: int) -> str:
    """One line for a mosaic of ``blocks`` across the face, or a blur of as many.

    It says what was measured at as many blocks or, between two that were measured, at the next larger
    number; beyond all of them at the largest.
    """
    measured = next((n for n in NAMED if n >= blocks), max(NAMED))
    return (
        f"a plain mosaic does not hide who it is from somebody who knows the people: with {measured} blocks "
        f"across a face, {NAMED[measured]} of 100 were named from a list of {PEOPLE} (chance: 1); mode "
        "protect paints means of other people"
    )
