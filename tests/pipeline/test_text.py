"""What comes from files is printed without being obeyed."""

import json
import os

import pytest

from pipeline.text import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Straße 12 日本.mp4", "Straße 12 日本.mp4"),
        ("x\x1b]0;title\x07", r"x\x1b]0;title\x07"),
        ("a\r\nb", r"a\r\nb"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        (os.fsdecode(b"na\xffme"), r"na\xffme"),
    ],
)
def test_only_printable_characters_come_out(text: str, seen: str) -> None:
    assert printable(text) == seen
    assert json.loads(json.dumps(printable(text)).encode()) == seen


def test_lines_stay_lines() -> None:
    assert printable_lines("one\x1b\ntwo") == "one\\x1b\ntwo"
