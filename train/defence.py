"""Table 5 of the IDN paper and more: what attackers recover of faces that the command has covered.

Defences x what happened to the file x attackers, on the same faces, paired. Every defence is the run that
users start (``train.covered``); the attacker is told where the mosaic lies, how many cells it has, how the
face moves.
The judged frame is the one that ``protect`` measures, so that what it shows later costs it nothing.
Each face's values are kept in a file: a table that was cut goes on with the same command.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.faces.book import FaceTrackRecord
from train.conditions import Scene
from train.covered import Footage, Place, Settings, cover, find, footage, scene
from train.data import Segments, Stills
from train.evaluate import Judges
from train.inversion import Inversion
from train.methods import BICUBIC, Method, Network
from train.metric_nets import Identity
from train.metrics import Interval, interval, psnr
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


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    digits: int


METRICS = (
    Metric("psnr", "PSNR in the mosaic, dB", 2),
    Metric("gain", "PSNR over bicubic interpolation of the plain mosaic in the same file, dB", 2),
    Metric("lpips", "LPIPS in the mosaic", 3),
    Metric("identity", "identity similarity", 3),
    Metric("distance", "identity distance", 3),
    Metric("same", "same person (distance below 0.6)", 2),
    Metric("rank1", "rank 1 among the test's faces", 2),
    Metric("to_mosaic", "PSNR against the plain mosaic, dB (the paper's Table 5)", 2),
)
LOWER = ("lpips", "distance")
"""Metrics of which the attacker wants little"""
BESTS = ("psnr", "gain", "lpips", "identity", "distance", "same")
"""Metrics of which the best attacker is told"""
PRINTED = ("gain", "lpips", "identity", "rank1", "to_mosaic")
"""Metrics on the page; the JSON has all"""
SHOWN = "x264 crf 23"
COVERED = "covered"
"""The picture itself, which is no attack"""
BEST = "best of these, face by face"
RETRAINED = "IDN, retrained on such mosaics"


@dataclass(frozen=True)
class Defence:
    name: str
    settings: Settings
    adapted: str = ""
    """which retrained attacker has seen it in training"""


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

    def attackers(self, defence: Defence) -> list[Method]:
        """In the tables' order."""
        adapted = [self.retrained[defence.adapted]] if defence.adapted in self.retrained else []
        return [BICUBIC, *self.networks, *adapted, Inversion(1, "known"), Inversion(LONGEST, "known")]


def measure(
    plan: Plan, source: Stills | Segments, kind: str, folder: Path, told: Callable[[str], None] = log.info
) -> list[dict[str, dict[str, object]]]:
    """Values of every face: ``defence / channel / attacker`` -> metric -> value."""
    kept = folder / f"values-{kind}"
    kept.mkdir(parents=True, exist_ok=True)
    out: list[dict[str, dict[str, object]]] = []
    # Some are left out, as the camera moves faster than the finder follows: the next ones take their places.
    for n, clip in enumerate(footage(source, 2 * plan.count, folder / f"footage-{kind}", plan.seed)):
        path = kept / f"{clip.index}.json"
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
            out.append(values)
        if len(out) == plan.count:
            break
    return out


@torch.no_grad()
def measure_one(plan: Plan, clip: Footage, sheet: Path | None = None) -> dict[str, dict[str, object]]:
    """One face under all defences, channels and attackers."""
    track = find(clip)
    judged = min(max((track.reference_frame or 0) - track.first_frame, 0), len(clip.frames) - 1)
    H, W = clip.frames.shape[-2:]
    values: dict[str, dict[str, object]] = {}
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
) -> dict[str, dict[str, object]]:
    """Of every picture; identity, which costs most, of those that are ``identified``."""
    judged = list(one.judged)
    true, weight = one.truth[judged], one.weight[judged]
    judges = plan.judges
    deep = judges.lpips.features(torch.cat([true, *pictures.values()])) if judges.lpips else None
    base = psnr(bicubic, true, weight)
    out: dict[str, dict[str, object]] = {}
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


def best(face: Mapping[str, Mapping[str, object]], prefix: str, metric: Metric) -> float:
    """What the best attacker of a face gets under ``defence / channel``; NaN where none has the metric."""
    values = [
        float(row[metric.key])  # type: ignore[arg-type]
        for key, row in face.items()
        if key.startswith(f"{prefix} / ") and not key.endswith(f" / {COVERED}") and metric.key in row
    ]
    if not values:
        return float("nan")
    return min(values) if metric.key in LOWER else max(values)


