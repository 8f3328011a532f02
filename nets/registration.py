"""Registration of pixelated frames: similarities between them, measured without a learned part.

Weighted Gauss-Newton registration (Lucas and Kanade 1981; Baker and Matthews 2004) of the interpolated
samples, coarse to fine, with Cauchy weights so that what moves otherwise (background, hands)
drops out.

Coordinates are those of ``torch.nn.functional.affine_grid(align_corners=False)``: [-1, 1] over the picture.
A map ``theta`` (..., 2, 3) takes a pixel u of one picture to theta @ (u, 1) in another.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = ((3.0, 4), (1.5, 4))
"""Levels, coarse to fine: sigma of the Gaussian, px at half resolution, and steps. A cell there is 2 to 7 px
wide."""

SCALE = 0.06
"""Difference of pictures in [0, 1] at which a pixel counts half (Cauchy weights)."""

MAX_PARAMETER = 0.35
"""Bound of each parameter of a similarity: a sixth of the picture, or a turn of 20 degrees."""

DAMPING = 0.01
"""Added to the diagonal of the normal equations, as a share of it (Levenberg-Marquardt)."""


def register(pictures: Tensor, weight: Tensor, reference: int) -> Tensor:
    """Maps from the reference frame to every frame of a window.

    ``pictures`` (B, T, 3, h, w) RGB in [0, 1], ``weight`` (B, T, 1, h, w) in [0, 1] where the face may lie,
    ``reference`` an index into T. Returns theta (B, T, 2, 3), the identity for the reference.
    """
    B, T, C, *_ = pictures.shape
    flat, inside = pictures.flatten(0, 1).float(), weight.flatten(0, 1).float()
    parameters = torch.zeros(B * T, 4, device=pictures.device)
    for sigma, steps in LEVELS:
        smooth = blur(flat, sigma)
        target = smooth.unflatten(0, (B, T))[:, reference]
        slope = _jacobian(target)
        gate = inside.unflatten(0, (B, T))[:, reference]
        for _ in range(steps):
            places = grid_of(similarity(parameters), smooth)
            moved = sample(torch.cat([smooth, inside], dim=1), places).unflatten(0, (B, T))
            error = moved[:, :, :C] - target.unsqueeze(1)
            trust = moved[:, :, C] * gate
            trust = trust / (1 + (error.abs().mean(2) / SCALE) ** 2)
            normal = torch.einsum("bichw,bjchw,bthw->btij", slope, slope, trust)
            right = torch.einsum("bichw,btchw,bthw->bti", slope, error, trust)
            diagonal = torch.diagonal(normal, dim1=-2, dim2=-1)
            normal = normal + torch.diag_embed(DAMPING * diagonal + 1e-4)
            step = solve(normal, right).flatten(0, 1)
            parameters = (parameters - step).clamp(-MAX_PARAMETER, MAX_PARAMETER)
    theta: Tensor = similarity(parameters).unflatten(0, (B, T))
    return theta


def _jacobian(target: Tensor) -> Tensor:
    """(B, 3, h, w) -> (B, 4, 3, h, w): change of the picture by zoom, turn, shift in x, shift in y."""
    h, w = target.shape[-2:]
    y = ((torch.arange(h, device=target.device) * 2 + 1) / h - 1).unsqueeze(-1)
    x = (torch.arange(w, device=target.device) * 2 + 1) / w - 1
    padded = F.pad(target, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (w / 4)
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * (h / 4)
    return torch.stack([across * x + down * y, down * x - across * y, across, down], dim=1)


def similarity(parameters: Tensor) -> Tensor:
    """(..., 4): zoom - 1 and turn as a complex number, shift in x and y -> maps (..., 2, 3)."""
    a, b, x, y = parameters.unbind(-1)
    return torch.stack([torch.stack([1 + a, -b, x], -1), torch.stack([b, 1 + a, y], -1)], -2)


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solutions of (..., P, P) @ x = (..., P), of matrices that damping keeps from being singular: a GPU is
    not asked whether one was, it would be waited for."""
    solved: Tensor = torch.linalg.solve_ex(matrix, right, check_errors=False).result
    return solved


def invert(theta: Tensor) -> Tensor:
    """The inverse of each map, (..., 2, 3)."""
    a, b, c, d = theta[..., 0, 0], theta[..., 0, 1], theta[..., 1, 0], theta[..., 1, 1]
    linear = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    linear = linear / (a * d - b * c)[..., None, None]
    return torch.cat([linear, -(linear @ theta[..., 2:])], dim=-1)


def grid_of(theta: Tensor, like: Tensor) -> Tensor:
    """Places (P, h, w, 2) of ``theta`` (P, 2, 3) for pictures as large as ``like`` (..., h, w)."""
    return F.affine_grid(theta, [theta.shape[0], 1, *like.shape[-2:]], align_corners=False)


def sample(picture: Tensor, places: Tensor) -> Tensor:
    """(P, C, h, w) -> the same shape: out(u) = picture(places(u)), bilinear, borders repeated."""
    return F.grid_sample(picture, places, "bilinear", "border", align_corners=False)


def blur(picture: Tensor, sigma: float) -> Tensor:
    """Gaussian of ``sigma`` px, borders repeated. (P, C, h, w)."""
    reach = max(1, math.ceil(2.5 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=picture.dtype, device=picture.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum()
    C = picture.shape[1]
    across = kernel.view(1, 1, 1, -1).expand(C, 1, 1, -1)
    picture = F.conv2d(F.pad(picture, (reach, reach, 0, 0), mode="replicate"), across, groups=C)
    down = across.transpose(-1, -2)
    return F.conv2d(F.pad(picture, (0, 0, reach, reach), mode="replicate"), down, groups=C)
