"""Jobs from what a user asks for: default names, and the engine files of the networks that a run needs."""

from __future__ import annotations

from pathlib import Path

from nets.registry import natural, shipped_restorers
from pipeline.config import Resolved
from pipeline.errors import InputError, MissingError, UsageError
from pipeline.run.anonymize_sidecar import Mode, read_report
from pipeline.run.job import AnonymizeJob, ReconstructJob, Selection
from pipeline.run.people_records import of_people, put_together
from pipeline.run.sidecar import file_record
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import ManualRegion


def restorer_for(settings: Resolved) -> str:
    """The restoring network that ``restore.net`` names: a shipped one, or the path of a .safetensors file or
    of what ``vidpipe export`` made of one.

    Raises UsageError for anything else, MissingError for a file that is not there, InputError for one that
    cannot be read.
    """
    from export.networks import find
    from export.select import ENGINE_FILES, default_net

    net, known = settings.config.restore.net, shipped_restorers()
    if settings.config.restore.look == "natural" and not net.endswith(natural("")):
        if net != "auto" and natural(net) not in known:
            raise UsageError(f"restore.look is natural: {net} has no such weights; leave restore.net out")
        return natural("idn" if net == "auto" else net)
    if net == "auto":
        return default_net()
    if net in known or (net.endswith(".safetensors") and find(net).architecture.role == "restore"):
        return net
    if net.endswith(ENGINE_FILES) and _is_restorer(Path(net)):
        return net
    wanted, origin = ", ".join(map(repr, ("auto", *known))), settings.origins.get("restore.net", "default")
    raise UsageError(
        f"restore.net is {net!r} (from {origin}); it should be {wanted} or a .safetensors, .onnx or "
        ".engine file of a restoring network"
    )


def _is_restorer(path: Path) -> bool:
    """Whether what ``vidpipe export`` made is of a restoring network."""
    from nets.registry import REGISTRY
    from pipeline.engines import engine_file
    from pipeline.engines.spec import read_onnx

    if not path.is_file():
        raise MissingError(f"{path} does not exist; wanted a file that vidpipe export made")
    spec = read_onnx(path) if path.suffix == ".onnx" else engine_file.read(path).header.spec
    return any(a.role == "restore" and a.name == spec.net for a in REGISTRY.values())


def reconstruct_job(
    source: Path,
    target: Path,
    settings: Resolved,
    *,
    manual: tuple[ManualRegion, ...] = (),
    start_s: float | None = None,
    end_s: float | None = None,
    overwrite: bool = False,
    resume_from_s: float | None = None,
) -> ReconstructJob:
    """Picks the network and makes its engine file, on the first use of these weights.

    Raises the errors of ``restorer_for`` and of ``export.select.engine_for``.
    """
    from export.select import engine_for

    config = settings.config
    network = engine_for(restorer_for(settings), config.restore.engine, config.device)
    return ReconstructJob(
        source,
        target,
        start_s,
        end_s,
        overwrite,
        resume_from_s=resume_from_s,
        network=network,
        manual=manual,
    )


def anonymize_job(
    source: Path,
    target: Path,
    settings: Resolved,
    mode: Mode,
    *,
    selection: Selection | None = None,
    earlier: Path | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    overwrite: bool = False,
    resume_from_s: float | None = None,
) -> AnonymizeJob:
    """Makes the engine file of the network that ``protect.perturb`` asks for, if it asks for one.

    ``earlier`` is the report of a run or a preview, whose people and tracks are taken. Raises the errors of
    ``export.select.engine_for``, UsageError for a selection that contradicts itself, and InputError for a
    report of something else.
    """
    config, perturber = settings.config, None
    selection = selection or Selection()
    tracks = None if earlier is None else earlier_tracks(earlier, source, selection)
    if selection.only_regions:
        _check_only_regions(selection, settings, given=tracks is not None)
        tracks = ()
    elif tracks is None:
        _check_needs_no_numbers(selection)
    if mode == "protect" and config.protect.perturb != "none":
        from export.select import engine_for

        perturber = engine_for(f"pixelizer-{config.protect.perturb}", config.restore.engine, "cpu")
    return AnonymizeJob(
        source,
        target,
        start_s,
        end_s,
        overwrite,
        resume_from_s=resume_from_s,
        mode=mode,
        selection=selection,
        tracks=tracks,
        perturber=perturber,
    )


def _check_only_regions(selection: Selection, settings: Resolved, *, given: bool) -> None:
    if not selection.regions:
        raise UsageError("--only-regions covers what --region names; give at least one --region")
    if given or selection != Selection(regions=selection.regions, only_regions=True, words=selection.words):
        raise UsageError(
            "--only-regions looks for no face; --from, --keep, --only, --keep-face, --exclude-region and "
            "--during choose among faces: leave one or the other out (a --region has times of its own: "
            "X,Y,W,H@START-END)"
        )
    asked = settings.origins.get("gate.scan") == "--gate" and settings.config.gate.scan
    if asked:
        raise UsageError("--gate on looks for faces outside the masks, which --only-regions leaves by choice")


def _check_needs_no_numbers(selection: Selection) -> None:
    for option, given in (
        ("--keep", selection.keep or selection.keep_tracks),
        ("--only", selection.only is not None or selection.only_tracks is not None),
        ("--same", selection.same),
    ):
        if given:
            raise UsageError(
                f"{option} names a person by number; see the people with --preview first, then add --from "
                "with its .json"
            )


def earlier_tracks(report: Path, source: Path, selection: Selection) -> tuple[FaceTrackRecord, ...]:
    """The tracks of an earlier run on the same file, each with its person. Raises InputError, UsageError."""
    earlier = read_report(report)
    if not source.is_file():
        raise InputError(f"{source} does not exist; check the name")
    if file_record(source).sha256 != earlier.input.sha256:
        raise InputError(f"{report} has the tracks of another file, {earlier.input.name}")
    return put_together(of_people(earlier.tracks), selection.same)
