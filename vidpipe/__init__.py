"""vidpipe: footage with faces in; all of them covered, or pixelated ones reconstructed.

    import vidpipe

    report = vidpipe.pixelize("in.mp4", "safe.mp4", blocks=6)
    report = vidpipe.protect("in.mp4", "safe.mp4", epsilon=0.5)
    report = vidpipe.reconstruct("in.mp4", "out.mp4", crf=16)
    info = vidpipe.probe("in.mp4")
    plan = vidpipe.explain("in.mp4", mode="protect")
    engine = vidpipe.export("idn", to="onnx")
    for result in vidpipe.batch(["footage"], "covered", mode="pixelize"): print(result.state, result.source)

Errors that a caller can cause, each with a one-line text:

    VidpipeError
    +-- UsageError               arguments or settings that cannot work
    +-- InputError               a file that cannot be read as asked
    +-- OutputError              a file that cannot be written
    +-- CheckError               a promise was checked and does not hold
    |   +-- ReleaseCheckError    a face is still seen in the output; ``error.report.uncovered`` tells where
    +-- MissingError             this machine lacks a library, device or file

``vidpipe.streaming`` has the decoder, the stages and the encoder for programs of your own. Importing vidpipe
costs nothing: libraries are loaded when a name is first used. docs/python.md has examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vidpipe import _checkout  # noqa: F401  where pipeline, nets, export and train come from in a checkout

if TYPE_CHECKING:
    from vidpipe.api import (
        AnonymizeReport,
        Box,
        Cells,
        CheckError,
        Explanation,
        InputError,
        ManualRegion,
        MissingError,
        OutputError,
        Progress,
        ReconstructReport,
        ReleaseCheckError,
        Selection,
        StreamInfo,
        UsageError,
        VidpipeError,
        batch,
        cover,
        explain,
        export,
        pixelize,
        preview,
        probe,
        protect,
        reconstruct,
        run,
    )

__version__ = "0.5.0"
__all__ = [
    "__version__",
    "reconstruct",
    "pixelize",
    "protect",
    "preview",
    "probe",
    "explain",
    "export",
    "batch",
    "Progress",
    "Selection",
    "ManualRegion",
    "Box",
    "Cells",
    "StreamInfo",
    "ReconstructReport",
    "AnonymizeReport",
    "Explanation",
    "VidpipeError",
    "UsageError",
    "InputError",
    "OutputError",
    "CheckError",
    "ReleaseCheckError",
    "MissingError",
    "run",
    "cover",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vidpipe' has no attribute {name!r}")
    from vidpipe import api

    value = getattr(api, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
