"""The training loop of both restoring networks: draw, degrade, restore, compare, step.

A batch depends on (seed, step) alone and the state that is saved is complete, so a run that is cut
and resumed goes through the same losses as one that is not.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nets import losses
from nets.checkpoint import CheckpointError, Net, build, load, save
from nets.fusion import support
from nets.grid import Observation, compose, observe
from nets.idn import IDN, IDNConfig
from nets.nar import NAR
from nets.nar_seed import SeedNAR, SeedNARConfig
from train.adversary import Adversary
from train.data import Segments, Stills, draw_clips, jitter
from train.degrade import Degradation, Example, degrade
from train.muon import Muon
from train.strips import write_strip

log = logging.getLogger(__name__)

CELLS = 64
"""N of the membership matrices, see pipeline.engines.EngineSpec."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes."""

    net: str
    """idn, nar or nar-seed"""
    config: dict[str, object] = field(default_factory=dict)
    """fields of the network's configuration; empty: the shipped size"""
    steps: int = 20_000
    batch: int = 8
    """clips per step; a clip is one frame for idn, a window for nar"""
    size_px: int = 128
    """S of the crops; pictures are finer, up to their own size"""
    rate: float = 3e-3
    """Muon's learning rate at its peak, cosine to 2 % of it at the end; 8e-3 is too much for idn"""
    warmup: int = 100
    """steps"""
    real_share: float = 0.35
    """of clips that come from real footage, the rest are stills under a moving camera"""
    pixelized: float = losses.PIXELIZED
    tv: float = 0.0
    """eq. (9)'s weight; 0.1 in the paper, which also lowers PSNR"""
    perceptual: float = 0.0
    style: float = 0.0
    adversarial: float = 0.0
    motion: float = 2.0
    """weight of the supervision of nar-seed's affines by known camera motion"""
    windows: tuple[int, ...] = (1, 5, 5, 16, 16)
    """numbers of frames of nar's windows, one drawn per step"""
    restored: int = 3
    """frames of a window that nar restores in a step, at most"""
    beta2: float = 0.99
    """Adam's second decay; 0.999 in the papers, whose schedules are a hundred times longer"""
    ema: float = 0.999
    seed: int = 1
    degradation: Degradation = field(default_factory=Degradation)


