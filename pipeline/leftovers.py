"""Hidden files of runs: how they are called, which are alive, and what becomes of those of dead runs.

A run writes ``.{16 hex digits}.vidpipe-part{suffix}`` beside its target and holds a lock on it until it is
renamed or removed; the lock ends with the process, however that ends. While the target is replaced, what was
there before is kept as ``.{process}-{16 hex digits}.vidpipe-old.{name}``. A run that may go on later keeps
the folder ``.{16 hex digits of a hash of its target's name}.vidpipe-journal``, which outlasts it. Imports
nothing heavy: the handler of signals needs it from the first moment on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, which removes no file that somebody has open
    fcntl = None  # type: ignore[assignment]

_Identity = tuple[int, int]

_PART = re.compile(r"\.[0-9a-f]{16}\.vidpipe-part(\.[^.]*)?", re.DOTALL)
_OLD = re.compile(r"\.(?P<process>\d+)-[0-9a-f]{16}\.vidpipe-old\.(?P<name>.*)", re.DOTALL)
_JOURNAL = re.compile(r"\.[0-9a-f]{16}\.vidpipe-journal")
_LOCK = "lock"
"""File in a journal that the run it belongs to holds a lock on."""
STALE_DAYS = 30
"""Without a change, after which a journal is given up."""
_NAME_BYTES = 200
"""Of a name that a hidden name can hold; what is longer is left out of it."""
_living: set[Path] = set()
"""Parts of this process."""
_aside: dict[Path, tuple[Path, _Identity | None]] = {}
"""Target that is being replaced -> where the older file is kept, and which one that is."""


def part_name(target: Path) -> Path:
    """A new hidden name for what will become ``target``, with its suffix."""
    return target.with_name(f".{_token()}.vidpipe-part{target.suffix}")


def old_name(target: Path) -> Path:
    """A new hidden name for what stands under ``target``, while it is replaced."""
    name = target.name if len(os.fsencode(target.name)) <= _NAME_BYTES else ""
    return target.with_name(f".{os.getpid()}-{_token()}.vidpipe-old.{name}")


def journal_name(target: Path) -> Path:
    """The hidden folder of the run that makes ``target``, the same each time."""
    return target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.vidpipe-journal")


def open_journal(folder: Path) -> int:
    """Makes a journal where there is none, and locks it. Returns the descriptor that holds the lock.

    Raises FileExistsError for one that is no folder, or not of this user alone, BlockingIOError where another
    run holds it, and OSError.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    status = folder.lstat()
    private = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    if not stat.S_ISDIR(status.st_mode) or not private:
        raise FileExistsError(f"{folder} is no folder of this user alone; move it away")
    return _locked(folder)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        pass
    return descriptor


def empty_journal(folder: Path) -> None:
    """Removes all files of a journal but its lock. Raises OSError."""
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()


def remove_journal(folder: Path) -> None:
    """Removes a journal whose lock the caller holds. Raises OSError."""
    empty_journal(folder)
    (folder / _LOCK).unlink()
    folder.rmdir()


def _token() -> str:
    return os.urandom(8).hex()


def create(part: Path) -> int:
    """An empty file of this name, locked, which nobody else may read. Returns its descriptor.

    Raises OSError.
    """
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        _living.add(part)
        with contextlib.suppress(OSError):  # a file system without locks: nobody takes it for dead there
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # another run has cleaned it away before it was locked


def forget(part: Path) -> None:
    """The file has been renamed or removed."""
    _living.discard(part)


def set_aside(target: Path) -> None:
    """Keeps what stands under ``target``, if anything does, until ``let_go``. Raises OSError."""
    old = old_name(target)
    _aside[target] = (old, _identity(target))
    with contextlib.suppress(FileNotFoundError):
        try:
            os.link(target, old, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except (OSError, NotImplementedError):  # a file system without hard links
            target.rename(old)


def put_back(target: Path) -> None:
    """What stood under ``target`` before ``set_aside`` stands there again, or nothing does."""
    if target not in _aside:
        return
    old, before = _aside[target]
    if _identity(old) is not None:
        old.replace(target)
    elif _identity(target) != before:
        target.unlink(missing_ok=True)


def let_go(target: Path) -> None:
    """Forgets what was set aside."""
    old, _ = _aside.pop(target, (None, None))
    with contextlib.suppress(OSError):  # where nothing can be made, nothing can be removed
        if old is not None:
            old.unlink()


def pending() -> bool:
    """Whether this process has begun a file that it has not finished."""
    return bool(_living or _aside)


def abandon() -> None:
    """Removes what this process has not finished, for one that must end at once."""
    for target in list(_aside):
        with contextlib.suppress(OSError):
            put_back(target)
    for part in list(_living):
        with contextlib.suppress(OSError):
            part.unlink()


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def clean(folder: Path) -> list[Path]:
    """Removes hidden files of ours whose processes are dead, and returns them. What a dead run had put aside
    goes back where nothing stands in its place. A journal stays for ``STALE_DAYS``."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]
    except OSError:
        return []
    gone = []
    for name in names:
        path = folder / name
        with contextlib.suppress(OSError):
            if _PART.fullmatch(name) and path not in _living and _is_ours(path):
                if _remove_unlocked(path):
                    gone.append(path)
            elif (old := _OLD.fullmatch(name)) and _is_ours(path) and _is_dead(int(old["process"])):
                if not old["name"]:  # it may be the only one
                    continue
                target = folder / old["name"]
                if os.path.lexists(target):
                    path.unlink()
                else:
                    path.rename(target)
                gone.append(path)
            elif _JOURNAL.fullmatch(name) and time.time() - path.lstat().st_mtime > STALE_DAYS * 86_400:
                lock = open_journal(path)
                try:
                    remove_journal(path)
                finally:
                    os.close(lock)
                gone.append(path)
    return gone


def _remove_unlocked(path: Path) -> bool:
    """Removes a file unless somebody holds its lock. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_dead(process: int) -> bool:
    if not hasattr(os, "getuid"):  # on Windows asking is killing
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # alive, and somebody else's
        return False
    return False


def _is_ours(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and (not hasattr(os, "getuid") or status.st_uid == os.getuid())
