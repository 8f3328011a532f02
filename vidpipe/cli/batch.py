"""``vidpipe batch INPUT... -o OUT --mode ...``: many files; ``vidpipe batch status OUT``: what a batch has
done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from vidpipe.cli import options
from vidpipe.cli.command import command
from vidpipe.cli.flags import BY_MODE, AllFlags

if TYPE_CHECKING:
    from vidpipe.batches.driver import Plan, Result, Totals
    from vidpipe.batches.ledger import Entry, State

SOME_FAILED = 3
"""Exit code of a batch in which a file failed."""

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Folders, files, patterns, manifests (.txt, .csv, .jsonl) and URLs; or: status OUT.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Folder of the outputs and of the ledger.", show_default=False
    ),
]
Mode = Annotated[
    str | None,
    typer.Option("--mode", metavar="|".join(BY_MODE), help="What happens to faces.", show_default=False),
]
Pattern = Annotated[
    str,
    typer.Option(
        "--output-pattern", metavar="TEXT", help="Of an output below DIR: {parent}, {stem}, {suffix}, {mode}."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=4096,
        help="Files at a time; default: up to four per GPU, else one per core.",
        show_default=False,
    ),
]
Where = Annotated[
    str, typer.Option("--on", metavar="local|ray", help="Processes of this machine, or a Ray cluster.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Of a running cluster; else one is started here.", show_default=False
    ),
]
MaxPixels = Annotated[
    int | None, typer.Option(min=1, help="Skip files with more pixels a frame.", show_default=False)
]
MaxDuration = Annotated[
    float | None, typer.Option(min=0, help="Skip files that are longer, seconds.", show_default=False)
]
MaxMemory = Annotated[
    float | None, typer.Option(min=0, help="Skip files that take more memory, GiB.", show_default=False)
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try files again that failed before.")]
Upload = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Move outputs to this folder of an object store.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; do nothing.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Replace files in DIR that no batch has made.")
]
Events = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout: docs/batch.md.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="No vidpipe-batch.html at the end.")]


@dataclass(frozen=True, kw_only=True)
class _OwnFlags:
    inputs: Inputs
    output: Out = None
    mode: Mode = None
    output_pattern: Pattern = "{parent}/{stem}.{mode}{suffix}"
    workers: Workers = None
    on: Where = "local"
    ray_address: RayAddress = None
    max_pixels: MaxPixels = None
    max_duration: MaxDuration = None
    max_memory: MaxMemory = None
    retry_failed: RetryFailed = False
    upload: Upload = None
    dry_run: DryRun = False
    overwrite: Overwrite = False
    no_report: NoReport = False
    config: options.Config = None
    as_json: Events = False
    verbose: options.Verbose = 0
    quiet: options.Quiet = False
    debug: options.Debug = False


_HINTS = get_type_hints(AllFlags, include_extras=True)
BatchFlags: Any = make_dataclass(
    "BatchFlags",
    [
        (f.name, _HINTS[f.name], field(default=f.default))
        for f in fields(AllFlags)
        if f.name in options.SETTINGS
    ],
    bases=(_OwnFlags,),
    frozen=True,
    kw_only=True,
)
"""The batch's own flags, and those of ``run`` that are settings."""


def _batch(context: typer.Context, flags: Any) -> None:
    from rich.console import Console

    from vidpipe.cli.log import prepare

    prepare(Console(stderr=True), flags.verbose, flags.quiet)
    if flags.inputs[0] == "status" and len(flags.inputs) == 2 and flags.output is None:
        _status(Path(flags.inputs[1]), as_json=flags.as_json)
        return
    plan = _plan(flags)
    if flags.dry_run:
        _dry_run(plan, flags)
        return
    totals = _run(context, flags, plan)
    if totals.failed:
        raise typer.Exit(SOME_FAILED)


def _plan(flags: Any) -> Plan:
    """Raises UsageError."""
    from pipeline.errors import UsageError
    from vidpipe.batches.driver import Plan
    from vidpipe.batches.worker import Limits

    if flags.output is None:
        raise UsageError("batch needs --output DIR, the folder of its outputs")
    if flags.mode not in BY_MODE:
        raise UsageError(f"batch needs --mode {'|'.join(BY_MODE)}; it was {flags.mode!r}")
    if flags.on not in {"local", "ray"}:
        raise UsageError(f"--on is {flags.on!r}; wanted local or ray")
    if flags.ray_address is not None and flags.on != "ray":
        raise UsageError("--ray-address needs --on ray")
    taken = BY_MODE[flags.mode].__dataclass_fields__
    values = {}
    for name, dotted in options.SETTINGS.items():
        value = getattr(flags, name, None)
        if value is not None:
            if name not in taken:
                raise UsageError(f"--{name.replace('_', '-')} is no option of --mode {flags.mode}")
            values[dotted] = value
    memory = None if flags.max_memory is None else round(flags.max_memory * (1 << 30))
    return Plan(
        flags.inputs,
        flags.output,
        flags.mode,
        values,
        flags.config,
        flags.output_pattern,
        Limits(flags.max_pixels, flags.max_duration, memory),
        retry_failed=flags.retry_failed,
        overwrite=flags.overwrite,
        upload=flags.upload,
    )


