"""The options of ``vidpipe eval``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from train.evaluation.evaluate import Judges

Nets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NET...]", help="Weights files, or idn and nar for the shipped ones.", show_default=False
    ),
]
Faces = Annotated[
    Path | None,
    typer.Option("--faces", metavar="FOLDER", help="Square crops of 1.6 x the face.", show_default=False),
]
Clips = Annotated[
    Path | None,
    typer.Option(
        "--clips", metavar="PATH", help="Folder of clips, or a file of vidpipe pack.", show_default=False
    ),
]
Conditions = Annotated[
    str | None,
    typer.Option(
        "--conditions",
        metavar="LIST",
        help="clean-N, wild[-N] or filmed[-N] (a real codec), N cells across; behind it any of -moving, "
        "-noiseN, -gammaN; default: clean-8,clean-10,clean-12,wild.",
        show_default=False,
    ),
]
TableName = Annotated[
    str | None,
    typer.Option("--table", metavar="1|2|3|4|5|nar|recognition", help="A table.", show_default=False),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget-minutes",
        metavar="N",
        min=0.01,
        help="Time to train a table's networks in, all together.",
        show_default=False,
    ),
]
TrainFaces = Annotated[
    Path | None,
    typer.Option("--train-faces", metavar="FOLDER", help="What they are trained on.", show_default=False),
]
TrainClips = Annotated[
    Path | None,
    typer.Option("--train-clips", metavar="NPY", help="What vidpipe pack wrote.", show_default=False),
]
FramesList = Annotated[
    str, typer.Option("--frames", metavar="LIST", help="Frames that a network with a window may look at.")
]
Invert = Annotated[bool, typer.Option("--inversion", help="Also measure inversion, which needs no network.")]
Count = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Pictures or clips per condition.")]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics", metavar="auto|LIST", help="Of lpips, identity, fd-vgg, fid; PSNR and SSIM always."
    ),
]
Alexnet = Annotated[
    Path | None,
    typer.Option("--alexnet", metavar="FILE", help="AlexNet's weights, for LPIPS.", show_default=False),
]
Vgg16 = Annotated[
    Path | None,
    typer.Option("--vgg16", metavar="FILE", help="VGG16's weights, for FD-VGG.", show_default=False),
]
Inception = Annotated[
    Path | None,
    typer.Option(
        "--inception", metavar="FILE", help="Inception in TorchScript, for FID.", show_default=False
    ),
]
Recogniser = Annotated[
    Path | None,
    typer.Option(
        "--recogniser",
        metavar="FILE",
        help="MobileFaceNet's weights, for --table recognition.",
        show_default=False,
    ),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Gets eval.md, eval.json, sheet-*.png.")
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Of the draw of mosaics; one seed, one test.")
]
Trials = Annotated[
    int,
    typer.Option(
        "--trials",
        metavar="N",
        min=1,
        help="Of --table recognition: so many draws of places, light and lots, from --seed on.",
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(
        "--blocks", metavar="N", min=1, help="Across the face, in table 5; default 6.", show_default=False
    ),
]
RetrainSteps = Annotated[
    int | None,
    typer.Option(
        "--retrain-steps",
        metavar="N",
        min=1,
        help="Training steps of each adaptive attacker of table 5; default 200.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class MetricNetworks:
    """Which metrics are wanted, and the files of their networks."""

    metrics: str
    alexnet: Path | None
    vgg16: Path | None
    inception: Path | None

    def judges(self) -> Judges:
        """Opens the networks. Raises UsageError for a metric that does not exist, MissingError or InputError
        for one whose network cannot be had."""
        from pipeline.errors import UsageError
        from train.evaluation.evaluate import OPTIONAL, Judges

        # The network of FID comes with no package: where no file is given, it is not missed.
        auto = OPTIONAL if self.inception else OPTIONAL[:-1]
        wanted = tuple(m.strip() for m in self.metrics.split(",") if m.strip())
        names = auto if self.metrics == "auto" else wanted
        if unknown := [m for m in names if m not in OPTIONAL]:
            raise UsageError(f"--metrics has {unknown[0]!r}; known are auto and {', '.join(OPTIONAL)}")
        return Judges.find(names, self.metrics != "auto", self.alexnet, self.vgg16, self.inception)


@dataclass(frozen=True)
class Training:
    """What the networks of a table are trained with."""

    budget_minutes: float | None
    faces: Path | None
    clips: Path | None
    retrain_steps: int | None


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    nets: list[str] | None
    faces: Path | None
    clips: Path | None
    conditions: str | None
    frames: str
    inversion: bool
    table: str | None
    training: Training
    blocks: int | None
    count: int
    networks: MetricNetworks
    recogniser: Path | None
    output: Path
    seed: int
    trials: int
    device: str | None
    as_json: bool
