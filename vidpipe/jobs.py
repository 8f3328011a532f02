"""Jobs from what a user asks for: default names, and the engine files of the networks that a run needs."""

from __future__ import annotations

from pathlib import Path

from export.networks import find
from export.select import default_net, engine_for
from nets.registry import shipped_restorers
from pipeline.config import Resolved
from pipeline.errors import UsageError
from pipeline.run.anonymize_sidecar import Mode
from pipeline.run.job import AnonymizeJob, ReconstructJob, Selection
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import ManualRegion


def restorer_for(settings: Resolved) -> str:
    """The restoring network that ``restore.net`` names: a shipped one, or the path of a .safetensors file.

    Raises UsageError for anything else, MissingError for a file that is not there, InputError for one that
    cannot be read.
    """
    net, known = settings.config.restore.net, shipped_restorers()
    if net == "auto":
        return default_net()
    if net in known or (net.endswith(".safetensors") and find(net).architecture.role == "restore"):
        return net
    wanted, origin = ", ".join(map(repr, ("auto", *known))), settings.origins.get("restore.net", "default")
    raise UsageError(
        f"restore.net is {net!r} (from {origin}); it should be {wanted} or a .safetensors file of a "
        "restoring network"
    )


def reconstruct_job(
    source: Path,
    target: Path,
    settings: Resolved,
    *,
    manual: tuple[ManualRegion, ...] = (),
    start_s: float | None = None,
    end_s: float | None = None,
    overwrite: bool = False,
) -> ReconstructJob:
    """Picks the network and makes its engine file, on the first use of these weights.

    Raises the errors of ``restorer_for`` and of ``export.select.engine_for``.
    """
    config = settings.config
    network = engine_for(restorer_for(settings), config.restore.engine, config.device)
    return ReconstructJob(source, target, start_s, end_s, overwrite, network=network, manual=manual)


def anonymize_job(
    source: Path,
    target: Path,
    settings: Resolved,
    mode: Mode,
    *,
    selection: Selection | None = None,
    tracks: tuple[FaceTrackRecord, ...] | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    overwrite: bool = False,
) -> AnonymizeJob:
    """Makes the engine file of the network that ``protect.perturb`` asks for, if it asks for one.

    Raises the errors of ``export.select.engine_for``.
    """
    config, perturber = settings.config, None
    if mode == "protect" and config.protect.perturb != "none":
        perturber = engine_for(f"pixelizer-{config.protect.perturb}", config.restore.engine, "cpu")
    return AnonymizeJob(
        source,
        target,
        start_s,
        end_s,
        overwrite,
        mode=mode,
        selection=selection or Selection(),
        tracks=tracks,
        perturber=perturber,
    )
