"""Table 5 of the IDN paper and more: what attackers recover of faces that the command has covered.

Defences x what happened to the file x attackers, on the same faces, paired. Every defence is the run that
users start (``train.covered``); the attacker is told where the mosaic lies, how many cells it has, how the
face moves.
The judged frame is the one that ``protect`` measures, so that what it shows later costs it nothing.
Each face's values are kept in a file, under the hash of all that decides them: a table that was cut goes on
with the same command, and one of other weights, conditions or blocks begins anew. The page that is made of
them is ``train.defence_tables``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import nets
from nets.checkpoint import sha256
from pipeline.errors import InputError
from pipeline.faces.book import FaceTrackRecord
from train.conditions import Scene
from train.covered import Footage, Place, Settings, cover, find, footage, scene
from train.data import Segments, Stills
from train.evaluate import Judges
from train.inversion import Inversion
from train.methods import BICUBIC, Method, Network
from train.metric_nets import Identity
from train.metrics import psnr
from train.pixelizer import averaged_cells
from train.transmission import blur

log = logging.getLogger(__name__)

CRFS = (18, 23, 28)
CHANNELS = ("raw", *(f"x264 crf {c}" for c in CRFS), "JPEG 75", "blur", "averaged on the grid")
"""raw: x264 without loss, as all that follow; blur: Gaussian of BLUR_PX; averaged: each cell at its mean"""
BLUR_PX = 2.0
SCALE = 1.3
"""Of the mask over the face, the command's default"""
SIZE_PX = 128
LONGEST = 16
"""Frames that an attacker looks at"""


COVERED = "covered"
"""The picture itself, which is no attack"""
RETRAINED = "IDN, retrained on such mosaics"
Values = dict[str, dict[str, object]]
"""Of a face: ``defence / channel / attacker`` -> metric -> value"""


@dataclass(frozen=True)
class Defence:
    name: str
    settings: Settings
    adapted: str = ""
    """which retrained attacker has seen it in training"""
    weights: Path | None = None
    """of its perturbation; the engine in ``settings`` was made of them"""


