"""Which files a batch works on, and where each output goes.

Inputs are folders (searched to the bottom), files, glob patterns and manifests. Every output lies below one
folder, which mirrors the folders of the inputs; no two inputs get the same output, also on file systems that
do not tell ``A`` from ``a``.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
import string
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError, UsageError

VIDEO_SUFFIXES = frozenset(
    [
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v"),
        *(".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".rm", ".rmvb"),
        *(".ts", ".vob", ".webm", ".wmv", ".y4m"),
    ]
)
"""Of the files in a folder that are taken; a file that is named is taken whatever its name is."""
MANIFESTS = frozenset({".txt", ".csv", ".jsonl", ".ndjson"})
PATTERN = "{parent}/{stem}.{mode}{suffix}"
_LONGEST_NAME = 220
"""Bytes of an output's name: file systems take 255, and the names beside it are longer (``.gate.json``,
``.part``)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One input and its output."""

    source: str
    """Path as it was found, or a URL; may hold surrogates for bytes that are no UTF-8."""
    target: str
    """Path below the output folder."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An input that gets no output: its name is none, or its output's name is that of another."""

    source: str
    reason: str


def collect(inputs: Sequence[str], out: Path, mode: str, pattern: str = PATTERN) -> Iterator[Item | Refused]:
    """All inputs in order, each once.

    ``pattern`` makes an output's name below ``out`` from ``{parent}`` (folders below the input that was
    named), ``{stem}``, ``{suffix}`` and ``{mode}``. Raises UsageError for a pattern that names anything else,
    and InputError for an input that is not there, a manifest that cannot be read, and where there is none.
    """
    _check_pattern(pattern)
    sources: set[str] = set()
    taken: dict[str, str] = {}
    many, top = len(inputs) > 1, os.path.abspath(out)  # noqa: PTH100  keeps symlinks
    for given in inputs:
        for source, below in _found(given, out, many=many):
            if not _is_name(source):
                shown = source.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
                yield Refused(shown, "no file can have this name")
                sources.add(shown)
                continue
            name = source if is_remote(source) else os.path.abspath(source)  # noqa: PTH100  keeps symlinks
            if name in sources:
                continue
            sources.add(name)
            target = _target(source, below, mode, pattern)
            first = taken.setdefault(_folded(target), name)
            if first is not name:
                yield Refused(name, f"its output {target} is that of {first}, too; see --output-pattern")
                continue
            yield Item(name, f"{top}/{target}")
    if not sources:
        raise InputError(f"{', '.join(inputs)}: no video is there; in a folder its name tells, as .mp4 does")


def _is_name(source: str) -> bool:
    try:
        return b"\0" not in os.fsencode(source)
    except UnicodeEncodeError:  # half of a character, from JSON
        return False


def is_remote(source: str) -> bool:
    """Whether it is the URL of an object store: ``s3://bucket/a.mp4``."""
    scheme, found, _ = source.partition("://")
    return bool(found) and scheme.isalnum() and len(scheme) > 1


def _found(given: str, out: Path, *, many: bool) -> Iterator[tuple[str, str]]:
    """Sources of one input with the folders that their outputs lie in."""
    if is_remote(given):
        yield from _remote(given)
        return
    path = Path(given)
    if path.is_dir():
        if path.resolve() == out.resolve():
            raise InputError(f"{given} is the folder of the outputs; name another one with --output")
        yield from _walk(given, path.resolve().name if many else "", out.resolve(), set())
    elif path.is_file() and path.suffix.lower() in MANIFESTS:
        yield from _manifest(path, out.resolve())
    elif path.exists():
        yield given, ""
    else:
        matches = sorted(glob.glob(given, recursive=True)) if glob.has_magic(given) else []  # noqa: PTH207  strings
        if not matches:
            raise InputError(f"{given}: there is no such file or folder, and no file matches it")
        yield from _matched(given, matches, out.resolve())


