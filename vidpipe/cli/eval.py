"""``vidpipe eval NET...``: how good restoring networks are, on faces or clips of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vidpipe.cli import eval_options, options

if TYPE_CHECKING:
    from train.data.pictures import Segments, Stills
    from train.evaluation.evaluate import Judges
    from train.evaluation.suite import Suite
    from train.evaluation.tables import Table

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
    output: eval_options.Output = Path("eval"),
    seed: eval_options.Seed = 0,
    device: options.Device = None,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure networks on pixelated faces whose truth is known. Prints Markdown, or JSON."""
    del debug  # vidpipe.cli.main reads it
    from rich.console import Console

    from pipeline.errors import UsageError
    from vidpipe.cli.log import prepare

    console = Console(stderr=True)
    prepare(console, max(verbose, 1), quiet)
    if faces is None and clips is None:
        raise UsageError("nothing to measure on; give --faces FOLDER, --clips PATH or both")
    if table == "5":
        if inversion:
            raise UsageError("--table 5 has its own attackers, inversion is one; leave --inversion out")
        if budget_minutes is not None:
            raise UsageError(
                "--table 5 retrains attackers with --train-faces FOLDER for --retrain-steps N each; leave "
                "--budget-minutes out"
            )
        from vidpipe.cli.eval_defence import Asked, table5

        judges = _judges(metrics, alexnet, vgg16, inception)
        asked = Asked(nets, (faces, clips), conditions, train_faces, retrain_steps, blocks, count, seed)
        table5(asked, judges, output, options.place(device), as_json)
        return
    if blocks is not None or retrain_steps is not None:
        raise UsageError("--blocks and --retrain-steps are options of --table 5")
    chosen = _table(table, nets, budget_minutes, train_faces, conditions)
    suite = _suite(
        nets or (["idn"] if chosen and not chosen.variants else []),
        (faces, clips),
        ",".join(chosen.conditions) if chosen else conditions or DEFAULT_CONDITIONS,
        ",".join(map(str, chosen.windows)) if chosen else frames,
        bool(chosen and chosen.inversion) or inversion,
        count,
        _judges(metrics, alexnet, vgg16, inception),
        seed,
        device,
    )
    material = _material(train_faces, train_clips) if chosen and chosen.variants else None
    for line in suite.judges.missing:
        console.print(f"vidpipe: warning: {line}", soft_wrap=True, markup=False, highlight=False)
    _make(output)
    plan = None
    if chosen and material:
        suite, plan = _trained(chosen, suite, material, budget_minutes or 0.0, output, device)
    _report(suite, output, as_json, (f"Table {table}", chosen) if chosen else None, plan)


def _table(
    name: str | None,
    nets: list[str] | None,
    budget: float | None,
    train_faces: Path | None,
    conditions: str | None,
) -> Table | None:
    from pipeline.errors import UsageError
    from train.evaluation.tables import TABLES

    if name is None:
        if budget is not None or train_faces is not None:
            raise UsageError(
                "--budget-minutes and --train-faces train the networks of a table; say which: --table"
            )
        return None
    if name not in TABLES:
        raise UsageError(f"--table is {name!r}; known are {', '.join(TABLES)}, 5")
    if conditions is not None:
        raise UsageError(f"--table {name} has its own conditions; leave --conditions out")
    table = TABLES[name]
    if table.variants and (budget is None or train_faces is None):
        raise UsageError(
            f"--table {name} trains {len(table.variants)} networks; give --train-faces FOLDER and "
            "--budget-minutes N for all of them together"
        )
    return table


def _judges(metrics: str, alexnet: Path | None, vgg16: Path | None, inception: Path | None) -> Judges:
    from pipeline.errors import UsageError
    from train.evaluation.evaluate import OPTIONAL, Judges

    auto = OPTIONAL if inception else OPTIONAL[:-1]  # FID is not had by a package: nobody misses it
    names = auto if metrics == "auto" else tuple(m.strip() for m in metrics.split(",") if m.strip())
    if unknown := [m for m in names if m not in OPTIONAL]:
        raise UsageError(f"--metrics has {unknown[0]!r}; known are auto and {', '.join(OPTIONAL)}")
    return Judges.find(names, metrics != "auto", alexnet, vgg16, inception)


def _suite(
    nets: list[str],
    data: tuple[Path | None, Path | None],
    conditions: str,
    frames: str,
    inversion: bool,
    count: int,
    judges: Judges,
    seed: int,
    device: str | None,
) -> Suite:
    """Everything that can be refused is refused here."""
    from train.evaluation.conditions import Condition
    from train.evaluation.methods import read_networks
    from train.evaluation.suite import Suite

    wanted = [Condition.parse(text.strip()) for text in conditions.split(",")]
    windows = _numbers(frames, "--frames")
    networks = read_networks(nets, windows, options.place(device))
    return Suite(_sources(*data), wanted, networks, judges, windows, inversion, count, seed)


def _material(faces: Path | None, clips: Path | None) -> tuple[Stills, Segments | None]:
    """What networks are trained on."""
    from train.data.pictures import Segments, Stills

    assert faces is not None  # _table has asked for it
    return Stills.load(faces, 256), Segments.load(clips) if clips else None


def _trained(
    table: Table,
    suite: Suite,
    material: tuple[Stills, Segments | None],
    minutes: float,
    output: Path,
    device: str | None,
) -> tuple[Suite, dict[str, object]]:
    """The suite with the networks of a table, trained, before those that were given."""
    import json
    from dataclasses import replace

    from train.evaluation.methods import read_networks
    from train.evaluation.variants import train_variants

    place = options.place(device)
    files = train_variants(table, material, minutes, output, place)
    names = [v.name for v in table.variants]
    made = read_networks([str(f) for f in files], suite.windows, place, names)
    return replace(suite, networks=[*made, *suite.networks]), json.loads((output / "plan.json").read_text())


def _report(
    suite: Suite,
    output: Path,
    as_json: bool,
    table: tuple[str, Table] | None,
    plan: dict[str, object] | None,
) -> None:
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
            if not as_json and table is None:
                print(section(kind, outcome), flush=True)
    except BaseException:
        if outcomes:  # an interrupt keeps what is measured, and an earlier test where nothing is
            write(outcomes, facts, output)
        raise
    result = write(outcomes, facts, output)
    if table is not None:
        text = page(*table, outcomes, plan)
        (output / "table.md").write_text(text)
        if not as_json:
            print(text)
    if as_json:
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


def _sources(faces: Path | None, clips: Path | None) -> dict[str, Stills | Segments]:
    from train.evaluation.suite import sources

    return {kind: source for kind, (source, _) in sources(faces, clips).items()}
