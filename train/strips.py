"""Sample strips: what the network saw, the base, what it made of it, the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from torch import Tensor

from train.degrade import Example

MOST_ROWS = 6


def write_strip(path: Path, example: Example, base: Tensor, restored: Tensor) -> None:
    """PNG with a row per picture: pixelated, bicubic, restored, truth.

    ``base`` and ``restored`` (M, 3, S, S) are all frames of the example.
    """
    C = example.truth.shape[1]
    image, truth = example.image.flatten(0, 1), example.truth.flatten(0, 1)
    write_pictures(path, [x[::C] for x in (image, base, restored, truth)])


def write_pictures(path: Path, columns: Sequence[Tensor]) -> None:
    """PNG of pictures (M, 3, S, S) side by side, MOST_ROWS of each."""
    rows = torch.cat([x[:MOST_ROWS] for x in columns], dim=-1)
    sheet = torch.cat(list(rows.clamp(0, 1)), dim=-2).permute(1, 2, 0)
    picture = (sheet.flip(-1).cpu().numpy() * 255).round().astype("uint8")
    cv2.imwrite(str(path), picture)
