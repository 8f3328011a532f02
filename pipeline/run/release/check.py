"""Looks through an output: faces that no mask covers, faces that masks show, faces in other streams.

The detector gets another picture than in the run: mirrored, of another size, and of the frames farthest from
those that the run looked at, so that what it missed has a second chance. Only sure faces count, since a doubt
stops the release; and as the edge of a mask may look like a face, what is seen must be there in the source,
too. Where it is there tells whether it is covered: of a face that is half covered the output shows half.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from pipeline.answers import answered
from pipeline.config import RunConfig
from pipeline.decode import Decoder, open_decoder
from pipeline.decode.open import stream_index
from pipeline.faces import Face
from pipeline.faces.input_picture import DetectorView
from pipeline.flow import prefetch, spread
from pipeline.run.anonymize_sidecar import GateRecord, SeenThroughRecord, UncoveredRecord
from pipeline.run.release.coverage import is_covered
from pipeline.run.release.looks import Pace, longest_unseen, looked_at
from pipeline.run.release.other_streams import FaceElsewhere, OpenView, faces_elsewhere
from pipeline.run.release.painted import PaintedMask, PaintedMasks
from pipeline.run.release.see_through import MaskSight, MaskSights, MaskView
from pipeline.run.track_records import TrackRecorder
from pipeline.track.select import Choice
from pipeline.types import Box, Frame

LEAST_SCORE = 0.2
"""0..1, of a face in the output or in the source; in one of the two it must be sure (``gate.min_score``)."""
_SAME_PLACE = 0.3
"""IoU of a face in the output with that in the source"""
_AHEAD = 4
"""Frames that are decoded while the network looks at another."""
_SPARED_SHARE = 0.5
"""Of a face's box that lies in the box of a track that is left by choice, from which it is that face."""
_GAP_S = 2.0
"""Seconds between two frames of the source that are wanted, from which it is better to seek."""

_Wanted = TypeVar("_Wanted", "Uncovered", MaskSight)


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A face that may be seen in the output."""

    frame: int
    """Index in the source."""
    time_s: float
    """Of the source's clock."""
    face: Face


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did, for who judges its output."""

    source: Decoder
    choice: Choice
    config: RunConfig
    recorder: TrackRecorder
    masks: PaintedMasks
    looks: frozenset[int]
    """Indices of the frames that its detector looked at."""
    output: str = ""
    """SHA-256 of the file that is looked through, where answers are kept: they are of that file."""

    @property
    def times_s(self) -> list[float]:
        """Of the frames that were written, of the source's clock."""
        info = self.source.info
        return [float(info.pts[i] * info.time_base) for i in self.recorder.frames]


