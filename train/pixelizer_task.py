"""Trains the adversarial pixelizer: draw, pixelate, change, transmit, attack, compare, step.

Eq. (11) and (13) of the IDN paper with the attacker frozen: what it makes of the changed mosaic is drawn
towards the plain mosaic, and the change is kept small. Between change and attack lies a transmission
(``train.data.transmission``), and the attacker averages cells on some steps: what survives neither is no
change. A batch depends on (seed, step) alone and the state that is saved is complete, as in ``train.loop``.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets import pixelation, pixelizer_io
from nets.checkpoint import CheckpointError, load, save
from nets.idn import IDN
from nets.observation import CELLS, compose, observe
from nets.pixelizer import Pixelizer, PixelizerConfig
from train import run_identity
from train.data.mosaic_geometry import Mosaic
from train.data.pictures import Stills, draw_clips, jitter
from train.data.transmission import blur, eight_bits, jpeg
from train.metrics import psnr
from train.numerics import autocast
from train.progress import report
from train.sample_sheet import write_pictures
from train.state import follow

log = logging.getLogger(__name__)

FINE = 96
"""Most sub-cells of an axis"""
MEASURED = ("adv_db", "rec_db")
"""Of the paper's Table 5: PSNR of the changed mosaic and of what is made of it, against the plain one"""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes, but for the attacker's weights."""

    config: PixelizerConfig = field(default_factory=PixelizerConfig)
    steps: int = 1000
    batch: int = 6
    size_px: int = 128
    rate: float = 1e-3
    warmup: int = 30
    recovery: float = 1.0
    """lambda 1"""
    away: float = 1.0
    """weight of the distance between what is restored and the truth, which is to grow; not in the paper.
    Without it 400 steps at a change of 0.1 brought what is restored 0.7 dB nearer to the mosaic, no more"""
    change: float = 0.3
    """lambda 2; in the paper 3 for pixels and 8 for blocks. Our attacker interpolates between blocks and does
    not copy them: it takes more to make it give them back"""
    blocks: tuple[float, float] = (4.0, 12.0)
    """cells across the mosaic's shorter side, log-uniform"""
    longer_side: tuple[float, float] = (0.56, 0.68)
    aspect: tuple[float, float] = (0.65, 1.1)
    crop_px: tuple[float, float] = (120.0, 700.0)
    averaging: float = 0.5
    """share of steps on which the attacker averages the cells first"""
    ema: float = 0.99
    seed: int = 1


@dataclass(frozen=True)
class Covered:
    """A batch of covered faces, as ``train.data.degrade.Example`` has them, and their lattices."""

    truth: Tensor
    """(B, 3, S, S)"""
    samples: tuple[Tensor, ...]
    """(3, R, C) each"""
    mask: Tensor
    rows: Tensor
    cols: Tensor
    fine: tuple[tuple[Tensor, Tensor], ...]
    """(FINE, S) each: membership of rows and columns in the sub-cells of a change"""

    def painted(self, delta: tuple[Tensor, ...] | None = None) -> Tensor:
        """(B, 3, S, S): the mosaics, changed by what is given for each, in 8 bits."""
        out = []
        for i, samples in enumerate(self.samples):
            lattice, rows, cols = samples, self.rows[i], self.cols[i]
            if delta is not None:
                lattice, (rows, cols) = pixelizer_io.add(samples, delta[i]), self.fine[i]
            R, C = lattice.shape[1:]
            out.append(pixelation.replicate(lattice, rows[:R], cols[:C]))
        return torch.where(self.mask > 0, self.truth, eight_bits(torch.stack(out)))


