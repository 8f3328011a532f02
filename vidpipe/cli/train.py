"""``vidpipe train idn|nar|nar-seed|pixelizer``: a network's weights from face pictures and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpipe.cli import options

NETS = ("idn", "nar", "nar-seed", "pixelizer")

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
Perturb = Annotated[
    str | None,
    typer.Option(
        "--perturb",
        metavar="block|pixel",
        help="pixelizer: changes whole cells or within them; default block.",
        show_default=False,
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="pixelizer: the IDN that it is trained against; default: the shipped one.",
        show_default=False,
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
    perturb: Perturb = None,
    against: Against = None,
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
    limit = math.inf if max_minutes is None else max_minutes
    if net == "pixelizer":
        if clips or start or vgg:
            raise UsageError("a pixelizer is trained on pictures alone; leave --clips, --start and --vgg out")
        _pixelizer(perturb or "block", against, faces, output, steps, batch, limit, resume, seed, place)
        return
    if perturb or against:
        raise UsageError(f"--perturb and --against are options of pixelizer, not of {net}")
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
    try:
        state = run(recipe, sources, folder, torch.device(place), limit, resume, perceptual, start)
    except CheckpointError as error:
        raise UsageError(f"--start: {error}") from error
    typer.echo(f"{folder / f'{net}.safetensors'}: step {state.step} of {steps}")


def _pixelizer(
    perturb: str,
    against: Path | None,
    faces: Path,
    output: Path | None,
    steps: int,
    batch: int | None,
    limit: float,
    resume: bool,
    seed: int,
    place: str,
) -> None:
    import torch

    from nets.checkpoint import WEIGHTS, CheckpointError
    from nets.pixelizer import PixelizerConfig
    from pipeline.errors import UsageError
    from train.data import Stills
    from train.pixelizer import Recipe, attacker, train

    if perturb not in ("block", "pixel"):
        raise UsageError(f"--perturb is {perturb!r}; wanted block or pixel")
    device = torch.device(place)
    try:
        idn = attacker(against or WEIGHTS / "idn.safetensors", device)
    except CheckpointError as error:
        raise UsageError(f"--against: {error}") from error
    recipe = Recipe(PixelizerConfig.shipped(perturb), steps=steps, batch=batch or Recipe.batch, seed=seed)  # type: ignore[arg-type]
    folder = output or Path("runs") / f"pixelizer-{perturb}"
    state = train(recipe, Stills.load(faces, 256), idn, folder, device, limit, resume)
    typer.echo(f"{folder / f'pixelizer-{perturb}.safetensors'}: step {state.step} of {steps}")
