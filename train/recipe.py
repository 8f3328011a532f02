"""What decides a training run: one frozen dataclass for each task."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nets import losses
from nets.pixelizer import PixelizerConfig
from train.data.degrade import Degradation
from train.data.pixelize import MosaicRanges


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every task has: length, batch and the schedule of the learning rate."""

    steps: int
    batch: int
    """clips or pictures per step"""
    size_px: int = 128
    """S of the crops; pictures are finer, up to their own size"""
    rate: float
    """learning rate at its peak"""
    warmup: int
    """steps over which the rate rises linearly to its peak"""
    ema: float
    """decay of the moving average of the weights"""
    seed: int = 1

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then cosine down to 2 % of the peak at the last step."""
        rate = self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))
        return rate * min(1.0, (step + 1) / self.warmup)


@dataclass(frozen=True, kw_only=True)
class RestoreRecipe(Recipe):
    """A network that restores faces: ``train.restore_task``."""

    net: str = field(kw_only=False)
    """idn, nar, nar-seed or a baseline"""
    config: dict[str, object] = field(default_factory=dict)
    """fields of the network's configuration; empty: the shipped size"""
    steps: int = 20_000
    batch: int = 8
    """clips per step; a clip is one frame for idn, a window for nar; ``restored`` times as many where nar's
    windows are single frames"""
    rate: float = 3e-3
    warmup: int = 100
    real_share: float = 0.35
    """share of clips that come from real footage; the others are stills under a moving camera"""
    pixelized: float = losses.PIXELIZED
    relative: bool = True
    """Whether each picture's L1 is divided by that of the better picture that the network was given (bicubic
    interpolation, the window's common picture), so that dark and smooth faces, and windows that show much,
    count as much as others although their errors are small in grey levels"""
    tv: float = 0.0
    """weight of the total variation, eq. (9) of the IDN paper, where it is 0.1; it lowers PSNR"""
    perceptual: float = 0.0
    style: float = 0.0
    adversarial: float = 0.0
    adversarial_from: int = 0
    """first step with the adversarial loss; earlier there is nothing to tell apart but blur"""
    identity: float = 0.0
    """weight of 1 - cosine of the embeddings of ``nets.mobilefacenet``, which no metric uses"""
    motion: float = 2.0
    """weight of the supervision of nar-seed's affines by known camera motion"""
    windows: tuple[int, ...] = (1, 5, 16, 16, 16)
    """numbers of frames of nar's windows, one drawn per step"""
    restored: int = 3
    """most frames of a window that nar restores in a step"""
    beta2: float = 0.99
    """Adam's second decay; 0.999 in the papers, whose schedules are a hundred times longer"""
    ema: float = 0.999
    degradation: Degradation = field(default_factory=Degradation)


@dataclass(frozen=True, kw_only=True)
class MosaicRecipe(Recipe, MosaicRanges):
    """What the tasks have in common that train on mosaics as ``vidpipe run --mode protect`` makes them."""

    config: PixelizerConfig = field(default_factory=PixelizerConfig)
    """of the network that changes the mosaics"""
    averaging: float = 0.5
    """share of steps on which the attacker averages each cell first"""


@dataclass(frozen=True, kw_only=True)
class PixelizerRecipe(MosaicRecipe):
    """The adversarial pixelizer: ``train.pixelizer_task``. The attacker's weights are not part of it."""

    steps: int = 1000
    batch: int = 6
    rate: float = 1e-3
    warmup: int = 30
    ema: float = 0.99
    recovery: float = 1.0
    """lambda 1 of the IDN paper's eq. (13)"""
    away: float = 1.0
    """weight of the distance between restored face and truth, which is to grow; not in the paper"""
    change: float = 0.3
    """lambda 2; in the paper 3 for pixels and 8 for blocks"""


@dataclass(frozen=True, kw_only=True)
class AttackerRecipe(MosaicRecipe):
    """An IDN that adapts to a defence: ``train.attacker_task``. Rate, batch and averages are those of
    ``RestoreRecipe``."""

    steps: int = 200
    batch: int = RestoreRecipe.batch
    rate: float = RestoreRecipe.rate
    warmup: int = RestoreRecipe.warmup
    beta2: float = RestoreRecipe.beta2
    ema: float = RestoreRecipe.ema
    seed: int = 2
