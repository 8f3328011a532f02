"""The papers' tables as data: which networks are trained, and under which conditions they are compared.

Variants of one table see the same number of steps of the same draws; only what the table is about differs.
Of the papers' own figures, only those of Table 3 can be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SMALL: Mapping[str, object] = {"width": 32, "widths": (64, 128)}
"""A network that trains in minutes; what a table compares does not hang on its size."""

RATIOS = (0.08, 0.09, 0.10, 0.11, 0.12)
"""Samples over pixels of the IDN paper's 128 px box, section 4: single trains on 0.1, infinite on all
between."""
BLOCKS = tuple(round(128 * r, 2) for r in RATIOS)


@dataclass(frozen=True)
class Variant:
    """One row: a network and how it is trained."""

    name: str
    net: str = "idn"
    config: Mapping[str, object] = field(default_factory=dict)
    """fields of the network's configuration"""
    degradation: Mapping[str, object] = field(default_factory=dict)
    """fields of ``train.data.degrade.Degradation`` that differ from its defaults"""
    recipe: Mapping[str, object] = field(default_factory=dict)
    """fields of ``train.recipe.RestoreRecipe`` that differ from its defaults"""


@dataclass(frozen=True)
class Table:
    """What is trained, on what it is measured, and which metrics are shown."""

    title: str
    variants: tuple[Variant, ...]
    """empty: the networks that are given are measured"""
    conditions: tuple[str, ...]
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips", "distance", "fd_vgg", "fid")
    """keys of ``train.evaluation.evaluate.METRICS``"""
    windows: tuple[int, ...] = (1,)
    inversion: bool = False


def _idn(name: str, **config: object) -> Variant:
    return Variant(name, "idn", {**SMALL, "recurrences": 3, **config})


def _strategy(name: str, **blocks: object) -> Variant:
    # The table is about ratios: everything else is as in the paper, whole rectangles of area means.
    return Variant(name, "idn", SMALL, {"ellipse_share": 0.0, "noise": 0.0, **blocks})


_CLIPS: Mapping[str, object] = {"batch": 4}
"""Windows per step, of as many frames as a network takes"""


def _seed(name: str, **config: object) -> Variant:
    config = {**SMALL, "core": 1, "context": 2, **config}
    return Variant(f"seed's NAR, {name}", "nar-seed", config, recipe=_CLIPS)


TABLES: Mapping[str, Table] = {
    "1": Table(
        "Ratios in training against ratios in the test",
        (
            _strategy("single (0.1)", blocks=(12.8, 12.8)),
            _strategy("multiple (0.08, 0.1, 0.12)", choices=(10.24, 12.8, 15.36)),
            _strategy("infinite (0.08 to 0.12)", blocks=(10.24, 15.36)),
        ),
        tuple(f"clean-{b:g}" for b in BLOCKS),
        ("psnr", "ssim", "lpips", "distance"),
    ),
    "2": Table(
        "Parts of IDN",
        (
            _idn("IDN: 3 stages, dynamic dilated, cross-stage attention, cross-stage fusion"),
            _idn("1 stage", recurrences=1),
            _idn("6 stages", recurrences=6),
            _idn("vanilla convolution", conv="vanilla"),
            _idn("dilated convolution", conv="dilated"),
            _idn("no attention", attention="none"),
            _idn("ordinary attention", attention="ordinary"),
            _idn("fusion: mean", fusion="mean"),
            _idn("fusion: last stage", fusion="last"),
        ),
        ("clean-10", "wild"),
    ),
    "3": Table(
        "Noise and gamma on the pixelated picture",
        (),
        (
            "clean-12.8",
            "clean-12.8-noise5",
            "clean-12.8-noise10",
            "clean-12.8-gamma1.4",
            "clean-12.8-gamma0.714",
        ),
    ),
    "4": Table(
        "Against networks of others",
        (
            Variant("PConv", "inpainter", {"conv": "partial"}),
            Variant("PConv++", "inpainter", {"conv": "partial", "adapted": True}),
            Variant("GConv", "inpainter", {"conv": "gated"}),
            Variant("GConv++", "inpainter", {"conv": "gated", "adapted": True}),
            Variant("SRGAN-type", "srresnet", recipe={"adversarial": 0.01}),
            Variant("IDN", "idn", SMALL),
        ),
        ("clean-8", "clean-10", "clean-12", "wild"),
    ),
    "nar": Table(
        "Windows and alignment of NAR",
        (
            Variant("IDN", "idn", SMALL, recipe=_CLIPS),
            _seed("no alignment", align="none"),
            _seed("latent affine", align="latent", flow=False),
            _seed("frame affine", flow=False),
            _seed("frame affine + flow"),
            Variant("NAR, windows of 1", "nar", SMALL, recipe={**_CLIPS, "windows": (1,)}),
            Variant("NAR, windows of 5", "nar", SMALL, recipe={**_CLIPS, "windows": (5,)}),
            Variant("NAR, windows of 1, 5, 16", "nar", SMALL, recipe=_CLIPS),
        ),
        ("clean-10", "clean-10-moving"),
        ("psnr", "gain", "ssim", "lpips", "distance", "warp"),
        (1, 5, 16),
        True,
    ),
}
