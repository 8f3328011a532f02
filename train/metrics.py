"""Measures of a restoration against the truth, by their field's names.

Pictures are (M, 3, H, W) RGB in [0, 1], values beyond are clamped; ``weight`` is (M, 1, H, W), 1 where a
pixel counts. All are per picture, (M,), except the Frechet distance, which compares two sets. The networks
that some need are in ``train.evaluation.metric_nets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

WINDOW, SIGMA = 11, 1.5
"""Of SSIM (Wang et al., IEEE TIP 13(4), 2004): Gaussian window and its standard deviation, px."""
K1, K2 = 0.01, 0.03


def psnr(pred: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """In dB, peak 1, over RGB, at most 100. Without ``weight`` over the whole frame."""
    error = (pred.clamp(0, 1) - truth) ** 2
    if weight is None:
        return -10 * torch.log10(error.mean((1, 2, 3)) + 1e-10)
    total = (error * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3))).clamp_min(1)
    return -10 * torch.log10(total + 1e-10)


@torch.no_grad()
def gain_db(restored: Tensor, base: Tensor, truth: Tensor, weight: Tensor) -> dict[str, float]:
    """``base_db``: mean PSNR of ``base`` where ``weight`` is; ``gain_db``: what ``restored`` has more."""
    of_base = psnr(base, truth, weight)
    return {
        "base_db": float(of_base.mean()),
        "gain_db": float((psnr(restored, truth, weight) - of_base).mean()),
    }


def ssim(pred: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean structural similarity over RGB, in [-1, 1]. Only windows that lie in the frame count; with
    ``weight`` those whose middle pixel has it."""
    at = torch.arange(WINDOW, dtype=truth.dtype, device=truth.device) - WINDOW // 2
    line = torch.exp(-(at**2) / (2 * SIGMA**2))
    line = line / line.sum()
    x, y = pred.clamp(0, 1).flatten(0, 1).unsqueeze(1), truth.flatten(0, 1).unsqueeze(1)

    def blur(z: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(z, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    near = (2 * mx * my + K1**2) / (mx * mx + my * my + K1**2)
    each = near * (2 * vxy + K2**2) / (vx + vy + K2**2)
    each = each.squeeze(1).unflatten(0, truth.shape[:2]).mean(1, keepdim=True)
    if weight is None:
        frame: Tensor = each.mean((1, 2, 3))
        return frame
    inner = slice(WINDOW // 2, -(WINDOW // 2))
    kept = weight[..., inner, inner]
    inside: Tensor = (each * kept).sum((1, 2, 3)) / kept.sum((1, 2, 3)).clamp_min(1e-6)
    return inside


def warping_error(pred: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Temporal warping error of successive frames: (M - 1,), in 1e-3 of squared range.

    E_warp of Lai et al. (ECCV 2018): mean squared difference between frame t and frame t + 1 warped onto it,
    where the mosaic is and nothing is occluded. The flow is DIS flow of the truth, so that all methods are
    held to the same motion.
    """
    out = []
    shown = pred.clamp(0, 1)
    for t in range(len(truth) - 1):
        flow, visible = dis_flow(truth[t], truth[t + 1])
        H, W = flow.shape[:2]
        x = (torch.arange(W) + flow[..., 0] + 0.5) / W * 2 - 1
        y = (torch.arange(H).unsqueeze(-1) + flow[..., 1] + 0.5) / H * 2 - 1
        warped = F.grid_sample(shown[t + 1 : t + 2].cpu(), torch.stack([x, y], -1)[None], align_corners=False)
        kept = visible * weight[t].squeeze(0).cpu()
        error = ((warped[0] - shown[t].cpu()) ** 2).mean(0)
        out.append((error * kept).sum() / kept.sum().clamp_min(1) * 1e3)
    return torch.stack(out) if out else torch.zeros(0)


def dis_flow(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """DIS flow (Kroeger et al., ECCV 2016): (3, H, W) twice -> flow (H, W, 2) in px from first to second, and
    (H, W) 1 where it comes back to within 1 px: what does not was occluded."""
    grey = [cv2.cvtColor(_to_bytes(p), cv2.COLOR_RGB2GRAY) for p in (first, second)]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    forth, back = dis.calc(grey[0], grey[1], None), dis.calc(grey[1], grey[0], None)
    H, W = forth.shape[:2]
    x, y = np.meshgrid(np.arange(W, dtype=np.float32), np.arange(H, dtype=np.float32))
    there = cv2.remap(back, x + forth[..., 0], y + forth[..., 1], cv2.INTER_LINEAR)
    visible = np.linalg.norm(forth + there, axis=-1) < 1
    return torch.from_numpy(forth), torch.from_numpy(visible.astype(np.float32))


def _to_bytes(picture: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()


def frechet(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Frechet distance of two sets of feature vectors, (N, D) and (M, D), fitted by Gaussians.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of Heusel et al. (arXiv 1706.08500). The last trace is the sum
    of the singular values of A1' A2 where C = A A', which needs no root of a singular matrix. Biased upwards
    for few pictures: compare only sets of one size.
    """
    a, b = (x - x.mean(0) for x in (first, second))
    a, b = a / np.sqrt(max(len(a) - 1, 1)), b / np.sqrt(max(len(b) - 1, 1))
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    means = ((first.mean(0) - second.mean(0)) ** 2).sum()
    return float(max(means + (a**2).sum() + (b**2).sum() - 2 * shared, 0.0))


@dataclass(frozen=True)
class Interval:
    """A mean over pictures or clips, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], draws: int = 1000, seed: int = 0) -> Interval:
    """Percentile bootstrap over ``values``, one of each picture or clip. Values that are NaN do not count."""
    sample = np.array(values, dtype=np.float64)
    sample = sample[~np.isnan(sample)]
    if not len(sample):
        return Interval(float("nan"), float("nan"), float("nan"))
    means = np.random.default_rng(seed).choice(sample, (draws, len(sample))).mean(1)
    return Interval(float(sample.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975)))