@dataclass
class State:
    """What a step changes."""

    net: Net
    average: Net
    """exponential moving average of the weights: what is shipped"""
    optimizer: torch.optim.Optimizer
    adversary: Adversary | None
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
        return State(net, average.requires_grad_(False), optimizer, adversary)

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

    def load(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        self.net.load_state_dict(saved["net"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.adversary and saved["adversary"]:
            self.adversary.load_state_dict(saved["adversary"])
        self.step = saved["step"]


def train(
    recipe: Recipe,
    sources: tuple[Stills, Segments | None],
    out: Path,
    device: torch.device,
    max_minutes: float = math.inf,
    resume: bool = False,
    vgg: losses.VGG16 | None = None,
    start: Path | None = None,
) -> State:
    """Trains into ``out``: ``state.pt``, ``{net}.safetensors``, ``log.csv``, ``strip_*.png``.

    A fresh run takes over the weights of ``start``: a network of the same kind, or an IDN for a NAR.
    """
    if (recipe.perceptual or recipe.style) and vgg is None:
        raise ValueError("perceptual and style loss need VGG16's weights; give them or set both weights to 0")
    out.mkdir(parents=True, exist_ok=True)
    state = State.fresh(recipe, device)
    if resume and (out / "state.pt").exists():
        state.load(out / "state.pt")
        log.info("resumed at step %d", state.step)
    elif start is not None:
        take_over(state, start)
    (out / "recipe.txt").write_text(repr(asdict(recipe)) + "\n")
    began, last_saved, window = time.monotonic(), time.monotonic(), []
    first = state.step
    while state.step < recipe.steps:
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + state.step)
        example, still, placement = draw(recipe, sources, generator, device)
        set_rate(state.optimizer, recipe, state.step)
        terms, restored, obs, picked = losses_of(state, recipe, example, still, placement, vgg)
        loss = torch.stack(list(terms.values())).sum()
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(state.net.parameters(), 0.5)
        state.optimizer.step()
        follow(state.average, state.net, min(recipe.ema, (1 + state.step) / (10 + state.step)))
        state.step += 1
        window.append([*(float(t.detach()) for t in terms.values()), *gain_db(restored, obs, picked)])
        if state.step % 50 == 0:
            names = [*terms, "base_db", "gain_db"]
            report(out, state.step, recipe.steps, names, window, time.monotonic() - began, first)
            window = []
        if state.step % 500 == 0:
            write_strip(out / f"strip_{state.step:06d}.png", picked, obs.base, restored)
        if time.monotonic() - began > max_minutes * 60:
            break
        if time.monotonic() - last_saved > 120:
            state.save(out / "state.pt")
            save(out / f"{recipe.net}.safetensors", state.average)
            last_saved = time.monotonic()
    state.save(out / "state.pt")
    save(out / f"{recipe.net}.safetensors", state.average)
    return state


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
    return replace(one, channels=0) == replace(other, channels=0)


def draw(
    recipe: Recipe,
    sources: tuple[Stills, Segments | None],
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Example, Tensor, Tensor]:
    """A batch: the example, which of its clips are stills (B,), and their placements (B, T, 2, 3)."""
    window = draw_window(recipe, generator)
    clips = draw_clips(sources, recipe.batch, window, recipe.real_share, generator)
    truth = jitter(clips.frames, generator)
    example = degrade(truth, recipe.size_px, CELLS, recipe.degradation, generator)
    return example.to(device), clips.still.to(device), clips.placement.to(device)


def draw_window(recipe: Recipe, generator: torch.Generator) -> int:
    """Frames per clip of the next batch."""
    if recipe.net == "nar":
        return recipe.windows[int(torch.randint(len(recipe.windows), (1,), generator=generator))]
    if recipe.net == "nar-seed":
        return SeedNARConfig(**recipe.config).window  # type: ignore[arg-type]
    return 1


def losses_of(
    state: State,
    recipe: Recipe,
    example: Example,
    still: Tensor,
    placement: Tensor,
    vgg: losses.VGG16 | None,
) -> tuple[dict[str, Tensor], Tensor, Observation, Example]:
    """The weighted terms, the restored frames (M, 3, S, S), their observation, their part of the example."""
    device = example.image.device
    terms: dict[str, Tensor] = {}
    T = example.image.shape[1]
    kept = kept_frames(state.net, recipe, T, state.step)
    obs = observe(*example.flat(), example.means.repeat_interleave(T))
    with torch.autocast(device.type, torch.bfloat16):
        match state.net:
            case SeedNAR() as net:
                features = obs.features.contiguous(memory_format=torch.channels_last)
                residual, trust, affine = net.body_and_motion(features.unflatten(0, (-1, T)), example.mask)
                residual, trust = residual.flatten(0, 1), trust.flatten()
                terms["motion"] = recipe.motion * motion_loss(
                    affine, placement, still, net.config.core, net.config.context
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
    terms["pixelized"] = recipe.pixelized * losses.pixelized(restored, truth, mask)
    if recipe.tv:
        terms["tv"] = recipe.tv * losses.total_variation(restored)
    if vgg is not None:
        with torch.autocast(device.type, torch.bfloat16):
            perceptual, style = losses.perceptual_and_style(vgg, restored, truth)
        terms["perceptual"] = recipe.perceptual * perceptual
        terms["style"] = recipe.style * style
    if state.adversary is not None:
        state.adversary.step(truth, restored)
        terms["adversarial"] = recipe.adversarial * state.adversary.generator_loss(restored)
    return terms, restored.detach(), obs, picked


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


@torch.no_grad()
def gain_db(restored: Tensor, obs: Observation, example: Example) -> tuple[float, float]:
    """PSNR inside the mosaic of the base (bicubic, for a nar the fused frames), and what the network adds, in
    dB. ``example`` holds the restored frames."""
    truth = example.truth.flatten(0, 1)

    def psnr(x: Tensor) -> Tensor:
        error = ((x.clamp(0, 1) - truth) ** 2 * obs.weight).sum((1, 2, 3))
        return -10 * torch.log10(error / (3 * obs.weight.sum((1, 2, 3))) + 1e-10)

    base = psnr(obs.base)
    return float(base.mean()), float((psnr(restored) - base).mean())


def report(
    out: Path, step: int, steps: int, names: list[str], window: list[list[float]], seconds: float, first: int
) -> None:
    """One line of the log and of log.csv: means over the last steps, speed and time to go."""
    means = [sum(column) / len(window) for column in zip(*window, strict=True)]
    per_step = seconds / (step - first)
    columns = ["step", *names, "seconds_per_step"]
    path = out / "log.csv"
    if not path.exists():
        path.write_text(",".join(columns) + "\n")
    with path.open("a") as file:
        file.write(",".join([str(step), *(f"{m:.5f}" for m in means), f"{per_step:.3f}"]) + "\n")
    terms = " ".join(f"{n} {m:.4f}" for n, m in zip(columns[1:], means, strict=False))
    log.info("step %d/%d %s eta %.0f min", step, steps, terms, (steps - step) * per_step / 60)
