"""A TensorRT engine as a file: what it is, for whom, signed; then PyTorch's reference; then the plan.

``MAGIC``, 8 bytes of the header's length (little-endian), the header in JSON, the parts one after the other.
Everything that the header says is checked before the library sees a byte of the plan.

To deserialise a TensorRT engine is to run what it says. So what is built is signed with a key that lies in
the user's cache, and nothing is opened whose owner is somebody else or whose signature is not of this key.
Engines that are built on one machine for another travel with the whole cache folder, key included.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.engines import EngineSpec
from pipeline.engines.spec import from_json, to_json
from pipeline.errors import InputError, OutputError

MAGIC = b"vidpipe engine 1\n"
MAX_HEADER_BYTES = 1 << 20
KEY_BYTES = 32
AGAIN = "build it anew with vidpipe export"

TrtLibrary = Literal["tensorrt", "tensorrt_rtx"]


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an engine file."""

    spec: EngineSpec
    library: TrtLibrary
    library_version: str
    """The engine loads under this version only, unless ``version_compatible``."""
    version_compatible: bool
    """Loads under later versions of the same major version, too."""
    capabilities: tuple[str, ...]
    """Compute capabilities of the GPUs that it is for, e.g. 8.9"""
    newer_gpus: bool
    """Loads on GPUs of higher capability, too (``--hardware-compatible ampere+``)."""
    platform: str
    """``linux x86_64``"""
    batch_opt: int
    """The batch that it is tuned for, between ``spec.batch_min`` and ``spec.batch_max``."""


def write(file: Any, header: Header, parts: Mapping[str, bytes]) -> None:
    """Writes an engine file, signed by this user, to an open binary file."""
    places, offset = {}, 0
    for name, content in parts.items():
        places[name] = [offset, len(content), hashlib.sha256(content).hexdigest()]
        offset += len(content)
    said = asdict(header) | {"spec": to_json(header.spec), "parts": places}
    said["signature"] = sign(canonical_bytes(said))
    text = json.dumps(said, sort_keys=True).encode()
    file.write(MAGIC + len(text).to_bytes(8, "little") + text)
    for content in parts.values():
        file.write(content)


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine file whose header has been read; the parts wait."""

    path: Path
    header: Header
    signature: str
    _parts: Mapping[str, tuple[int, int, str]]
    _start: int

    def part(self, name: str) -> bytes:
        """``plan`` or ``reference``. Raises InputError where it is not what was written."""
        if name not in self._parts:
            raise InputError(f"{self.path}: has no part {name!r}; {AGAIN}")
        offset, size, digest = self._parts[name]
        with self.path.open("rb") as file:
            file.seek(self._start + offset)
            content = file.read(size)
        if hashlib.sha256(content).hexdigest() != digest:
            raise InputError(f"{self.path}: its {name} is corrupted (SHA-256 differs); {AGAIN}")
        return content


def read(path: Path) -> EngineFile:
    """Reads and checks the header. Raises InputError for a file that is none, is cut off, was made by another
    format, another user or another cache, or says what cannot be."""
    try:
        check_owner(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(MAGIC) + 8)
            length = int.from_bytes(start[len(MAGIC) :], "little")
            if not start.startswith(MAGIC) or len(start) < len(MAGIC) + 8 or length > MAX_HEADER_BYTES:
                raise InputError(f"{path}: not an engine file of this version of vidpipe; {AGAIN}")
            text = file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) < length:
        raise InputError(f"{path}: cut off in its header ({size} bytes); {AGAIN}")
    said = _said(text, path)
    signature = said.pop("signature", "")
    if not isinstance(signature, str) or not is_signed(canonical_bytes(said), signature):
        raise InputError(
            f"{path}: not built by you with this cache, or changed since; an engine is a program, so it is "
            f"not opened; {AGAIN}"
        )
    opened = _opened(said, path, signature, len(MAGIC) + 8 + length)
    wanted = opened._start + sum(length for _, length, _ in opened._parts.values())
    if size != wanted:
        raise InputError(f"{path}: has {size} bytes, its header says {wanted}: cut off or extended; {AGAIN}")
    return opened


def _said(text: bytes, path: Path) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: its header is corrupted ({error}); {AGAIN}") from error
    if not isinstance(said, dict):
        raise InputError(f"{path}: its header is corrupted (no object); {AGAIN}")
    return said


def _opened(said: dict[str, Any], path: Path, signature: str, start: int) -> EngineFile:
    """After the signature has been checked: what stands here was written by ``write``, maybe an older one."""
    try:
        parts = {name: (int(o), int(n), str(digest)) for name, (o, n, digest) in said.pop("parts").items()}
        spec = from_json(said.pop("spec"), path)
        capabilities = tuple(said.pop("capabilities"))
        header = Header(spec=spec, capabilities=capabilities, **said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: made by another version of vidpipe ({error}); {AGAIN}") from error
    return EngineFile(path, header, signature, parts, start)


def canonical_bytes(said: dict[str, Any]) -> bytes:
    """A header without its signature as the bytes that are signed."""
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def machine() -> str:
    """``linux x86_64``: plans are for one operating system and processor."""
    return f"{platform.system().lower()} {platform.machine().lower()}"


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
            _make_key(path)
        check_owner(path)
        key = path.read_bytes()
    except OSError as error:
        raise OutputError(
            f"cannot keep the key of your engines in {path.parent}: {error.strerror}; set VIDPIPE_CACHE"
        ) from error
    if len(key) != KEY_BYTES:
        raise InputError(f"{path}: not a key of {KEY_BYTES} bytes; delete it, engines are then built anew")
    return key


def _make_key(path: Path) -> None:
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
