"""What decides a training run."""

from __future__ import annotations

from dataclasses import dataclass, field

from nets import losses
from train.data.degrade import Degradation


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes."""

    net: str
    """idn, nar or nar-seed"""
    config: dict[str, object] = field(default_factory=dict)
    """fields of the network's configuration; empty: the shipped size"""
    steps: int = 20_000
    batch: int = 8
    """clips per step; a clip is one frame for idn, a window for nar; ``restored`` times as many where nar's
    windows are single frames"""
    size_px: int = 128
    """S of the crops; pictures are finer, up to their own size"""
    rate: float = 3e-3
    """Muon's learning rate at its peak, cosine to 2 % of it at the end; 8e-3 is too much for idn"""
    warmup: int = 100
    """steps"""
    real_share: float = 0.35
    """of clips that come from real footage, the rest are stills under a moving camera"""
    pixelized: float = losses.PIXELIZED
    relative: bool = True
    """the L1 of each picture counts in proportion to its base's: dark and smooth faces, whose errors are
    small in levels, count as much as others, and what falls is what PSNR over the base measures"""
    tv: float = 0.0
    """eq. (9)'s weight; 0.1 in the paper, which also lowers PSNR"""
    perceptual: float = 0.0
    style: float = 0.0
    adversarial: float = 0.0
    adversarial_from: int = 0
    """first step with the adversarial loss; earlier there is nothing to tell apart but blur"""
    identity: float = 0.0
    """weight of 1 - cosine of the embeddings of ``nets.mobilefacenet``, which no metric uses"""
    motion: float = 2.0
    """weight of the supervision of nar-seed's affines by known camera motion"""
    windows: tuple[int, ...] = (1, 1, 5, 16, 16)
    """numbers of frames of nar's windows, one drawn per step"""
    restored: int = 3
    """frames of a window that nar restores in a step, at most"""
    beta2: float = 0.99
    """Adam's second decay; 0.999 in the papers, whose schedules are a hundred times longer"""
    ema: float = 0.999
    seed: int = 1
    degradation: Degradation = field(default_factory=Degradation)
