"""What a training step changes: weights, their average, optimizers; how it is kept and begun."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from nets.checkpoint import CheckpointError, Net, build, load, save
from nets.idn import IDN, IDNConfig
from nets.nar import NAR
from pipeline.errors import OutputError
from train.adversary import Adversary
from train.muon import Muon
from train.recipe import Recipe

STATE = "state.pt"
"""What a run is resumed from"""


@dataclass
class State:
    """What a step changes."""

    net: Net
    average: Net
    """exponential moving average of the weights: what is shipped"""
    optimizer: torch.optim.Optimizer
    adversary: Adversary | None
    device: torch.device
    step: int = 0

    @staticmethod
    def fresh(recipe: Recipe, device: torch.device) -> State:
        torch.manual_seed(recipe.seed)
        net = build(recipe.net, recipe.config).to(device)
        average = build(recipe.net, recipe.config).to(device)
        # Half the time of a step on a CPU with bf16; a net's own ``to`` has no type for it.
        nn.Module.to(net, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average.load_state_dict(net.state_dict())
        optimizer = Muon(net.parameters(), recipe.rate, betas=(0.9, recipe.beta2))
        adversary = Adversary(device) if recipe.adversarial > 0 else None
        return State(net, average.requires_grad_(False), optimizer, adversary, device)

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "adversary": self.adversary.state_dict() if self.adversary else None,
                "step": self.step,
            },
            part,
        )
        part.replace(path)

    def keep(self, folder: Path, name: str) -> None:
        """``state.pt`` and the averaged weights. Raises OutputError where there is no room for them."""
        weights = folder / f"{name}.safetensors"
        try:
            self.save(folder / STATE)
            save(weights, self.average)
        except (OSError, RuntimeError) as error:  # PyTorch's own files raise the latter
            for path in (folder / STATE, weights):
                path.with_suffix(".part").unlink(missing_ok=True)
            raise OutputError(f"{folder}: the run cannot be kept there; is the disk full?") from error

    def load(self, path: Path) -> None:
        """Raises CheckpointError for a file of another run."""
        try:
            saved = torch.load(path, map_location=self.device, weights_only=True)
            self.net.load_state_dict(saved["net"])
            self.average.load_state_dict(saved["average"])
            self.optimizer.load_state_dict(saved["optimizer"])
            if self.adversary and saved["adversary"]:
                self.adversary.load_state_dict(saved["adversary"])
            self.step = saved["step"]
        except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"{path} cannot be resumed: it is broken, or of another network or other sizes than "
                "the one to train; give another --output, or begin anew without --resume"
            ) from error


def take_over(state: State, path: Path) -> None:
    """Weights of a file into a fresh state. Raises CheckpointError where they do not fit."""
    given = load(path)
    match state.net, given:
        case NAR() as net, IDN() as idn if same_sizes(net.config.restorer(), idn.config):
            net.start_from(idn)
        case net, _ if net.config == given.config:
            net.load_state_dict(given.state_dict())
        case _:
            raise CheckpointError(f"{path} is of another kind or other sizes than the network to train")
    state.average.load_state_dict(state.net.state_dict())


def same_sizes(one: IDNConfig, other: IDNConfig) -> bool:
    """Whether two IDN differ in what they read alone."""
    return replace(one, channels=0, lead=False) == replace(other, channels=0, lead=False)


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Linear warm-up, then cosine down to 2 % of the peak."""
    progress = step / recipe.steps
    rate = recipe.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (step + 1) / recipe.warmup)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * net."""
    for a, b in zip(average.parameters(), net.parameters(), strict=True):
        a.lerp_(b, 1 - decay)
