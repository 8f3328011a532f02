"""The user's cache keeps exported engines under the hash of what they were made from.

An entry is a folder with the engine's files and ``report.json``, signed by the user's key. It is put in
place by one renaming, so that it is always whole. It is opened only if its owner is this user, its report is
signed and its files have the hashes that the report names; anything else counts as missing and is logged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nets.digest import sha256
from pipeline.engines.engine_file import check_owner, folder, is_signed, sign
from pipeline.engines.parity import Parity
from pipeline.errors import InputError, OutputError, VidpipeError
from pipeline.notes import warned

log = logging.getLogger(__name__)

REPORT = "report.json"
PART = ".part-"
"""Prefix of an entry that is not complete yet."""
FORGOTTEN_S = 24 * 3600
"""Age, s, from which an incomplete entry belongs to no process any more."""
SLOT = ("network", "target", "precision", "size_px", "window", "batch", "device", "options")
"""Parts of an identity that a user asks for. Of two entries that agree in these only one can be current."""


class Report(BaseModel):
    """What an export is, how it was made and how it compares with PyTorch; written beside the engine."""

    model_config = ConfigDict(extra="forbid")

    net: str
    checkpoint: str
    """A shipped network's name or the path that was exported."""
    target: str
    precision: str
    batch: str
    size_px: int
    window: int
    core: int
    identity: dict[str, str]
    """What it was made from: the cache's key is the hash of this."""
    files: dict[str, str]
    """Name -> SHA-256; the first one is what an engine opens."""
    size_bytes: int
    made_at: str
    """UTC"""
    build_s: float
    """Wall clock, parity left out."""
    crops: str
    """The pictures that parity was measured on."""
    parity: list[Parity]
    """Every library that could run the file here; for TensorRT the graph that the engine was built from."""
    not_run: str = ""
    """Why the engine itself could not be run here. It is then measured when it is first opened."""
    signature: str = ""
    """Of all the above, by the user's key (``pipeline.engines.engine_file``)."""

    @property
    def version(self) -> str:
        """Of the weights; empty for an entry that was made before exports named it."""
        return self.identity.get("version", "")

    def signed_content(self) -> bytes:
        """What the signature is over."""
        return self.model_dump_json(exclude={"signature"}).encode()


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine in the cache that may be opened."""

    folder: Path
    report: Report

    @property
    def file(self) -> Path:
        """What an engine opens."""
        return self.folder / next(iter(self.report.files))


def key_of(identity: dict[str, str]) -> str:
    """Hash of an identity, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def place(identity: dict[str, str]) -> Path:
    """The folder of the entry of an identity, whether it exists or not."""
    name = "-".join((Path(identity["network"]).stem, identity["target"], identity["precision"]))
    return _root() / f"{name}-{key_of(identity)}"


def find(identity: dict[str, str]) -> Entry | None:
    """The entry of an identity, or None. Logs why an entry in its place cannot be used."""
    wanted = place(identity)
    if wanted.exists():
        try:
            return _opened(wanted)
        except VidpipeError as error:
            warned(log, "%s; it is made anew", error)
            return None
    for entry in entries():
        if isinstance(entry, Entry) and _slot(entry.report.identity) == _slot(identity):
            warned(log, "%s is outdated (%s); it is made anew", entry.file, _changed(entry, identity))
            break
    return None


def store(identity: dict[str, str], fill: Callable[[Path], Report]) -> Entry:
    """Puts an entry into the cache: ``fill`` writes its files into the folder that it is given and reports
    them.

    Whatever ``fill`` raises, Ctrl-C included, leaves nothing behind. Raises OutputError for a cache that
    cannot be written.
    """
    target = place(identity)
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=PART))
        report = fill(part)
        report = report.model_copy(update={"signature": sign(report.signed_content())})
        (part / REPORT).write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        for path in part.iterdir():
            path.chmod(0o600)
        _put(part, target)
    except OSError as error:
        raise OutputError(
            f"cannot write the export to {target.parent}: {error.strerror or error}; free some space or set "
            "VIDPIPE_CACHE to another folder"
        ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return Entry(target, report)


def entries() -> Iterator[Entry | tuple[Path, str]]:
    """Everything in the cache by name: entries, and the paths that are no usable entry with the reason."""
    root = _root()
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        if path.name.startswith(PART):
            continue
        try:
            yield _opened(path)
        except VidpipeError as error:
            yield path, str(error)


def outdated(entry: Entry, identity: dict[str, str] | None) -> str:
    """Why the entry is not current: it differs from ``identity``, what an export would make now (None where
    its checkpoint is gone). Empty if it is current."""
    if identity is None:
        return "its weights are not here any more"
    return "" if entry.report.identity == identity else _changed(entry, identity)


def remove(path: Path) -> int:
    """Deletes an entry; returns its bytes. Raises OutputError."""
    try:
        size = (
            sum(file.lstat().st_size for file in path.rglob("*")) if path.is_dir() else path.lstat().st_size
        )
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise OutputError(f"cannot delete {path}: {error.strerror}") from error
    return size


def forgotten() -> list[Path]:
    """Incomplete entries that killed processes have left, older than FORGOTTEN_S."""
    root, now = _root(), time.time()
    parts = root.glob(f"{PART}*") if root.is_dir() else ()
    return [path for path in parts if now - path.lstat().st_mtime > FORGOTTEN_S]


def check_space(needed_bytes: int) -> None:
    """Raises OutputError where the cache's disk has less room than that."""
    root = _root()
    while not root.exists():
        root = root.parent
    free = shutil.disk_usage(root).free
    if free < needed_bytes:
        raise OutputError(
            f"{root}: {free >> 20} MiB free, the export needs about {needed_bytes >> 20}; free some space or "
            "set VIDPIPE_CACHE to another folder"
        )


def _root() -> Path:
    return folder() / "engines"


def _opened(path: Path) -> Entry:
    """The entry at a path. Raises InputError for one that may not be opened."""
    check_owner(path)
    report_file = path / REPORT
    try:
        check_owner(report_file)
        report = Report.model_validate_json(report_file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: no entry of this version of vidpipe ({reason})") from error
    if not is_signed(report.signed_content(), report.signature):
        raise InputError(f"{path}: not made by you with this cache, or changed since")
    for name, digest in report.files.items():
        file = path / name
        if not file.is_file():
            raise InputError(f"{file}: is missing")
        check_owner(file)
        if sha256(file) != digest:
            raise InputError(f"{file}: corrupted (SHA-256 differs from its report's)")
    return Entry(path, report)


def _put(part: Path, target: Path) -> None:
    """Of two processes that made the same entry the later one wins; a reader of the earlier one keeps its
    open files."""
    if target.exists():
        old = Path(tempfile.mkdtemp(dir=target.parent, prefix=PART))
        target.rename(old / "old")
        shutil.rmtree(old, ignore_errors=True)
    part.rename(target)


def _slot(identity: dict[str, str]) -> list[str | None]:
    return [identity.get(name) for name in SLOT]


def _changed(entry: Entry, identity: dict[str, str]) -> str:
    """``torch 2.12.0, now 2.13.0``"""
    before = entry.report.identity
    names = [name for name in sorted({*before, *identity}) if before.get(name) != identity.get(name)]
    return ", ".join(f"{n} {_short(before.get(n))}, now {_short(identity.get(n))}" for n in names)


def _short(value: str | None) -> str:
    return "none" if value is None else value[:12] if len(value) == 64 else value
