"""Text that came from outside, made fit for a terminal and for JSON."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""``text`` with everything that is no printable character written out, as ``\x1b`` or ``\xff``.

    File names and tags may hold escape sequences, which a terminal would obey, and bytes that are no UTF-8,
    which Python keeps as lone surrogates and JSON cannot hold.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _written_out(c) for c in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def _written_out(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte of a file name
        code -= 0xDC00
    return ascii(chr(code))[1:-1]
