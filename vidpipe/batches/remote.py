"""Files of object stores, through fsspec: ``s3://bucket/a.mp4`` with s3fs installed, and all others that it
knows.

Credentials are fsspec's: its environment variables and configuration files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import InputError, MissingError, OutputError


def videos(url: str, suffixes: Collection[str]) -> list[str]:
    """The URL itself where it is a file, else the videos below it in the order of their names. Raises
    InputError."""
    system, path = _opened(url)
    with _reading(url):
        if system.isfile(path):
            return [url]
        found = [
            str(system.unstrip_protocol(name))
            for name in sorted(system.find(path))
            if PurePosixPath(name).suffix.lower() in suffixes and not PurePosixPath(name).name.startswith(".")
        ]
    if not found:
        raise InputError(f"{url}: there is no such file, and no video below it")
    return found


def version(url: str) -> str:
    """What tells this content of a file from another: the store's tag, else size and time. Raises
    InputError."""
    system, path = _opened(url)
    with _reading(url):
        about = system.info(path)
    tag = about.get("ETag") or about.get("etag") or about.get("md5Hash")
    when = about.get("LastModified") or about.get("mtime") or about.get("created")
    return f"{tag or when}:{about.get('size')}"


def download(url: str, target: Path) -> None:
    """Raises InputError."""
    system, path = _opened(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _reading(url):
        system.get_file(path, str(target))


def upload(source: Path, url: str) -> None:
    """A store shows a file when it is whole. Raises OutputError."""
    system, path = _opened(url)
    try:
        if not url.startswith("s3"):
            with contextlib.suppress(Exception):  # stores without folders
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(str(source), path)
    except Exception as error:  # each store has errors of its own
        raise OutputError(f"{url} cannot be written: {_line(error)}") from error


def _opened(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingError(f"{url}: fsspec is not installed; pip install 'vidpipe[remote]'") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingError(f"{url}: {_line(error)}") from error
    except Exception as error:
        raise InputError(f"{url} cannot be opened: {_line(error)}") from error
    return system, str(path)


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each store has errors of its own
        raise InputError(f"{url} cannot be read: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
