"""The page of ``train.evaluation.defence``: tables of what attackers recover, and how similar the faces of
two different people are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from train.evaluation.defence import CHANNELS, COVERED, Plan
from train.evaluation.evaluate import Metric
from train.metrics import Interval, interval

MEASURES = (
    Metric("psnr", "PSNR in the mosaic, dB", True, 2),
    Metric("gain", "PSNR over bicubic interpolation of the plain mosaic in the same file, dB", True, 2),
    Metric("lpips", "LPIPS in the mosaic", False, 3),
    Metric("identity", "identity similarity", True, 3),
    Metric("others", "identity similarity to the other people of the test", True, 3),
    Metric("distance", "identity distance", False, 3),
    Metric("same", "same person (distance below 0.6)", True, 2),
    Metric("rank1", "rank 1 among the test's faces", True, 2),
    Metric("to_mosaic", "PSNR against the plain mosaic, dB (the paper's Table 5)", True, 2),
)
"""Better is what the attacker wants"""
BESTS = ("psnr", "gain", "lpips", "identity", "distance", "same")
"""Metrics of which the best attacker is shown"""
PRINTED = ("gain", "lpips", "identity", "others", "rank1", "to_mosaic")
"""Metrics on the page; the JSON has all"""
SHOWN = "x264 crf 23"
BEST = "best of these, face by face"


def best(face: Mapping[str, Mapping[str, object]], prefix: str, metric: Metric) -> float:
    """What the best attacker of a face gets under ``defence / channel``; NaN where none has the metric."""
    values = [
        float(row[metric.key])  # type: ignore[arg-type]
        for key, row in face.items()
        if key.startswith(f"{prefix} / ") and not key.endswith(f" / {COVERED}") and metric.key in row
    ]
    if not values:
        return float("nan")
    return max(values) if metric.higher_is_better else min(values)


def summary(faces: Sequence[Mapping[str, Mapping[str, object]]]) -> dict[str, dict[str, Interval]]:
    """``defence / channel / attacker`` -> metric -> mean and interval over faces; BEST among attackers."""
    out: dict[str, dict[str, Interval]] = {}
    for key in faces[0] if faces else ():
        rows = [face[key] for face in faces if key in face]
        out[key] = {
            m.key: interval([float(r[m.key]) for r in rows])  # type: ignore[arg-type]
            for m in MEASURES
            if m.key in rows[0]
        }
        if "embedding" in rows[0]:
            probes, gallery = (np.array([r[k] for r in rows], float) for k in ("embedding", "true"))
            people = np.array([r.get("person", n) for n, r in enumerate(rows)])
            nearest = np.linalg.norm(probes[:, None] - gallery[None], axis=-1).argmin(1)
            out[key]["rank1"] = interval((people[nearest] == people).astype(float).tolist())
            if "person" in rows[0]:
                out[key]["others"] = interval(_others(_cosines(probes, gallery), people))
    for prefix in dict.fromkeys(key.rpartition(" / ")[0] for key in out):
        of_best = {m.key: interval([best(f, prefix, m) for f in faces]) for m in MEASURES if m.key in BESTS}
        out[f"{prefix} / {BEST}"] = {k: v for k, v in of_best.items() if not np.isnan(v.mean)}
    return out


def _cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, D), (M, D) -> (N, M)."""
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return np.asarray(one @ other.T / lengths)


def _others(cosines: NDArray[np.float64], people: NDArray[np.int64]) -> list[float]:
    """Of every row, the mean over the columns of other people; NaN where there are none."""
    apart = people[:, None] != people
    return [
        float(row[of].mean()) if of.any() else float("nan") for row, of in zip(cosines, apart, strict=True)
    ]


def strangers(faces: Sequence[Mapping[str, Mapping[str, object]]]) -> Interval | None:
    """Identity similarity of two different people's true faces: mean, and its interval over faces. An
    attacker who identifies somebody lies clearly above it. None where nobody was identified, or it is not
    known who is who."""
    rows = [next((r for r in face.values() if "true" in r and "person" in r), None) for face in faces]
    known = [r for r in rows if r is not None]
    people = np.array([r["person"] for r in known])
    if len(set(people.tolist())) < 2:
        return None
    truths = np.array([r["true"] for r in known], float)
    return interval(_others(_cosines(truths, truths), people))


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
    if weights := plan.weights():
        rows = [f"| {name} | `{digest[:16]}` |" for name, digest in weights.items()]
        parts.append("\n".join(["| network | its file's SHA-256 begins with |", "|---|---|", *rows]))
    for kind, faces in results.items():
        if not faces:
            continue
        if (level := strangers(faces)) is not None:
            parts.append(
                f"Strangers' level, {kind}: two different people's true faces have an identity similarity of "
                f"{level.mean:.3f} [{level.low:.3f}, {level.high:.3f}]."
            )
        for metric in (m for m in MEASURES if m.key in ("gain", "identity")):
            if len(names) > 1 and any(metric.key in row for row in faces[0].values()):
                title = f"### {kind}, {len(faces)}: {metric.title}, less that of {names[0]}; {SHOWN}"
                parts += [title, differences(faces, names, SHOWN, metric)]
        values = summary(faces)
        for metric in MEASURES:
            if metric.key in PRINTED and any(metric.key in v for v in values.values()):
                parts += [f"### {kind}, {len(faces)}: {metric.title}", table(values, metric, names)]
    return "\n\n".join(parts) + "\n"
