"""The task of the adversarial pixelizer: pixelate, change, transmit, attack, compare.

Eq. (11) and (13) of the IDN paper with the attacker frozen: what it makes of the changed mosaic is drawn
towards the plain mosaic, and the change is kept small. Between change and attack lies a transmission
(``train.data.transmission``), and the attacker averages cells on some steps: a change has to survive both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nets import pixelizer_io
from nets.checkpoint import CheckpointError, load
from nets.idn import IDN
from nets.observation import compose, observe
from nets.pixelizer import Pixelizer
from train.data.pictures import Stills, draw_clips, jitter
from train.data.pixelize import PixelizedFaces, averaged_cells, pixelize
from train.data.transmission import Transmission, draw_transmission
from train.distributed import Workers
from train.metrics import psnr
from train.numerics import autocast
from train.recipe import MosaicRecipe, PixelizerRecipe
from train.state import State
from train.task import draw_generator


@dataclass(frozen=True)
class Batch:
    """Faces, and what happens to their mosaics on the way to the attacker."""

    faces: PixelizedFaces
    transmission: Transmission
    averaged: bool
    """whether the attacker averages each cell first, which removes what differs within cells"""

    def received(self, image: Tensor) -> Tensor:
        """What the attacker gets of (B, 3, S, S)."""
        image, faces = self.transmission(image), self.faces
        return averaged_cells(image, faces.mask, faces.rows, faces.cols) if self.averaged else image


class PixelizerTask:
    """Implements ``train.task.Task``."""

    def __init__(self, recipe: PixelizerRecipe, faces: Stills, against: IDN, device: torch.device) -> None:
        """``against``: the attacker, of ``load_attacker``."""
        self.recipe, self.sources, self.device = recipe, (faces, None), device
        self.against = against.to(device)
        torch.manual_seed(recipe.seed)
        self.net, average = (Pixelizer(recipe.config).to(device) for _ in range(2))
        average.load_state_dict(self.net.state_dict())
        optimizer = torch.optim.Adam(self.net.parameters(), recipe.rate, betas=(0.9, 0.99))
        self.state = State(self.net, average.requires_grad_(False), optimizer)

    @property
    def name(self) -> str:
        return f"pixelizer-{self.recipe.config.perturb}"

    def draw(self, step: int, rank: int) -> Batch:
        generator = draw_generator(self.recipe.seed, step, rank)
        return draw(self.recipe, self.sources[0], generator, self.device)

    def compare(self, batch: Batch, workers: Workers) -> Attacked:
        del workers  # no adversary is trained
        recipe, faces = self.recipe, batch.faces
        plain, changed = faces.painted(), faces.painted(change(self.net, faces))
        received = batch.received(changed)
        restored, _ = attack(self.against, received, faces)
        weight = 1 - faces.mask
        losses = {
            "recovery": recipe.recovery * ((restored - plain).abs() * weight).mean(),
            "away": -recipe.away * ((restored - faces.truth).abs() * weight).mean(),
            "change": recipe.change * ((changed - plain).abs() * weight).mean(),
        }
        return Attacked(losses, faces, plain, changed, received, restored, self.against)


@dataclass(frozen=True)
class Attacked:
    """What the attacker makes of changed mosaics. Pictures are (B, 3, S, S)."""

    losses: dict[str, Tensor]
    faces: PixelizedFaces
    plain: Tensor
    changed: Tensor
    received: Tensor
    restored: Tensor
    against: IDN

    @torch.no_grad()
    def measures(self) -> dict[str, float]:
        """As in the paper's Table 5: PSNR in the mosaic of the changed mosaic (``adv_db``) and of what is
        restored of it (``rec_db``), both against the plain mosaic, dB."""
        weight = 1 - self.faces.mask
        pairs = {"adv_db": self.changed, "rec_db": self.restored}
        return {name: float(psnr(x, self.plain, weight).mean()) for name, x in pairs.items()}

    @torch.no_grad()
    def pictures(self) -> list[Tensor]:
        """Truth, plain mosaic, restored from it, changed mosaic, as received, restored from that."""
        unchanged, _ = attack(self.against, self.plain, self.faces)
        columns = (self.faces.truth, self.plain, unchanged, self.changed, self.received, self.restored)
        return [x.detach() for x in columns]


def load_attacker(path: Path, device: torch.device) -> IDN:
    """The frozen IDN of a file. Raises CheckpointError for another network."""
    net = load(path)
    if not isinstance(net, IDN):
        raise CheckpointError(f"{path} holds no IDN; a pixelizer is trained against one")
    return net.to(device).requires_grad_(False).eval()


def draw(recipe: MosaicRecipe, faces: Stills, generator: torch.Generator, device: torch.device) -> Batch:
    """A batch that depends on the generator alone."""
    clips = draw_clips((faces, None), recipe.batch, 1, 0.0, generator)
    clean = jitter(clips.frames, generator)[:, 0]
    pixelized = pixelize(clean, recipe.size_px, recipe, recipe.config, generator)
    transmission, chance = draw_transmission(pixelized.truth.shape, generator)
    return Batch(pixelized.to(device), transmission, chance < recipe.averaging)


def change(net: Pixelizer, faces: PixelizedFaces) -> tuple[Tensor, ...]:
    """What the network adds to the colours of each mosaic: (3, R k, C k)."""
    config = net.config
    features, mask = pixelizer_io.read(faces.samples, config.perturb, config.size_px)
    delta = net(features, mask)
    return tuple(
        pixelizer_io.answer(one, config.perturb, (x.shape[1], x.shape[2]))
        for one, x in zip(delta, faces.samples, strict=True)
    )


def attack(against: IDN, image: Tensor, faces: PixelizedFaces) -> tuple[Tensor, Tensor]:
    """What the attacker makes of pictures (B, 3, S, S), and their interpolation."""
    obs = observe(image, faces.mask, faces.rows, faces.cols)
    with autocast(image.device):
        features = obs.features.contiguous(memory_format=torch.channels_last)
        residual, trust = against.body(features, faces.mask)
    return compose(obs, image, residual.float(), trust.float()), obs.base
