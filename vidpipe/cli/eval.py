"""``vidpipe eval NET...``: how good restoring networks are, on faces or clips of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidpipe.cli import options

if TYPE_CHECKING:
    from train.data import Segments, Stills

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
    typer.Option("--clips", metavar="NPY", help="What python -m train.pack wrote.", show_default=False),
]
Conditions = Annotated[
    str,
    typer.Option(
        "--conditions", metavar="LIST", help="clean-N, wild, wild-N; -moving behind one moves stills."
    ),
]
FramesList = Annotated[
    str, typer.Option("--frames", metavar="LIST", help="Frames that a network with a window may look at.")
]
Invert = Annotated[bool, typer.Option("--inversion", help="Also measure inversion, which needs no network.")]
Count = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Pictures or clips per condition.")]
Metrics = Annotated[
    str,
    typer.Option("--metrics", metavar="auto|LIST", help="Of lpips, identity, fd-vgg; PSNR and SSIM always."),
]
Alexnet = Annotated[
    Path | None,
    typer.Option("--alexnet", metavar="FILE", help="AlexNet's weights, for LPIPS.", show_default=False),
]
Vgg16 = Annotated[
    Path | None,
    typer.Option("--vgg16", metavar="FILE", help="VGG16's weights, for FD-VGG.", show_default=False),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Gets eval.md, eval.json, sheet-*.png.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the draw of mosaics; one seed, one test.")]


def evaluate(
    nets: Nets = None,
    faces: Faces = None,
    clips: Clips = None,
    conditions: Conditions = "clean-8,clean-10,clean-12,wild",
    frames: FramesList = "1,5,16",
    inversion: Invert = False,
    count: Count = 60,
    metrics: Metrics = "auto",
    alexnet: Alexnet = None,
    vgg16: Vgg16 = None,
    output: Output = Path("eval"),
    seed: Seed = 0,
    device: options.Device = None,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure networks on pixelated faces whose truth is known. Prints Markdown, or JSON."""
    del debug  # vidpipe.cli.main reads it
    import json

    import torch
    from rich.console import Console

    from pipeline.errors import UsageError
    from train.conditions import Condition
    from train.evaluate import OPTIONAL, Judges
    from train.methods import read_networks
    from train.suite import Suite, section, write
    from vidpipe import __version__
    from vidpipe.cli.log import prepare

    console = Console(stderr=True)
    prepare(console, max(verbose, 1), quiet)
    wanted = [Condition.parse(text.strip()) for text in conditions.split(",")]
    windows = _numbers(frames, "--frames")
    names = OPTIONAL if metrics == "auto" else tuple(m.strip() for m in metrics.split(",") if m.strip())
    if unknown := [m for m in names if m not in OPTIONAL]:
        raise UsageError(f"--metrics has {unknown[0]!r}; known are auto and {', '.join(OPTIONAL)}")
    if faces is None and clips is None:
        raise UsageError("nothing to measure on; give --faces FOLDER, --clips FILE or both")
    place = device or "auto"
    if place == "auto":
        place = "cuda:0" if torch.cuda.is_available() else "cpu"
    networks, files = read_networks(nets or [], windows, torch.device(place))
    judges = Judges.find(names, metrics != "auto", alexnet, vgg16)
    sources = _sources(faces, clips)
    output.mkdir(parents=True, exist_ok=True)
    for line in judges.missing:
        console.print(f"vidpipe: warning: {line}", soft_wrap=True, markup=False, highlight=False)

    suite = Suite(sources, wanted, networks, judges, windows, inversion, count, seed)
    outcomes = []
    for kind, outcome in suite.outcomes():
        outcomes.append((kind, outcome))
        if not as_json:
            print(section(kind, outcome), flush=True)
    facts = {"version": __version__, "seed": seed, "networks": files, "left_out": list(judges.missing)}
    result = write(outcomes, facts, output)
    if as_json:
        typer.echo(json.dumps(result))


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
    from train.data import Segments, Stills

    sources: dict[str, Stills | Segments] = {}
    if faces is not None:
        sources["faces"] = Stills.load(faces, 256)
    if clips is not None:
        sources["clips"] = Segments.load(clips)
    return sources
