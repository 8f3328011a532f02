"""``vidpipe export NET --to TARGET``: a checkpoint becomes an engine that proves itself."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from vidpipe.cli import options

if TYPE_CHECKING:
    from export.cache import Entry

Network = Annotated[
    str | None,
    typer.Argument(
        metavar="nar|idn|PATH", help="Shipped network, or a .safetensors file.", show_default=False
    ),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="onnx|openvino|torch|tensorrt|tensorrt-rtx",
        help="Kind of engine.",
        show_default=False,
    ),
]
Precision = Annotated[
    str,
    typer.Option("--precision", metavar="fp32|fp16|bf16|int8", help="Written into the graph."),
]
Batch = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="MIN:OPT:MAX",
        help="Windows per call; default 1:4:4 for TensorRT, else any.",
        show_default=False,
    ),
]
Size = Annotated[int, typer.Option("--size", metavar="PX", min=16, max=1024, help="Side of a crop.")]
Window = Annotated[
    int | None,
    typer.Option(
        "--window", metavar="N", min=1, max=256, help="Frames of a window (nar).", show_default=False
    ),
]
Capabilities = Annotated[
    str | None,
    typer.Option(
        "--compute-capability",
        metavar="8.0,8.6,...",
        help="GPUs of a tensorrt-rtx engine; default 8.0,8.6,8.9,12.0.",
        show_default=False,
    ),
]
VersionCompatible = Annotated[
    bool, typer.Option("--version-compatible", help="tensorrt: loads in later 10.x or 11.x, too.")
]
Hardware = Annotated[
    str,
    typer.Option(
        "--hardware-compatible", metavar="none|ampere+|same-capability", help="tensorrt: on which other GPUs."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Also put it there.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace an existing output.")]
Faces = Annotated[
    Path | None,
    typer.Option(
        "--faces",
        metavar="FOLDER",
        help="Pictures to compare and calibrate on, square crops of 1.6 x the face; default: a portrait.",
        show_default=False,
    ),
]
Anew = Annotated[bool, typer.Option("--rebuild", help="Do it again, whatever the cache has.")]
List = Annotated[bool, typer.Option("--list", help="Show what the cache has.")]
Prune = Annotated[bool, typer.Option("--prune", help="Delete from the cache what is outdated or broken.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]


def export(
    context: typer.Context,
    network: Network = None,
    to: To = None,
    precision: Precision = "fp32",
    batch: Batch = None,
    size: Size = 128,
    window: Window = None,
    compute_capability: Capabilities = None,
    version_compatible: VersionCompatible = False,
    hardware_compatible: Hardware = "none",
    output: Output = None,
    overwrite: Overwrite = False,
    faces: Faces = None,
    rebuild: Anew = False,
    list_cache: List = False,
    prune: Prune = False,
    as_json: options.Json = False,
    no_progress: NoProgress = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Turn a network into an engine and compare it with PyTorch: exit code 4 if it differs."""
    del debug  # vidpipe.cli.main reads it
    from pipeline.errors import UsageError

    if list_cache or prune:
        if network or to:
            raise UsageError("--list and --prune look at the whole cache; they take no network and no --to")
        _tend(prune, as_json)
        return
    if network is None or to is None:
        raise UsageError(
            "wanted a network and a target, e.g. vidpipe export nar --to onnx; or --list, --prune"
        )
    from rich.console import Console

    from export import spec
    from pipeline.engines import Precision as Known
    from vidpipe.cli.log import prepare
    from vidpipe.cli.progress import Steps
    from vidpipe.exports import check_output, put

    request = spec.Request(
        network,
        cast("spec.Target", to),  # Request checks it
        cast("Known", precision),
        spec.Batch.parse(batch) if batch else None,
        size,
        window,
        tuple(compute_capability.split(",")) if compute_capability is not None else None,
        version_compatible,
        cast("spec.Hardware", hardware_compatible),
    )
    if output:
        check_output(request, output, overwrite)
    console = Console(stderr=True)
    prepare(console, verbose, quiet)
    from export.calibration import faces as pictures
    from export.convert import export as run

    bar = Steps(f"{network} to {to} {precision}", console, shown=not (no_progress or quiet))

    def on_progress(what: str, share: float) -> None:
        context.obj.check()
        bar.show(what, share)

    # Libraries that print to stdout must not spoil the JSON.
    with bar, contextlib.redirect_stdout(sys.stderr):
        entry = run(request, lambda: pictures(faces), on_progress, anew=rebuild)
        file = put(entry, output) if output else entry.file
    typer.echo(entry.report.model_dump_json() if as_json else _text(entry, file))


def _text(entry: Entry, file: Path) -> str:
    """For people: where it is, then how it compares."""
    report = entry.report
    lines = [str(file)]
    for p in report.parity:
        lines.append(
            f"  {p.engine}: {p.psnr_db:.1f} dB from PyTorch, PSNR to the truth {p.truth_db:.2f} "
            f"{p.change_db:+.4f} dB, largest error {p.max_error:.4f}"
        )
    if report.not_run:
        lines.append(f"  not run here: {report.not_run}")
    lines.append(
        f"  {report.net} {report.version}, {report.size_bytes / 1e6:.1f} MB, compared on {report.crops}"
    )
    return "\n".join(lines)


def _tend(prune: bool, as_json: bool) -> None:
    import json

    from vidpipe.exports import Kept, kept, pruned

    rows: list[Kept] = pruned() if prune else kept()
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows]))
        return
    for row in rows:
        typer.echo(row.as_text())
    freed = sum(row.bytes for row in rows)
    typer.echo(f"{len(rows)} {'deleted' if prune else 'in the cache'}, {freed / 1e6:.1f} MB")
