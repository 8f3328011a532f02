"""The names of a run's files, checked against each other and what stands there, before anything is read.

``out.mp4`` brings ``out.mp4.json``; where the release check fails, ``out.mp4.gate.json`` instead; a preview
of it writes ``out.preview.png`` and ``out.preview.json``. Imports nothing heavy, so that a wrong name is told
of at once.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import InputError, OutputError
from pipeline.files import check_source

PER_PAGE = 12
"""People on a page of a preview."""
_REPORT = re.compile(rb'\s*\{\s*"schema_version":\s*\d+,\s*"notice":\s*"')
"""How every report of ours begins."""
_AGAIN = "choose another --output or add --overwrite (-y; in Python overwrite=True)"


def default_output(source: Path, mode: str) -> Path:
    """``film.mp4`` -> ``film.reconstruct.mp4``, beside it; MXF becomes MOV.

    Raises InputError for a name of no file.
    """
    if not source.name:
        raise InputError(f"{source} is a folder; name a video file in it")
    suffix = ".mov" if source.suffix.lower() == ".mxf" else source.suffix
    return source.with_name(f"{source.stem}.{mode}{suffix}")


def sidecar(target: Path) -> Path:
    """``out.mp4`` -> ``out.mp4.json``"""
    return target.with_name(f"{target.name}.json")


def gate_report(target: Path) -> Path:
    """``out.mp4`` -> ``out.mp4.gate.json``"""
    return target.with_name(f"{target.name}.gate.json")


def pages(people: int) -> int:
    """Pages of a preview for so many people, one at least."""
    return max(-(-people // PER_PAGE), 1)


def sheets(target: Path, pages: int) -> tuple[Path, ...]:
    """``out.mp4`` -> ``out.preview.png``, of several pages ``out.preview-01.png`` and so on."""
    marks = [""] if pages == 1 else [f"-{page:02}" for page in range(1, pages + 1)]
    return tuple(target.with_name(f"{target.stem}.preview{mark}.png") for mark in marks)


def earlier_sheets(target: Path) -> list[Path]:
    """Pages that the preview has written whose report lies there."""
    report = preview_report(target)
    if not is_report(report):
        return []
    try:
        people = len(json.loads(report.read_bytes())["people"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [path for path in sheets(target, pages(people)) if path.is_file()]


def preview_report(target: Path) -> Path:
    """``out.mp4`` -> ``out.preview.json``"""
    return target.with_name(f"{target.stem}.preview.json")


def check_run(source: Path, target: Path, *, overwrite: bool, covers: bool) -> None:
    """The names of a run; one that ``covers`` faces may leave a gate report.

    Raises InputError for a source that cannot be read, OutputError for a name that cannot be written, is the
    source's, or belongs to a file that stands there and is not to be replaced.
    """
    check_source(source)
    _check_target(target)
    reports = [sidecar(target), *([gate_report(target)] if covers else [])]
    _check_files(source, [target, *reports])
    if not overwrite:
        for path in (target, sidecar(target)):
            if os.path.lexists(path):
                raise OutputError(f"{path} exists; {_AGAIN}")
    for path in reports:
        if os.path.lexists(path) and not is_report(path):
            raise OutputError(f"{path} is no report of vidpipe; move it away, or choose another --output")


def check_preview(source: Path, target: Path, *, overwrite: bool) -> None:
    """The names of a preview. Raises as ``check_run``."""
    check_source(source)
    _check_target(target)
    files = [*sheets(target, 1), preview_report(target)]
    _check_files(source, files)
    report = preview_report(target)
    if os.path.lexists(report) and not is_report(report):
        raise OutputError(f"{report} is no report of vidpipe; move it away, or choose another --output")
    for path in dict.fromkeys([*files, *earlier_sheets(target)]):
        if os.path.lexists(path) and not overwrite:
            raise OutputError(f"{path} exists; {_AGAIN}")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"{path} cannot be written there; choose another --output")


def is_report(path: Path) -> bool:
    """Whether a file is a report that a run or a preview of ours has written."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            return _REPORT.match(file.read(256)) is not None
    except OSError:
        return False


def _check_target(target: Path) -> None:
    """Raises OutputError for a name under which nothing can be written."""
    folder = target.parent
    try:
        if not target.name or target.is_dir():
            raise OutputError(f"{target} is a folder; name a file in it")
        if not folder.is_dir():
            raise OutputError(f"folder {folder} does not exist; create it or write elsewhere")
        if os.path.lexists(target) and not target.is_symlink() and not target.is_file():
            raise OutputError(f"{target} exists and is no file; choose another --output")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _too_long(target) from error
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error


def _too_long(path: Path) -> OutputError:
    return OutputError(f"the name {path.name[:40]}... is too long for the file system; shorten it")


def _longest(folder: Path) -> int:
    """Bytes of the longest name there."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, AttributeError, ValueError):
        return 255


def _check_files(source: Path, written: Sequence[Path]) -> None:
    """Raises OutputError where two names are one file, or one is a folder."""
    longest = _longest(written[0].parent)
    for path in written:
        if len(os.fsencode(path.name)) > longest:
            raise _too_long(path)
    for path, other in _pairs(source, written):
        if _same(path, other):
            what = (
                "the input itself"
                if other == source
                else f"also the name of another file of the run, {other}"
            )
            raise OutputError(f"output {path} is {what}; choose another name")
    for path in written[1:]:
        if path.is_dir():
            raise OutputError(f"{path} is a folder, and a report would stand there; choose another --output")


def _pairs(source: Path, written: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    for i, path in enumerate(written):
        yield path, source
        yield from ((path, other) for other in written[:i])


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there
        return os.path.abspath(path) == os.path.abspath(other)  # noqa: PTH100  does not follow links
