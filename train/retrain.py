"""The attacker that adapts: an IDN, trained further on mosaics as a defence makes them (short, by design)."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import torch

from nets import losses
from nets.checkpoint import save
from nets.pixelizer import Pixelizer, PixelizerConfig
from train.data import Stills
from train.pixelizer import Recipe, attack, attacker, change, draw, transmit

log = logging.getLogger(__name__)

RATE = 3e-4
"""A third of that of a first training"""
AVERAGING = 0.5
"""Share of steps on which it sees averaged cells: it has to restore both"""
LEAST_STEPS = 5


def retrain(
    weights: Path,
    faces: Stills,
    against: Pixelizer | None,
    minutes: float,
    target: Path,
    device: torch.device,
    steps: int | None = None,
    seed: int = 2,
) -> int:
    """Trains on lattices that ``against`` has changed (None: plain ones), for ``minutes`` or a number of
    ``steps``, and writes ``target``. Returns the steps. Raises CheckpointError for weights of no IDN."""
    net = attacker(weights, device).requires_grad_(True)
    recipe = Recipe(against.config if against else PixelizerConfig(), seed=seed)
    optimizer = torch.optim.Adam(net.parameters(), RATE, betas=(0.9, 0.99))
    began, step = time.monotonic(), 0
    while True:
        spent = (time.monotonic() - began) / max(minutes * 60, 1e-6)
        progress = spent if steps is None else step / steps
        if progress >= 1 and step >= LEAST_STEPS:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        covered = draw(recipe, faces, generator)
        with torch.no_grad():
            delta = change(against, covered) if against else None
            received = transmit(covered.painted(delta), covered, AVERAGING, generator)
        restored, _ = attack(net, received, covered)
        loss = losses.PIXELIZED * losses.pixelized(restored, covered.truth, covered.mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        step += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    save(target, net)
    log.info("%s: %d steps", target.name, step)
    return step
