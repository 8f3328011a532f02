"""The release check: the encoded output is decoded and looked through for faces that no mask covers.

It looks with another setting than the run: pictures are mirrored and of another size, and frames are those
between the ones that the run looked at, so that what the detector missed has a second chance. Only sure faces
count, since a doubt stops the release; and as the edge of a mask may look like a face, what is seen must be
there in the source, too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import cast

from pipeline.config import RunConfig
from pipeline.decode import Decoder, open_decoder
from pipeline.errors import CheckError
from pipeline.faces import Face
from pipeline.faces.input_picture import DetectorView
from pipeline.flow import prefetch, spread
from pipeline.run.anonymize_sidecar import GateRecord, UncoveredRecord
from pipeline.run.job import AnonymizeJob
from pipeline.run.plan import AnonymizePlan
from pipeline.run.track_records import TrackRecorder
from pipeline.track import SLACK_S
from pipeline.track.select import Choice
from pipeline.types import Box, Frame

_NAMED = 5
"""Uncovered faces that the error's line names; the report has all."""
COVERED_SHARE = 0.5
"""A face is covered where its centre and this share of its box lie in one mask."""
CONFIRMED_SCORE = 0.2
"""0..1, of a face at the same place in the source"""
_SAME_PLACE = 0.3
"""IoU of a face in the output with that in the source"""
_AHEAD = 4
"""Frames that are decoded while the network looks at another."""
_SPARED_SHARE = 0.5
"""Of a face's box that lies in the box of a track that is left by choice, from which it is that face."""


class ReleaseCheckError(CheckError):
    """A face is still seen in the output; nothing was released. ``report.uncovered`` tells where."""

    def __init__(self, text: str, report: GateRecord) -> None:
        super().__init__(text)
        self.report = report


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A face that may be seen in the output."""

    frame: int
    """Index in the source."""
    time_s: float
    """Of the source's clock."""
    box: Box
    score: float


def examine(
    made: Path,
    source: Decoder,
    plan: AnonymizePlan,
    config: RunConfig,
    recorder: TrackRecorder,
    view: DetectorView,
    on_seen: Callable[[int], None],
) -> GateRecord:
    """Looks through the output ``made`` of ``source``; where a face is left, at every frame of it."""
    frames, info = recorder.frames, source.info
    times_s = [float(info.pts[i] * info.time_base) for i in frames]
    origin_s = float(info.pts[0] * info.time_base)

    def look(every_s: float) -> tuple[int, list[Uncovered]]:
        """How many frames were looked at, and what is uncovered there."""
        seen: list[Uncovered] = []
        examined = 0
        passing = scan(
            made,
            frames,
            recorder,
            plan.choice,
            view,
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
        return examined, confirmed(seen, source, view)

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
        finder=view.detector.name,
        frames_decoded=len(frames),
        frames_examined=examined,
        uncovered=uncovered,
        passed=not uncovered,
    )


def describe(job: AnonymizeJob, gate: GateRecord) -> str:
    """One line for the faces that were seen."""
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


def scan(
    output: Path,
    frames: Sequence[int],
    recorder: TrackRecorder,
    choice: Choice,
    view: DetectorView,
    *,
    min_score: float,
    mask_scale: float,
    times_s: Sequence[float],
    every_s: float,
) -> Iterator[list[Uncovered] | None]:
    """What is left uncovered on each frame of ``output``, in order; None for a frame that was decoded only.

    ``frames`` are the indices in the source of the output's frames, ``times_s`` their times there. No more
    than ``every_s`` lie between two looks. Raises InputError where the output cannot be read.
    """
    due = looked_at(times_s, every_s)
    with ExitStack() as stack:
        decoder = stack.enter_context(open_decoder(output))
        decoded = cast("Generator[Frame]", prefetch(decoder.frames(), _AHEAD, "gate"))
        stack.enter_context(closing(decoded))
        planned = (
            ((index, time_s), partial(view.faces, frame, min_score) if look else None)
            for index, time_s, look, frame in zip(frames, times_s, due, decoded, strict=True)
        )
        looks = cast(
            "Generator[tuple[tuple[int, float], list[Face] | None]]",
            spread(planned, view.detector.calls, "look"),
        )
        stack.enter_context(closing(looks))
        for (index, time_s), seen in looks:
            if seen is None:
                yield None
                continue
            covered, left = recorder.on_frame(index)
            masks = [box.scaled(1.0 if track < 0 else mask_scale) for track, box in covered]
            yield [
                Uncovered(index, time_s, face.box, face.score)
                for face in seen
                if not is_covered(face.box, masks)
                and not any(face.box.covered(box.scaled(mask_scale)) >= _SPARED_SHARE for _, box in left)
                and not choice.spares_place(face.box, time_s)
            ]


def looked_at(times_s: Sequence[float], every_s: float) -> list[bool]:
    """Which frames the gate looks at: half a step beside those of a run that began where it begins."""
    due, last_s = [], times_s[0] - every_s / 2
    for time_s, next_s in zip_longest(times_s, times_s[1:]):
        look = next_s is None or next_s - last_s > every_s + SLACK_S
        last_s = time_s if look else last_s
        due.append(look)
    return due


def is_covered(face: Box, masks: Sequence[Box]) -> bool:
    """Whether a face lies under one of the masks."""
    x, y = face.centre
    return any(m.x0 <= x < m.x1 and m.y0 <= y < m.y1 and face.covered(m) >= COVERED_SHARE for m in masks)


def confirmed(seen: Sequence[Uncovered], source: Decoder, view: DetectorView) -> list[Uncovered]:
    """Those of the uncovered faces that are faces in the source as well, found in the same setting."""
    if not seen:
        return []
    by_frame: dict[int, list[Uncovered]] = {}
    for face in seen:
        by_frame.setdefault(face.frame, []).append(face)
    pts = source.info.pts
    sure = []
    for frame in source.frames(pts[min(by_frame)], pts[max(by_frame)] + 1):
        left = by_frame.get(frame.index)
        if left is None:
            continue
        there = view.faces(frame, CONFIRMED_SCORE)
        sure += [face for face in left if any(face.box.iou(other.box) >= _SAME_PLACE for other in there)]
    return sure
