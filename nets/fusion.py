"""One picture of a face from all the mosaics of a window: iterative back-projection.

Irani and Peleg 1991: a picture is warped into each frame, pixelated there, and what its cells lack
is carried back. Under a grid over which the face moves, every frame measures other cells of it: with the
motion of ``nets.motion`` and no network at all, five frames gain 1.6 dB over bicubic interpolation of
one, sixteen 2.0; sixteen of real training clips, whose faces turn and speak, 1.2 (8 to 12 cells across, every
operator, noise of up to 2 grey levels). Where nothing moves, what is left is the interpolation of one
frame, projected to its own samples. Measured and left out, since they gain less than 0.03 dB: motion refined
against the common picture, affine maps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation
from nets.grid import HALF_STEP, Observation, take
from nets.motion import grid_of, invert, register, sample

STEPS = 16
GAIN = 2.0
"""of a step: 3 diverges"""

DOUBTING = (3, 6, 9, 12)
"""Steps before which frames are weighed anew by how well they fit: without it 16 steps gain on stills what
they lose on real faces."""

DOUBT = 0.012
"""What a frame's samples may contradict on average, 3 grey levels, before the frame counts half."""

WHOLE = 0.98
"""Least share of a cell inside the mosaic for its sample to say what lies in it."""

SHARP = 0.35
"""Distance from a cell's centre, in cells, at which its sample counts 0.6 in ``density``."""

SUPPORT = 6
"""Features beyond ``nets.grid.CHANNELS``: 3 own base less the common picture, 2 misfit, 1 density."""

MISFIT = 8.0
"""Brings misfits, a few grey levels, to the scale of the other features."""


@dataclass(frozen=True)
class Fusion:
    """What a window knows of each of its frames. B windows of T frames."""

    picture: Tensor
    """(B, T, 3, H, W) RGB: the common picture, seen from each frame; its own clean pixels outside"""
    misfit: Tensor
    """(B, T, 2, H, W): what the frame's own samples, and what those of all frames, still contradict; 0..1"""
    density: Tensor
    """(B, T, 1, H, W) in [0, 1]: how near to cell centres of any frame a pixel lies"""


def fuse(obs: Observation, window: int) -> Fusion:
    """``obs`` holds (B * T, ...) frames, windows one after the other; T is ``window``.

    Works at half resolution, where a cell is still 2 px and more wide.
    """
    reference = window // 2
    used = max(_used(obs.rows), _used(obs.cols))
    samples, member = obs.samples[..., :used, :used], (obs.rows[..., :used, :], obs.cols[..., :used, :])
    base, weight, sharp = _halve(obs.base), _halve(obs.weight), _halve(_sharpness(obs))
    rows, cols = (F.avg_pool1d(x, 2) for x in _sampling(member, obs.means))  # cells end within pixels
    all_rows, all_cols = (F.avg_pool1d(x, 2) for x in member)
    cover = pixelation.coverage(all_rows, all_cols, weight)
    whole, present = (cover >= WHOLE).to(cover.dtype), (cover > 0).to(cover.dtype)
    reading = rows.unsqueeze(-3), cols.unsqueeze(-3).transpose(-1, -2)
    size = (reading[0].sum(-1, keepdim=True) * reading[1].sum(-2, keepdim=True)).clamp_min(1e-6)
    up = pixelation.interpolation(all_rows, (present.sum(-1) > 0).to(cover.dtype).squeeze(-2)).unsqueeze(-3)
    across = pixelation.interpolation(all_cols, (present.sum(-2) > 0).to(cover.dtype).squeeze(-2))
    across = across.unsqueeze(-3).transpose(-1, -2)

    def split(x: Tensor) -> Tensor:
        apart: Tensor = x.unflatten(0, (-1, window))
        return apart

    theta = register(split(base), split(weight), reference)
    there = grid_of(theta.flatten(0, 1), base)
    back = grid_of(invert(theta).flatten(0, 1), base)

    seen = sample(torch.cat([base, weight, sharp], dim=1), there)
    share = _share(seen[:, 3:4], window)
    total = split(seen[:, 3:4]).sum(1)
    picture = split(seen[:, :3] * seen[:, 3:4]).sum(1) / total.clamp_min(1e-3)
    picture = torch.where(total > 0.3, picture, split(base)[:, reference])
    for step in range(STEPS + 1):
        frames = sample(picture.repeat_interleave(window, 0), back)
        lack = samples - reading[0] @ frames @ reading[1] / size
        lack = (lack - lack.clamp(-HALF_STEP, HALF_STEP)) * whole
        if step in DOUBTING:
            share = _share(seen[:, 3:4] * _trust(lack, whole, window), window)
        # An upsampled residual without steps at the cells' edges, which would stay in the picture.
        missing = (up @ lack @ across) * weight
        if step < STEPS:
            picture = picture + GAIN * split(sample(missing, there) * share).sum(1)
    own = missing.abs().mean(1, keepdim=True)
    density = split(seen[:, 4:] * share).sum(1)
    common = torch.cat([split(sample(own, there) * share).sum(1), density], dim=1)
    common = sample(common.repeat_interleave(window, 0), back)
    planes = torch.cat([frames, own, common], dim=1)
    planes = F.interpolate(planes, scale_factor=2.0, mode="bicubic", align_corners=False)
    inside = obs.weight
    frames = planes[:, :3] * inside + obs.base * (1 - inside)
    return Fusion(split(frames), split(planes[:, 3:5] * inside), split(planes[:, 5:] * inside))


