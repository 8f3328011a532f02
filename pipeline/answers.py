"""What a run asked and was told, for a run that goes on: answers of networks, and what was chosen by lot.

Functions deep inside a run call ``answered`` with a question that names all that the answer depends on beside
the file and the settings. With a log open in their context (``answering``) the answer is taken from the log,
or worked out and written to it; without one it is worked out. Threads that ``pipeline.flow`` starts belong to
the run that started them.

The log has one line an answer: a checksum, and JSON of the question and the answer. It holds numbers alone.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np

from nets.pixelation import Operator
from pipeline.encode.atomic_file import translated_errors
from pipeline.faces import Face
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape, Strips

T = TypeVar("T")

_KINDS = {kind.__name__: kind for kind in (Axis, Box, Face, Grid, MosaicRegion, Operator, Shape, Strips)}
"""What an answer may hold beside numbers, texts, lists, tuples and arrays."""


class Answers:
    """The log of one run, a file that only its owner may read. May be used from several threads.

    What does not have its checksum, a half-written line at the end, is cut off with all that follows. Raises
    OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        self.believed_bytes = 0
        """Length of the part of the log that was there and is believed."""
        for line in self._file:
            if not _is_whole(line):
                break
            self.believed_bytes += len(line)
        self._file.truncate(self.believed_bytes)
        self._file.seek(0)
        self._read: dict[str, list[Any]] = defaultdict(list)
        """Answers that were read and not asked for yet: threads ask in about the order of the log."""
        self._lock = Lock()

    def of(self, question: str, work_out: Callable[[], T]) -> T:
        """The answer as it comes from the log, also where it was worked out now. Raises OutputError."""
        with self._lock:
            if self._find(question):
                return cast("T", self._pop(question))
        text = json.dumps([question, _plain(work_out())]).encode()
        with self._lock, translated_errors(self._path):
            self._find("")  # the rest of what was there, before anything is added
            self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
            self._file.flush()
        return cast("T", json.loads(text, object_hook=_back)[1])

    def sync(self) -> int:
        """Brings the log to disk. Returns its length."""
        with self._lock:
            self._file.flush()
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()

    def _find(self, question: str) -> bool:
        while question not in self._read:
            line = self._file.readline()
            if not line:
                return False
            asked, answer = json.loads(line[9:], object_hook=_back)
            self._read[asked].append(answer)
        return True

    def _pop(self, question: str) -> Any:
        waiting = self._read[question]
        answer = waiting.pop(0)
        if not waiting:
            del self._read[question]
        return answer


_current: ContextVar[Answers | None] = ContextVar("vidpipe_answers", default=None)


def answered(question: str, work_out: Callable[[], T]) -> T:
    """The answer from the log of this context, else what ``work_out`` returns: numbers, texts, arrays, types
    of ``_KINDS``, and lists and tuples of them."""
    log = _current.get()
    return work_out() if log is None else log.of(question, work_out)


def is_answering() -> bool:
    """Whether a log is open in this context."""
    return _current.get() is not None


@contextmanager
def answering(log: Answers | None) -> Iterator[None]:
    """What is asked in this context, and in threads started from it, goes through ``log``."""
    token = _current.set(log)
    try:
        yield
    finally:
        _current.reset(token)


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"\n") and line[:8] == b"%08x" % zlib.crc32(line[9:-1])


def _plain(value: Any) -> Any:
    """As JSON has it. Numbers come back with every bit."""
    kind = type(value).__name__
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        kind, of = "array", [value.dtype.str, value.tolist()]
    elif isinstance(value, Enum):
        of = [value.value]
    elif isinstance(value, tuple):
        of = [_plain(item) for item in value]
    elif is_dataclass(value):
        of = [_plain(getattr(value, field.name)) for field in fields(value)]
    else:
        return value.item() if isinstance(value, np.generic) else value
    return {"kind": kind, "of": of}


def _back(tagged: dict[str, Any]) -> Any:
    kind, of = tagged["kind"], tagged["of"]
    if kind == "tuple":
        return tuple(of)
    return np.array(of[1], of[0]) if kind == "array" else _KINDS[kind](*of)
