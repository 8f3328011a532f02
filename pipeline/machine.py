"""How much memory this process may have, for what asks for more before it is allocated."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from pipeline.errors import MissingError

_GIB = 1 << 30
_LEAST_ADDRESSES = 2 * _GIB
"""Below, libraries of a run crash or hang while they start."""
_LEAST_ROOM = 1 << 28
"""Of addresses, for an encoder and its threads."""
_asked: ContextVar[int | None] = ContextVar("_asked", default=None)
_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Limits of a container, in both versions of control groups."""


def memory_bytes() -> int | None:
    """The least of the machine's memory, the container's and the process's limit; None if nobody tells."""
    return min(_limits(), default=None)


class OverLimitError(MissingError):
    """More memory would be taken than ``at_most`` allows."""


@contextlib.contextmanager
def at_most(limit_bytes: int | None) -> Iterator[None]:
    """Until it ends, ``require`` refuses what takes more; None: what the machine has."""
    token = _asked.set(limit_bytes)
    try:
        yield
    finally:
        _asked.reset(token)


def require(needed_bytes: int, what: str) -> None:
    """Raises MissingError, with the figures, where ``what`` takes more memory than there is, and
    OverLimitError where it takes more than ``at_most`` allows."""
    asked = _asked.get()
    if asked is not None and needed_bytes > asked:
        raise OverLimitError(
            f"{what} takes about {needed_bytes / _GIB:.1f} GiB of memory, more than the limit of "
            f"{asked / _GIB:.1f} GiB"
        )
    there = memory_bytes()
    if there is not None and needed_bytes > there:
        raise MissingError(
            f"{what} takes about {needed_bytes / _GIB:.1f} GiB of memory, and there are "
            f"{there / _GIB:.1f} GiB; use a machine with more, or a smaller picture"
        )


def require_room(what: str) -> None:
    """Raises MissingError where the process's limit of addresses (``ulimit -v``) is nearly reached, or is so
    low that libraries would crash while they start: they report neither as a want of memory."""
    limit = _address_limit()
    if limit is None:
        return
    with contextlib.suppress(OSError, ValueError):  # Linux alone tells
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        taken = pages * os.sysconf("SC_PAGE_SIZE")
        if limit < _LEAST_ADDRESSES or limit - taken < _LEAST_ROOM:
            raise MissingError(
                f"{what}: the process may have {limit / _GIB:.1f} GiB of addresses (ulimit -v) and has taken "
                f"{taken / _GIB:.1f}; raise the limit: a run takes about 2.5"
            )


def _address_limit() -> int | None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  not on Windows

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        return None if soft == resource.RLIM_INFINITY else soft
    return None


def _limits() -> Iterator[int]:
    with contextlib.suppress(ValueError, OSError, AttributeError):  # Windows has no sysconf
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for group in _GROUPS:
        with contextlib.suppress(ValueError, OSError):  # "max" is no number
            yield int(Path(group).read_text(encoding="ascii"))
    if (addresses := _address_limit()) is not None:
        yield addresses
