"""The methods that are compared: trivial baselines and networks from files; inversion is in
``train.evaluation.inversion``. Each takes a scene and restores its judged frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard

import torch
from torch import Tensor

from nets import pixelation
from nets.checkpoint import WEIGHTS, CheckpointError, Net, load, sha256
from nets.fusion import fuse, support
from nets.nar import NAR
from nets.observation import HALF_STEP, compose, observe
from nets.pixelizer import Pixelizer
from pipeline.errors import InputError
from train.evaluation.conditions import Scene

SHIPPED = ("idn", "nar")


class Method(Protocol):
    """A way to restore the judged frames of a scene."""

    @property
    def name(self) -> str:
        """As in the tables."""

    def __call__(self, scene: Scene) -> Tensor:
        """(K, 3, S, S) RGB, one per judged frame; clean pixels as in the input."""


@dataclass(frozen=True)
class Trivial:
    """``nearest``: the input's own cells; ``bicubic``: between their values; ``bicubic + projection``: the
    same, held to the cells' values."""

    name: str

    def __call__(self, scene: Scene) -> Tensor:
        judged = list(scene.judged)
        image, mask, rows, cols = (x[judged] for x in (scene.image, scene.mask, scene.rows, scene.cols))
        obs = observe(image, mask, rows, cols)
        match self.name:
            case "nearest":
                return image
            case "bicubic":
                return obs.base
            case "bicubic + projection":
                held = pixelation.project(obs.base, obs.samples, rows, cols, obs.weight, HALF_STEP)
                return torch.where(scene.means[judged].view(-1, 1, 1, 1) > 0, held, obs.base)
        raise ValueError(f"no trivial method is called {self.name!r}")


NEAREST, BICUBIC, PROJECTED = Trivial("nearest"), Trivial("bicubic"), Trivial("bicubic + projection")
TRIVIAL = (NEAREST, BICUBIC, PROJECTED)


@dataclass(frozen=True)
class Fused:
    """The common picture of ``frames`` frames about each judged one (``nets.fusion``), without any network:
    what a NAR reads and must not lose to."""

    frames: int

    @property
    def name(self) -> str:
        return f"fusion alone, {self.frames} frames"

    @torch.no_grad()
    def __call__(self, scene: Scene) -> Tensor:
        return torch.stack([self._restore(scene, frame) for frame in scene.judged])

    def _restore(self, scene: Scene, frame: int) -> Tensor:
        seen = list(scene.around(frame, self.frames))
        obs = observe(*(x[seen] for x in (scene.image, scene.mask, scene.rows, scene.cols, scene.means)))
        return fuse(obs, len(seen)).picture[0, seen.index(frame)]


@dataclass(frozen=True)
class Network:
    """A network of a file, given ``frames`` frames about each judged one (its window is filled up by
    repeating edges)."""

    name: str
    net: Net
    path: Path
    frames: int
    device: torch.device

    @property
    def windowed(self) -> bool:
        """Takes several frames."""
        return window(self.net) > 1

    def facts(self) -> dict[str, object]:
        """What a report says of it."""
        return {
            "name": self.name,
            "file": self.path.name,
            "sha256": sha256(self.path),
            "parameters": sum(p.numel() for p in self.net.parameters()),
            "window_frames": window(self.net),
            "frames": self.frames,
        }

    @torch.no_grad()
    def __call__(self, scene: Scene) -> Tensor:
        if not self.windowed:
            return self._run(scene, list(scene.judged), window=False)
        return torch.stack([self._restore(scene, frame) for frame in scene.judged])

    def _run(self, scene: Scene, frames: list[int], window: bool) -> Tensor:
        """Restores frames of a scene, given as a batch of pictures or as one window."""
        parts = [x[frames] for x in (scene.image, scene.mask, scene.rows, scene.cols, scene.means)]
        restored: Tensor = self.net(*((x[None] if window else x).to(self.device) for x in parts))[0]
        return restored.cpu()

    def _restore(self, scene: Scene, frame: int) -> Tensor:
        """One frame: a NAR takes what may be seen, others have it in the middle of a full window's core."""
        if fuses(self.net):
            return self._fuse(self.net, scene, frame)
        span, core = window(self.net), int(getattr(self.net.config, "core", 1))
        before = (span - core) // 2 + core // 2
        seen = scene.around(frame, self.frames)
        steps = [min(max(frame - before + k, seen.start), seen.stop - 1) for k in range(span)]
        return self._run(scene, steps, window=True)[0, core // 2]

    def _fuse(self, net: NAR, scene: Scene, frame: int) -> Tensor:
        seen = list(scene.around(frame, self.frames))
        parts = (scene.image, scene.mask, scene.rows, scene.cols, scene.means)
        image, *rest = (x[seen].to(self.device) for x in parts)
        at = seen.index(frame)
        obs = support(observe(image, *rest), len(seen), [at])
        residual, trust = net.restorer.body(obs.features, 1 - obs.weight)
        return compose(obs, image[at : at + 1], residual.float(), trust.float())[0].cpu()


def window(net: Net) -> int:
    """Frames that a network takes at once."""
    return int(getattr(net.config, "window", 1))


def fuses(net: Net) -> TypeGuard[NAR]:
    """Whether a network takes windows of any length."""
    return isinstance(net, NAR)


def read_networks(
    names: Sequence[str],
    frames: Sequence[int],
    device: torch.device,
    titles: Sequence[str] | None = None,
) -> list[Network]:
    """Networks of files or shipped ones by name, those that take a window once for each of ``frames``.
    ``titles`` are their names in tables, else their files'. Raises InputError."""
    paths = [WEIGHTS / f"{name}.safetensors" if name in SHIPPED else Path(name) for name in names]
    for name, path in zip(names, paths, strict=True):
        if not path.exists():
            raise InputError(f"{name!r} is no weights file, nor one of the shipped {', '.join(SHIPPED)}")
    networks = []
    for path, label in zip(paths, titles or labels(paths), strict=True):
        try:
            net = load(path).to(device)
        except CheckpointError as error:
            raise InputError(str(error)) from error
        if isinstance(net, Pixelizer):
            raise InputError(f"{path} holds a pixelizer, which restores nothing; give an IDN or a NAR")
        span = window(net)
        for count in sorted(set(frames)) if span > 1 else (1,):
            name = f"{label}, {count} frame{'s' if count > 1 else ''}" if span > 1 else label
            networks.append(Network(name, net, path, count, device))
    return networks


def labels(paths: Sequence[Path]) -> list[str]:
    """Names of files without suffix, with as many of their folders as tell them apart."""
    for depth in range(1, max(len(p.parts) for p in paths) + 1) if paths else ():
        names = ["/".join(p.with_suffix("").parts[-depth:]) for p in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{i + 1}:{p.stem}" for i, p in enumerate(paths)]
