"""``vidpipe train idn|nar|nar-seed|pixelizer``: a network's weights from face pictures and clips."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nets.registry import REGISTRY
from vidpipe.cli import options

if TYPE_CHECKING:
    import torch

    from train.pixelizer_task import PixelizerTask
    from train.restore_task import LossNetworks, RestoreTask
    from train.task import Task

NETS = [a.name for a in REGISTRY.values() if a.trainable]

Net = Annotated[str, typer.Argument(metavar="|".join(NETS), help="Network to train.", show_default=False)]
Faces = Annotated[
    Path,
    typer.Option("--faces", metavar="FOLDER", help="Square crops of 1.6 x the face.", show_default=False),
]
Clips = Annotated[
    Path | None,
    typer.Option("--clips", metavar="NPY", help="What vidpipe pack wrote.", show_default=False),
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
Style = Annotated[
    float | None,
    typer.Option(
        "--style",
        metavar="W",
        min=0,
        help="Weight of the style loss; default 120. Less of it keeps more PSNR.",
        show_default=False,
    ),
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


@dataclass(frozen=True)
class Losses:
    """Losses beside the L1: files of the networks that they need, and switches."""

    vgg: Path | None
    identity: Path | None
    adversarial: bool
    tv: bool
    style: float | None = None
    """Weight of the style loss, where there is one; None: the paper's."""


@dataclass(frozen=True)
class Wanted:
    """What is to be trained, on what."""

    net: str
    faces: Path
    clips: Path | None
    steps: int
    batch: int | None
    rate: float | None
    seed: int
    filmed: float
    losses: Losses
    perturb: str | None
    """pixelizer only, as ``against``"""
    against: Path | None

    @property
    def weights(self) -> str:
        """Name of the weights file, without suffix."""
        row = REGISTRY.get(self.net)
        return f"{self.net}-{self.perturb or 'block'}" if row and row.role == "perturb" else self.net


@dataclass(frozen=True)
class Session:
    """How long, from where and into what it is trained."""

    folder: Path
    minutes: float | None
    resume: bool
    overwrite: bool
    start: Path | None
    tensorboard: bool
    device: str | None


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
    style: Style = None,
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
    """Train a network; the folder gets its weights, its losses and sample sheets.

    Several processes: torchrun --nproc-per-node N --no-python vidpipe train ...
    """
    del debug  # vidpipe.cli.main reads it
    losses = Losses(vgg, identity, adversarial, tv, style)
    wanted = Wanted(net, faces, clips, steps, batch, rate, seed, filmed, losses, perturb, against)
    folder = output or Path("runs") / wanted.weights
    session = Session(folder, max_minutes, resume, overwrite, start, tensorboard, device)
    _check(wanted, session)
    import torch
    from rich.console import Console

    from vidpipe.cli.log import prepare

    threads = torch.get_num_threads()
    prepare(Console(stderr=True), max(verbose, 1), quiet)
    torch.set_num_threads(threads)  # batches are large: all cores serve
    _run(wanted, session)


def _check(wanted: Wanted, session: Session) -> None:
    """Refuses what cannot go together, before heavy libraries are loaded. Raises UsageError."""
    from pipeline.errors import UsageError

    if wanted.losses.style is not None and wanted.losses.vgg is None:
        raise UsageError("--style weighs a loss that needs --vgg FILE")
    if wanted.net not in NETS:
        raise UsageError(f"network is {wanted.net!r}; known are {', '.join(NETS)}")
    if not session.resume and not session.overwrite and (session.folder / "state.pt").exists():
        raise UsageError(
            f"{session.folder} holds a run; go on with it by --resume, or give another --output, or -y to "
            "lose it"
        )
    if REGISTRY[wanted.net].role != "perturb":
        if wanted.perturb or wanted.against:
            raise UsageError(f"--perturb and --against are options of pixelizer, not of {wanted.net}")
        return
    losses = wanted.losses
    added = losses.vgg or losses.identity or losses.adversarial or losses.tv
    if wanted.clips or wanted.rate or session.start or added or session.tensorboard:
        raise UsageError(
            "a pixelizer is trained on pictures alone, by its own losses and rate; leave --clips, "
            "--rate, --start, --vgg, --identity, --adversarial, --tv and --tensorboard out"
        )
    if wanted.perturb not in (None, "block", "pixel"):
        raise UsageError(f"--perturb is {wanted.perturb!r}; wanted block or pixel")


