"""vidpipe: footage with faces in; pixelated ones reconstructed, or all of them covered.

    import vidpipe
    report = vidpipe.run("in.mp4", "out.mp4", settings={"encode.crf": 16})
    print(report.output.name, len(report.tracks))
    vidpipe.cover("in.mp4", "safe.mp4", mode="protect", settings={"mask.blocks": 5})

Importing this costs nothing: libraries are loaded by the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vidpipe import _checkout  # noqa: F401  where pipeline, nets, export and train come from in a checkout

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from pipeline.run.anonymize_sidecar import CoverReport, Mode
    from pipeline.run.sidecar import RunReport

__version__ = "0.1.0"
__all__ = ["__version__", "run", "cover"]


def run(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> RunReport:
    """Reconstructs the pixelated faces of ``source``; returns what also stands in ``{target}.json``.

    ``target``: by default ``{stem}.reconstruct{ext}`` beside the source. ``settings``: dotted names of
    pipeline.yaml; what they leave open comes from the environment, else the defaults. Raises
    ``pipeline.errors.VidpipeError`` for what a caller can cause; then nothing stands under the target's
    name. PyTorch's threads are the caller's business; one is best (``torch.set_num_threads(1)``), since
    the stages' operations are small.
    """
    from pathlib import Path

    from pipeline.config import Given, resolve
    from vidpipe.api import Request, default_target, reconstruct

    resolved = resolve({name: Given(value, "argument") for name, value in (settings or {}).items()})
    path = Path(source)
    chosen = default_target(path) if target is None else Path(target)
    return reconstruct(Request(path, chosen, overwrite=overwrite), resolved, on_frame=lambda _: None)


def cover(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    mode: Mode = "pixelize",
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> CoverReport:
    """Covers the faces of ``source``; returns what also stands in ``{target}.json``.

    ``mode`` is "pixelize" or "protect" (docs/protect.md), ``target`` by default ``{stem}.{mode}{ext}`` beside
    the source; the rest is as in ``run``. Raises ``pipeline.errors.GateError`` where a face is still seen in
    the output: then nothing stands under the target's name, and ``{target}.gate.json`` tells where.
    """
    from pathlib import Path

    from pipeline.config import Given, resolve
    from pipeline.run.anonymize import run as run_cover
    from pipeline.run.job import CoverJob
    from vidpipe.api import default_target, pixelizer_for

    resolved = resolve({name: Given(value, "argument") for name, value in (settings or {}).items()})
    path = Path(source)
    chosen = default_target(path, mode) if target is None else Path(target)
    job = CoverJob(path, chosen, mode, overwrite=overwrite, network=pixelizer_for(resolved, mode))
    return run_cover(job, resolved, lambda _: None)
