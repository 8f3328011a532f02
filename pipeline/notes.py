"""What a run decided and what it warned of, kept by the run that did so.

Functions deep inside a run call ``decided`` and ``warned``: the sentence goes to the log, for people, and to
the notes of the run in whose context they are called, for its report. A run collects its notes with
``collecting``. Threads that ``pipeline.flow`` starts belong to the run that started them, so two runs in one
process never see each other's notes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Notes:
    """Sentences in the order in which they were said."""

    all: list[str] = field(default_factory=list)
    """Decisions and warnings."""
    warnings: list[str] = field(default_factory=list)


_current: ContextVar[Notes | None] = ContextVar("vidpipe_notes", default=None)
_silent: ContextVar[bool] = ContextVar("vidpipe_silent", default=False)


@contextmanager
def collecting() -> Iterator[Notes]:
    """The notes of everything that runs in this context, and in threads started from it, while it is open."""
    notes = Notes()
    token = _current.set(notes)
    try:
        yield notes
    finally:
        _current.reset(token)


@contextmanager
def silent() -> Iterator[None]:
    """Nothing that runs in this context is noted, and it is logged for debugging only."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def decided(log: logging.Logger, text: str, *arguments: object) -> None:
    """Notes a choice and its reason. ``text`` has ``%`` places for ``arguments``, as in ``logging``."""
    _note(log, logging.INFO, text, arguments)


def warned(log: logging.Logger, text: str, *arguments: object) -> None:
    """Notes what a user should know of the output."""
    _note(log, logging.WARNING, text, arguments)


def readable(text: str) -> str:
    """Text as UTF-8 can hold it: names of files may have bytes that are none."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _note(log: logging.Logger, level: int, text: str, arguments: tuple[object, ...]) -> None:
    if _silent.get():
        log.debug(text, *arguments)
        return
    log.log(level, text, *arguments)
    if (notes := _current.get()) is not None:
        sentence = readable(text % arguments if arguments else text)
        notes.all.append(sentence)
        if level >= logging.WARNING:
            notes.warnings.append(sentence)
