"""Who is it? A closed list of people against covered faces.

The attacker has one picture of each person and the tool. He covers his list as the film was covered (same
tool, same settings, in many places, sizes and brightnesses) and compares what is painted:

- *nearest neighbour* over NEAR pixels of the mask;
- *network*: a few convolutions, trained on the covered list, one class a person;
- *embedding*: MobileFaceNet, trained on faces of other people, where its file is given: the cosine between
  what it makes of the film's covered face and of the list's.

On all frames of a track the scores are added. How faces are shown, covered and cut out again is
``train.evaluation.people``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nets.mobilefacenet import FaceEmbedding, chips
from pipeline.people.network import AROUND
from pipeline.prototypes.pose import WIDTH
from train.evaluation.people import (
    FACE_PX,
    INNER,
    ON_A_PAGE,
    OUTER,
    RING,
    Bytes,
    Covering,
    Cuts,
    Page,
    Person,
    cover,
    write_pages,
)
from train.metrics import Interval, interval

log = logging.getLogger(__name__)

NEAR = (12, 10)
"""Rows and columns that are compared"""
SEEN = (24, 20)
"""Rows and columns that the network sees"""
STEPS = 160
BATCH = 32
RATE = 2e-3
CRF = 23.0
TOPS = (1, 5)

Scores = NDArray[np.float64]
"""(N, T, N): of the person in the film, on a frame, for the person in the list; more is likelier"""


def wilson(hits: float, trials: int) -> Interval:
    """95 % interval of a share (Wilson 1927)."""
    if trials == 0:
        return Interval(math.nan, math.nan, math.nan)
    z, p = 1.959964, hits / trials
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    return Interval(p, max(middle - half, 0.0), min(middle + half, 1.0))


def found(scores: NDArray[np.float64], top: int) -> NDArray[np.float64]:
    """(N, N) -> (N,): the chance that a person is among the first ``top`` of the list; ties are drawn."""
    own = np.diag(scores)[:, None]
    better, alike = (scores > own).sum(1), (scores == own).sum(1)
    return np.asarray(((top - better) / alike).clip(0, 1), np.float64)


@dataclass(frozen=True)
class View:
    """What of a cut is compared: its pixels and how much each counts."""

    pixels: NDArray[np.float32]
    """(N, T, R, C, 3) in [0, 1]"""
    weight: NDArray[np.float32]
    """(R, C), 0..1"""


def in_mask(cuts: Cuts) -> View:
    """The mask's ellipse, less an edge into which encoders draw what lies around it."""
    return View(_unit(cuts.masks), _ellipse(INNER, 0.9))


def in_ring(cuts: Cuts) -> View:
    """What lies around the mask's ellipse, as far as the ring goes."""
    inner = 1 / (1 + 2 * RING)
    weight = _ellipse(OUTER, 1.0) * (1 - _ellipse(OUTER, inner * 1.02))
    return View(_unit(cuts.rings), weight)


def beyond_ring(cuts: Cuts) -> View:
    """The corners around the ring: walls, clothes and long hair of that day, and nothing of the face."""
    return View(_unit(cuts.rings), 1 - _ellipse(OUTER, 1.0))


def _unit(pixels: Bytes) -> NDArray[np.float32]:
    return np.asarray(pixels / 255, np.float32)


def _ellipse(size: tuple[int, int], share: float) -> NDArray[np.float32]:
    rows, columns = ((np.arange(n) + 0.5) / n * 2 - 1 for n in size)
    return (np.hypot(rows[:, None], columns) <= share).astype(np.float32)


def _reduced(view: View, size: tuple[int, int]) -> Tensor:
    """(N, T, 3, *size) around zero, and zero where nothing counts."""
    people, frames = view.pixels.shape[:2]
    weight = torch.from_numpy(view.weight)[None, None]
    pixels = torch.from_numpy(view.pixels).flatten(0, 1).permute(0, 3, 1, 2)
    share = F.adaptive_avg_pool2d(weight, size)
    mean = F.adaptive_avg_pool2d(pixels * weight, size) / share.clamp_min(1e-6)
    return ((mean - 0.5) * 4 * share.sqrt()).reshape(people, frames, 3, *size)


def nearest(listed: View, filmed: View) -> Scores:
    """Less the squared distance to the nearest of a person's covered pictures."""
    gallery, probes = (_reduced(v, NEAR).flatten(2) for v in (listed, filmed))
    people, frames = probes.shape[:2]
    distance = torch.cdist(probes.flatten(0, 1), gallery.flatten(0, 1)).square()
    out = -distance.reshape(people, frames, len(gallery), -1).amin(3)
    return np.asarray(out.double().numpy())


