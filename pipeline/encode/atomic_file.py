"""An output is written to a hidden file beside its target, which is renamed when it is whole."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from av.error import FFmpegError

from pipeline import leftovers
from pipeline.errors import MissingError, OutputError


class AtomicFile:
    """A binary file for a muxer that becomes ``target`` on `commit` and vanishes on `discard`.

    Until then nobody but its owner may read it. The constructor creates nothing on disk, so that the caller
    can arrange for `discard` before `create`.
    Raises OutputError where the target cannot be written, or is the source itself.
    """

    def __init__(self, target: Path, source: Path, overwrite: bool) -> None:
        self.target = target
        self._overwrite = overwrite
        try:
            _check(target, source, overwrite)
        except OSError as error:  # of a name that is too long, or a folder that cannot be entered
            raise output_error(target, error) from error
        self.path = leftovers.part_name(target)
        """Where the bytes lie until `commit`."""
        self._file: BinaryIO = io.BytesIO()
        self._lock: int | None = None

    def create(self) -> None:
        """Put an empty file there, after what dead runs have left in the folder is cleared away."""
        leftovers.clean(self.target.parent)
        try:
            descriptor = leftovers.create(self.path)
        except OSError as error:
            raise output_error(self.target, error) from error
        self._file = os.fdopen(descriptor, "w+b", buffering=1 << 20)
        self._lock = os.dup(descriptor)  # the lock outlasts the writing

    @property
    def closed(self) -> bool:
        """PyAV asks before it writes a trailer."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def restart(self) -> None:
        """Forget what was written."""
        self._file.seek(0)
        self._file.truncate()

    def complete(self) -> None:
        """Bring the bytes to disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise output_error(self.target, error) from error

    def commit(self) -> None:
        """Bring the file under its name."""
        try:
            if not self._overwrite and self.target.exists():
                raise OutputError(
                    f"{self.target} has appeared meanwhile; it was left alone, nothing is written"
                )
            publish(self.path, self.target)
        except OSError as error:
            raise output_error(self.target, error) from error
        self._unlock()

    def discard(self) -> None:
        """Remove what was written. Does nothing after `commit`."""
        try:
            with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
                self._file.close()
        finally:
            with contextlib.suppress(OSError):  # where nothing can be made, nothing can be removed
                self.path.unlink()
            leftovers.forget(self.path)
            self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def publish(part: Path, target: Path) -> None:
    """Brings a whole file of `leftovers.create` under its name, readable as what it replaces or as new files
    are. Raises OSError."""
    try:
        mode = stat.S_IMODE(target.stat().st_mode) & 0o777
    except FileNotFoundError:
        mode = 0o666 & ~_umask()
    with contextlib.suppress(PermissionError):  # a file system without modes
        part.chmod(mode)
    part.replace(target)
    leftovers.forget(part)
    sync_folder(target.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file under a hidden name beside it and renames it. Raises OutputError."""
    part = leftovers.part_name(path)
    try:
        with os.fdopen(leftovers.create(part), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            publish(part, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # after `publish` there is none
            part.unlink()
        leftovers.forget(part)


def _umask() -> int:
    """The process's, which can be read by setting it alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def all_or_nothing(*targets: Path) -> Iterator[None]:
    """On an exception, files that were created are removed and those they replaced are restored."""
    try:
        for target in targets:
            leftovers.set_aside(target)
        yield
    except BaseException:
        for target in targets:
            leftovers.put_back(target)
        raise
    finally:
        for target in targets:
            leftovers.let_go(target)


def _check(target: Path, source: Path, overwrite: bool) -> None:
    folder = target.parent
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a file in it")
    if not folder.is_dir():
        raise OutputError(f"folder {folder} does not exist; create it or write elsewhere")
    if target.exists():
        if target.samefile(source):
            raise OutputError(f"output {target} is the input itself; choose another name")
        if not overwrite:
            raise OutputError(
                f"{target} exists; choose another name, or replace it (-y; in Python overwrite=True)"
            )


def sync_folder(folder: Path) -> None:
    """Make a rename in it durable; some file systems cannot open a folder for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def output_error(target: Path, error: OSError) -> OutputError:
    """An error of the operating system as one line."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return OutputError(
                f"no space left in {target.parent} for {target.name}; free some or write elsewhere"
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return OutputError(f"folder {target.parent} is read-only for you; write elsewhere")
        case errno.ENAMETOOLONG:
            return OutputError(f"the name {target.name[:40]}... is too long for the file system; shorten it")
        case _:
            return OutputError(f"{target} cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Errors of FFmpeg and of the operating system as OutputError."""
    try:
        yield
    except FFmpegError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise output_error(path, OSError(error.errno, error.strerror)) from error
        if error.errno == errno.ENOMEM:
            raise MissingError(
                f"there is not enough memory to encode {path}; close other programs"
            ) from error
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; try another --codec, or write to .mkv"
        ) from error
    except OSError as error:
        raise output_error(path, error) from error
