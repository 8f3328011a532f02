"""What OpenVINO has compiled in this process, and how it places its threads.

Compiling takes longer than a short clip does, and the next run of a batch asks for the same networks.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

UNPINNED = {"ENABLE_CPU_PINNING": False}
"""For each network: else OpenVINO ties a thread that calls it to one core. Threads that this one starts
meanwhile, an encoder's, stay there, and networks of several processes share that core."""

_KEPT = 12
"""The last ones that were asked for; a run asks for up to eight."""


@dataclass(slots=True)
class _Entry:
    model: ov.CompiledModel
    users: int = 0


_entries: OrderedDict[Hashable, _Entry] = OrderedDict()
_lock = threading.RLock()  # a user may be collected, and let go, while this thread compiles


def compiled(user: object, key: Hashable, make: Callable[[], ov.CompiledModel]) -> ov.CompiledModel:
    """What an earlier call with an equal ``key`` has made, else what ``make`` makes.

    It is in use until ``user`` is gone; without users it keeps its weights and gives its activations back,
    which are most of the memory.
    """
    with _lock:
        entry = _entries.get(key) or _Entry(make())
        entry.users += 1
        _entries[key] = entry
        _entries.move_to_end(key)
        if len(_entries) > _KEPT:
            _entries.popitem(last=False)
    weakref.finalize(user, _let_go, entry).atexit = False
    return entry.model


def _let_go(entry: _Entry) -> None:
    with _lock:
        entry.users -= 1
        if not entry.users:
            with contextlib.suppress(AttributeError, RuntimeError):  # older releases cannot
                entry.model.release_memory()
