"""``vidpipe train idn|nar|nar-seed``: a restoring network's weights from face pictures and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli import options

NETS = ("idn", "nar", "nar-seed")

Net = Annotated[str, typer.Argument(metavar="|".join(NETS), help="Network to train.", show_default=False)]
Faces = Annotated[
    Path,
    typer.Option("--faces", metavar="FOLDER", help="Square crops of 1.6 x the face.", show_default=False),
]
Clips = Annotated[
    Path | None,
    typer.Option("--clips", metavar="NPY", help="What python -m train.pack wrote.", show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Default: runs/NET.", show_default=False),
]
Steps = Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Length of the schedule.")]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", min=1, help="Clips per step; default 8 for idn, 3 for others."),
]
Minutes = Annotated[
    float | None,
    typer.Option("--max-minutes", metavar="N", min=0, help="Stop after this time; --resume goes on."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the folder's last run stopped.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of weights and data.")]
Start = Annotated[
    Path | None,
    typer.Option(
        "--start", metavar="FILE", help="Weights to begin with; nar also takes idn's.", show_default=False
    ),
]
Vgg = Annotated[
    Path | None,
    typer.Option("--vgg", metavar="FILE", help="VGG16 weights: adds the perceptual and style losses."),
]


def train(
    net: Net,
    faces: Faces,
    clips: Clips = None,
    output: Output = None,
    steps: Steps = 3200,
    batch: Batch = None,
    max_minutes: Minutes = None,
    resume: Resume = False,
    seed: Seed = 1,
    start: Start = None,
    vgg: Vgg = None,
    device: options.Device = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train a network; the folder gets its weights, its losses and sample strips."""
    del debug  # vidpipe.cli.main reads it
    from pipeline.errors import UsageError

    if net not in NETS:
        raise UsageError(f"network is {net!r}; known are {', '.join(NETS)}")
    import math

    import torch
    from rich.console import Console

    from nets import losses
    from nets.checkpoint import CheckpointError
    from train.data import Segments, Stills
    from train.loop import Recipe
    from train.loop import train as run
    from vidpipe.cli.log import prepare

    prepare(Console(stderr=True), max(verbose, 1), quiet)
    place = device or "auto"
    if place == "auto":
        place = "cuda:0" if torch.cuda.is_available() else "cpu"
    recipe = Recipe(
        net,
        steps=steps,
        batch=batch or (8 if net == "idn" else 3),
        rate=5e-4 if start else 1e-3,
        real_share=0.35 if net == "idn" else 0.5,
        perceptual=losses.PERCEPTUAL if vgg else 0.0,
        style=losses.STYLE if vgg else 0.0,
        seed=seed,
    )
    try:
        perceptual = losses.VGG16(vgg).to(place) if vgg else None
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    sources = Stills.load(faces, 256), Segments.load(clips) if clips else None
    folder = output or Path("runs") / net
    limit = math.inf if max_minutes is None else max_minutes
    try:
        state = run(recipe, sources, folder, torch.device(place), limit, resume, perceptual, start)
    except CheckpointError as error:
        raise UsageError(f"--start: {error}") from error
    typer.echo(f"{folder / f'{net}.safetensors'}: step {state.step} of {steps}")
