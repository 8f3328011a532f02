"""From a batch to the terms of its loss: restore, and compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nets import losses
from nets.checkpoint import Net
from nets.fusion import support
from nets.mobilefacenet import FaceEmbedding, chips
from nets.nar import NAR
from nets.observation import Observation, compose, observe
from nets.reference.nar_seed import SeedNAR
from nets.vgg import VGG16
from train.data.degrade import Example
from train.distributed import Workers
from train.numerics import autocast
from train.recipe import Recipe
from train.state import State


@dataclass(frozen=True)
class Batch:
    """What a step trains on."""

    example: Example
    still: Tensor
    """(B,) bool: clips whose motion is the camera's alone"""
    placement: Tensor
    """(B, T, 2, 3), as in train.data.pictures.Clips"""


@dataclass(frozen=True)
class Frozen:
    """Networks that losses look through."""

    vgg: VGG16 | None = None
    face: FaceEmbedding | None = None

    def check(self, recipe: Recipe) -> None:
        """Raises ValueError where a loss of the recipe has no network to look through."""
        for weight, network, name in (
            (recipe.perceptual or recipe.style, self.vgg, "perceptual and style loss need VGG16's"),
            (recipe.identity, self.face, "identity loss needs MobileFaceNet's"),
        ):
            if weight and network is None:
                raise ValueError(f"{name} weights; give them or set the loss's weight to 0")


@dataclass(frozen=True)
class Restored:
    """What a step made of its batch."""

    terms: dict[str, Tensor]
    """weighted"""
    frames: Tensor
    """(M, 3, S, S), with the truth's clean pixels; carries gradients"""
    obs: Observation
    example: Example
    """of the restored frames alone"""


def restore(state: State, recipe: Recipe, batch: Batch) -> Restored:
    """Restores some frames of each clip; the terms are those that need no other network."""
    example = batch.example
    device = example.image.device
    terms: dict[str, Tensor] = {}
    T = example.image.shape[1]
    kept = kept_frames(state.net, recipe, T, state.step)
    obs = observe(*example.flat(), example.means.repeat_interleave(T))
    with autocast(device):
        match state.net:
            case SeedNAR() as net:
                features = obs.features.contiguous(memory_format=torch.channels_last)
                residual, trust, affine = net.body_and_motion(features.unflatten(0, (-1, T)), example.mask)
                residual, trust = residual.flatten(0, 1), trust.flatten()
                terms["motion"] = recipe.motion * motion_loss(
                    affine, batch.placement, batch.still, net.config.core, net.config.context
                )
                obs = obs.pick(T, kept)
            case NAR() as net:
                with torch.autocast(device.type, enabled=False):
                    obs = support(obs, T, kept)
                features = obs.features.contiguous(memory_format=torch.channels_last)
                residual, trust = net.restorer.body(features, 1 - obs.weight)
            case net:
                features = obs.features.contiguous(memory_format=torch.channels_last)
                residual, trust = net.body(features, 1 - obs.weight)
    picked = example.frames(kept)
    image, mask, *_ = picked.flat()
    truth, trust = picked.truth.flatten(0, 1), trust.float()
    restored = compose(obs, image, residual.float(), trust)
    restored = restored * (1 - mask) + truth * mask
    weight = base_weight(obs.base, truth, mask) if recipe.relative else 1.0
    terms["pixelized"] = recipe.pixelized * losses.pixelized(restored, truth, mask, weight)
    if recipe.tv:
        terms["tv"] = recipe.tv * losses.total_variation(restored)
    return Restored(terms, restored, obs, picked)


@torch.no_grad()
def base_weight(base: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """(B, 1, 1, 1), mean about 1: the inverse of each picture's L1 error in the mosaic before the network.

    base, truth (B, 3, S, S), mask (B, 1, S, S), 1 clean. A picture weighs at most three times the mean and
    at least a third of it.
    """
    hidden = 1 - mask
    error = ((base.clamp(0, 1) - truth).abs() * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3)).clamp_min(1)
    weight = error.mean() / error.clamp_min(1e-3)
    return weight.clamp(1 / 3, 3)[:, None, None, None]


def compare(
    state: State, recipe: Recipe, made: Restored, batch: Batch, frozen: Frozen, workers: Workers
) -> dict[str, Tensor]:
    """All weighted terms. An adversary makes its own step here."""
    terms, truth, frames = dict(made.terms), made.example.truth.flatten(0, 1), made.frames
    if frozen.vgg is not None and (recipe.perceptual or recipe.style):
        with autocast(frames.device):
            perceptual, style = losses.perceptual_and_style(frozen.vgg, frames, truth)
        terms["perceptual"], terms["style"] = recipe.perceptual * perceptual, recipe.style * style
    if frozen.face is not None and recipe.identity:
        kept = kept_frames(state.net, recipe, batch.example.image.shape[1], state.step)
        placement = batch.placement[:, kept].flatten(0, 1)
        with torch.no_grad():
            wanted = frozen.face(chips(truth, placement))
        cosine = (frozen.face(chips(frames, placement)) * wanted).sum(-1)
        terms["identity"] = recipe.identity * (1 - cosine).mean()
    if state.adversary is not None:
        terms["adversarial"] = torch.zeros((), device=frames.device)
        if state.step >= recipe.adversarial_from:
            state.adversary.step(truth, frames, workers)
            terms["adversarial"] = recipe.adversarial * state.adversary.generator_loss(frames)
    return terms


def kept_frames(net: Net, recipe: Recipe, window: int, step: int) -> list[int]:
    """Which frames of a window are restored in a step: those a SeedNAR must, some for a NAR."""
    match net:
        case SeedNAR():
            return list(range(net.config.context, net.config.context + net.config.core))
        case NAR():
            generator = torch.Generator().manual_seed(recipe.seed * 7_919 + step)
            return sorted(torch.randperm(window, generator=generator)[: recipe.restored].tolist())
        case _:
            return [0]


def motion_loss(affine: Tensor, placement: Tensor, still: Tensor, core: int, context: int) -> Tensor:
    """L1 between predicted and known affines, over clips whose motion is known.

    affine (B, C, K, 2, 3); placement (B, T, 2, 3): picture -> still. A pixel u of the target shows
    the still at P_c u, which the neighbour shows at P_k^-1 P_c u.
    """
    last = torch.tensor([0.0, 0.0, 1.0], device=placement.device).expand(*placement.shape[:2], 1, 3)
    full = torch.cat([placement, last], dim=2)
    inverse = torch.linalg.inv(full)
    offsets = [k for k in range(-context, context + 1) if k != 0]
    wanted = torch.stack(
        [
            torch.stack([inverse[:, c + context + k] @ full[:, c + context] for k in offsets], 1)
            for c in range(core)
        ],
        1,
    )[..., :2, :]
    error = (affine.float() - wanted).abs().mean((1, 2, 3, 4))
    return (error * still).sum() / still.sum().clamp_min(1)


@torch.no_grad()
def gain_db(made: Restored) -> dict[str, float]:
    """PSNR inside the mosaic of the base (bicubic, for a nar the fused frames), and what the network adds, in
    dB."""
    truth, obs = made.example.truth.flatten(0, 1), made.obs

    def psnr(x: Tensor) -> Tensor:
        error = ((x.clamp(0, 1) - truth) ** 2 * obs.weight).sum((1, 2, 3))
        return -10 * torch.log10(error / (3 * obs.weight.sum((1, 2, 3))) + 1e-10)

    base = psnr(obs.base)
    return {"base_db": float(base.mean()), "gain_db": float((psnr(made.frames) - base).mean())}
