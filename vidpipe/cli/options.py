"""Option types, each defined once. What a value may be is checked by ``pipeline.config``, not here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nets.registry import shipped_restorers
from pipeline.faces import DETECTORS

if TYPE_CHECKING:
    import torch

    from pipeline.config import Given

SECTIONS = (
    *("Arguments", "Options", "What is read and written", "Who, where and when", "What is found"),
    *("What is painted", "How it is encoded", "Settings and where it runs"),
)
"""Of a help text, in order, see ``vidpipe.cli.command``."""
FILES, WHO, FINDING, MASKS, ENCODED, MACHINE = SECTIONS[2:]

Input = Annotated[Path, typer.Argument(help="Video file to read.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings as in pipeline.yaml; no file is read unasked. --explain lists all.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda:N",
        help="Where frames lie and networks run.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Decoder = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        metavar="auto|exact|pyav|dali",
        help="Library that decodes.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Net = Annotated[
    str | None,
    typer.Option(
        "--net",
        metavar="|".join(("auto", *shipped_restorers(), "FILE")),
        help="Restoring network.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
RestoreLook = Annotated[
    str | None,
    typer.Option(
        "--restore-look",
        metavar="faithful|natural",
        help="natural: sharp, with details that are drawn.",
        show_default=False,
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="auto|openvino|onnxruntime|tensorrt|tensorrt-rtx",
        help="Library that runs it.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, and nothing else, to stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; twice for everything.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
Codec = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        help="FFmpeg's name of an encoder.",
        show_default=False,
        rich_help_panel=ENCODED,
    ),
]
Crf = Annotated[
    float | None,
    typer.Option(
        "--crf", metavar="N", help="Quality, lower is better.", show_default=False, rich_help_panel=ENCODED
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="NAME", help="Speed of the encoder.", show_default=False, rich_help_panel=ENCODED
    ),
]
Audio = Annotated[
    str | None,
    typer.Option(
        "--audio",
        metavar="copy|aac|opus|drop",
        help="What happens to audio.",
        show_default=False,
        rich_help_panel=ENCODED,
    ),
]

Faststart = Annotated[
    bool | None,
    typer.Option(
        "--faststart/--no-faststart",
        help="MP4, MOV: the index in front, for players on the web; default on.",
        show_default=False,
    ),
]
KeepStreams = Annotated[
    bool | None,
    typer.Option(
        "--keep-streams",
        help="Take covers, thumbnails and other pictures along, uncovered.",
        show_default=False,
    ),
]
KeepMetadata = Annotated[
    bool | None,
    typer.Option(
        "--keep-metadata",
        help="Take tags and data of places, devices and people along.",
        show_default=False,
    ),
]

Finder = Annotated[
    str | None,
    typer.Option(
        "--finder",
        metavar="|".join(DETECTORS),
        help="What finds faces; default centerface.",
        show_default=False,
        rich_help_panel=FINDING,
    ),
]
MinFace = Annotated[
    float | None,
    typer.Option(
        "--min-face",
        metavar="PX",
        help="Smallest face that is found; default 20 px up to 1080 lines, in proportion above.",
        show_default=False,
        rich_help_panel=FINDING,
    ),
]
DetThreshold = Annotated[
    float | None,
    typer.Option(
        "--det-threshold",
        metavar="0..1",
        help="How sure the detector must be; lower covers more.",
        show_default=False,
        rich_help_panel=FINDING,
    ),
]
Care = Annotated[
    str | None,
    typer.Option(
        "--care",
        metavar="strict|balanced|tidy",
        help="What is covered in doubt: all, with a look at every frame; what may be a face (default); "
        "what is likely one.",
        show_default=False,
    ),
]
FillBefore = Annotated[
    float | None,
    typer.Option(
        "--fill-before",
        metavar="S",
        help="Seconds covered before a face is seen; default 0.5.",
        show_default=False,
        rich_help_panel=FINDING,
    ),
]
FillAfter = Annotated[
    float | None,
    typer.Option(
        "--fill-after",
        metavar="S",
        help="Seconds covered after it was seen; default 0.5.",
        show_default=False,
        rich_help_panel=FINDING,
    ),
]
People = Annotated[
    str | None,
    typer.Option(
        "--people",
        metavar="auto|on|off",
        help="Join tracks of one person by face; default auto: in previews and with --keep-face.",
        show_default=False,
        rich_help_panel=WHO,
    ),
]
Look = Annotated[
    str | None,
    typer.Option(
        "--look",
        metavar="mosaic|blur|solid",
        help="What the mask looks like; default mosaic.",
        show_default=False,
        rich_help_panel=MASKS,
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(
        "--blocks",
        metavar="N",
        help="Blocks across a face; default 6, fewer where pixelize shows a face.",
        show_default=False,
        rich_help_panel=MASKS,
    ),
]
MaskShape = Annotated[
    str | None,
    typer.Option(
        "--mask",
        metavar="ellipse|box",
        help="Shape of the mask; default ellipse.",
        show_default=False,
        rich_help_panel=MASKS,
    ),
]
MaskScale = Annotated[
    float | None,
    typer.Option(
        "--mask-scale",
        metavar="F",
        help="Size of the mask in face sizes; default 1.3.",
        show_default=False,
        rich_help_panel=MASKS,
    ),
]
Values = Annotated[
    str | None,
    typer.Option(
        "--values",
        metavar="nobody|measured",
        help="protect: colours of means of other people, or the face's own, measured once; default nobody.",
        show_default=False,
    ),
]
Nobody = Annotated[
    str | None,
    typer.Option(
        "--nobody",
        metavar="nearest|random|1..6",
        help="protect: the mean a person gets: by the skin, dark or not; by lot; or this one.",
        show_default=False,
    ),
]
HoldFor = Annotated[
    float | None,
    typer.Option(
        "--hold",
        metavar="S",
        help="protect: colours are measured anew after S seconds; default: never within a track.",
        show_default=False,
        rich_help_panel=MASKS,
    ),
]
Epsilon = Annotated[
    float | None,
    typer.Option(
        "--epsilon",
        metavar="E",
        help="protect: differentially private colours, with this budget a measurement; of 1 and less they "
        "look like confetti.",
        show_default=False,
        rich_help_panel=MASKS,
    ),
]
Perturb = Annotated[
    str | None,
    typer.Option(
        "--perturb",
        metavar="none|block|pixel",
        help="protect: colours are changed against a network that restores faces.",
        show_default=False,
        rich_help_panel=MASKS,
    ),
]
Gate = Annotated[
    str | None,
    typer.Option(
        "--gate",
        metavar="on|off",
        help="Release check: look through the output for faces; default on.",
        show_default=False,
        rich_help_panel=FINDING,
    ),
]

SETTINGS = {
    "device": "device",
    "decoder": "decode.decoder",
    "net": "restore.net",
    "restore_look": "restore.look",
    "engine": "restore.engine",
    "codec": "encode.codec",
    "crf": "encode.crf",
    "preset": "encode.preset",
    "audio": "encode.audio",
    "faststart": "encode.faststart",
    "keep_streams": "encode.keep_streams",
    "keep_metadata": "encode.keep_metadata",
    "finder": "faces.finder",
    "min_face": "faces.min_face_px",
    "det_threshold": "faces.min_score",
    "care": "faces.care",
    "fill_before": "faces.fill_before_s",
    "fill_after": "faces.fill_after_s",
    "people": "people.recognise",
    "look": "mask.look",
    "blocks": "mask.blocks",
    "mask": "mask.shape",
    "mask_scale": "mask.scale",
    "values": "protect.values",
    "nobody": "protect.nobody",
    "hold": "protect.hold_s",
    "epsilon": "protect.epsilon",
    "perturb": "protect.perturb",
    "gate": "gate.scan",
}
"""Flag -> the setting that it overrides."""


def given(**flags: str | float | None) -> dict[str, Given]:
    """The settings that flags have set, under their dotted names."""
    from pipeline.config import Given

    return {
        SETTINGS[flag]: Given(value, f"--{flag.replace('_', '-')}")
        for flag, value in flags.items()
        if value is not None
    }


def place(device: str | None) -> torch.device:
    """The PyTorch device of ``--device``, ``auto`` if not given. Raises UsageError, or MissingError."""
    import torch

    from pipeline.errors import MissingError, UsageError

    if device is None or device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"--device is {device!r}; wanted auto, cpu or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise MissingError(f"--device {device}: PyTorch sees {torch.cuda.device_count()} GPUs; give cpu")
    return chosen
