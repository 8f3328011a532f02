"""What a batch has done: one SQLite file beside the outputs. The process that drives the batch is its only
writer.

An entry is *done* when its output stands under its name. What was begun and not ended (a kill, a power cut)
is *running* in the file and is begun again. An entry counts for the content of its input and for the recipe,
the hash of all that decides the output; the content is read again only where size or time of the input have
changed. An output is named as it lies below the folder, which may be moved or be called by another name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import OutputError

NAME = "vidpipe-batch.sqlite"
_LOCK = "vidpipe-batch.lock"
_SCHEMA = 2
_STILL_S = 2.0
"""Seconds without a change after which a file is believed to be whole."""
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
  source BLOB NOT NULL, target BLOB NOT NULL, size INTEGER, mtime_ns INTEGER, content TEXT,
  recipe TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0, frames INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0,
  made INTEGER, changed_s REAL NOT NULL, PRIMARY KEY (source, target)
) WITHOUT ROWID;
"""


class State(StrEnum):
    """Of an entry."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Seen:
    """An input file as it was when it was looked at."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> Seen:
        """Raises OSError, also for what is no regular file: opening a named pipe would wait for ever."""
        status = os.stat(path)  # noqa: PTH116  names that are no UTF-8
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        return cls(status.st_size, status.st_mtime_ns)

    def is_fresh(self) -> bool:
        """Whether it was written to a moment ago, and may be growing."""
        return 0 <= time.time() - self.mtime_ns / 1e9 < _STILL_S


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one input and its output under one name."""

    source: str
    target: str
    """Absolute; empty for an input that gets no output."""
    seen: Seen | None
    content: str | None
    """SHA-256 of the input"""
    recipe: str
    state: State
    reason: str = ""
    attempts: int = 0
    frames: int = 0
    seconds: float = 0.0
    """Of the attempt that ended last."""
    made_bytes: int | None = None
    """Size of the output that a batch has put there, of one on this machine."""


class Ledger:
    """The entries of one output folder, with a lock that keeps a second batch out of it.

    Raises OutputError where another process holds the lock or the file is not a ledger of this version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._top = os.path.abspath(folder)  # noqa: PTH100  keeps symlinks
        try:
            self._lock = (folder / _LOCK).open("a")
        except OSError as error:
            raise OutputError(f"{folder} cannot be written to: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise OutputError(f"another batch is writing to {folder}; wait for it or stop it") from error
        try:
            self._database = _opened(self.path)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the lock back. May be called again."""
        self._database.close()
        self._lock.close()

    def entries(self, sources: Sequence[str]) -> dict[tuple[str, str], Entry]:
        """Of some inputs, thousands at most, those that are known, by input and output."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE source IN ({', '.join('?' * len(sources))})",
            [_bytes(source) for source in sources],
        )
        found = (_entry(row, self._top) for row in rows)
        return {(entry.source, entry.target): entry for entry in found}

    def sources(self) -> set[str]:
        """All inputs that are known."""
        return {os.fsdecode(source) for (source,) in self._database.execute("SELECT source FROM entries")}

    def put(self, entry: Entry) -> None:
        """Writes an entry so that it outlasts a power cut."""
        self.put_all([entry])

    def put_all(self, entries: Iterable[Entry]) -> None:
        """All of them or none. One with an output ends what was said of its input without one."""
        rows = [_row(entry, self._top) for entry in entries]
        self._database.executemany(
            "DELETE FROM entries WHERE source = ? AND target = ''", [(row[0],) for row in rows]
        )
        self._database.executemany(
            f"INSERT OR REPLACE INTO entries ({_COLUMNS}, changed_s) VALUES ({'?, ' * 12}?)", rows
        )
        self._database.commit()


def is_alive(folder: Path) -> bool:
    """Whether a batch holds the lock of an output folder at this moment."""
    try:
        with (folder / _LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def entries(folder: Path) -> Iterator[Entry]:
    """All entries of an output folder, for reading while a batch may be writing. Raises OutputError."""
    path = folder / NAME
    if not path.is_file():
        raise OutputError(f"{folder} holds no {NAME}: no batch has written there")
    with contextlib.closing(_opened(path, read_only=True)) as database:
        if not database.execute("PRAGMA user_version").fetchone()[0]:
            return  # a batch is making it at this moment
        top = os.path.abspath(folder)  # noqa: PTH100  keeps symlinks
        rows = database.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY source, target")
        yield from (_entry(row, top) for row in rows)


def content_hash(path: str) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    with open(path, "rb") as file:  # noqa: PTH123  names that are no UTF-8
        return hashlib.file_digest(file, "sha256").hexdigest()


_COLUMNS = "source, target, size, mtime_ns, content, recipe, state, reason, attempts, frames, seconds, made"
_STATES = {state.value: state for state in State}
_Row = tuple[bytes, bytes, int | None, int | None, str | None, str, str, str, int, int, float, int | None]


def _opened(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(f"file:{_quoted(path)}?mode={'ro' if read_only else 'rwc'}", uri=True)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _SCHEMA):
            raise OutputError(
                f"{path} is of another version of vidpipe (schema {version}); use another folder"
            )
        if not read_only:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_SCHEMA}; COMMIT;")
    except sqlite3.Error as error:
        raise OutputError(f"{path} cannot be used as a ledger: {error}") from error
    return database


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(path))


def _bytes(name: str) -> bytes:
    return os.fsencode(name)


def _row(entry: Entry, top: str) -> tuple[object, ...]:
    seen = entry.seen
    return (
        *(_bytes(entry.source), _bytes(entry.target.removeprefix(f"{top}/"))),
        *((None, None) if seen is None else (seen.size, seen.mtime_ns)),
        *(entry.content, entry.recipe, entry.state.value, entry.reason),
        *(entry.attempts, entry.frames, entry.seconds, entry.made_bytes, time.time()),
    )


def _entry(row: _Row, top: str) -> Entry:
    source, target, size, mtime_ns, content, recipe, state, reason, attempts, frames, seconds, made = row
    seen = None if size is None or mtime_ns is None else Seen(size, mtime_ns)
    place = f"{top}/{os.fsdecode(target)}" if target else ""
    return Entry(
        *(os.fsdecode(source), place, seen, content, recipe, _STATES[state]),
        *(reason, attempts, frames, seconds, made),
    )
