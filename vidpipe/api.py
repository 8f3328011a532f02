"""From what a user asks for to a run. The command line and Python come through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.default_network import default_net
from export.select import engine_for
from pipeline.config import Resolved
from pipeline.run import reconstruct as reconstruct_run
from pipeline.run.plan import Job
from pipeline.run.reconstruct import Progress
from pipeline.run.sidecar import RunReport
from pipeline.types import ManualRegion


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of one file."""

    source: Path
    target: Path
    manual: tuple[ManualRegion, ...] = ()
    start_s: float | None = None
    end_s: float | None = None
    overwrite: bool = False


def default_target(source: Path, mode: str = "reconstruct") -> Path:
    """``film.mp4`` -> ``film.reconstruct.mp4``, beside the source."""
    return source.with_name(f"{source.stem}.{mode}{source.suffix}")


def job_for(request: Request, settings: Resolved) -> Job:
    """Picks the network and makes its engine file, on the first use of these weights."""
    config = settings.config
    net = default_net() if config.restore.net == "auto" else config.restore.net
    network = engine_for(net, config.restore.engine, config.device)
    manual, times = request.manual, (request.start_s, request.end_s)
    return Job(request.source, request.target, network, manual, *times, overwrite=request.overwrite)


def pixelizer_for(settings: Resolved, mode: str) -> Path | None:
    """The engine file of the network that ``protect.perturb`` asks for; None where none is."""
    config = settings.config
    if mode != "protect" or config.protect.perturb == "none":
        return None
    return engine_for(f"pixelizer-{config.protect.perturb}", config.restore.engine, "cpu")


def reconstruct(request: Request, settings: Resolved, on_frame: Callable[[Progress], None]) -> RunReport:
    """Writes the reconstructed file and its sidecar. Errors are those of ``pipeline.errors``."""
    return reconstruct_run.run(job_for(request, settings), settings, on_frame)
