"""``vidpipe eval --table 5``: what attackers recover of faces that ``run`` has covered."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import torch

    from train.data import Segments, Stills
    from train.defence import Defence
    from train.evaluate import Judges
    from train.methods import Network

NAMES = {"none": "protect", "block": "protect + block", "pixel": "protect + pixel"}


def table5(
    nets: list[str] | None,
    sources: dict[str, Stills | Segments],
    conditions: str | None,
    train_faces: Path | None,
    minutes: float | None,
    judges: Judges,
    count: int,
    seed: int,
    output: Path,
    device: torch.device,
    as_json: bool,
) -> None:
    """Retrains the adaptive attackers, measures, prints and writes ``table.md`` and ``eval.json``."""
    from nets.checkpoint import WEIGHTS
    from pipeline.errors import UsageError
    from train.defence import CHANNELS, Plan, measure, page, summary
    from train.methods import read_networks
    from vidpipe import __version__

    channels = CHANNELS if conditions is None else tuple(c.strip() for c in conditions.split(","))
    if unknown := [c for c in channels if c not in CHANNELS]:
        raise UsageError(f"--conditions has {unknown[0]!r}; --table 5 knows {', '.join(CHANNELS)}")
    if (train_faces is None) != (minutes is None):
        raise UsageError(
            "--table 5 retrains attackers with --train-faces FOLDER and --budget-minutes N, both"
        )
    output.mkdir(parents=True, exist_ok=True)
    defences = _defences()
    networks = read_networks(nets or ["idn", "nar"], [16], device)
    weights = next((n.path for n in networks if n.name == "idn"), WEIGHTS / "idn.safetensors")
    retrained, steps = _retrained(weights, train_faces, minutes, output, device)
    plan = Plan(defences, channels, networks, retrained, judges, count, seed)
    results = {kind: measure(plan, source, kind, output) for kind, source in sources.items()}
    text = page(plan, results)
    (output / "table.md").write_text(text)
    facts = {
        "version": __version__,
        "seed": seed,
        "networks": [n.facts() for n in networks],
        "retrained_steps": steps,
        "left_out": list(judges.missing),
        "results": {
            kind: {key: {m: asdict(i) for m, i in row.items()} for key, row in summary(faces).items()}
            for kind, faces in results.items()
        },
    }
    (output / "eval.json").write_text(json.dumps(facts, indent=1) + "\n")
    typer.echo(json.dumps(facts) if as_json else text)


def _defences() -> list[Defence]:
    """Plain pixelize first, to which all are compared; perturbations as far as their weights are here."""
    from export.cache import engine_file
    from export.networks import shipped
    from train.covered import Settings
    from train.defence import Defence

    out = [
        Defence("pixelize", Settings("pixelize"), "none"),
        Defence(NAMES["none"], Settings("protect"), "none"),
    ]
    for kind in ("block", "pixel"):
        if f"pixelizer-{kind}" in shipped():
            network = engine_file(f"pixelizer-{kind}")
            settings = Settings("protect", perturb=kind, network=network)
            out.append(Defence(NAMES[kind], settings, kind))
    return out


def _retrained(
    weights: Path, train_faces: Path | None, minutes: float | None, output: Path, device: torch.device
) -> tuple[dict[str, Network], int | None]:
    """One IDN for each kind of mosaic, all trained on for the same number of steps."""
    from export.networks import shipped
    from nets.checkpoint import WEIGHTS, load
    from nets.pixelizer import Pixelizer
    from train.data import Stills
    from train.methods import read_networks
    from train.retrain import retrain

    if train_faces is None or minutes is None:
        return {}, None
    kinds = ["none", *(k for k in ("block", "pixel") if f"pixelizer-{k}" in shipped())]
    paths = {kind: output / f"retrained-{kind}.safetensors" for kind in kinds}
    told = output / "retrained.json"
    steps: int | None = json.loads(told.read_text())["steps"] if told.exists() else None
    missing = [kind for kind in kinds if not paths[kind].exists()]
    faces = Stills.load(train_faces, 256) if missing else None
    for kind in missing:
        assert faces is not None
        net = load(WEIGHTS / f"pixelizer-{kind}.safetensors") if kind != "none" else None
        against = net if isinstance(net, Pixelizer) else None
        steps = retrain(weights, faces, against, minutes / len(kinds), paths[kind], device, steps)
        told.write_text(json.dumps({"steps": steps}) + "\n")
    files = [str(paths[kind]) for kind in kinds]
    networks = read_networks(files, [1], device, [f"retrained-{kind}" for kind in kinds])
    return dict(zip(kinds, networks, strict=True)), steps
