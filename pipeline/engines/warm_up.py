"""The first call of a library's Python bindings runs alone.

What the bindings of OpenVINO prepare on their first call (pybind11's view of NumPy, tables of dtypes) lies in
C++ statics whose making runs Python: a thread that makes one and has to wait for the interpreter's lock, and
one that holds the lock and waits for the static, wait for each other for ever. Of 12 processes whose first
three calls began together 10 hung.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_made: set[str] = set()


@contextmanager
def alone_at_first(way: str) -> Iterator[None]:
    """Around calls that come from several threads: until one by this ``way`` has ended well, they run one at
    a time, whichever object they are calls of."""
    if way in _made:
        yield
        return
    with _lock:
        yield
        _made.add(way)
