"""An evaluation on paper: Markdown, JSON, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.errors import OutputError
from train.evaluation.evaluate import METRICS, Metric, Outcome
from train.metrics import Interval

CELL_PX = 192
"""Side of a picture on a contact sheet"""
HEAD_PX = 26


def markdown(outcome: Outcome) -> str:
    """A table: rows are methods, columns metrics; mean [95 % interval]; the best of each column is bold."""
    summaries = {name: scores.summary() for name, scores in outcome.scores.items()}
    columns = [m for m in METRICS if any(m.key in s for s in summaries.values())]
    best = {m.key: _best(m, [s[m.key].mean for s in summaries.values() if m.key in s]) for m in columns}
    lines = ["| | " + " | ".join(m.title for m in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, summary in summaries.items():
        cells = [_cell(summary.get(m.key), m, best[m.key]) for m in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_condition(outcomes: Sequence[tuple[str, Outcome]], metric: Metric) -> str:
    """A table of one metric: rows are methods, columns conditions."""
    summaries = [{n: s.summary() for n, s in outcome.scores.items()} for _, outcome in outcomes]
    names = list(dict.fromkeys(name for summary in summaries for name in summary))
    heads = [f"{kind}, {outcome.condition.name}" for kind, outcome in outcomes]
    known = [{n: s[metric.key] for n, s in summary.items() if metric.key in s} for summary in summaries]
    best = [_best(metric, [i.mean for i in column.values()]) for column in known]
    lines = [f"| {metric.title} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in names:
        cells = [_cell(column.get(name), metric, b) for column, b in zip(known, best, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _best(metric: Metric, means: Sequence[float]) -> float:
    known = [m for m in means if not math.isnan(m)]
    if not known:
        return math.nan
    return max(known) if metric.higher_is_better else min(known)


def _cell(value: Interval | None, metric: Metric, best: float) -> str:
    if value is None or math.isnan(value.mean):
        return ""
    sign = "+" if metric.key == "gain" else ""
    text = f"{value.mean:{sign}.{metric.digits}f}"
    if value.mean == best:
        text = f"**{text}**"
    if math.isnan(value.low):
        return text
    return f"{text} [{value.low:{sign}.{metric.digits}f}, {value.high:{sign}.{metric.digits}f}]"


def to_json(outcome: Outcome) -> dict[str, object]:
    """Per method and metric: mean, interval, and the value of each scene."""
    methods: dict[str, object] = {}
    for name, scores in outcome.scores.items():
        methods[name] = {
            key: {
                "mean": _number(i.mean),
                "low": _number(i.low),
                "high": _number(i.high),
                "each": [_number(v) for v in scores.values.get(key, [])],
            }
            for key, i in scores.summary().items()
        }
    return {"condition": outcome.condition.name, "scenes": outcome.count, "methods": methods}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else round(value, 6)


def sheet(outcome: Outcome, path: Path) -> None:
    """PNG, a row per scene: each method, then the truth. Raises OutputError."""
    if not outcome.shown:
        return
    names = [*outcome.shown[0].restored, "truth"]
    head = np.full((HEAD_PX, CELL_PX * len(names), 3), 255, np.uint8)
    for n, name in enumerate(names):
        place = (n * CELL_PX + 4, HEAD_PX - 8)
        cv2.putText(head, name[-26:], place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    rows = [_row([*s.restored.values(), s.truth]) for s in outcome.shown]
    if not cv2.imwrite(str(path), np.concatenate([head, *rows])):
        raise OutputError(f"{path} cannot be written")


def _row(pictures: Sequence[Tensor]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """BGR."""
    wide = (torch.cat(list(pictures), -1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).flip(-1).numpy()
    shape = (CELL_PX * len(pictures), CELL_PX)
    return np.asarray(cv2.resize(np.ascontiguousarray(wide), shape, interpolation=cv2.INTER_CUBIC), np.uint8)
