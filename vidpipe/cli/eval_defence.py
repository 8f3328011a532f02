"""``vidpipe eval --table 5``: what attackers recover of faces that ``vidpipe run`` has pixelized."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vidpipe.cli import options

if TYPE_CHECKING:
    import torch

    from train.evaluation.defence import Defence, Plan, Values
    from train.evaluation.methods import Network
    from vidpipe.cli.eval_options import Asked

NAMES = {"none": "protect", "block": "protect + block", "pixel": "protect + pixel"}
BLOCKS = 6
"""The command's default"""


def table5(asked: Asked) -> None:
    """Retrains the adaptive attackers, measures, prints and writes ``table.md`` and ``eval.json``."""
    from nets.checkpoint import WEIGHTS
    from train.evaluation.defence import Plan, measure
    from train.evaluation.defence_tables import page
    from train.evaluation.methods import read_networks
    from train.evaluation.suite import sources
    from train.recipe import AttackerRecipe

    _check(asked)
    judges, device = asked.networks.judges(), options.place(asked.device)
    channels = _channels(asked.conditions)
    found = sources(asked.faces, asked.clips)
    output, training = asked.output, asked.training
    output.mkdir(parents=True, exist_ok=True)
    defences = _defences(asked.blocks or BLOCKS)
    networks = read_networks(asked.nets or ["idn", "nar"], [16], device)
    weights = next((n.path for n in networks if n.name == "idn"), WEIGHTS / "idn.safetensors")
    steps = training.retrain_steps or AttackerRecipe.steps if training.faces else None
    retrained = _retrained(defences, weights, training.faces, steps or 0, output, device)
    people = {kind: who for kind, (_, who) in found.items() if who is not None}
    plan = Plan(defences, channels, networks, retrained, judges, asked.count, asked.seed, people)
    results = {kind: measure(plan, source, kind, output) for kind, (source, _) in found.items()}
    text = page(plan, results)
    (output / "table.md").write_text(text)
    facts = _facts(asked, plan, results, steps)
    (output / "eval.json").write_text(json.dumps(facts, indent=1) + "\n")
    typer.echo(json.dumps(facts) if asked.as_json else text)


def _check(asked: Asked) -> None:
    """Raises UsageError for options that this table does not have."""
    from pipeline.errors import UsageError

    if asked.inversion:
        raise UsageError("--table 5 has its own attackers, inversion is one; leave --inversion out")
    if asked.training.budget_minutes is not None:
        raise UsageError(
            "--table 5 retrains attackers with --train-faces FOLDER for --retrain-steps N each; leave "
            "--budget-minutes out"
        )
    if asked.training.faces is None and asked.training.retrain_steps is not None:
        raise UsageError("--retrain-steps retrains attackers of --table 5 with --train-faces FOLDER, both")


def _channels(conditions: str | None) -> tuple[str, ...]:
    """What happens to the file, of ``--conditions``. Raises UsageError."""
    from pipeline.errors import UsageError
    from train.evaluation.defence import CHANNELS

    channels = CHANNELS if conditions is None else tuple(c.strip() for c in conditions.split(","))
    if unknown := [c for c in channels if c not in CHANNELS]:
        raise UsageError(f"--conditions has {unknown[0]!r}; --table 5 knows {', '.join(CHANNELS)}")
    return channels


def _facts(
    asked: Asked, plan: Plan, results: Mapping[str, Sequence[Values]], steps: int | None
) -> dict[str, object]:
    """What ``eval.json`` holds. ``steps``: of each retrained attacker, None without."""
    from train.evaluation.defence_tables import strangers, summary
    from vidpipe import __version__

    levels = {kind: strangers(faces) for kind, faces in results.items()}
    return {
        "version": __version__,
        "seed": asked.seed,
        "blocks": asked.blocks or BLOCKS,
        "networks": [n.facts() for n in plan.networks],
        "weights": plan.weights(),
        "retrained_steps": steps,
        "left_out": list(plan.judges.missing),
        "strangers": {kind: asdict(level) for kind, level in levels.items() if level is not None},
        "results": {
            kind: {key: {m: asdict(i) for m, i in row.items()} for key, row in summary(faces).items()}
            for kind, faces in results.items()
        },
    }


def _defences(blocks: int) -> list[Defence]:
    """Plain pixelize first, to which all are compared; perturbations as far as their weights are here. No
    attacker adapts to nobody's colours: what it could learn are the means."""
    from export.networks import shipped
    from export.select import engine_file
    from nets.checkpoint import WEIGHTS
    from train.evaluation.defence import Defence
    from train.evaluation.pixelized_faces import Settings

    out = [
        Defence("pixelize", Settings("pixelize", blocks), "none"),
        Defence(NAMES["none"], Settings("protect", blocks), "none"),
    ]
    for kind in ("block", "pixel"):
        if (net := f"pixelizer-{kind}") in shipped():
            settings = Settings("protect", blocks, perturb=kind, network=engine_file(net))
            out.append(Defence(NAMES[kind], settings, kind, WEIGHTS / f"{net}.safetensors"))
    return [*out, Defence("nobody", Settings("protect", blocks, values="nobody"))]


def _retrained(
    defences: list[Defence],
    weights: Path,
    train_faces: Path | None,
    steps: int,
    output: Path,
    device: torch.device,
) -> dict[str, Network]:
    """One IDN for each kind of mosaic, kept under the hash of what it was made from."""
    from nets.checkpoint import load, sha256
    from nets.pixelizer import Pixelizer
    from train.attacker_task import retrain
    from train.data.pictures import Stills
    from train.evaluation.defence import SCALE
    from train.evaluation.methods import read_networks

    if train_faces is None:
        return {}
    faces: Stills | None = None
    paths: dict[str, Path] = {}
    for defence in defences:
        kind, changed = defence.adapted, defence.weights
        if not kind or kind in paths:
            continue
        blocks = defence.settings.blocks
        made_of = [
            sha256(weights),
            sha256(changed) if changed else "",
            blocks,
            steps,
            str(train_faces.resolve()),
        ]
        key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
        paths[kind] = output / f"retrained-{kind}-{key}.safetensors"
        if paths[kind].exists():
            continue
        faces = faces or Stills.load(train_faces, 256)
        net = load(changed) if changed else None
        against = net if isinstance(net, Pixelizer) else None
        retrain(weights, faces, against, paths[kind], device, blocks * SCALE, steps)
    files = [str(path) for path in paths.values()]
    networks = read_networks(files, [1], device, [f"IDN, retrained on {NAMES[kind]}" for kind in paths])
    return dict(zip(paths, networks, strict=True))
