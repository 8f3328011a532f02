"""The output while it is incomplete: a hidden file beside the target, renamed at the end."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from pipeline.errors import OutputError


class PartFile:
    """A binary file for a muxer that becomes ``target`` on `commit` and vanishes on `discard`.

    Raises OutputError on opening where the target cannot be written, or is the source itself.
    """

    def __init__(self, target: Path, source: Path, overwrite: bool) -> None:
        self.target = target
        self._overwrite = overwrite
        _check(target, source, overwrite)
        self._part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
        try:
            descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise output_error(target, error) from error
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

    def commit(self) -> None:
        """Bring the bytes to disk and the file under its name."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if not self._overwrite and self.target.exists():
                raise OutputError(
                    f"{self.target} has appeared meanwhile; it was left alone, nothing is written"
                )
            self._part.replace(self.target)
            _sync_folder(self.target.parent)
        except OSError as error:
            raise output_error(self.target, error) from error

    def discard(self) -> None:
        """Remove what was written. Does nothing after `commit`."""
        with contextlib.suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        self._part.unlink(missing_ok=True)


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
            raise OutputError(f"{target} exists; choose another name or allow overwriting")


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; some file systems cannot open a folder for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def output_error(target: Path, error: OSError) -> OutputError:
    """One line for what the operating system said."""
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
