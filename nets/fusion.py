"""Multi-frame reconstruction: robust least squares make one picture of a face from all mosaics of a window.

A picture is warped into each frame and pixelated there (nets.measurement); the misfit of the cells is carried
back, weighted by how well a frame and a cell agree with the others, under total variation as the only prior,
with Nesterov's momentum (Farsiu et al., TIP 13(10), 2004, for the robust form; Nesterov 1983). Under a grid
over which the face moves, every frame measures other cells of it, and what one frame's mosaic hides another
may show. Point samples are averaged, not fitted: a picture fits those whatever the motion, so that a wrong
motion goes unnoticed. No weight is learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.measurement import MeasurementOperator, Part
from nets.observation import Observation, take
from nets.registration import sample

STEPS = 20
STEP_SIZE = 2.0

TV_STRENGTH = 0.0015
"""Weight of total variation."""

TV_EDGE = 0.01
"""Contrast, in the range of 1, below which total variation turns quadratic."""

REWEIGHT_AT = (5, 10, 15)
"""Steps before which frames are weighted anew by how well they fit."""

FRAME_DOUBT = 0.012
"""Mean misfit, 3 grey levels, at which a frame counts half; the window's median where that is larger."""

SUPPORT = 6
"""Channels beyond ``nets.observation.CHANNELS``: 3 common picture less own base, 2 misfit, 1 density."""

MISFIT_SCALE = 8.0
"""Brings misfits, a few grey levels, to the scale of the other features."""


@dataclass(frozen=True)
class Fusion:
    """What a window shows of each of its frames. B windows of T frames."""

    picture: Tensor
    """(B, T, 3, H, W) RGB: the common picture as each frame sees it, held to its samples; the frame's own
    clean pixels outside"""
    misfit: Tensor
    """(B, T, 2, H, W) in [0, 1]: remaining misfit of the frame's own samples, and of those of all frames"""
    density: Tensor
    """(B, T, 1, H, W) in [0, 1]: how near a pixel lies to a cell's centre in any frame"""


def fuse(obs: Observation, window: int, part: Part | None = None) -> Fusion:
    """The common picture of each window. ``obs`` holds (B * T, ...) frames, one window after the other; T is
    ``window``. With ``part``, which holds all mosaics, a GPU is never waited for."""
    operator = MeasurementOperator(obs, window, part)
    trust = _frame_trust(
        operator.misfit(operator.by_window(operator.own)[:, operator.reference]), operator.is_whole, window
    )
    share, extrapolated = operator.shares(trust), operator.mean_picture(trust)
    clean = operator.clean(trust)
    extrapolated = picture = torch.lerp(extrapolated, *clean)
    for step in range(STEPS):
        misfit = operator.misfit(extrapolated)
        if step in REWEIGHT_AT:
            trust = _frame_trust(misfit, operator.is_whole, window)
            operator.refine(extrapolated, misfit)
            share, clean = operator.shares(trust), operator.clean(trust)
        change = operator.by_window(
            sample(operator.back_project(misfit * operator.cell_trust(misfit)), operator.in_frame) * share
        ).sum(1)
        change = STEP_SIZE * (change + TV_STRENGTH * _tv_descent(extrapolated)) * operator.is_mean
        after = torch.lerp((extrapolated + change).clamp(0, 1), *clean)
        extrapolated, picture = after + step / (step + 3) * (after - picture) * operator.is_mean, after
    own = operator.back_project(operator.misfit(picture)).abs().mean(1, keepdim=True)
    common = operator.by_window(
        sample(torch.cat([own, operator.own_sharpness], dim=1), operator.in_frame) * share
    ).sum(1)
    planes = sample(torch.cat([picture, common], dim=1).repeat_interleave(window, 0), operator.in_reference)
    frames, others = obs.base.clone(), torch.zeros_like(obs.base)
    operator.put(frames, operator.held_to_samples(planes[:, :3], trust))
    operator.put(others, torch.cat([own, planes[:, 3:]], dim=1) * operator.weight)
    return Fusion(
        operator.by_window(frames), operator.by_window(others[:, :2]), operator.by_window(others[:, 2:])
    )


def _tv_descent(x: Tensor) -> Tensor:
    """Descent direction of the smoothed isotropic total variation of x (B, 3, h, w)."""
    dx, dy = F.pad(x[..., 1:] - x[..., :-1], (0, 1)), F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    size = (dx**2 + dy**2 + TV_EDGE**2).sqrt()
    dx, dy = dx / size, dy / size
    return dx - F.pad(dx[..., :-1], (1, 0)) + dy - F.pad(dy[..., :-1, :], (0, 0, 1, 0))


def _frame_trust(misfit: Tensor, whole: Tensor, window: int) -> Tensor:
    """Weight of each frame by its mean misfit, 1 for the best: (B * T, 1, 1, 1) in [0, 1]."""
    mean = (misfit.abs().mean(1) * whole[:, 0]).sum((-1, -2)) / whole[:, 0].sum((-1, -2)).clamp_min(1)
    apart = mean.unflatten(0, (-1, window))
    usual = apart.median(1, keepdim=True).values.clamp_min(FRAME_DOUBT)
    trust: Tensor = 1 / (1 + (apart / usual) ** 2)
    return (trust / trust.amax(1, keepdim=True)).flatten().view(-1, 1, 1, 1)


def support(obs: Observation, window: int, frames: list[int], part: Part | None = None) -> Observation:
    """What a NAR reads of some ``frames`` of each window: (B * T, ...) -> (B * len(frames), ...).

    ``features`` are an IDN's, then SUPPORT channels: the common picture less ``base``, the misfit, the
    density of samples. The latter are 0 for windows of one frame, which have nothing to add. ``part`` as in
    ``fuse``.
    """
    picked = obs.pick(window, frames)
    if window == 1:
        zeros = torch.zeros_like(picked.features[:, :SUPPORT])
        return replace(picked, features=torch.cat([picked.features, zeros], dim=1))
    fusion = fuse(obs, window, part)
    picture, misfit, density = (
        take(x, frames).flatten(0, 1) for x in (fusion.picture, fusion.misfit, fusion.density)
    )
    further = [picture - picked.base, misfit * MISFIT_SCALE, density]
    return replace(picked, features=torch.cat([picked.features, *further], dim=1))
