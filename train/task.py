"""What the training loop asks of a task, and what a task answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from train.data.pictures import Sources
from train.distributed import Workers
from train.metrics import gain_db
from train.recipe import Recipe
from train.state import State

Batch = TypeVar("Batch")


class Comparison(Protocol):
    """What came of a batch."""

    @property
    def losses(self) -> Mapping[str, Tensor]:
        """Weighted scalars by name; their sum is lowered."""

    def measures(self) -> dict[str, float]:
        """Further numbers for the log."""

    def pictures(self) -> Sequence[Tensor]:
        """Columns of the sample sheet, (M, 3, S, S) each."""


class Task(Protocol[Batch]):
    """A network to train: what it sees and what is wanted of it."""

    @property
    def name(self) -> str:
        """Of the weights file, without suffix."""

    @property
    def recipe(self) -> Recipe: ...

    @property
    def sources(self) -> Sources: ...

    @property
    def state(self) -> State: ...

    def draw(self, step: int, rank: int) -> Batch:
        """The batch of a step in one of several processes. Depends on the seed, ``step`` and ``rank``
        alone."""

    def compare(self, batch: Batch, workers: Workers) -> Comparison:
        """Restores the batch and compares it with the truth. A task with an adversary trains that here."""


@dataclass(frozen=True)
class Restored:
    """A comparison of restored pictures with their truth. Pictures are (M, 3, S, S) RGB in [0, 1]."""

    losses: dict[str, Tensor]
    image: Tensor
    """pixelated"""
    base: Tensor
    """what the network starts from: bicubic interpolation, for a nar the fused frames"""
    frames: Tensor
    """restored, with the truth's clean pixels; carries gradients"""
    truth: Tensor
    weight: Tensor
    """(M, 1, S, S), 1 in the mosaic"""
    per_clip: int = 1
    """frames of each clip, one after the other in M"""

    def measures(self) -> dict[str, float]:
        """PSNR of ``base`` in the mosaic, and what the network adds to it, dB."""
        return gain_db(self.frames, self.base, self.truth, self.weight)

    def pictures(self) -> list[Tensor]:
        """Pixelated, base, restored, truth: one frame of each clip."""
        return [x[:: self.per_clip] for x in (self.image, self.base, self.frames.detach(), self.truth)]


def draw_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Randomness of a step in a process. PyTorch's CPU generator takes the lowest 32 bits of a seed: ranks
    must differ in those."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step + rank * 0x9E3779B1)
