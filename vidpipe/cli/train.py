"""``vidpipe train idn|nar|nar-seed|pixelizer``: a network's weights from face pictures and clips."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nets.registry import REGISTRY
from vidpipe.cli import options

if TYPE_CHECKING:
    import torch

    from train.restore_task import Frozen

NETS = [a.name for a in REGISTRY.values() if a.trainable]

Net = Annotated[str, typer.Argument(metavar="|".join(NETS), help="Network to train.", show_default=False)]
Faces = Annotated[
    Path,
    typer.Option("--faces", metavar="FOLDER", help="Square crops of 1.6 x the face.", show_default=False),
]
Clips = Annotated[
    Path | None,
    typer.Option("--clips", metavar="NPY", help="What python -m train.data.pack wrote.", show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Default: runs/NET.", show_default=False),
]
Steps = Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Length of the schedule.")]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch", metavar="N", min=1, max=4096, help="Clips per step; default 8 for idn, 3 for others."
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="N",
        min=1e-6,
        max=0.1,
        help="Learning rate at its peak; default 0.003, with --start a quarter.",
    ),
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
Identity = Annotated[
    Path | None,
    typer.Option("--identity", metavar="FILE", help="MobileFaceNet weights: adds the identity loss."),
]
Adversarial = Annotated[
    bool,
    typer.Option("--adversarial", help="Adds the adversarial loss, after a fifth of the steps."),
]
Variation = Annotated[bool, typer.Option("--tv", help="Adds the total variation loss.")]
Filmed = Annotated[
    float,
    typer.Option(
        "--filmed", metavar="SHARE", min=0, max=1, help="Of clips that go through a real codec (0 to 1)."
    ),
]
Board = Annotated[bool, typer.Option("--tensorboard", help="Also write what TensorBoard reads.")]

Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Begin anew over an earlier run.")]


def train(
    net: Net,
    faces: Faces,
    clips: Clips = None,
    output: Output = None,
    steps: Steps = 3200,
    batch: Batch = None,
    rate: Rate = None,
    max_minutes: Minutes = None,
    resume: Resume = False,
    seed: Seed = 1,
    start: Start = None,
    vgg: Vgg = None,
    perturb: Perturb = None,
    against: Against = None,
    identity: Identity = None,
    adversarial: Adversarial = False,
    tv: Variation = False,
    filmed: Filmed = 0.35,
    tensorboard: Board = False,
    overwrite: Overwrite = False,
    device: options.Device = None,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Train a network; the folder gets its weights, its losses and sample strips.

    Several processes: torchrun --nproc-per-node N --no-python vidpipe train ...
    """
    del debug  # vidpipe.cli.main reads it
    from pipeline.errors import UsageError

    if net not in NETS:
        raise UsageError(f"network is {net!r}; known are {', '.join(NETS)}")
    folder = output or Path("runs") / (
        f"{net}-{perturb or 'block'}" if REGISTRY[net].role == "perturb" else net
    )
    if not resume and not overwrite and (folder / "state.pt").exists():
        raise UsageError(
            f"{folder} holds a run; go on with it by --resume, or give another --output, or -y to lose it"
        )
    import math

    import torch
    from rich.console import Console

    from nets import losses
    from nets.checkpoint import CheckpointError
    from train.data.degrade import Degradation
    from train.data.pictures import Segments, Stills
    from train.distributed import join
    from train.loop import train as run
    from train.recipe import Recipe
    from vidpipe.cli.log import prepare

    threads = torch.get_num_threads()
    prepare(Console(stderr=True), max(verbose, 1), quiet)
    torch.set_num_threads(threads)  # batches are large: all cores serve
    limit = math.inf if max_minutes is None else max_minutes
    if REGISTRY[net].role == "perturb":
        if clips or rate or start or vgg or identity or adversarial or tv or tensorboard:
            raise UsageError(
                "a pixelizer is trained on pictures alone, by its own losses and rate; leave --clips, "
                "--rate, --start, --vgg, --identity, --adversarial, --tv and --tensorboard out"
            )
        place = options.place(device)
        _pixelizer(perturb or "block", against, faces, folder, steps, batch, limit, resume, seed, place)
        return
    if perturb or against:
        raise UsageError(f"--perturb and --against are options of pixelizer, not of {net}")
    recipe = Recipe(
        net,
        steps=steps,
        batch=batch or (3 if REGISTRY[net].windowed else 8),
        rate=rate or (Recipe.rate / 4 if start else Recipe.rate),
        perceptual=losses.PERCEPTUAL if vgg else 0.0,
        style=losses.STYLE if vgg else 0.0,
        tv=losses.TV if tv else 0.0,
        identity=losses.IDENTITY if identity else 0.0,
        adversarial=losses.ADVERSARIAL if adversarial else 0.0,
        adversarial_from=steps // 5,
        seed=seed,
        degradation=Degradation(filmed=filmed),
    )
    with join(options.place(device)) as (workers, place):
        if not workers.first:
            logging.getLogger().setLevel(logging.ERROR)
        frozen = _frozen(vgg, identity, place)
        sources = Stills.load(faces, 256), Segments.load(clips) if clips else None
        try:
            state = run(recipe, sources, folder, place, limit, resume, frozen, start, tensorboard, workers)
        except CheckpointError as error:
            raise UsageError(str(error)) from error
        if workers.first:
            typer.echo(f"{folder / f'{net}.safetensors'}: step {state.step} of {steps}")


def _pixelizer(
    perturb: str,
    against: Path | None,
    faces: Path,
    folder: Path,
    steps: int,
    batch: int | None,
    limit: float,
    resume: bool,
    seed: int,
    device: torch.device,
) -> None:
    from nets.checkpoint import WEIGHTS, CheckpointError
    from nets.pixelizer import PixelizerConfig
    from pipeline.errors import UsageError
    from train.data.pictures import Stills
    from train.pixelizer_task import Recipe, attacker, train

    if perturb not in ("block", "pixel"):
        raise UsageError(f"--perturb is {perturb!r}; wanted block or pixel")
    try:
        idn = attacker(against or WEIGHTS / "idn.safetensors", device)
    except CheckpointError as error:
        raise UsageError(f"--against: {error}") from error
    recipe = Recipe(PixelizerConfig.shipped(perturb), steps=steps, batch=batch or Recipe.batch, seed=seed)  # type: ignore[arg-type]
    state = train(recipe, Stills.load(faces, 256), idn, folder, device, limit, resume)
    typer.echo(f"{folder / f'pixelizer-{perturb}.safetensors'}: step {state.step} of {steps}")


def _frozen(vgg: Path | None, identity: Path | None, place: torch.device) -> Frozen:
    """Networks that losses look through. Raises UsageError with what to do."""
    from nets.mobilefacenet import FaceEmbedding
    from nets.vgg import VGG16, LossNetworkError
    from pipeline.errors import UsageError
    from train.restore_task import Frozen

    try:
        return Frozen(
            VGG16(vgg).to(place) if vgg else None,
            FaceEmbedding.load(identity).to(place) if identity else None,
        )
    except LossNetworkError as error:
        raise UsageError(str(error)) from error
