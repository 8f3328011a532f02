"""``vidpipe bench IN``: frame rates of a clip on this machine, per stage and end to end."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from vidpipe.cli import options

Frames = Annotated[
    int, typer.Option("--frames", metavar="N", min=8, max=2000, help="Frames from the start; held in memory.")
]


def bench(
    source: options.Input,
    frames: Frames = 120,
    config: options.Config = None,
    device: options.Device = None,
    decoder: options.Decoder = None,
    net: options.Net = None,
    engine: options.EngineName = None,
    codec: options.Codec = None,
    crf: options.Crf = None,
    preset: options.Preset = None,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Time every stage alone and all of them together. Prints Markdown, or JSON."""
    del debug  # vidpipe.cli.main reads it
    from rich.console import Console

    from pipeline.config import resolve
    from vidpipe.bench import measure
    from vidpipe.cli.log import prepare
    from vidpipe.jobs import reconstruct_job

    prepare(Console(stderr=True), verbose, quiet)
    given = options.given(
        device=device, decoder=decoder, net=net, engine=engine, codec=codec, crf=crf, preset=preset
    )
    settings = resolve(given, config)
    with contextlib.redirect_stdout(sys.stderr):
        report = measure(reconstruct_job(source, source, settings), settings, frames)
    typer.echo(report.model_dump_json() if as_json else report.as_markdown())