@dataclass(frozen=True)
class Plan:
    """What is compared. ``retrained``: by ``Defence.adapted``."""

    defences: Sequence[Defence]
    channels: Sequence[str]
    networks: Sequence[Network]
    retrained: Mapping[str, Network]
    judges: Judges
    count: int
    seed: int = 0
    people: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """by source: who is in each picture or clip; a source that is not here does not know"""

    def attackers(self, defence: Defence) -> list[Method]:
        """In the tables' order."""
        adapted = [self.retrained[defence.adapted]] if defence.adapted in self.retrained else []
        return [BICUBIC, *self.networks, *adapted, Inversion(1, "known"), Inversion(LONGEST, "known")]

    def weights(self) -> dict[str, str]:
        """Every network of the table, attackers and perturbations, and the SHA-256 of its file."""
        files = {n.name: n.path for n in self.networks}
        files |= {n.name: n.path for n in self.retrained.values()}
        files |= {f"perturbation of {d.name}": d.weights for d in self.defences if d.weights}
        return {name: sha256(path) for name, path in files.items()}

    def key(self) -> str:
        """Of all that decides a face's values but the face: 12 hexadecimal digits."""
        decides = {
            "weights": self.weights(),
            "defences": [(d.name, d.settings.mode, d.settings.blocks, d.adapted) for d in self.defences],
            "channels": list(self.channels),
            "judges": [self.judges.lpips is not None, self.judges.identity is not None],
            "seed": self.seed,
            # What a NAR makes of its window is code, not weights.
            "nets": [p.read_text() for p in sorted(Path(nets.__file__).parent.glob("*.py"))],
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def measure(
    plan: Plan, source: Stills | Segments, kind: str, folder: Path, told: Callable[[str], None] = log.info
) -> list[Values]:
    """Values of every face."""
    kept = folder / f"values-{kind}-{plan.key()}"
    kept.mkdir(parents=True, exist_ok=True)
    out: list[Values] = []
    # Some are left out, as the camera moves faster than the finder follows: the next ones take their places.
    for n, clip in enumerate(footage(source, 2 * plan.count, folder / f"footage-{kind}", plan.seed)):
        shown = hashlib.sha256(clip.frames.numpy().tobytes()).hexdigest()[:8]
        path = kept / f"{clip.index}-{shown}.json"
        if not path.exists():
            began = time.monotonic()
            try:
                values = measure_one(plan, clip, folder / f"sheet-{kind}-{n}.png" if n < 6 else None)
            except InputError as error:
                log.warning("left out: %s", error)
                values = {}
            path.write_text(json.dumps(values))
            told(f"{kind}, {len(out) + 1} of {plan.count}: {time.monotonic() - began:.0f} s")
        values = json.loads(path.read_text())
        if values:
            for row in values.values() if kind in plan.people else ():
                row["person"] = plan.people[kind][clip.index]
            out.append(values)
        if len(out) == plan.count:
            break
    return out


@torch.no_grad()
def measure_one(plan: Plan, clip: Footage, sheet: Path | None = None) -> Values:
    """One face under all defences, channels and attackers."""
    track = find(clip)
    judged = min(max((track.reference_frame or 0) - track.first_frame, 0), len(clip.frames) - 1)
    H, W = clip.frames.shape[-2:]
    values: Values = {}
    rows: list[Tensor] = []
    plain: dict[str, Tensor] = {}
    for defence in plan.defences:
        place = Place.of(track, defence.settings.blocks, SCALE, SIZE_PX, (H, W))
        lossless = cover(clip, track, defence.settings, 0)
        for channel in plan.channels:
            seen = _received(clip, track, defence, channel, lossless)
            one = scene(clip, seen, place, judged)
            if channel == CHANNELS[-1]:
                image = averaged_cells(one.image, one.mask, one.rows, one.cols)
                one = replace(one, image=image)
            pictures = {COVERED: one.image[[judged]]}
            pictures |= {a.name: a(one).clamp(0, 1) for a in plan.attackers(defence)}
            pictures = {_shared(name, plan): p for name, p in pictures.items()}
            identified = [n for n in pictures if n not in (BICUBIC.name, Inversion(1, "known").name)]
            if defence is plan.defences[0]:
                plain[channel] = pictures[BICUBIC.name]
            mosaic = plain.setdefault("mosaic", one.image[[judged]])
            for name, of_one in _scores(plan, one, pictures, identified, plain[channel], mosaic).items():
                values[f"{defence.name} / {channel} / {name}"] = of_one
            if channel in ("raw", "x264 crf 23"):
                rows.append(torch.cat([one.truth[judged], *(p[0] for p in pictures.values())], -1))
    if sheet is not None:
        widest = max(r.shape[-1] for r in rows)
        padded = [torch.nn.functional.pad(r, (0, widest - r.shape[-1])) for r in rows]
        bytes_ = (torch.cat(padded, -2).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).flip(-1)
        cv2.imwrite(str(sheet), np.ascontiguousarray(bytes_.numpy()))
    return values


def _shared(name: str, plan: Plan) -> str:
    """Retrained attackers have one row, whatever they have seen."""
    return RETRAINED if name in {n.name for n in plan.retrained.values()} else name


def _received(
    clip: Footage, track: FaceTrackRecord, defence: Defence, channel: str, lossless: Tensor
) -> Tensor:
    """The frames as an attacker has them."""
    if channel.startswith("x264"):
        return cover(clip, track, defence.settings, int(channel.rpartition(" ")[2]))
    if channel == "JPEG 75":
        return torch.stack([_jpeg(frame) for frame in lossless])
    if channel == "blur":
        return blur(lossless, BLUR_PX)
    return lossless


def _jpeg(frame: Tensor) -> Tensor:
    """(3, H, W) in [0, 1] through libjpeg."""
    bgr = np.ascontiguousarray((frame * 255).round().byte().permute(1, 2, 0).flip(-1).numpy())
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    back = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return torch.from_numpy(back).flip(-1).permute(2, 0, 1).float() / 255


def _scores(
    plan: Plan,
    one: Scene,
    pictures: Mapping[str, Tensor],
    identified: Sequence[str],
    bicubic: Tensor,
    mosaic: Tensor,
) -> Values:
    """Of every picture; identity, which costs most, of those that are ``identified``."""
    judged = list(one.judged)
    true, weight = one.truth[judged], one.weight[judged]
    judges = plan.judges
    deep = judges.lpips.features(torch.cat([true, *pictures.values()])) if judges.lpips else None
    base = psnr(bicubic, true, weight)
    out: Values = {}
    for n, (name, picture) in enumerate(pictures.items(), 1):
        inside = psnr(picture, true, weight)
        out[name] = {
            "psnr": float(inside),
            "gain": float(inside - base),
            "to_mosaic": float(psnr(picture, mosaic, weight)),
        }
        if judges.lpips and deep is not None:
            _, within = judges.lpips([x[[n]] for x in deep], [x[[0]] for x in deep], weight)
            out[name]["lpips"] = float(within)
    if judges.identity is not None:
        # Its network wants crops of 1.6 x the face; these show SCALE x as much.
        edge = round(SIZE_PX * (1 - 1 / SCALE) / 2)
        inner = torch.cat([true, *(pictures[name] for name in identified)])[..., edge:-edge, edge:-edge]
        wanted, *embedded = judges.identity.embed(inner, inner[0])
        for name, own in zip(identified, embedded, strict=True):
            distance = float(np.linalg.norm(own - wanted))
            cosine = float(own @ wanted / np.linalg.norm(own) / np.linalg.norm(wanted))
            out[name] |= {"identity": cosine, "distance": distance, "same": float(distance < Identity.SAME)}
            out[name] |= {"embedding": own.round(4).tolist(), "true": wanted.round(4).tolist()}
    return out
