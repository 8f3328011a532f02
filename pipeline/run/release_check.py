"""The gate of a covering run: its output is looked through, and what it shows is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.decode import Decoder
from pipeline.faces.input_picture import DetectorView
from pipeline.run.anonymize_sidecar import GateRecord, UncoveredRecord
from pipeline.run.job import CoverJob, CoverPlan
from pipeline.run.track_records import TrackBook
from pipeline.run.uncovered import Uncovered, confirmed, scan

_NAMED = 5
"""Uncovered faces that the error's line names; the report has all."""


def examine(
    made: Path,
    source: Decoder,
    plan: CoverPlan,
    config: RunConfig,
    book: TrackBook,
    eye: DetectorView,
    on_seen: Callable[[int], None],
) -> GateRecord:
    """Looks through the output ``made`` of ``source``; where a face is left, at every frame of it."""
    frames, info = book.frames, source.info
    times_s = [float(info.pts[i] * info.time_base) for i in frames]
    origin_s = float(info.pts[0] * info.time_base)

    def look(every_s: float) -> tuple[int, list[Uncovered]]:
        """How many frames were looked at, and what is uncovered there."""
        seen: list[Uncovered] = []
        examined = 0
        passing = scan(
            made,
            frames,
            book,
            plan.choice,
            eye,
            min_score=config.gate.min_score,
            mask_scale=config.mask.scale,
            times_s=times_s,
            every_s=every_s,
        )
        for decoded, faces in enumerate(passing, start=1):
            if faces is not None:
                seen += faces
                examined += 1
            on_seen(decoded)
        return examined, confirmed(seen, source, eye)

    examined, left = look(config.gate.every_s)
    if left and examined < len(frames):  # then all of them are named
        examined, left = look(0.0)
    uncovered = [
        UncoveredRecord(
            frame=face.frame,
            time_s=round(face.time_s - origin_s, 3),
            box=(round(face.box.x0), round(face.box.y0), round(face.box.x1), round(face.box.y1)),
            score=round(face.score, 3),
        )
        for face in left
    ]
    return GateRecord(
        finder=eye.detector.name,
        frames_decoded=len(frames),
        frames_examined=examined,
        uncovered=uncovered,
        passed=not uncovered,
    )


def told(job: CoverJob, gate: GateRecord) -> str:
    """One line for the faces that the gate has seen."""
    frames = len({face.frame for face in gate.uncovered})
    some = "; ".join(
        f"frame {f.frame} at {f.time_s:.3f} s, {f.box[0]:.0f},{f.box[1]:.0f} to {f.box[2]:.0f},{f.box[3]:.0f}"
        for f in gate.uncovered[:_NAMED]
    )
    more = "" if len(gate.uncovered) <= _NAMED else f" and {len(gate.uncovered) - _NAMED} more"
    return (
        f"{job.target.name} would show a face on {frames} frames ({some}{more}); nothing was released. "
        f"Look there, then render again with --from {job.gate_report} and --region for what must be covered, "
        "or --gate off where it is no face"
    )
