"""What flows between stages checks itself where that costs nothing."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from pipeline.types import Frame
from tests.support.faces_scene import COLOUR


def frame(*planes: Tensor) -> Frame:
    return Frame(3, 1500, planes, "yuv420p", COLOUR, Fraction(1, 500), key=True)


def test_a_frame_prints_its_size_and_no_pixel() -> None:
    luma = torch.zeros(96, 160, dtype=torch.uint8)
    assert repr(frame(luma, luma[::2, ::2], luma[::2, ::2])) == "Frame(3, pts=1500, 160x96 yuv420p, cpu)"


@pytest.mark.parametrize(
    ("planes", "said"),
    [
        ((), "frame 3 has no planes"),
        ((torch.zeros(96, 160),), "torch.float32; wanted"),
        ((torch.zeros(1, 96, 160, dtype=torch.uint8),), r"shape \(1, 96, 160\)"),
        ((torch.zeros(96, 160, dtype=torch.int16),), "wanted .* of uint8 or uint16"),
    ],
)
def test_a_frame_of_other_planes_is_refused(planes: tuple[Tensor, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        frame(*planes)
