"""Files that a user names as inputs. Imports nothing heavy."""

from __future__ import annotations

import stat
from pathlib import Path

from pipeline.errors import InputError


def check_source(path: Path) -> bytes:
    """The first bytes of a regular file that can be read. Raises InputError for anything else."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a folder; name a video file in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file; name a video file on disk")
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: no permission; change its mode or owner") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes); copy it again from where it came")
    return head