def _run(wanted: Wanted, session: Session) -> None:
    import math

    from nets.checkpoint import CheckpointError
    from pipeline.errors import UsageError
    from train.distributed import join
    from train.loop import train as run

    with join(options.place(session.device)) as (workers, place):
        if not workers.first:
            logging.disable(logging.WARNING)
        minutes = math.inf if session.minutes is None else session.minutes
        try:
            task = _task(wanted, session.start is not None, place)
            state = run(
                task,
                session.folder,
                max_minutes=minutes,
                resume=session.resume,
                start=session.start,
                tensorboard=session.tensorboard,
                workers=workers,
            )
        except CheckpointError as error:
            raise UsageError(str(error)) from error
        if workers.first:
            weights = session.folder / f"{task.name}.safetensors"
            typer.echo(f"{weights}: step {state.step} of {wanted.steps}")


def _task(wanted: Wanted, started: bool, place: torch.device) -> Task[Any]:
    """``started``: from given weights."""
    if REGISTRY[wanted.net].role == "perturb":
        return _pixelizer_task(wanted, place)
    return _restore_task(wanted, started, place)


def _restore_task(wanted: Wanted, started: bool, place: torch.device) -> RestoreTask:
    """``started``: from given weights, which takes a quarter of the usual rate."""
    from nets import losses
    from train.data.degrade import Degradation
    from train.data.pictures import Segments, Stills
    from train.recipe import RestoreRecipe
    from train.restore_task import RestoreTask

    added = wanted.losses
    recipe = RestoreRecipe(
        wanted.net,
        steps=wanted.steps,
        batch=wanted.batch or (3 if REGISTRY[wanted.net].windowed else 8),
        rate=wanted.rate or (RestoreRecipe.rate / 4 if started else RestoreRecipe.rate),
        perceptual=losses.PERCEPTUAL if added.vgg else 0.0,
        style=(losses.STYLE if added.style is None else added.style) if added.vgg else 0.0,
        tv=losses.TV if added.tv else 0.0,
        identity=losses.IDENTITY if added.identity else 0.0,
        adversarial=losses.ADVERSARIAL if added.adversarial else 0.0,
        adversarial_from=wanted.steps // 5,
        seed=wanted.seed,
        degradation=Degradation(filmed=wanted.filmed),
    )
    networks = _loss_networks(added, place)
    sources = Stills.load(wanted.faces, 256), Segments.load(wanted.clips) if wanted.clips else None
    return RestoreTask(recipe, sources, place, networks)


def _loss_networks(wanted: Losses, place: torch.device) -> LossNetworks:
    """Networks that losses need. Raises UsageError with what to do."""
    from nets.mobilefacenet import FaceEmbedding
    from nets.vgg import VGG16, LossNetworkError
    from pipeline.errors import UsageError
    from train.restore_task import LossNetworks

    try:
        return LossNetworks(
            VGG16(wanted.vgg).to(place) if wanted.vgg else None,
            FaceEmbedding.load(wanted.identity).to(place) if wanted.identity else None,
        )
    except LossNetworkError as error:
        raise UsageError(str(error)) from error


def _pixelizer_task(wanted: Wanted, place: torch.device) -> PixelizerTask:
    from nets.checkpoint import WEIGHTS, CheckpointError
    from nets.pixelizer import PixelizerConfig
    from pipeline.errors import UsageError
    from train.data.pictures import Stills
    from train.pixelizer_task import PixelizerTask, load_attacker
    from train.recipe import PixelizerRecipe

    try:
        against = load_attacker(wanted.against or WEIGHTS / "idn.safetensors", place)
    except CheckpointError as error:
        raise UsageError(f"--against: {error}") from error
    config = PixelizerConfig.shipped(wanted.perturb or "block")  # type: ignore[arg-type]
    batch = wanted.batch or PixelizerRecipe.batch
    recipe = PixelizerRecipe(config=config, steps=wanted.steps, batch=batch, seed=wanted.seed)
    return PixelizerTask(recipe, Stills.load(wanted.faces, 256), against, place)
