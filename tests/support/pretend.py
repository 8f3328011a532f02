"""A GPU that only pretends: its tensors hold CPU memory and keep a GPU's manners.

They lie on the device ``PRETENDED``, refuse to meet tensors of the host (but scalars, as CUDA's do), have no
``numpy()``, and every copy to the host is counted. What runs here runs on a GPU but for what is CUDA's own:
kernels, streams, memory. A CUDA graph (``pipeline.cuda.captured``) is one launch of what must not wait for
the host. The device's name is ``meta`` because PyTorch lets that be made anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from pipeline import cuda
from pipeline.types import Frame

T = TypeVar("T")

PRETENDED = torch.device("meta")
_CPU = torch.device("cpu")
_here = threading.local()
"""``device``: the one that this thread is on"""
_ASKING = ("aten::_local_scalar_dense", "aten::_linalg_check_errors")
"""Within, the host waits for a number."""
_VIEWS_OF_NOTHING = ("aten::view", "aten::detach", "aten::alias", "aten::_unsafe_view", "aten::unsqueeze")


@dataclass(slots=True)
class Counted:
    """What the device did."""

    to_host: list[int] = field(default_factory=list)
    """Bytes of each copy to the host; a number that was asked for (``bool(x)``) has its own few."""
    to_device: list[int] = field(default_factory=list)
    launches: int = 0
    """Operations that a GPU would launch a kernel for, at least one each."""


class PretendedTensor(Tensor):
    """Holds a tensor of the host."""

    inner: Tensor  # type: ignore[assignment]  # nobody takes an inner product of it

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendedTensor:
        made: PretendedTensor = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=PRETENDED,
        )
        made.inner = inner
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> Any:  # type: ignore[override]  # torch types it otherwise
        return f"pretended({self.inner})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares none of its kind
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func.name()} on a pretended device that has been left")


class _Device(TorchDispatchMode):
    def __init__(self, counted: Counted) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counted = counted
        self._in_graph = ""

    def captured(self, call: Callable[[], T], name: str) -> Callable[[], T]:
        """``call`` as a graph: it launches once, may not wait for the host or copy, and fills the tensors of
        its first answer again and again."""

        def run() -> T:
            before, self._in_graph = self._counted.launches, name
            try:
                return call()
            finally:
                self._counted.launches, self._in_graph = before + 1, ""

        answer = run()

        def replay() -> T:
            for kept, new in zip(tree_leaves(answer), tree_leaves(run()), strict=True):
                kept.inner.copy_(new.inner)
            return answer

        return replay

    def _crossed(self, copies: list[int], nbytes: int) -> None:
        if self._in_graph:
            raise RuntimeError(f"{self._in_graph}: a graph copies nothing from or to the host")
        copies.append(nbytes)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().partition(".")[0]
        leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [x for x in leaves if isinstance(x, PretendedTensor)]
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        self._check(name, leaves, there, args)
        args, kwargs = tree_map(_inner, (args, kwargs))
        out = func(*args, **kwargs)
        on_device = asked == PRETENDED if asked is not None else bool(there)
        if name == "aten::_to_copy" and asked is not None and on_device != bool(there):
            self._crossed(self._counted.to_host if there else self._counted.to_device, out.nbytes)
        elif name in _ASKING and there:
            self._crossed(self._counted.to_host, there[0].inner.element_size())
        elif on_device and not func.is_view and name not in _VIEWS_OF_NOTHING:
            self._counted.launches += 1
        if not on_device:
            return out
        known = {id(x.inner): x for x in there}  # of operations that change one of their arguments

        def wrapped(x: Any) -> Any:
            return known[id(x)] if id(x) in known else PretendedTensor(x)

        return tree_map(lambda x: wrapped(x) if isinstance(x, Tensor) else x, out)

    def _check(self, name: str, leaves: list[Tensor], there: list[PretendedTensor], args: Any) -> None:
        if any(x.is_meta and not isinstance(x, PretendedTensor) for x in leaves):
            raise RuntimeError(f"{name}: a list as index has gone past this mode; use a tensor or a slice")
        here = [x for x in leaves if not isinstance(x, PretendedTensor) and x.dim()]
        if not there or not here:
            return
        if name == "aten::copy_":
            counted = self._counted
            copies = counted.to_device if isinstance(args[0], PretendedTensor) else counted.to_host
            self._crossed(copies, args[1].nbytes)
            return
        if name == "aten::index" and isinstance(args[0], PretendedTensor):  # PyTorch sends the indices
            for x in here:
                self._crossed(self._counted.to_device, x.nbytes)
            return
        raise RuntimeError(f"{name}: tensors on two devices, {PRETENDED} and cpu")


def _inner(x: Any) -> Any:
    if isinstance(x, PretendedTensor):
        return x.inner
    return _CPU if isinstance(x, torch.device) and x == PRETENDED else x


@contextmanager
def pretended_device() -> Iterator[Counted]:
    """Within, ``x.to(PRETENDED)`` and ``torch.zeros(..., device=PRETENDED)`` work, in this thread."""
    counted = Counted()
    before = getattr(_here, "device", None)
    _here.device = device = _Device(counted)
    try:
        with device:
            yield counted
    finally:
        _here.device = before


def _captured(call: Callable[[], T], device: torch.device, name: str) -> Callable[[], T]:
    if device != PRETENDED:
        return _really_captured(call, device, name)
    pretended: _Device = _here.device
    return pretended.captured(call, name)


_really_captured = cuda.captured
cuda.captured = _captured  # for good: by its device it is told which one is meant


def sent(frame: Frame) -> Frame:
    """The frame on the pretended device, uncounted."""
    return replace(frame, planes=tuple(PretendedTensor(plane) for plane in frame.planes))