def _share(weight: Tensor, window: int) -> Tensor:
    """(B * T, 1, h, w): what each frame counts for a pixel among those of its window."""
    total: Tensor = weight.unflatten(0, (-1, window)).sum(1)
    return weight / total.clamp_min(0.3).repeat_interleave(window, 0)


def _trust(lack: Tensor, whole: Tensor, window: int) -> Tensor:
    """(B * T, 1, 1, 1) in [0, 1]: Geman-McClure weight of each frame's mean contradiction, 1 for the best."""
    mean = (lack.abs().mean(1) * whole[:, 0]).sum((-1, -2)) / whole[:, 0].sum((-1, -2)).clamp_min(1)
    trust: Tensor = (1 / (1 + (mean / DOUBT) ** 2)).unflatten(0, (-1, window))
    return (trust / trust.amax(1, keepdim=True)).flatten().view(-1, 1, 1, 1)


def _used(member: Tensor) -> int:
    """How many of the N cells of an axis any frame has, 1 at least."""
    return 1 + max(torch.nonzero(member.amax((0, -1)).cpu()).flatten().tolist(), default=0)


def _halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def _sampling(member: tuple[Tensor, Tensor], means: Tensor) -> tuple[Tensor, ...]:
    """Membership of the pixels that a cell's sample stems from: all of its own, or the one in its middle."""
    of_means = means.view(-1, 1, 1) > 0
    return tuple(torch.where(of_means, x, pixelation.pick(x, pixelation.Operator.CENTRE)) for x in member)


def _sharpness(obs: Observation) -> Tensor:
    """(M, 1, H, W): 1 in the middle of a cell, falling off as a Gaussian of the distance in cells."""
    place = obs.features[:, 7:9] / 2 / SHARP
    return torch.exp(-0.5 * (place**2).sum(1, keepdim=True)) * obs.weight


def support(obs: Observation, window: int, frames: list[int]) -> Observation:
    """What a NAR reads of some ``frames`` of each window: (B * len(frames), ...) of (B * T, ...).

    The common picture, held to each frame's own samples, takes the place of ``base``, as base and in the
    features; SUPPORT further features follow the others.
    """
    fusion, picked = fuse(obs, window), obs.pick(window, frames)
    picture, misfit, density = (
        take(x, frames).flatten(0, 1) for x in (fusion.picture, fusion.misfit, fusion.density)
    )
    held = pixelation.project(picture, picked.samples, picked.rows, picked.cols, picked.weight, HALF_STEP)
    base = torch.where(picked.means.view(-1, 1, 1, 1) > 0, held, picture)
    own = picked.features
    features = torch.cat(
        [own[:, :3], base - 0.5, own[:, 6:], picked.base - base, misfit * MISFIT, density], dim=1
    )
    return replace(picked, base=base, features=features)
