"""What a training step changes, how it is saved and resumed, and the recipe that a saved run was started
with."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from nets.checkpoint import CheckpointError, Net, save
from pipeline.errors import OutputError
from train.adversary import Adversary
from train.recipe import Recipe

STATE = "state.pt"
"""What a run is resumed from"""
RECIPE = "recipe.json"
MAY_CHANGE = ("steps", "adversarial_from")
"""Fields of a recipe that a resumed run may have otherwise: a schedule may be made longer."""


@dataclass
class State:
    """All that a step changes."""

    net: Net
    average: Net
    """exponential moving average of the weights: what is shipped"""
    optimizer: torch.optim.Optimizer
    adversary: Adversary | None = None
    step: int = 0
    whole: bool = True
    """False while only a part of a step is done: such a state is not saved"""

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def update(self, rate: float, ema: float) -> None:
        """A step of the optimizer with the gradients at hand, and of the moving average."""
        self.whole = False
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        follow(self.average, self.net, min(ema, (1 + self.step) / (10 + self.step)))
        self.step += 1
        self.whole = True

    def keep(self, folder: Path, name: str) -> None:
        """Writes ``state.pt`` and the averaged weights. Raises OutputError where there is no room for
        them."""
        weights = folder / f"{name}.safetensors"
        try:
            self._save(folder / STATE)
            save(weights, self.average)
        except (OSError, RuntimeError) as error:  # PyTorch's own files raise the latter
            for path in (folder / STATE, weights):
                path.with_suffix(".part").unlink(missing_ok=True)
            raise OutputError(f"{folder}: the run cannot be kept there; is the disk full?") from error

    def _save(self, path: Path) -> None:
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


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * net."""
    for a, b in zip(average.parameters(), net.parameters(), strict=True):
        a.lerp_(b, 1 - decay)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Keeps a recipe beside the state of its run."""
    (folder / RECIPE).write_text(json.dumps(asdict(recipe), indent=1) + "\n")


def check_recipe(folder: Path, recipe: Recipe) -> None:
    """Raises CheckpointError where the folder's run was started with another recipe: only with the same one
    does a resumed run go through the losses of an uninterrupted one. Runs of versions that kept none are
    taken as they are."""
    try:
        first = _flat(json.loads((folder / RECIPE).read_text()))
    except FileNotFoundError:
        return
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / RECIPE} cannot be read: {error}") from error
    wanted = _flat(json.loads(json.dumps(asdict(recipe))))
    differing = [k for k in wanted if k not in MAY_CHANGE and first.get(k) != wanted[k]]
    if differing:
        listed = ", ".join(f"{k} {first.get(k)} (now {wanted[k]})" for k in differing)
        raise CheckpointError(
            f"{folder} was started with {listed}; give the same options to resume it, or another --output"
        )


def _flat(tree: Mapping[str, object], before: str = "") -> dict[str, object]:
    """Nested fields as ``outer.inner``."""
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = value
    return flat
