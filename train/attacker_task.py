"""The attacker that adapts: an IDN, trained further on mosaics as a defence makes them, with the optimizer,
schedule, loss and batch of ``vidpipe train idn``. It knows how many blocks there are."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from nets import losses
from nets.checkpoint import save
from nets.pixelizer import Pixelizer, PixelizerConfig
from train.data.pictures import Stills
from train.muon import Muon
from train.pixelizer_task import Recipe, attack, attacker, change, draw, transmit
from train.recipe import Recipe as Schedule
from train.state import follow, set_rate

log = logging.getLogger(__name__)

STEPS = 200
"""At the rate of a first training, 3e-3: 100 steps gain 3.4 dB on mosaics with a block perturbation (96
training pictures, mosaics not seen), at half of it 2.8"""
AVERAGING = 0.5
"""Share of steps on which it sees averaged cells: it has to restore both"""
SPREAD = (0.85, 1.2)
"""Of the number of cells about the defence's own: boxes are found, and cells are whole"""


def retrain(
    weights: Path,
    faces: Stills,
    against: Pixelizer | None,
    target: Path,
    device: torch.device,
    cells: float,
    steps: int = STEPS,
    seed: int = 2,
) -> None:
    """Trains for ``steps`` on lattices of about ``cells`` across the mosaic's shorter side that ``against``
    has changed (None: plain ones), and writes the averaged weights. Raises CheckpointError for weights of no
    IDN."""
    warmup = max(1, min(Schedule.warmup, steps // 3))
    schedule = Schedule("idn", steps=steps, warmup=warmup)
    recipe = Recipe(
        against.config if against else PixelizerConfig(),
        batch=schedule.batch,
        blocks=(cells * SPREAD[0], cells * SPREAD[1]),
        seed=seed,
    )
    net, average = attacker(weights, device).requires_grad_(True), attacker(weights, device)
    nn.Module.to(net, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = Muon(net.parameters(), schedule.rate, betas=(0.9, schedule.beta2))
    for step in range(steps):
        set_rate(optimizer, schedule, step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        covered = draw(recipe, faces, generator)
        with torch.no_grad():
            delta = change(against, covered) if against else None
            received = transmit(covered.painted(delta), covered, AVERAGING, generator)
        restored, _ = attack(net, received, covered)
        loss = losses.PIXELIZED * losses.pixelized(restored, covered.truth, covered.mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        follow(average, net, min(schedule.ema, (1 + step) / (10 + step)))
        if (step + 1) % 50 == 0:
            log.info("%s: step %d of %d", target.name, step + 1, steps)
    target.parent.mkdir(parents=True, exist_ok=True)
    save(target, average)
