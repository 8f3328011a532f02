"""Which engines may be loaded: those that this user has built.

To deserialise a TensorRT engine is to run what it says. So what is built is signed with a key that lies in
the user's cache, and nothing is opened whose owner is somebody else or whose signature is not of this key.
Engines that are built on one machine for another travel with the whole cache folder, key included.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from pipeline.errors import InputError, OutputError

KEY_BYTES = 32


def folder() -> Path:
    """``VIDPIPE_CACHE``, else ``vidpipe`` in the user's cache folder."""
    if named := os.environ.get("VIDPIPE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vidpipe"


def sign(content: bytes) -> str:
    """HMAC-SHA256 under the user's key, which the first call makes. Raises OutputError."""
    return hmac.new(_key(), content, hashlib.sha256).hexdigest()


def is_signed(content: bytes, signature: str) -> bool:
    """Whether ``sign`` gave this signature to this content, here."""
    return hmac.compare_digest(sign(content), signature)


def check_owner(path: Path) -> None:
    """Raises InputError where somebody else owns the file or may write to it, or it is a link."""
    status = path.lstat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise InputError(f"{path}: neither a file nor a folder; engines are not opened through links")
    if not hasattr(os, "getuid"):  # Windows: the user's folder is the user's
        return
    if status.st_uid != os.getuid():
        raise InputError(f"{path}: belongs to another user; only engines that you have built are opened")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(f"{path}: others may write to it; take that right from them (chmod go-w)")


def _key() -> bytes:
    path = folder() / "key"
    try:
        if not path.exists():
            _make(path)
        check_owner(path)
        key = path.read_bytes()
    except OSError as error:
        raise OutputError(
            f"cannot keep the key of your engines in {path.parent}: {error.strerror}; set VIDPIPE_CACHE"
        ) from error
    if len(key) != KEY_BYTES:
        raise InputError(f"{path}: not a key of {KEY_BYTES} bytes; delete it, engines are then built anew")
    return key


def _make(path: Path) -> None:
    """Written whole under another name, then linked: the first one wins, and nobody reads half a key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"key.{secrets.token_hex(8)}.part")
    try:
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123
            file.write(secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            path.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)