def _run(context: typer.Context, flags: Any, plan: Plan) -> Totals:
    from rich.console import Console

    from pipeline.text import printable
    from vidpipe.batches import device_of, make_pool
    from vidpipe.batches.driver import run
    from vidpipe.batches.report import Finished, Tally, again, write
    from vidpipe.cli.batch_display import Table

    pools = []

    def pool() -> Any:
        pools.append(make_pool(flags.on, flags.workers, flags.ray_address, device_of(plan)))
        return pools[-1]

    tally, started = Tally(), perf_counter()
    totals = tally.totals
    warnings: Counter[str] = Counter()
    table = Table(Console(stderr=True), shown=not (flags.quiet or flags.as_json))

    def on_progress(progress: Any) -> None:
        context.obj.check()
        table.show(progress, totals)

    with _told_of_stop(totals), closing(run(plan, pool, on_progress)) as running, table:
        for result in running:
            tally.add(result)
            warnings.update(json.loads(result.report or "{}").get("warnings", ()))
            if flags.as_json:
                typer.echo(json.dumps(_event(result)))
            table.ended(result)
    assert totals.inputs == totals.done + totals.failed + totals.skipped
    seconds = perf_counter() - started
    page = None
    if not flags.no_report:
        page = write(Finished(plan.mode, plan.out, tally, seconds, pools[0].workers))
    if flags.as_json:
        typer.echo(json.dumps({"event": "end", "seconds": round(seconds, 3), **_counts(totals)}))
    elif not flags.quiet:
        for warning, count in warnings.most_common():
            typer.echo(f"{count} {'file' if count == 1 else 'files'}: {printable(warning)}", err=True)
        for sentence in again(tally):
            typer.echo(printable(sentence), err=True)
        typer.echo(_summary(totals), err=True)
        if page is not None:
            typer.echo(str(page))
    return totals


@contextmanager
def _told_of_stop(totals: Totals) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"{_summary(totals)}, so far; the same command goes on", err=True)
        raise


def _event(result: Result) -> dict[str, Any]:
    return {
        "event": "file",
        "source": result.source,
        "target": result.target,
        "state": result.state.value,
        "reason": result.reason,
        "why": result.why,
        "frames": result.frames,
        "seconds": round(result.seconds, 3),
    }


def _counts(totals: Totals) -> dict[str, int]:
    return {
        "inputs": totals.inputs,
        "done": totals.done,
        "done_before": totals.before,
        "failed": totals.failed,
        "skipped": totals.skipped,
    }


def _summary(totals: Totals) -> str:
    before = f" ({totals.before} of them before)" if totals.before else ""
    counts = f"{totals.done} done{before} + {totals.failed} failed + {totals.skipped} skipped"
    return f"{totals.inputs} inputs = {counts}"


def _dry_run(plan: Plan, flags: Any) -> None:
    from pipeline.text import printable
    from vidpipe.batches import device_of
    from vidpipe.batches.driver import plan_only
    from vidpipe.batches.ledger import State
    from vidpipe.batches.room import room_for

    count = 0
    for result in plan_only(plan):
        count += result.state is State.RUNNING
        if flags.as_json:
            typer.echo(json.dumps({**_event(result), "event": "planned"}))
        else:
            word = "would do" if result.state is State.RUNNING else result.state.value
            typer.echo(f"{word:9} {printable(result.source)} ({printable(result.reason)})")
    if flags.as_json:
        return
    typer.echo(f"{count} files would be done; nothing was", err=True)
    if flags.on == "local":
        here = room_for(device_of(plan), flags.workers)
        typer.echo(f"{here.workers} at a time: {here.why}", err=True)


def _status(out: Path, *, as_json: bool) -> None:
    from pipeline.text import printable
    from vidpipe.batches.ledger import State, entries, is_alive

    counts = dict.fromkeys(State, 0)
    running = "running" if is_alive(out) else "interrupted"
    told: dict[State, list[Entry]] = {State.FAILED: [], State.SKIPPED: []}
    for entry in entries(out):
        counts[entry.state] += 1
        if entry.state in told:
            told[entry.state].append(entry)
    if as_json:
        failures, skips = (
            [{"source": e.source, "reason": e.reason, "attempts": e.attempts} for e in told[state]]
            for state in told
        )
        named = {_named(state, running): n for state, n in counts.items()}
        typer.echo(json.dumps({**named, "failures": failures, "skips": skips}))
        return
    typer.echo(", ".join(f"{count} {_named(state, running)}" for state, count in counts.items()))
    for state, those in told.items():
        for entry in those:
            typer.echo(f"{state} {printable(entry.source)}: {printable(entry.reason)}")


def _named(state: State, running: str) -> str:
    return running if state.value == "running" else state.value


batch = command(
    "batch",
    BatchFlags,
    _batch,
    """Do a mode to many files. Stop it at any time: the same command goes on, and does nothing twice.

    The ledger beside the outputs knows what is done, for which content of the input and which settings.
    vidpipe batch status DIR prints it. Exit code 3: a file failed, the others are done.""",
)