def _matched(pattern: str, matches: Sequence[str], out: Path) -> Iterator[tuple[str, str]]:
    """Files that a pattern matches, with the folders below the part of it that is no pattern; those in the
    folder of the outputs are left out."""
    parts = pattern.split("/")
    fixed = "/".join(parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    if Path(fixed or ("/" if pattern.startswith("/") else ".")).resolve().is_relative_to(out):
        raise InputError(f"{pattern} matches in the folder of the outputs; name another one with --output")
    prefix = f"{fixed}/" if fixed or pattern.startswith("/") else ""
    for match in matches:
        if not Path(match).is_dir() and not Path(match).resolve().is_relative_to(out):
            yield match, match.removeprefix(prefix).rpartition("/")[0]


def _walk(folder: str, below: str, out: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    """Videos below a folder in the order of their names. A folder that is met again through a link is left
    out, and so are those that the link lies in and the folder of the outputs."""
    path = Path(folder)
    try:
        status = path.stat()
        if (status.st_dev, status.st_ino) in seen or path.resolve() == out:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    for entry in ordered:
        if entry.is_dir():
            if entry.is_symlink() and path.resolve().is_relative_to(Path(entry.path).resolve()):
                continue
            yield from _walk(entry.path, f"{below}/{entry.name}" if below else entry.name, out, seen)
        elif _is_video(entry.name):  # a link that leads nowhere, too: it is counted, and fails
            yield entry.path, below


def _is_video(name: str) -> bool:
    """By its name. Hidden files are those that are being written."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith(".")  # noqa: PTH122  speed


def _manifest(path: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Paths relative to the manifest's folder, which the outputs mirror; others go to the top."""
    try:
        names = list(_manifest_names(path))
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise InputError(f"the manifest {path} cannot be read: {' '.join(str(error).split())}") from error
    for name in names:
        if is_remote(name):
            yield from _remote(name)
            continue
        source = os.path.join(path.parent, name)  # noqa: PTH118  an absolute one stays as it is
        folders = os.path.dirname(os.path.normpath(name))  # noqa: PTH120
        inside = not os.path.isabs(name) and ".." not in folders.split("/")  # noqa: PTH117
        below = folders if inside else ""
        if _is_name(source) and os.path.isdir(source):  # noqa: PTH112
            last = os.path.basename(os.path.normpath(name))  # noqa: PTH119
            yield from _walk(source, f"{below}/{last}" if below else last, out, set())
        else:
            yield source, below


def _manifest_names(path: Path) -> Iterator[str]:
    """Of a text file its lines (``#`` begins a comment), of CSV and JSON Lines the column or field
    ``path``."""
    with path.open("rb") as head:
        if head.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
            raise ValueError("it is UTF-16; save it as UTF-8")
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if "path" not in (reader.fieldnames or ()):
                raise ValueError("there is no column named path")
            yield from (row["path"] for row in reader if row["path"])
        return
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\n").rstrip("\r")
            if path.suffix.lower() in {".jsonl", ".ndjson"}:
                if not text.strip():
                    continue
                try:
                    row = json.loads(text)
                except ValueError as error:
                    raise ValueError(f"line {number} is no JSON") from error
                if not isinstance(row, dict) or not isinstance(row.get("path"), str):
                    raise ValueError(f"line {number} is no object with a string named path")
                yield row["path"]
            elif text.strip() and not text.startswith("#"):
                yield text


def _remote(url: str) -> Iterator[tuple[str, str]]:
    """A file of an object store, or the videos below a folder of one."""
    from vidpipe.batches import remote

    root = url.rstrip("/")
    for name in remote.videos(url, VIDEO_SUFFIXES):
        yield name, name[len(root) :].rpartition("/")[0].strip("/") if name != url else ""


def _check_pattern(pattern: str) -> None:
    known = {"parent", "stem", "suffix", "mode"}
    try:
        parts = [part for part in string.Formatter().parse(pattern) if part[1] is not None]
    except ValueError as error:
        raise UsageError(f"--output-pattern {pattern!r}: {error}") from error
    fields = {str(name) for _, name, _, _ in parts}
    if any(form or conversion for _, _, form, conversion in parts):
        raise UsageError(f"--output-pattern {pattern!r}: names stand alone in their braces, as in {{stem}}")
    if unknown := fields - known:
        wanted = ", ".join("{" + name + "}" for name in sorted(known))
        raise UsageError(f"--output-pattern {pattern!r} names {{{unknown.pop()}}}; there are {wanted}")
    if ".." in pattern.split("/"):
        raise UsageError(f"--output-pattern {pattern!r} leads out of the output folder")
    ends = os.path.splitext(pattern)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122
    if not ends and not pattern.endswith("{suffix}"):
        raise UsageError(f"--output-pattern {pattern!r} does not end as a video does; use {{stem}}{{suffix}}")
    if "stem" not in fields:
        raise UsageError(f"--output-pattern {pattern!r} gives all files one name; it needs {{stem}}")


def _target(source: str, below: str, mode: str, pattern: str) -> str:
    """A relative path that leads nowhere but down, whatever the names say."""
    stem, suffix = os.path.splitext(source.rpartition("/")[2])  # noqa: PTH122  speed
    made = pattern.format(parent=below, stem=stem, suffix=suffix, mode=mode)
    *folders, last = [part for part in made.split("/") if part not in {"", ".", ".."}] or ["output"]
    return "/".join([*folders, _shortened(last)])


def _shortened(name: str) -> str:
    """A name that leaves room for those beside it; what is cut off is told apart by a hash."""
    if len(name) <= _LONGEST_NAME // 4:
        return name
    data = os.fsencode(name)
    if len(data) <= _LONGEST_NAME:
        return name
    mark, suffix = hashlib.sha256(data).hexdigest()[:8], "".join(Path(name).suffixes[-2:])[-40:]
    room = _LONGEST_NAME - len(os.fsencode(suffix)) - len(mark) - 1
    return f"{data[:room].decode('utf-8', 'ignore')}-{mark}{suffix}"


def _folded(target: str) -> str:
    """Equal for names that some file systems do not tell apart."""
    return target.lower() if target.isascii() else unicodedata.normalize("NFC", target).casefold()