@dataclass(frozen=True, slots=True)
class Views:
    """What the release check looks with."""

    whole: DetectorView
    """Whole pictures."""
    close: MaskView | None
    """Masks close by; None: nobody looks at them."""
    open_other: OpenView
    """For other streams of the output."""

    @property
    def calls(self) -> int:
        """Frames that are looked at together."""
        calls = self.whole.detector.calls
        return calls if self.close is None else min(calls, self.close.detector.calls)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen on a frame of the output."""

    uncovered: list[Uncovered]
    masks: list[MaskSight]


def examine(made: Path, video: int, run: Run, views: Views, on_seen: Callable[[int], None]) -> GateRecord:
    """Looks through the output ``made``, whose stream ``video`` of its video streams the run has written.

    Where a face is left uncovered, every frame is looked at, to name them all. Raises InputError where the
    output cannot be read, CheckError where one of its streams cannot be decoded.
    """
    gate, written = run.config.gate, stream_index(made, video)
    frames, times_s = run.recorder.frames, run.times_s
    seen_by_run = [index in run.looks for index in frames]
    sights = MaskSights(gate.min_score, run.config.mask.scale)

    def look(pace: Pace) -> tuple[int, list[Uncovered]]:
        """How many frames were looked at, and what is uncovered there."""
        seen: list[Uncovered] = []
        examined = 0
        due = looked_at(times_s, pace, seen_by_run)
        for decoded, found in enumerate(scan(made, written, run, views, due, sights), start=1):
            if found is not None:
                seen += found.uncovered
                sights.add(found.masks)
                examined += 1
            on_seen(decoded)
        return examined, _confirmed(seen, run, views.whole)

    pace = Pace(gate.every_s, gate.every_frames)
    examined, left = look(pace)
    if left and examined < len(frames):  # then all of them are named
        pace = Pace(0.0, 1)
        examined, left = look(pace)
    seen = [a or b for a, b in zip(seen_by_run, looked_at(times_s, pace, seen_by_run), strict=True)]
    through = [] if views.close is None else _shown_by_source(sights.seen_through(), run, views.close)
    with open_decoder(made, stream=written) as decoder:
        info = decoder.info
    elsewhere: list[FaceElsewhere] = []
    if not run.config.encode.keep_streams:  # else the user has said that they may be seen
        elsewhere += faces_elsewhere(made, info, views.open_other, gate.min_score, pace)
    return _record(run, views, (examined, longest_unseen(seen)), left, elsewhere, sights, through)


def _record(
    run: Run,
    views: Views,
    frames: tuple[int, int],
    left: Sequence[Uncovered],
    elsewhere: Sequence[FaceElsewhere],
    sights: MaskSights,
    through: Sequence[MaskSight],
) -> GateRecord:
    """``frames``: that were looked at, and that nobody looked at, in a row at most."""
    info = run.source.info
    origin_s = float(info.pts[0] * info.time_base)
    uncovered = [
        UncoveredRecord(
            frame=found.frame,
            time_s=round(found.time_s - origin_s, 3),
            box=_rounded(found.face.box),
            score=round(found.face.score, 3),
        )
        for found in left
    ]
    uncovered += [
        UncoveredRecord(
            frame=found.frame,
            time_s=round(found.time_s, 3),
            box=_rounded(found.face.box),
            score=round(found.face.score, 3),
            stream=found.stream,
        )
        for found in elsewhere
    ]
    seen_through = [
        SeenThroughRecord(
            track=sight.track,
            frame=sight.frame,
            time_s=round(sight.time_s - origin_s, 3),
            box=_rounded(sight.box),
            score=round(sight.score, 3),
        )
        for sight in through
    ]
    return GateRecord(
        finder=views.whole.detector.name,
        frames_decoded=len(run.recorder.frames),
        frames_examined=frames[0],
        frames_unseen=frames[1],
        masks_examined=None if views.close is None else sights.looks,
        tracks_examined=sights.tracks,
        uncovered=uncovered,
        seen_through=seen_through,
        passed=not uncovered and not seen_through,
    )


def _rounded(box: Box) -> tuple[float, float, float, float]:
    return round(box.x0), round(box.y0), round(box.x1), round(box.y1)


def scan(
    made: Path, written: int, run: Run, views: Views, due: Sequence[bool], sights: MaskSights
) -> Iterator[Seen | None]:
    """What is seen on each frame of stream ``written`` of the output, in order; None for a frame that was
    decoded only. Raises InputError where the output cannot be read."""
    with ExitStack() as stack:
        decoder = stack.enter_context(open_decoder(made, stream=written))
        decoded = cast("Generator[Frame]", prefetch(decoder.frames(), _AHEAD, "gate"))
        stack.enter_context(closing(decoded))
        frames = zip(run.recorder.frames, run.times_s, due, decoded, strict=True)
        planned = (
            (None, _look(run, views, index, time_s, frame, sights) if look else None)
            for index, time_s, look, frame in frames
        )
        looks = cast("Generator[tuple[None, Seen | None]]", spread(planned, views.calls, "look"))
        stack.enter_context(closing(looks))
        yield from (seen for _, seen in looks)


def _look(
    run: Run, views: Views, index: int, time_s: float, frame: Frame, sights: MaskSights
) -> Callable[[], Seen]:
    """The look at a frame of the output, to be done in any thread."""
    masks = run.masks.on_frame(index)
    due = [] if views.close is None else sights.due(masks, time_s)
    return partial(_seen, run, views, index, time_s, frame, masks, due)


def _seen(
    run: Run,
    views: Views,
    index: int,
    time_s: float,
    frame: Frame,
    masks: list[PaintedMask],
    due: list[tuple[int, Box]],
) -> Seen:
    least = min(LEAST_SCORE, run.config.gate.min_score)
    faces = answered(f"output {run.output} {index}", lambda: views.whole.faces(frame, least))
    left = [face for face in faces if not _is_spared(face.box, run, index, time_s)]
    uncovered = [face for face in left if not _is_under(face, masks, run)]
    close: list[MaskSight] = []
    if (view := views.close) is not None:
        by_hand = [mask for mask in masks if mask.track < 0]
        due += [(mask.track, face.box) for face in left for mask in by_hand if _is_under(face, [mask], run)]
        close = [
            MaskSight(
                t,
                index,
                time_s,
                box,
                answered(f"mask {run.output} {index} {box}", partial(view.score, frame, box)),
            )
            for t, box in due
        ]
    return Seen([Uncovered(index, time_s, face) for face in uncovered], close)


def _is_under(face: Face, masks: Sequence[PaintedMask], run: Run) -> bool:
    info = run.source.info
    return is_covered(face, [painted.mask for painted in masks], info.width, info.height)


def _is_spared(box: Box, run: Run, index: int, time_s: float) -> bool:
    """Whether a face is left by choice."""
    _, left = run.recorder.on_frame(index)
    scale = run.config.mask.scale
    return run.choice.spares_place(box, time_s) or any(
        box.covered(other.scaled(scale)) >= _SPARED_SHARE for _, other in left
    )


def _confirmed(seen: Sequence[Uncovered], run: Run, view: DetectorView) -> list[Uncovered]:
    """Those faces of the output that are sure, that the source has as well, found in the same setting, and
    that are not covered where they are in the source."""
    sure, least = [], run.config.gate.min_score
    for frame, wanted in _in_source(seen, run.source):
        there = view.faces(frame, min(LEAST_SCORE, least))
        masks = run.masks.on_frame(frame.index)
        for found in wanted:
            same = [face for face in there if face.box.iou(found.face.box) >= _SAME_PLACE]
            best = max(same, key=lambda face: face.box.iou(found.face.box), default=None)
            if best is None or max(best.score, found.face.score) < least or _is_under(best, masks, run):
                continue
            sure.append(found)
    return sure


def _shown_by_source(seen: Sequence[MaskSight], run: Run, view: MaskView) -> list[MaskSight]:
    """Those looks at masks under which the source shows a sure face, by track."""
    least = run.config.gate.min_score
    sure = [
        sight
        for frame, wanted in _in_source(seen, run.source)
        for sight in wanted
        if view.score(frame, sight.box) >= least
    ]
    return sorted(sure, key=lambda sight: sight.track)


def _in_source(seen: Sequence[_Wanted], source: Decoder) -> Iterator[tuple[Frame, list[_Wanted]]]:
    """Frames of the source on which something was seen, in order, with what that is."""
    by_frame: dict[int, list[_Wanted]] = {}
    for found in sorted(seen, key=lambda found: found.frame):
        by_frame.setdefault(found.frame, []).append(found)
    pts, gap = source.info.pts, _GAP_S / source.info.time_base
    groups: list[list[int]] = []
    for index in by_frame:
        if groups and pts[index] - pts[groups[-1][-1]] <= gap:
            groups[-1].append(index)
        else:
            groups.append([index])
    for near in groups:
        for frame in source.frames(pts[near[0]], pts[near[-1]] + 1):
            if frame.index in by_frame:
                yield frame, by_frame[frame.index]
