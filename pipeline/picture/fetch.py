"""What the host asks a device for: several things in one copy, for which the device is waited for once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

PixelBox = tuple[int, int, int, int]


class Fetch:
    """Collects what is wanted of a device, then brings it."""

    def __init__(self) -> None:
        self._wanted: list[tuple[Tensor, Callable[[NDArray[Any]], object]]] = []

    def want(self, x: Tensor, then: Callable[[NDArray[Any]], object]) -> None:
        """``then`` gets ``x`` as an array of the host."""
        self._wanted.append((x, then))

    def now(self) -> None:
        """Brings all that is wanted."""
        wanted, self._wanted = self._wanted, []
        if not wanted:
            return
        wanted.sort(key=lambda item: -item[0].element_size())  # so that numbers of several bytes are aligned
        raw = [x.contiguous().flatten().view(torch.uint8) for x, _ in wanted]
        host = (torch.cat(raw) if len(raw) > 1 else raw[0]).cpu().numpy()
        start = 0
        for x, then in wanted:
            end = start + x.numel() * x.element_size()
            kind = torch.empty(0, dtype=x.dtype).numpy().dtype
            then(host[start:end].view(kind).reshape(tuple(x.shape)))
            start = end


def covering(boxes: list[PixelBox]) -> list[PixelBox]:
    """Boxes that cover all of ``boxes``; two become one where that has no more px than both."""
    left = [b for b in boxes if b[0] < b[2] and b[1] < b[3]]
    done: list[PixelBox] = []
    while left:
        box = left.pop()
        for other in done:
            x0, y0 = min(box[0], other[0]), min(box[1], other[1])
            hull = (x0, y0, max(box[2], other[2]), max(box[3], other[3]))
            if _area(hull) <= _area(box) + _area(other):
                done.remove(other)
                left.append(hull)
                break
        else:
            done.append(box)
    return done


def holds(box: PixelBox, other: PixelBox) -> bool:
    """Whether all of ``other`` lies in a box."""
    return box[0] <= other[0] and box[1] <= other[1] and other[2] <= box[2] and other[3] <= box[3]


def _area(box: PixelBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
