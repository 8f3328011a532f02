"""Layers that several networks use."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["group", "none"]
ConvKind = Literal["dynamic", "vanilla", "dilated"]


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """GroupNorm of 8 groups, or none, where the papers have BatchNorm: recurrences share weights but not
    statistics, and batches are small."""
    return nn.GroupNorm(8, channels) if kind == "group" else nn.Identity()


def shrink_mask(mask: Tensor, stride: int) -> Tensor:
    """Min-pools a mask (B, 1, H, W), 1 clean, to 1/stride: a pixel is clean only if all its pixels are."""
    return -F.max_pool2d(-mask, stride)


def grow_mask(mask: Tensor, kernel: int) -> Tensor:
    """Eq. (4) of the IDN paper: a pixel becomes clean if the window around it holds a clean one.

    The window is centred (radius (kernel - 1) / 2): so read, a mosaic of 128 px closes under 7x7 after the 6
    recurrences at which the paper converges.
    """
    return F.max_pool2d(mask, kernel, stride=1, padding=kernel // 2)


class DynamicDilatedConv(nn.Module):
    """Eq. (3) of the IDN paper: a vanilla convolution over clean pixels plus a dilated one over pixelated
    pixels.

    It has two weight tensors, no bias and no renormalisation: together the two terms see every tap. ``kind``
    ``vanilla`` and ``dilated`` are the ablations of the paper's Table 2, one convolution over everything.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        dilation: int,
        stride: int = 1,
        kind: ConvKind = "dynamic",
    ) -> None:
        super().__init__()
        self.kind = kind
        near, far = kernel // 2, dilation * (kernel // 2)
        if kind != "dilated":
            self.clean = nn.Conv2d(inputs, outputs, kernel, stride, near, bias=False)
        if kind != "vanilla":
            self.pixelated = nn.Conv2d(inputs, outputs, kernel, stride, far, dilation, bias=False)

    def start_at_zero(self) -> None:
        """All weights 0, for the last layer of a residual branch."""
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, H, W), mask (B, 1, H, W), 1 clean -> (B, C', H / stride, W / stride)."""
        if self.kind == "vanilla":
            return self.clean(x)  # type: ignore[no-any-return]
        if self.kind == "dilated":
            return self.pixelated(x)  # type: ignore[no-any-return]
        return self.clean(x * mask) + self.pixelated(x * (1 - mask))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + conv(act(conv(norm(x)))), 3x3. The last layer starts at 0: a new block changes nothing."""

    def __init__(self, channels: int, norm: Norm = "none") -> None:
        super().__init__()
        self.norm = norm_layer(norm, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(self.norm(x))))  # type: ignore[no-any-return]


class CrossStageAttention(nn.Module):
    """Attention over all positions whose map goes from recurrence to recurrence, eq. (1) of the IDN paper.

    score_i = l_i * now + (1 - l_i) * score_(i-1), l_i = sigmoid(w_i); the first recurrence uses its
    own map. Cosine similarity with a learned temperature replaces RFR-Net's sums of 9 raw products, whose
    softmax saturates to one-hot; scores are averaged over the query's 3x3 neighbourhood as there. The map is
    returned, never stored.
    """

    def __init__(self, channels: int, recurrences: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(channels, max(channels // 4, 16), 1)
        self.out = nn.Conv2d(2 * channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self.blend = nn.Parameter(torch.zeros(max(recurrences - 1, 1)))
        self.log_temperature = nn.Parameter(torch.tensor(2.3))

    def forward(
        self, x: Tensor, previous: Tensor | None, recurrence: int, carry: bool = True
    ) -> tuple[Tensor, Tensor]:
        """x (B, C, h, w), previous map (B, h*w, h*w) or None -> x' and the map, rows summing to 1."""
        B, C, h, w = x.shape
        key = F.normalize(self.key(x), dim=1, eps=1e-4).flatten(2)
        score = torch.matmul(key.transpose(1, 2), key) * self.log_temperature.exp()
        # (B, query, key) averaged over the query's neighbours: keys as channels of a picture.
        score = F.avg_pool2d(score.transpose(1, 2).reshape(B, h * w, h, w), 3, 1, 1)
        now = score.flatten(2).transpose(1, 2).softmax(-1)
        if carry and previous is not None:
            share = torch.sigmoid(self.blend[recurrence - 1])
            now = share * now + (1 - share) * previous
        picked = torch.matmul(x.flatten(2), now.to(x.dtype).transpose(1, 2)).reshape(B, C, h, w)
        return x + self.out(torch.cat([x, picked], dim=1)), now


class Up(nn.Module):
    """Doubles the size by pixel shuffle, which has no checkerboard of transposed convolutions, and adds the
    skip."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(inputs, outputs * 4, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return F.pixel_shuffle(self.expand(x), 2) + skip