@dataclass
class State:
    """What a step changes."""

    net: Pixelizer
    average: Pixelizer
    """exponential moving average of the weights: what is shipped"""
    optimizer: torch.optim.Optimizer
    step: int = 0

    @staticmethod
    def fresh(recipe: Recipe, device: torch.device) -> State:
        torch.manual_seed(recipe.seed)
        net, average = (Pixelizer(recipe.config).to(device) for _ in range(2))
        average.load_state_dict(net.state_dict())
        optimizer = torch.optim.Adam(net.parameters(), recipe.rate, betas=(0.9, 0.99))
        return State(net, average.requires_grad_(False), optimizer)

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        parts = (self.net, self.average, self.optimizer)
        torch.save({"parts": [p.state_dict() for p in parts], "step": self.step}, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        net, average, optimizer = saved["parts"]
        self.net.load_state_dict(net)
        self.average.load_state_dict(average)
        self.optimizer.load_state_dict(optimizer)
        self.step = saved["step"]


def attacker(path: Path, device: torch.device) -> IDN:
    """The frozen IDN of a file. Raises CheckpointError for another network."""
    net = load(path)
    if not isinstance(net, IDN):
        raise CheckpointError(f"{path} holds no IDN; a pixelizer is trained against one")
    return net.to(device).requires_grad_(False).eval()


def train(
    recipe: Recipe,
    faces: Stills,
    against: IDN,
    out: Path,
    device: torch.device,
    max_minutes: float = math.inf,
    resume: bool = False,
) -> State:
    """Runs until ``recipe.steps`` or ``max_minutes``; ``out`` gets state.pt, the weights, log.csv, strips."""
    out.mkdir(parents=True, exist_ok=True)
    weights = out / f"pixelizer-{recipe.config.perturb}.safetensors"
    state = State.fresh(recipe, device)
    if resume and (out / "state.pt").exists():
        run_identity.check(out, recipe)
        state.load(out / "state.pt")
        log.info("resumed at step %d", state.step)
    run_identity.write(out, recipe)
    started, last_saved, window, first = time.monotonic(), time.monotonic(), [], state.step
    while state.step < recipe.steps:
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + state.step)
        covered = draw(recipe, faces, generator)
        for group in state.optimizer.param_groups:
            progress = state.step / recipe.steps
            rate = recipe.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
            group["lr"] = rate * min(1.0, (state.step + 1) / recipe.warmup)
        delta = change(state.net, covered)
        plain, changed = covered.painted(), covered.painted(delta)
        received = transmit(changed, covered, recipe.averaging, generator)
        restored, _ = attack(against, received, covered)
        weight = 1 - covered.mask
        terms = {
            "recovery": recipe.recovery * ((restored - plain).abs() * weight).mean(),
            "away": -recipe.away * ((restored - covered.truth).abs() * weight).mean(),
            "change": recipe.change * ((changed - plain).abs() * weight).mean(),
        }
        state.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(state.net.parameters(), 0.5)
        state.optimizer.step()
        follow(state.average, state.net, min(recipe.ema, (1 + state.step) / (10 + state.step)))
        state.step += 1
        window.append([*(float(t.detach()) for t in terms.values()), *_measured(covered, changed, restored)])
        if state.step % 50 == 0:
            report(
                out,
                state.step,
                recipe.steps,
                [*terms, *MEASURED],
                window,
                time.monotonic() - started,
                first,
            )
            window = []
        if state.step % 200 == 0:
            unchanged, _ = attack(against, plain, covered)
            write_pictures(
                out / f"strip_{state.step:06d}.png",
                [covered.truth, plain, unchanged, changed.detach(), received.detach(), restored.detach()],
            )
        if time.monotonic() - started > max_minutes * 60:
            break
        if time.monotonic() - last_saved > 120:
            state.save(out / "state.pt")
            save(weights, state.average)
            last_saved = time.monotonic()
    state.save(out / "state.pt")
    save(weights, state.average)
    return state


def draw(recipe: Recipe, faces: Stills, generator: torch.Generator) -> Covered:
    """Faces under lattices that span their box, as ``pipeline.stages.pixelize`` lays them."""
    clips = draw_clips((faces, None), recipe.batch, 1, 0.0, generator)
    clean = jitter(clips.frames, generator)[:, 0]
    config, size_px = recipe.config, recipe.size_px
    samples, masks, rows, cols, fine = [], [], [], [], []
    for picture in clean:
        mosaic, cells = draw_mosaic(recipe, generator)
        down, across, _ = mosaic.render(picture.shape[-1])
        measured = pixelation.block_means(picture, down[0], across[0])[:, : cells[0], : cells[1]]
        samples.append(torch.round(measured * 255) / 255)
        row, col, weight = mosaic.render(size_px)
        k = pixelizer_io.subdivision(config.perturb, config.size_px, cells)
        finer = replace(mosaic, pitch=(mosaic.pitch[0] / k, mosaic.pitch[1] / k), cells=FINE)
        fine_row, fine_col, _ = finer.render(size_px)
        masks.append(1 - weight[0])
        rows.append(row[0])
        cols.append(col[0])
        fine.append((fine_row[0], fine_col[0]))
    truth = F.interpolate(clean, (size_px, size_px), mode="area")
    mask, row, col = (torch.stack(x) for x in (masks, rows, cols))
    return Covered(truth, tuple(samples), mask, row, col, tuple(fine))


