"""Which mean a person gets, and how many bits that tells of their face.

Whoever sees K different outcomes names one of N equally likely people with a chance of at most K / N,
whatever they know and however many frames they have: each outcome points at one of them at best. So
``nearest`` asks one thing of a face, whether its tone is the darkest of three or not; people of either answer
get one of its means by lot.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.prototypes.prototype import TONES, Prototype, PrototypeSet
from pipeline.prototypes.scene import LIGHT_BITS, TINT_BITS, Scene


@dataclass(frozen=True, slots=True)
class Told:
    """Bits at most that an observer learns from one thing that was chosen."""

    what: str
    bits: float
    outside: bool = False
    """It was read outside the masks."""


SCENE = (Told("light of the scene", LIGHT_BITS, True), Told("tint of the scene", TINT_BITS, True))
"""What is chosen for everybody."""


def looks_at_the_face(choosing: str) -> bool:
    """Whether the choice (``nearest``, ``random`` or the number of a mean) needs the face's colour."""
    return choosing == "nearest"


def told(choosing: str) -> tuple[Told, ...]:
    """What the choice of one person tells."""
    if not looks_at_the_face(choosing):
        return SCENE
    return (Told("dark or not", 1.0), *SCENE)


def choose(
    choosing: str, means: PrototypeSet, skin: Tensor | None, scene: Scene, others: Sequence[Prototype] = ()
) -> Prototype:
    """``skin`` (3,) RGB of 0..1 of the face, for ``nearest``. By lot among those that the fewest ``others``
    have, so that two people of a scene differ."""
    prototypes = means.prototypes
    if choosing.isdecimal():
        return prototypes[int(choosing) - 1]
    if looks_at_the_face(choosing) and skin is not None:
        # Light multiplies colours, so ratios are compared: a pale face in a dim corner is not a dark one.
        lit = torch.stack([scene.on(p.skin) for p in prototypes]).clamp(1 / 255).log()
        darkest = len(TONES) - 1
        is_dark = prototypes[int((lit - skin.clamp(1 / 255).log()).square().sum(1).argmin())].tone == darkest
        prototypes = tuple(p for p in prototypes if (p.tone == darkest) == is_dark)
    given = [sum(p is other for other in others) for p in prototypes]
    return secrets.choice([p for p, n in zip(prototypes, given, strict=True) if n == min(given)])
