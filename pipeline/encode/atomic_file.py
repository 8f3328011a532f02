"""An output is written to a hidden file beside its target, which is renamed when it is whole."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from av.error import FFmpegError

from pipeline.errors import OutputError


class AtomicFile:
    """A binary file for a muxer that becomes ``target`` on `commit` and vanishes on `discard`.

    The constructor creates nothing on disk, so that the caller can arrange for `discard` before `create`.
    Raises OutputError where the target cannot be written, or is the source itself.
    """

    def __init__(self, target: Path, source: Path, overwrite: bool) -> None:
        self.target = target
        self._overwrite = overwrite
        try:
            _check(target, source, overwrite)
        except OSError as error:  # of a name that is too long, or a folder that cannot be entered
            raise output_error(target, error) from error
        self.path = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
        """Where the bytes lie until `commit`."""
        self._file: BinaryIO = io.BytesIO()

    def create(self) -> None:
        """Put an empty file there."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise output_error(self.target, error) from error
        self._file = os.fdopen(descriptor, "w+b", buffering=1 << 20)

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
            self.path.replace(self.target)
            _sync_folder(self.target.parent)
        except OSError as error:
            raise output_error(self.target, error) from error

    def discard(self) -> None:
        """Remove what was written. Does nothing after `commit`."""
        try:
            with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
                self._file.close()
        finally:
            with contextlib.suppress(OSError):  # where nothing can be made, nothing can be removed
                self.path.unlink()


@contextlib.contextmanager
def all_or_nothing(*targets: Path) -> Iterator[None]:
    """On an exception, files that were created are removed and those they replaced are restored."""
    before = [_identity(target) for target in targets]
    aside = [target.with_name(f".{secrets.token_hex(8)}.old") for target in targets]
    try:
        for target, older in zip(targets, aside, strict=True):
            _keep(target, older)
        yield
    except BaseException:
        for target, older, identity in zip(targets, aside, before, strict=True):
            if _identity(older) is not None:
                older.replace(target)
            elif _identity(target) != identity:
                target.unlink(missing_ok=True)
        raise
    finally:
        for older in aside:
            with contextlib.suppress(OSError):  # where nothing can be made, nothing can be removed
                older.unlink()


def _keep(target: Path, older: Path) -> None:
    """A second name for a file, if there is one: what replaces it leaves it there."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.link(target, older, follow_symlinks=False)
        except FileNotFoundError:
            raise
        except (OSError, NotImplementedError):  # a file system without hard links
            target.rename(older)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


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


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; some file systems cannot open a folder for that."""
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
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; try another --codec, or write to .mkv"
        ) from error
    except OSError as error:
        raise output_error(path, error) from error