def summary(faces: Sequence[Mapping[str, Mapping[str, object]]]) -> dict[str, dict[str, Interval]]:
    """``defence / channel / attacker`` -> metric -> mean and interval over faces; BEST among attackers."""
    out: dict[str, dict[str, Interval]] = {}
    for key in faces[0] if faces else ():
        rows = [face[key] for face in faces if key in face]
        out[key] = {
            m.key: interval([float(r[m.key]) for r in rows])  # type: ignore[arg-type]
            for m in METRICS
            if m.key in rows[0]
        }
        if "embedding" in rows[0]:
            probes, gallery = (np.array([r[k] for r in rows], float) for k in ("embedding", "true"))
            nearest = np.linalg.norm(probes[:, None] - gallery[None], axis=-1).argmin(1)
            out[key]["rank1"] = interval((nearest == np.arange(len(rows))).astype(float).tolist())
    for prefix in dict.fromkeys(key.rpartition(" / ")[0] for key in out):
        of_best = {m.key: interval([best(f, prefix, m) for f in faces]) for m in METRICS if m.key in BESTS}
        out[f"{prefix} / {BEST}"] = {k: v for k, v in of_best.items() if not np.isnan(v.mean)}
    return out


def table(values: Mapping[str, Mapping[str, Interval]], metric: Metric, defences: Sequence[str]) -> str:
    """Markdown: rows are what happened to the file and who attacks, columns are defences."""
    lines = [f"| file | attacker | {' | '.join(defences)} |", "|---" * (len(defences) + 2) + "|"]
    rows = dict.fromkeys(key.partition(" / ")[2] for key in values)
    for row in sorted(rows, key=lambda r: CHANNELS.index(r.partition(" / ")[0])):
        channel, _, attacker = row.partition(" / ")
        found = [values.get(f"{defence} / {row}", {}).get(metric.key) for defence in defences]
        if any(f is not None for f in found):
            lines.append(f"| {channel} | {attacker} | {' | '.join(_cell(f, metric) for f in found)} |")
    return "\n".join(lines)


def _cell(found: Interval | None, metric: Metric) -> str:
    if found is None or np.isnan(found.mean):
        return ""
    sign, digits = "+" if metric.key == "gain" else "", metric.digits
    return f"{found.mean:{sign}.{digits}f} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"


def differences(
    faces: Sequence[Mapping[str, Mapping[str, object]]], names: Sequence[str], channel: str, metric: Metric
) -> str:
    """Markdown: what each defence leaves more (+) or less (-) than the first one, paired over faces."""
    keys = {n: [k for k in faces[0] if k.startswith(f"{n} / {channel} / ")] for n in names}
    attackers = dict.fromkeys(k.rpartition(" / ")[2] for k in keys[names[0]])
    lines = [f"| attacker | {' | '.join(names[1:])} |", "|---" * len(names) + "|"]
    for attacker in [a for a in attackers if a != COVERED] + [BEST]:

        def of(face: Mapping[str, Mapping[str, object]], name: str, attacker: str = attacker) -> float:
            prefix = f"{name} / {channel}"
            if attacker == BEST:
                return best(face, prefix, metric)
            return float(face[f"{prefix} / {attacker}"].get(metric.key, np.nan))  # type: ignore[arg-type]

        cells = []
        for name in names[1:]:
            i = interval([of(face, name) - of(face, names[0]) for face in faces])
            digits = metric.digits
            cells.append(f"{i.mean:+.{digits}f} [{i.low:+.{digits}f}, {i.high:+.{digits}f}]")
        if not all("nan" in c for c in cells):
            lines.append(f"| {attacker} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(plan: Plan, results: Mapping[str, Sequence[Mapping[str, Mapping[str, object]]]]) -> str:
    """All tables in Markdown."""
    names = [d.name for d in plan.defences]
    blocks = plan.defences[0].settings.blocks
    parts = [f"## Table 5: what attackers recover, {blocks} blocks across the face"]
    for kind, faces in results.items():
        if not faces:
            continue
        for metric in (m for m in METRICS if m.key in ("gain", "identity")):
            if len(names) > 1 and any(metric.key in row for row in faces[0].values()):
                title = f"### {kind}, {len(faces)}: {metric.title}, less that of {names[0]}; {SHOWN}"
                parts += [title, differences(faces, names, SHOWN, metric)]
        values = summary(faces)
        for metric in METRICS:
            if metric.key in PRINTED and any(metric.key in v for v in values.values()):
                parts += [f"### {kind}, {len(faces)}: {metric.title}", table(values, metric, names)]
    return "\n\n".join(parts) + "\n"
