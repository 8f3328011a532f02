"""Trains the variants of a table, with an equal number of steps, into one folder each; and puts the table
together.

A run that is cut goes on where it was when it is started again: the steps are settled once, in ``plan.json``,
and every variant resumes from its own folder.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nets.checkpoint import CheckpointError, build
from pipeline.errors import InputError, UsageError
from train.data.degrade import Degradation
from train.data.pictures import Sources
from train.evaluation import report
from train.evaluation.evaluate import METRICS, Outcome
from train.evaluation.tables import Table, Variant
from train.loop import train
from train.recipe import RestoreRecipe
from train.restore_task import RestoreTask

log = logging.getLogger(__name__)

TIMED_STEPS = 4
LEAST_STEPS = 10


def recipe_of(variant: Variant, steps: int, seed: int) -> RestoreRecipe:
    """Raises UsageError for a variant that this version cannot make."""
    try:
        build(variant.net, dict(variant.config))
        ranges = replace(Degradation(), **variant.degradation)  # type: ignore[arg-type]
        # A schedule of minutes must not spend them on its warm-up.
        warmup = max(1, min(RestoreRecipe.warmup, steps // 10))
        base = RestoreRecipe(
            variant.net,
            config=dict(variant.config),
            steps=steps,
            warmup=warmup,
            seed=seed,
            degradation=ranges,
        )
        return replace(base, **variant.recipe)  # type: ignore[arg-type]
    except (CheckpointError, TypeError, ValueError) as error:
        raise UsageError(f"variant {variant.name!r} cannot be made: {error}") from error


def train_variants(
    table: Table, sources: Sources, minutes: float, folder: Path, device: torch.device, seed: int = 1
) -> list[Path]:
    """Weights of each variant, in their order. ``minutes`` is for all of them together; the steps that fit
    are found by timing, and are the same for each."""
    for variant in table.variants:
        recipe_of(variant, LEAST_STEPS, seed)
    folder.mkdir(parents=True, exist_ok=True)
    steps = _plan(table, sources, minutes, folder / "plan.json", device, seed)
    files = []
    for variant in table.variants:
        out = folder / slug(variant.name)
        log.info("%s: %d steps into %s", variant.name, steps, out)
        train(RestoreTask(recipe_of(variant, steps, seed), sources, device), out, resume=True)
        files.append(out / f"{variant.net}.safetensors")
    return files


def slug(name: str) -> str:
    """A name of a folder."""
    return re.sub(r"[^a-z0-9.+]+", "-", name.lower()).strip("-")


def _plan(table: Table, sources: Sources, minutes: float, path: Path, device: torch.device, seed: int) -> int:
    names = [v.name for v in table.variants]
    if path.exists():
        plan = json.loads(path.read_text())
        if plan["variants"] != names or plan["seed"] != seed:
            raise InputError(f"{path} is the plan of other variants or another seed; give another --output")
        return int(plan["steps"])
    seconds = {v.name: _time(v, sources, device, seed) for v in table.variants}
    steps = max(LEAST_STEPS, int(minutes * 60 / sum(seconds.values())))
    plan = {
        "variants": names,
        "seed": seed,
        "steps": steps,
        "budget_minutes": minutes,
        "seconds_per_step": {n: round(s, 4) for n, s in seconds.items()},
    }
    path.write_text(json.dumps(plan, indent=1) + "\n")
    return steps


def _time(variant: Variant, sources: Sources, device: torch.device, seed: int) -> float:
    """Seconds of a step, without what a run costs once."""
    took = []
    for steps in (1, 1 + TIMED_STEPS):
        with tempfile.TemporaryDirectory() as scratch:
            started = time.monotonic()
            train(RestoreTask(recipe_of(variant, steps, seed), sources, device), Path(scratch))
            took.append(time.monotonic() - started)
    return max((took[1] - took[0]) / TIMED_STEPS, 1e-3)


def page(
    title: str, table: Table, outcomes: Sequence[tuple[str, Outcome]], plan: Mapping[str, object] | None
) -> str:
    """The table in Markdown: one part for each of its metrics."""
    parts = [f"## {title}: {table.title}"]
    if plan is not None:
        parts.append(f"Each variant was trained for {plan['steps']} steps (seed {plan['seed']}).")
    for metric in METRICS:
        if metric.key not in table.metrics:
            continue
        if any(metric.key in s.summary() for _, outcome in outcomes for s in outcome.scores.values()):
            parts.append(report.by_condition(outcomes, metric))
    return "\n\n".join(parts) + "\n"
