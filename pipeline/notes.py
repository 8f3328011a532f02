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
from pathlib import Path

from pipeline.errors import VidpipeError
from pipeline.text import printable


@dataclass(slots=True)
class Notes:
    """Sentences in the order in which they were said."""

    all: list[str] = field(default_factory=list)
    """Decisions and warnings."""
    warnings: list[str] = field(default_factory=list)


_current: ContextVar[Notes | None] = ContextVar("vidpipe_notes", default=None)
_silent: ContextVar[bool] = ContextVar("vidpipe_silent", default=False)
_called: ContextVar[tuple[Path, Path] | None] = ContextVar("vidpipe_called", default=None)


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


@contextmanager
def called(part: Path, name: Path) -> Iterator[None]:
    """What runs in this context speaks of the file ``part``, in notes and errors, as ``name``."""
    token = _called.set((part, name))
    try:
        yield
    except VidpipeError as error:
        error.args = tuple(_renamed(str(argument)) for argument in error.args)
        raise
    finally:
        _called.reset(token)


def decided(log: logging.Logger, text: str, *arguments: object) -> None:
    """Notes a choice and its reason. ``text`` has ``%`` places for ``arguments``, as in ``logging``."""
    _note(log, logging.INFO, text, arguments)


def warned(log: logging.Logger, text: str, *arguments: object) -> None:
    """Notes what a user should know of the output."""
    _note(log, logging.WARNING, text, arguments)


def _note(log: logging.Logger, level: int, text: str, arguments: tuple[object, ...]) -> None:
    sentence = printable(_renamed(text % arguments if arguments else text))
    if _silent.get():
        log.debug("%s", sentence)
        return
    log.log(level, "%s", sentence)
    if (notes := _current.get()) is not None:
        notes.all.append(sentence)
        if level >= logging.WARNING:
            notes.warnings.append(sentence)


def _renamed(sentence: str) -> str:
    pair = _called.get()
    if pair is None:
        return sentence
    part, name = pair
    return sentence.replace(str(part), str(name)).replace(part.name, name.name)
