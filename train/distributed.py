"""Several processes that train one network (torchrun): each draws its own batch, gradients are averaged.

Gradients are averaged by hand, in one buffer, because a step calls parts of a network and not its
``forward``, which is all that DistributedDataParallel sees. All ranks begin with the same weights and take
the same steps, so they stay the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Workers:
    """This process among all. One alone needs no torchrun."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def average(self, net: nn.Module) -> None:
        """Gradients become their means over all processes; one that a process lacks counts as 0."""
        if self.size == 1:
            return
        parameters = [p for p in net.parameters() if p.requires_grad]
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether ``flag`` is set in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)


@contextmanager
def join(device: torch.device) -> Iterator[tuple[Workers, torch.device]]:
    """The processes that torchrun started, and this one's device: NCCL and a GPU each, or gloo on CPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Workers(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(dist.get_rank(), size), device
    finally:
        dist.destroy_process_group()
