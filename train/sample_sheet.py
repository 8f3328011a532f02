"""Sample strips: what the network saw, the base, what it made of it, the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from torch import Tensor

from train.data.degrade import Example

MOST_ROWS = 6


def columns_of(example: Example, base: Tensor, restored: Tensor) -> list[Tensor]:
    """Pixelated, bicubic, restored, truth, one frame of each clip.

    ``base`` and ``restored`` (M, 3, S, S) are all frames of the example.
    """
    C = example.truth.shape[1]
    image, truth = example.image.flatten(0, 1), example.truth.flatten(0, 1)
    return [x[::C] for x in (image, base, restored, truth)]


def sheet(columns: Sequence[Tensor]) -> Tensor:
    """(3, H, W) of pictures (M, 3, S, S) side by side, MOST_ROWS of each."""
    rows = torch.cat([x[:MOST_ROWS] for x in columns], dim=-1)
    return torch.cat(list(rows.clamp(0, 1)), dim=-2)


def write_pictures(path: Path, columns: Sequence[Tensor]) -> None:
    """``sheet`` as a PNG."""
    picture = (sheet(columns).permute(1, 2, 0).flip(-1).cpu().numpy() * 255).round().astype("uint8")
    cv2.imwrite(str(path), picture)
