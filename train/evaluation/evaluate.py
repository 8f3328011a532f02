"""Measures restorations on people that training never saw: methods x conditions x metrics.

Every method restores the same scenes, so differences are paired. The command is ``vidpipe eval``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import MissingError
from pipeline.people.network import find_package_file
from train.data.pictures import Segments, Stills
from train.evaluation.conditions import Condition, Scene, scenes
from train.evaluation.methods import Method
from train.evaluation.metric_nets import (
    LPIPS,
    Identity,
    InceptionFeatures,
    VGGFeatures,
    find_trunk,
)
from train.metrics import Interval, frechet, interval, psnr, ssim, warping_error

log = logging.getLogger(__name__)

OPTIONAL = ("lpips", "identity", "fd-vgg", "fid")
"""Metrics that need networks which are not ours to ship."""


@dataclass(frozen=True)
class Metric:
    """A column of a table."""

    key: str
    title: str
    higher_is_better: bool
    digits: int


METRICS = (
    Metric("psnr", "PSNR in the mosaic, dB", True, 2),
    Metric("gain", "over bicubic, dB", True, 2),
    Metric("psnr_frame", "PSNR of the frame, dB", True, 2),
    Metric("ssim", "SSIM in the mosaic", True, 4),
    Metric("ssim_frame", "SSIM of the frame", True, 4),
    Metric("lpips", "LPIPS in the mosaic", False, 4),
    Metric("lpips_frame", "LPIPS of the frame", False, 4),
    Metric("identity", "identity similarity", True, 4),
    Metric("distance", "identity distance", False, 3),
    Metric("same", "same person", True, 3),
    Metric("rank1", "rank 1", True, 3),
    Metric("warp", "warping error, 1e-3", False, 3),
    Metric("fd_vgg", "FD-VGG", False, 2),
    Metric("fid", "FID", False, 2),
)


@dataclass(frozen=True)
class Judges:
    """The networks of metrics that are at hand."""

    lpips: LPIPS | None = None
    identity: Identity | None = None
    vgg: VGGFeatures | None = None
    inception: InceptionFeatures | None = None
    missing: tuple[str, ...] = ()
    """why metrics are left out, a line each"""

    @staticmethod
    def find(
        wanted: Sequence[str], asked: bool, alexnet: Path | None, vgg: Path | None, inception: Path | None
    ) -> Judges:
        """Opens what ``wanted`` names of ``OPTIONAL``. What is missing is left out with a word, or, where it
        was ``asked`` for by name, raises MissingError."""
        found: dict[str, object] = {}
        missing = []
        makers: dict[str, tuple[str, Callable[[], object]]] = {
            "lpips": (
                "lpips",
                lambda: LPIPS(
                    find_trunk("alexnet", alexnet), find_package_file("lpips", "weights/v0.1/alex.pth")
                ),
            ),
            "identity": ("identity", Identity),
            "fd-vgg": ("vgg", lambda: VGGFeatures(find_trunk("vgg16", vgg))),
            "fid": ("inception", lambda: InceptionFeatures(inception)),
        }
        for name in wanted:
            attribute, make = makers[name]
            try:
                found[attribute] = make()
            except MissingError as error:
                if asked:
                    raise
                missing.append(f"{name} is left out: {error}")
        return Judges(missing=tuple(missing), **found)  # type: ignore[arg-type]

    def features(self, pictures: Tensor) -> dict[str, NDArray[np.float64]]:
        """Per Frechet distance, the features (M, D) of pictures (M, 3, H, W) in [0, 1]."""
        nets = {"fd_vgg": self.vgg, "fid": self.inception}
        return {key: net(pictures).double().numpy() for key, net in nets.items() if net is not None}


@dataclass
class Scores:
    """What one method got under one condition."""

    values: dict[str, list[float]] = field(default_factory=dict)
    """per metric, one value per scene; NaN where a scene has none"""
    distances: dict[str, float] = field(default_factory=dict)
    """Frechet distances to the truth, of all scenes together"""
    embeddings: list[NDArray[np.float64]] = field(default_factory=list)
    features: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        for key, value in values.items():
            self.values.setdefault(key, []).append(value)

    def part(self, truth: Scores) -> None:
        """Sets the Frechet distances."""
        for key, own in self.features.items():
            self.distances[key] = frechet(np.stack(own), np.stack(truth.features[key]))

    def summary(self) -> dict[str, Interval]:
        """Mean and interval per metric; Frechet distances have no interval (resampling would bias them)."""
        out = {key: interval(values) for key, values in self.values.items()}
        nan = float("nan")
        return out | {key: Interval(value, nan, nan) for key, value in self.distances.items()}


@dataclass(frozen=True)
class Shown:
    """Pictures of one scene for the contact sheet: first judged frame."""

    truth: Tensor
    restored: Mapping[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """All methods under one condition."""

    condition: Condition
    count: int
    scores: dict[str, Scores]
    shown: tuple[Shown, ...]


def evaluate(
    source: Stills | Segments,
    condition: Condition,
    methods: Sequence[Method],
    judges: Judges,
    count: int = 60,
    judged: int = 1,
    size_px: int = 128,
    seed: int = 0,
    show: int = 8,
) -> Outcome:
    """Restores ``count`` scenes by all methods. Methods must begin with the trivial ones."""
    scores = {m.name: Scores() for m in methods}
    truth = Scores()
    shown: list[Shown] = []
    for scene in _read(scenes(source, condition, count, size_px, judged, seed)):
        restored = {m.name: m(scene).clamp(0, 1) for m in methods}
        _score(scene, restored, judges, scores, truth)
        if len(shown) < show:
            shown.append(Shown(scene.truth[scene.judged[0]], {n: p[0] for n, p in restored.items()}))
    if judges.identity is not None:
        _recognise(scores, truth)
    for each in scores.values():
        each.part(truth)
    made = len(scores[methods[0].name].values["psnr"])
    return Outcome(condition, made, scores, tuple(shown))


def _read(drawn: Iterator[Scene]) -> Iterator[Scene]:
    with torch.no_grad():
        yield from drawn


def _score(
    scene: Scene, restored: Mapping[str, Tensor], judges: Judges, scores: Mapping[str, Scores], truth: Scores
) -> None:
    judged = list(scene.judged)
    true, weight = scene.truth[judged], scene.weight[judged]
    K = len(judged)
    everything = torch.cat([true, *restored.values()])
    deep = judges.lpips.features(everything) if judges.lpips else None
    for key, features in judges.features(everything[::K]).items():
        for owner, own in zip((truth, *(scores[name] for name in restored)), features, strict=True):
            owner.features.setdefault(key, []).append(own)
    # Embeddings of the first judged frame alone: a dlib forward costs as much as a network's.
    embeddings = judges.identity.embed(everything[::K], true[0]) if judges.identity else None
    if embeddings is not None:
        truth.embeddings.append(embeddings[0])
    base = psnr(restored["bicubic"], true, weight).mean()
    for n, (name, picture) in enumerate(restored.items(), 1):
        each = scores[name]
        inside = psnr(picture, true, weight).mean()
        each.add(
            psnr=float(inside),
            gain=float(inside - base),
            psnr_frame=float(psnr(picture, true).mean()),
            ssim=float(ssim(picture, true, weight).mean()),
            ssim_frame=float(ssim(picture, true).mean()),
        )
        if judges.lpips and deep is not None:
            own, wanted = ([x[i * K : (i + 1) * K] for x in deep] for i in (n, 0))
            frame, within = judges.lpips(own, wanted, weight)
            each.add(lpips=float(within.mean()), lpips_frame=float(frame.mean()))
        if embeddings is not None:
            each.embeddings.append(embeddings[n])
        if K > 1:
            each.add(warp=float(warping_error(picture, true, weight).mean()))


def _recognise(scores: Mapping[str, Scores], truth: Scores) -> None:
    """Cosine similarity, distance and verdict against the own truth; rank 1 in the gallery of all truths."""
    gallery = np.stack(truth.embeddings)
    for each in scores.values():
        probes = np.stack(each.embeddings)
        distances = np.linalg.norm(probes[:, None] - gallery[None], axis=-1)
        own = np.diag(distances)
        norms = np.linalg.norm(probes, axis=1) * np.linalg.norm(gallery, axis=1)
        each.values["identity"] = ((probes * gallery).sum(1) / norms).tolist()
        each.values["distance"] = own.tolist()
        each.values["same"] = (own < Identity.SAME).astype(float).tolist()
        each.values["rank1"] = (distances.argmin(1) == np.arange(len(probes))).astype(float).tolist()
