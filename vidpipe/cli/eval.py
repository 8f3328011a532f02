"""``vidpipe eval NET...``: how good restoring networks are, on faces or clips of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vidpipe.cli import eval_options, options

if TYPE_CHECKING:
    from rich.console import Console

    from train.data.pictures import Sources
    from train.evaluation.suite import Suite
    from train.evaluation.tables import Table
    from vidpipe.cli.eval_options import Asked

DEFAULT_CONDITIONS = "clean-8,clean-10,clean-12,wild"


def evaluate(
    nets: eval_options.Nets = None,
    faces: eval_options.Faces = None,
    clips: eval_options.Clips = None,
    conditions: eval_options.Conditions = None,
    frames: eval_options.FramesList = "1,5,16",
    inversion: eval_options.Invert = False,
    table: eval_options.TableName = None,
    budget_minutes: eval_options.Budget = None,
    train_faces: eval_options.TrainFaces = None,
    train_clips: eval_options.TrainClips = None,
    blocks: eval_options.Blocks = None,
    retrain_steps: eval_options.RetrainSteps = None,
    count: eval_options.Count = 60,
    metrics: eval_options.Metrics = "auto",
    alexnet: eval_options.Alexnet = None,
    vgg16: eval_options.Vgg16 = None,
    inception: eval_options.Inception = None,
    recogniser: eval_options.Recogniser = None,
    output: eval_options.Output = Path("eval"),
    seed: eval_options.Seed = 0,
    trials: eval_options.Trials = 1,
    device: options.Device = None,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure networks on pixelated faces whose truth is known. Prints Markdown, or JSON."""
    del debug  # vidpipe.cli.main reads it
    from rich.console import Console

    from vidpipe.cli.log import prepare

    networks = eval_options.MetricNetworks(metrics, alexnet, vgg16, inception)
    training = eval_options.Training(budget_minutes, train_faces, train_clips, retrain_steps)
    asked = eval_options.Asked(
        nets,
        faces,
        clips,
        conditions,
        frames,
        inversion,
        table,
        training,
        blocks,
        count,
        networks,
        recogniser,
        output,
        seed,
        trials,
        device,
        as_json,
    )
    console = Console(stderr=True)
    prepare(console, max(verbose, 1), quiet)
    _evaluate(asked, console)


def _evaluate(asked: Asked, console: Console) -> None:
    from pipeline.errors import UsageError

    if asked.faces is None and asked.clips is None:
        raise UsageError("nothing to measure on; give --faces FOLDER, --clips PATH or both")
    if asked.table == "5":
        from vidpipe.cli.eval_defence import table5

        table5(asked)
        return
    if asked.table == "recognition":
        from vidpipe.cli.eval_recognition import recognition

        recognition(asked)
        return
    if asked.trials > 1:
        raise UsageError("--trials is an option of --table recognition")
    if asked.blocks is not None or asked.training.retrain_steps is not None:
        raise UsageError("--blocks and --retrain-steps are options of --table 5")
    chosen = _table(asked)
    suite = _suite(asked, chosen)
    material = _material(asked) if chosen and chosen.variants else None
    for line in suite.judges.missing:
        console.print(f"vidpipe: warning: {line}", soft_wrap=True, markup=False, highlight=False)
    _make(asked.output)
    plan = None
    if chosen and material:
        suite, plan = _trained(asked, chosen, suite, material)
    _report(asked, suite, chosen, plan)


def _table(asked: Asked) -> Table | None:
    from pipeline.errors import UsageError
    from train.evaluation.tables import TABLES

    name, training = asked.table, asked.training
    if name is None:
        if training.budget_minutes is not None or training.faces is not None:
            raise UsageError(
                "--budget-minutes and --train-faces train the networks of a table; say which: --table"
            )
        return None
    if name not in TABLES:
        raise UsageError(f"--table is {name!r}; known are {', '.join(TABLES)}, 5, recognition")
    if asked.conditions is not None:
        raise UsageError(f"--table {name} has its own conditions; leave --conditions out")
    table = TABLES[name]
    if table.variants and (training.budget_minutes is None or training.faces is None):
        raise UsageError(
            f"--table {name} trains {len(table.variants)} networks; give --train-faces FOLDER and "
            "--budget-minutes N for all of them together"
        )
    return table


def _suite(asked: Asked, table: Table | None) -> Suite:
    """Everything that can be refused is refused here."""
    from train.evaluation.conditions import Condition
    from train.evaluation.methods import read_networks
    from train.evaluation.suite import Suite, sources

    judges = asked.networks.judges()
    names = ",".join(table.conditions) if table else asked.conditions or DEFAULT_CONDITIONS
    conditions = [Condition.parse(text.strip()) for text in names.split(",")]
    windows = table.windows if table else _numbers(asked.frames, "--frames")
    nets = asked.nets or (["idn"] if table and not table.variants else [])
    networks = read_networks(nets, windows, options.place(asked.device))
    found = {kind: source for kind, (source, _) in sources(asked.faces, asked.clips).items()}
    inversion = asked.inversion or bool(table and table.inversion)
    return Suite(found, conditions, networks, judges, windows, inversion, asked.count, asked.seed)


def _material(asked: Asked) -> Sources:
    """What networks are trained on."""
    from train.data.pictures import Segments, Stills

    faces, clips = asked.training.faces, asked.training.clips
    assert faces is not None  # _table has asked for it
    return Stills.load(faces, 256), Segments.load(clips) if clips else None


def _trained(asked: Asked, table: Table, suite: Suite, material: Sources) -> tuple[Suite, dict[str, object]]:
    """The suite with the networks of a table, trained, before those that were given."""
    import json
    from dataclasses import replace

    from train.evaluation.methods import read_networks
    from train.evaluation.variants import train_variants

    place, output = options.place(asked.device), asked.output
    files = train_variants(table, material, asked.training.budget_minutes or 0.0, output, place)
    names = [v.name for v in table.variants]
    made = read_networks([str(f) for f in files], suite.windows, place, names)
    return replace(suite, networks=[*made, *suite.networks]), json.loads((output / "plan.json").read_text())


def _report(asked: Asked, suite: Suite, table: Table | None, plan: dict[str, object] | None) -> None:
    import json

    from train.evaluation.suite import section, write
    from train.evaluation.variants import page
    from vidpipe import __version__

    outcomes = []
    facts: dict[str, object] = {
        "version": __version__,
        "seed": suite.seed,
        "networks": [n.facts() for n in suite.networks],
        "left_out": list(suite.judges.missing),
        "plan": plan,
    }
    try:
        for kind, outcome in suite.outcomes():
            outcomes.append((kind, outcome))
            if not asked.as_json and table is None:
                print(section(kind, outcome), flush=True)
    except BaseException:
        if outcomes:  # an interrupt keeps what is measured, and an earlier test where nothing is
            write(outcomes, facts, asked.output)
        raise
    result = write(outcomes, facts, asked.output)
    if table is not None:
        text = page(f"Table {asked.table}", table, outcomes, plan)
        (asked.output / "table.md").write_text(text)
        if not asked.as_json:
            print(text)
    if asked.as_json:
        typer.echo(json.dumps(result))


def _make(folder: Path) -> None:
    """What cannot be written into is refused before hours of measuring."""
    from pipeline.errors import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made a folder: {error.strerror}; give another --output"
        ) from error


def _numbers(text: str, option: str) -> list[int]:
    from pipeline.errors import UsageError

    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [0]
    if min(values) < 1:
        raise UsageError(f"{option} is {text!r}; wanted whole numbers from 1 on with commas, e.g. 1,5,16")
    return values
