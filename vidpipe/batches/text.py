"""Names and reasons as they are shown."""

from __future__ import annotations


def plain(text: str) -> str:
    """One line: control characters and bytes that are no UTF-8 become escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text
    )