def draw_mosaic(recipe: Recipe, generator: torch.Generator) -> tuple[Mosaic, tuple[int, int]]:
    """A mosaic whose lattice is locked to it, and its (rows, columns)."""

    def draw(low: float, high: float) -> float:
        return float(torch.rand(1, generator=generator)) * (high - low) + low

    crop = recipe.crop_px[0] * (recipe.crop_px[1] / recipe.crop_px[0]) ** draw(0, 1)
    longer, aspect = draw(*recipe.longer_side) * crop, draw(*recipe.aspect)
    width, height = (longer * aspect, longer) if aspect < 1 else (longer, longer / aspect)
    pitch = min(width, height) / (recipe.blocks[0] * (recipe.blocks[1] / recipe.blocks[0]) ** draw(0, 1))
    cells = max(2, round(height / pitch)), max(2, round(width / pitch))
    left = (crop - width) / 2 + draw(-0.01, 0.01) * crop
    top = (crop - height) / 2 + draw(-0.01, 0.01) * crop
    mosaic = Mosaic(
        crop=crop,
        left=left,
        top=top,
        width=width,
        height=height,
        pitch=(width / cells[1], height / cells[0]),
        origins=((left, top),),
        snapped=False,
        ellipse=draw(0, 1) < 0.5,
        cells=CELLS,
    )
    return mosaic, cells


def change(net: Pixelizer, covered: Covered) -> tuple[Tensor, ...]:
    """What the network adds to each lattice: (3, R k, C k)."""
    config = net.config
    features, mask = pixelizer_io.read(covered.samples, config.perturb, config.size_px)
    delta = net(features, mask)
    return tuple(
        pixelizer_io.answer(one, config.perturb, (x.shape[1], x.shape[2]))
        for one, x in zip(delta, covered.samples, strict=True)
    )


def transmit(image: Tensor, covered: Covered, averaging: float, generator: torch.Generator) -> Tensor:
    """One of: nothing, JPEG of 40 to 95, a little blur, noise of the codec's size; then, on a share of the
    steps, the mean of each cell, which removes what differs within cells."""
    kind, strength, averaged = torch.rand(3, generator=generator).tolist()
    if kind < 0.2:
        received = image
    elif kind < 0.65:
        received = jpeg(image, 40 + 55 * strength)
    elif kind < 0.8:
        received = eight_bits(blur(image, 0.5 + 0.8 * strength))
    else:
        noise = torch.randn(image.shape, generator=generator) * (1 + 3 * strength) / 255
        received = eight_bits(image + noise)
    if averaged >= averaging:
        return received
    return averaged_cells(received, covered.mask, covered.rows, covered.cols)


def averaged_cells(image: Tensor, mask: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """The mosaic with each cell at its mean: what whoever knows the grid does first."""
    means = pixelation.block_means(image, rows, cols, 1 - mask)
    return torch.where(mask > 0, image, pixelation.replicate(means, rows, cols))


def attack(against: IDN, image: Tensor, covered: Covered) -> tuple[Tensor, Tensor]:
    """What the attacker makes of pictures (B, 3, S, S), and their interpolation."""
    obs = observe(image, covered.mask, covered.rows, covered.cols)
    with autocast(image.device):
        features = obs.features.contiguous(memory_format=torch.channels_last)
        residual, trust = against.body(features, covered.mask)
    return compose(obs, image, residual.float(), trust.float()), obs.base


@torch.no_grad()
def _measured(covered: Covered, changed: Tensor, restored: Tensor) -> tuple[float, float]:
    """PSNR inside the mosaic against the plain one, of the changed mosaic and of what is made of it, dB."""
    plain, weight = covered.painted(), 1 - covered.mask
    return float(psnr(changed, plain, weight).mean()), float(psnr(restored, plain, weight).mean())
