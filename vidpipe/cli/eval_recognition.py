"""``vidpipe eval --table recognition``: who is it? A list of people against faces that a run has covered."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from train.evaluation.recognise import Task
    from vidpipe.cli.eval_options import Asked

TITLE = "Who is it? Recognition through covered faces"
FRAMES, COPIES = 3, 6
"""Of each person: in the film, and in the list"""
BLOCKS = (4, 6, 8, 12)
EPSILONS = (0.5, 1.0, 2.0, 8.0)
WIDER = (1.5, 1.7)
"""Masks, over the face's box, around which the ring is looked at, too"""


def recognition(asked: Asked) -> None:
    """Measures, prints and writes ``recognition.md`` and ``recognition.json``."""
    from nets.mobilefacenet import FaceEmbedding
    from nets.vgg import LossNetworkError
    from pipeline.errors import InputError, UsageError
    from train.evaluation.people import read_people
    from train.evaluation.recognise import Trial, measure, page, pooled
    from vidpipe import __version__

    if asked.faces is None or asked.clips is not None or asked.nets:
        raise UsageError(
            "--table recognition wants --faces FOLDER, which has a folder with two pictures for each person, "
            "and neither networks nor --clips"
        )
    chosen = _chosen(asked.conditions)
    try:
        net = None if asked.recogniser is None else FaceEmbedding.load(asked.recogniser)
    except LossNetworkError as error:
        raise InputError(str(error)) from error
    asked.output.mkdir(parents=True, exist_ok=True)
    people = read_people(asked.faces, asked.count)
    made = []
    for seed in range(asked.seed, asked.seed + asked.trials):
        trial = Trial.of(people, asked.output / "pages", FRAMES, COPIES, seed)
        made.append(measure(trial, chosen, seed=seed, net=net))
    rows = [pooled(of_one) for of_one in zip(*made, strict=True)]
    text = page(rows, TITLE)
    (asked.output / "recognition.md").write_text(text)
    facts = {
        "version": __version__,
        "seed": asked.seed,
        "trials": asked.trials,
        "people": [p.name for p in people],
        "frames": FRAMES,
        "copies": COPIES,
        "rows": [asdict(r) for r in rows],
    }
    (asked.output / "recognition.json").write_text(json.dumps(facts, indent=1) + "\n")
    typer.echo(json.dumps(facts) if asked.as_json else text)


def _chosen(names: str | None) -> list[Task]:
    """The rows of ``--conditions``, with commas; all without. Raises UsageError."""
    from pipeline.errors import UsageError

    known = {task.name: task for task in tasks()}
    wanted = list(known) if names is None else [n.strip() for n in names.split(",")]
    if unknown := [n for n in wanted if n not in known]:
        raise UsageError(f"--conditions has {unknown[0]!r}; --table recognition knows {', '.join(known)}")
    return [known[n] for n in wanted]


def tasks() -> list[Task]:
    """All rows of the table; perturbations as far as their weights are here."""
    from train.evaluation.people import RING, Covering
    from train.evaluation.recognise import Task, beyond_ring, in_ring

    solid = {"mask.look": "solid"}
    out = [Task("uncovered", Covering(None))]
    out += [Task(f"pixelize: {n} blocks", Covering("pixelize", {"mask.blocks": n})) for n in BLOCKS]
    out += [
        Task(f"blur: {n} blocks", Covering("pixelize", {"mask.look": "blur", "mask.blocks": n}))
        for n in BLOCKS
    ]
    out += _measured()
    out += [
        Task(f"protect: nobody {which}", Covering("protect", {"protect.nobody": which}))
        for which in ("nearest", "random", 1)
    ]
    out.append(Task("solid", Covering("pixelize", solid)))
    out += [
        Task(
            f"ring of {RING:.0%} around a mask of {scale:g}",
            Covering("pixelize", solid, scale=scale),
            in_ring,
        )
        for scale in (1.3, *WIDER)
    ]
    out.append(Task("corners beyond that ring", Covering("pixelize", solid), beyond_ring))
    return out


def _measured() -> list[Task]:
    from export.networks import shipped
    from export.select import engine_file
    from train.evaluation.people import Covering
    from train.evaluation.recognise import Task

    def measured(name: str, perturb: str = "", epsilon: float | None = None) -> Task:
        settings: dict[str, object] = {"protect.values": "measured"}
        if epsilon is not None:
            settings["protect.epsilon"] = epsilon
        if not perturb:
            return Task(name, Covering("protect", settings))
        settings["protect.perturb"] = perturb
        return Task(name, Covering("protect", settings, engine_file(f"pixelizer-{perturb}")))

    kinds = [k for k in ("block", "pixel") if f"pixelizer-{k}" in shipped()]
    return [
        measured("protect: measured"),
        *(measured(f"protect: measured + {kind}", kind) for kind in kinds),
        *(measured(f"protect: measured + epsilon {e:g}", epsilon=e) for e in EPSILONS),
    ]
