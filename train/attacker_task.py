"""The task of an attacker that adapts: an IDN, trained further on mosaics as a defence makes them, with the
optimizer, schedule, loss and batch of ``vidpipe train idn``. It knows how many blocks there are."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn

from nets import losses
from nets.pixelizer import Pixelizer, PixelizerConfig
from train.data.pictures import Stills
from train.distributed import Workers
from train.loop import train
from train.muon import Muon
from train.pixelizer_task import Batch, attack, change, draw, load_attacker
from train.recipe import AttackerRecipe
from train.state import State
from train.task import Restored, draw_generator

BLOCKS_SPREAD = (0.85, 1.2)
"""Range of the number of cells over the defence's own: boxes are found, and cells are whole"""


class AttackerTask:
    """Implements ``train.task.Task``."""

    name = "idn"

    def __init__(
        self,
        recipe: AttackerRecipe,
        weights: Path,
        faces: Stills,
        against: Pixelizer | None,
        device: torch.device,
    ) -> None:
        """``against``: what changes the mosaics, None: nothing. Raises CheckpointError for weights of no
        IDN."""
        self.recipe, self.sources, self.device = recipe, (faces, None), device
        self.against = against.to(device) if against else None
        self.net, average = (
            load_attacker(weights, device).requires_grad_(True),
            load_attacker(weights, device),
        )
        nn.Module.to(self.net, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = Muon(self.net.parameters(), recipe.rate, betas=(0.9, recipe.beta2))
        self.state = State(self.net, average, optimizer)

    def draw(self, step: int, rank: int) -> Batch:
        generator = draw_generator(self.recipe.seed, step, rank)
        return draw(self.recipe, self.sources[0], generator, self.device)

    def compare(self, batch: Batch, workers: Workers) -> Restored:
        del workers  # no adversary is trained
        faces = batch.faces
        with torch.no_grad():
            delta = change(self.against, faces) if self.against else None
            received = batch.received(faces.painted(delta))
        restored, base = attack(self.net, received, faces)
        loss = losses.PIXELIZED * losses.pixelized(restored, faces.truth, faces.mask)
        return Restored({"pixelized": loss}, received, base, restored, faces.truth, 1 - faces.mask)


def retrain(
    weights: Path,
    faces: Stills,
    against: Pixelizer | None,
    target: Path,
    device: torch.device,
    cells: float,
    steps: int = AttackerRecipe.steps,
) -> None:
    """Trains an attacker on mosaics of about ``cells`` cells across their shorter side that ``against`` has
    changed (None: plain ones), and writes the averaged weights.

    The run lies in a folder beside ``target`` until it is done; one that was cut goes on there. Raises
    CheckpointError for weights of no IDN.
    """
    recipe = AttackerRecipe(
        steps=steps,
        warmup=max(1, min(AttackerRecipe.warmup, steps // 3)),
        config=against.config if against else PixelizerConfig(),
        blocks=(cells * BLOCKS_SPREAD[0], cells * BLOCKS_SPREAD[1]),
    )
    folder = target.with_suffix("")
    task = AttackerTask(recipe, weights, faces, against, device)
    train(task, folder, resume=True)
    (folder / f"{task.name}.safetensors").replace(target)
    shutil.rmtree(folder)