class Recogniser(nn.Sequential):
    """Covered faces of ``SEEN`` pixels -> a score for each person."""

    def __init__(self, people: int, width: int = 16) -> None:
        super().__init__(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(4 * width * (SEEN[0] // 4) * (SEEN[1] // 4), people),
        )


def network(listed: View, filmed: View, steps: int = STEPS, seed: int = 0) -> Scores:
    """Log-probabilities of a network that was trained on the covered list."""
    gallery, probes = (_reduced(v, SEEN) for v in (listed, filmed))
    people, copies = gallery.shape[:2]
    pictures = gallery.flatten(0, 1)
    who = torch.arange(people).repeat_interleave(copies)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Recogniser(people)
        optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            at = torch.randint(len(pictures), (BATCH,))
            loss = F.cross_entropy(net(_varied(pictures[at])), who[at], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        out = F.log_softmax(net(probes.flatten(0, 1)), 1)
    return np.asarray(out.reshape(*probes.shape[:2], people).double().numpy())


def embedding(listed: View, filmed: View, net: FaceEmbedding, scale: float) -> Scores:
    """The cosine to the nearest of a person's covered pictures; ``scale``: of the mask over the face."""
    gallery, probes = (_embedded(v, net, scale) for v in (listed, filmed))
    return np.asarray(
        (probes @ gallery.flatten(0, 1).T).unflatten(2, gallery.shape[:2]).amax(3).double().numpy()
    )


@torch.no_grad()
def _embedded(view: View, net: FaceEmbedding, scale: float) -> Tensor:
    """(N, T, 128); gray where nothing counts. A mask is as wide as that of a face of usual proportions."""
    weight = torch.from_numpy(view.weight)
    pixels = torch.from_numpy(view.pixels).flatten(0, 1).permute(0, 3, 1, 2)
    masked = pixels * weight + 0.5 * (1 - weight)
    # The network's usual crop in the mask's coordinates, both in [-1, 1].
    theta = torch.tensor([[AROUND / scale / WIDTH, 0, 0], [0, AROUND / scale, 0]]).expand(len(masked), 2, 3)
    grid = F.affine_grid(theta, [len(masked), 3, 160, 160], align_corners=False)
    crops = F.grid_sample(masked, grid, "bilinear", "border", align_corners=False)
    upright = torch.eye(3)[:2].expand(len(crops), 2, 3)
    out: Tensor = torch.cat(
        [net(chips(c, p)) for c, p in zip(crops.split(BATCH), upright.split(BATCH), strict=True)]
    )
    return out.reshape(*view.pixels.shape[:2], -1)


def _varied(pictures: Tensor) -> Tensor:
    """Shifted by up to a pixel, with noise and another tint."""
    dy, dx = (int(v) for v in torch.randint(-1, 2, (2,)))
    shifted = torch.roll(pictures, (dy, dx), (2, 3))
    tint = 1 + 0.1 * torch.randn(len(pictures), 3, 1, 1)
    return shifted * tint + 0.15 * torch.randn_like(pictures)


@dataclass(frozen=True)
class Row:
    """What the attackers make of one covering."""

    name: str
    people: int
    results: dict[str, Interval]
    """``nearest, one frame, top 1`` and so on"""
    hits: dict[str, list[float]]
    """The same for each person: the chance that it is named."""


def score(
    name: str,
    listed: View,
    filmed: View,
    steps: int = STEPS,
    seed: int = 0,
    embed: Callable[[View, View], Scores] | None = None,
) -> Row:
    """All attackers, on the film's middle frame and on all frames; the network learns for ``steps``."""
    hits: dict[str, list[float]] = {}
    people, frames = filmed.pixels.shape[:2]
    attackers = {"nearest": nearest(listed, filmed), "network": network(listed, filmed, steps, seed)}
    if embed is not None:
        attackers["embedding"] = embed(listed, filmed)
    for attacker, scores in attackers.items():
        for what, of in (("one frame", scores[:, frames // 2]), ("all frames", scores.sum(1))):
            for top in TOPS:
                hits[f"{attacker}, {what}, top {top}"] = found(of, top).tolist()
    return Row(name, people, {key: wilson(sum(of), people) for key, of in hits.items()}, hits)


def pooled(rows: Sequence[Row]) -> Row:
    """One row of several trials with the same people. Intervals are bootstrapped over people, each with all
    of its trials: trials with one person are not independent of each other."""
    if len(rows) == 1:
        return rows[0]
    hits = {key: np.mean([row.hits[key] for row in rows], 0).tolist() for key in rows[0].hits}
    return Row(rows[0].name, rows[0].people, {key: interval(of) for key, of in hits.items()}, hits)


@dataclass(frozen=True)
class Trial:
    """The people, shown: pages of the film and of the list."""

    listed: list[Page]
    filmed: list[Page]
    folder: Path
    digest: str
    """of everything that decides the pages"""
    order: tuple[int, ...]
    """In which people stand on the list's pages: the light of a page must not tell who was on it."""

    @staticmethod
    def of(people: Sequence[Person], folder: Path, frames: int, copies: int, seed: int) -> Trial:
        """Writes the pages: ``frames`` of each person in the film, ``copies`` in the list."""
        order = tuple(np.random.default_rng(seed).permutation(len(people)).tolist())
        digest = hashlib.sha256(json.dumps([frames, copies, seed, FACE_PX, ON_A_PAGE, order]).encode())
        for person in people:
            digest.update(person.listed.tobytes() + person.filmed.tobytes())
        listed = write_pages([people[n] for n in order], folder, copies, False, seed)
        filmed = write_pages(people, folder, frames, True, seed)
        return Trial(listed, filmed, folder, digest.hexdigest()[:16], order)

    def cuts(self, covering: Covering) -> tuple[Cuts, Cuts]:
        """List and film as files show them; kept in the folder."""
        kept = self.folder / f"cuts-{self.digest}-{covering.digest}.npz"
        if not kept.exists():
            target, arrays = self.folder / "covered.mp4", {}
            for kind, pages in (("list", self.listed), ("film", self.filmed)):
                cuts = [cover(p, covering, target, CRF) for p in pages]
                arrays[f"{kind}_masks"] = np.concatenate([c.masks for c in cuts])
                arrays[f"{kind}_rings"] = np.concatenate([c.rings for c in cuts])
            unfinished = kept.with_suffix(".part.npz")
            np.savez(unfinished, **arrays)  # type: ignore[arg-type]
            unfinished.rename(kept)
        with np.load(kept) as a:
            own = np.argsort(self.order)
            listed = Cuts(a["list_masks"][own], a["list_rings"][own])
            return listed, Cuts(a["film_masks"], a["film_rings"])


@dataclass(frozen=True)
class Task:
    """A row that is to be measured."""

    name: str
    covering: Covering
    look: Callable[[Cuts], View] = in_mask
    """what is compared"""


def measure(
    trial: Trial,
    tasks: Sequence[Task],
    say: Callable[[str], None] = log.info,
    steps: int = STEPS,
    seed: int = 0,
    net: FaceEmbedding | None = None,
) -> list[Row]:
    """A row for each task; ``say`` gets a line when it is done. ``net``: of the third attacker, who looks at
    masks alone, since a ring has no face."""
    out = []
    for task in tasks:
        listed, filmed = map(task.look, trial.cuts(task.covering))
        embed = None
        if net is not None and task.look is in_mask:
            embed = partial(embedding, net=net, scale=task.covering.scale)
        out.append(score(task.name, listed, filmed, steps, seed, embed))
        say(line(out[-1]))
    return out


def line(row: Row) -> str:
    """The row on one line of a terminal."""
    shares = [f"{key} {i.mean:.0%}" for key, i in row.results.items() if "top 1" in key]
    return f"{row.name}: {'; '.join(shares)}"


def page(rows: Sequence[Row], title: str) -> str:
    """Markdown; all shares in percent with 95 % intervals."""
    people = rows[0].people
    keys = list(rows[0].results)
    head = [
        f"## {title}",
        "",
        f"{people} people; chance: top 1 {100 / people:.1f} %, top 5 {500 / people:.1f} %.",
    ]
    for frames in ("one frame", "all frames"):
        of = [k for k in keys if frames in k]
        names = [k.replace(f", {frames},", "") for k in of]
        head += ["", f"On {frames}, percent [95 % interval]:", ""]
        head += [f"| covered with | {' | '.join(names)} |", "|---" * (len(of) + 1) + "|"]
        head += [f"| {r.name} | {' | '.join(_cell(r.results.get(k)) for k in of)} |" for r in rows]
    return "\n".join(head) + "\n"


def _cell(share: Interval | None) -> str:
    if share is None:
        return ""
    return f"{100 * share.mean:.0f} [{100 * share.low:.0f}, {100 * share.high:.0f}]"
