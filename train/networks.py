"""How networks that restore differ in training: the only file of the package that asks which one it is.

It says how many frames a clip has, which of them are restored in a step, and how the network is called.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from nets.checkpoint import CheckpointError, Net, load
from nets.fusion import support
from nets.idn import IDN, IDNConfig
from nets.nar import NAR
from nets.observation import CHANNELS, Observation
from nets.reference.nar_seed import SeedNAR
from nets.registry import architecture_of
from train.data.degrade import Example
from train.recipe import RestoreRecipe


@dataclass(frozen=True)
class Batch:
    """What a step trains on."""

    example: Example
    still: Tensor
    """(B,) bool: clips whose motion is the camera's alone"""
    placement: Tensor
    """(B, T, 2, 3), as in train.data.pictures.Clips"""


@dataclass(frozen=True)
class Answer:
    """What a network says of M frames, and losses on what it alone computes."""

    obs: Observation
    residual: Tensor
    """(M, 3, S, S)"""
    trust: Tensor
    """(M,) in [0, 1]"""
    losses: dict[str, Tensor] = field(default_factory=dict)
    common: Tensor | None = None
    """(M, 3, S, S) RGB: the common picture of its window, which the network was given beside ``obs.base``"""


class PerFrame:
    """Networks that see one frame: idn and the baselines."""

    def __init__(self, net: Net, recipe: RestoreRecipe) -> None:
        self.net, self.recipe = net, recipe

    def window(self, generator: torch.Generator) -> int:
        """T, frames per clip of the next batch."""
        del generator
        return 1

    def clips(self, window: int) -> int:
        """B, clips of a batch of windows of ``window`` frames."""
        del window
        return self.recipe.batch

    def kept(self, window: int, step: int) -> list[int]:
        """Which frames of a window are restored in a step."""
        del window, step
        return [0]

    def answer(self, obs: Observation, batch: Batch, kept: list[int]) -> Answer:
        """``obs`` holds all B * T frames; the answer those that are ``kept``."""
        del batch, kept
        residual, trust = self.net.body(channels_last(obs.features), 1 - obs.weight)
        return Answer(obs, residual, trust)


class FusedWindows(PerFrame):
    """nar: windows of several lengths are fused; a few of their frames, drawn, are restored."""

    net: NAR

    def window(self, generator: torch.Generator) -> int:
        lengths = self.recipe.windows
        return lengths[int(torch.randint(len(lengths), (1,), generator=generator))]

    def clips(self, window: int) -> int:
        # A step restores as many frames whatever their windows, else single frames would count for little.
        return self.recipe.batch * (self.recipe.restored if window == 1 else 1)

    def kept(self, window: int, step: int) -> list[int]:
        generator = torch.Generator().manual_seed(self.recipe.seed * 7_919 + step)
        return sorted(torch.randperm(window, generator=generator)[: self.recipe.restored].tolist())

    def answer(self, obs: Observation, batch: Batch, kept: list[int]) -> Answer:
        with torch.autocast(obs.features.device.type, enabled=False):
            obs = support(obs, batch.example.image.shape[1], kept)
        residual, trust = self.net.restorer.body(channels_last(obs.features), 1 - obs.weight)
        return Answer(obs, residual, trust, common=obs.base + obs.features[:, CHANNELS : CHANNELS + 3])


class AlignedWindows(PerFrame):
    """nar-seed: windows of one length, whose core is restored and whose motion is supervised."""

    net: SeedNAR

    def window(self, generator: torch.Generator) -> int:
        return self.net.config.window

    def kept(self, window: int, step: int) -> list[int]:
        return list(range(self.net.config.context, self.net.config.context + self.net.config.core))

    def answer(self, obs: Observation, batch: Batch, kept: list[int]) -> Answer:
        config, T = self.net.config, batch.example.image.shape[1]
        features = channels_last(obs.features).unflatten(0, (-1, T))
        residual, trust, affine = self.net.body_and_motion(features, batch.example.mask)
        motion = motion_loss(affine, batch.placement, batch.still, config.core, config.context)
        losses = {"motion": self.recipe.motion * motion}
        return Answer(obs.pick(T, kept), residual.flatten(0, 1), trust.flatten(), losses)


def network_of(net: Net, recipe: RestoreRecipe) -> PerFrame:
    """The network of a recipe, as the restore task uses it."""
    architecture = architecture_of(net)
    if architecture.fused:
        return FusedWindows(net, recipe)
    return AlignedWindows(net, recipe) if architecture.windowed else PerFrame(net, recipe)


def take_over(net: Net, path: Path) -> None:
    """Weights of a file into a network of the same kind and sizes; a NAR also takes over an IDN's. Raises
    CheckpointError where they do not fit."""
    given = load(path)
    match net, given:
        case NAR(), IDN() if _same_sizes(net.config.restorer(), given.config):
            net.start_from(given)
        case _ if net.config == given.config:
            net.load_state_dict(given.state_dict())
        case _:
            raise CheckpointError(f"{path} is of another kind or other sizes than the network to train")


def _same_sizes(one: IDNConfig, other: IDNConfig) -> bool:
    """Whether two IDN differ in what they read alone."""
    return replace(one, channels=0, lead=False) == replace(other, channels=0, lead=False)


def channels_last(features: Tensor) -> Tensor:
    """The memory layout that convolutions are fastest in."""
    return features.contiguous(memory_format=torch.channels_last)


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
