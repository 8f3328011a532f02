"""Frames with crops -> batches of windows: the only stage that holds frames back.

Cores lie on one grid of frame numbers for all tracks (core k is frames k * core .. k * core + core - 1),
so that all tracks become ready on the same frame and share one engine call. Every crop is in exactly one
core; frames leave in order, together with the windows that own all their crops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.types import Batch, Crop, Cropped, Frame, Window


@dataclass(slots=True)
class _Run:
    """Crops of one track on consecutive frames. Old ones are dropped once no window can ask for them."""

    first: int
    """Frame of ``crops[0]``, the track's birth until something is dropped."""
    crops: deque[Crop] = field(default_factory=deque)
    ended: bool = False

    @property
    def last(self) -> int:
        return self.first + len(self.crops) - 1

    def at(self, frame_index: int) -> Crop:
        """The crop on a frame; before birth and after the end the nearest one."""
        return self.crops[min(max(frame_index, self.first), self.last) - self.first]


def window(
    cropped: Iterable[Cropped], *, core: int, context: int, cores_per_batch: int = 1
) -> Iterator[Batch[Window]]:
    """Cuts tracks into windows of ``context + core + context`` crops, of which ``core`` are restored.

    A batch has the frames of ``cores_per_batch`` consecutive cores and leaves once ``context`` more
    frames have come, so at most ``frames_held(...)`` frames are in here. At a track's birth and end, and
    at a frame on which it has no crop, its edge repeats: no window spans a gap or a scene cut.
    Frame indices must ascend. Raises ValueError for sizes that make no window.
    """
    if core < 1 or context < 0 or cores_per_batch < 1:
        raise ValueError(
            f"core {core}, context {context}, cores per batch {cores_per_batch}: wanted >= 1, 0, 1"
        )
    held: deque[Frame] = deque()
    runs: list[_Run] = []
    span = core * cores_per_batch
    for item in cropped:
        index = item.frame.index
        while held and index > _group_end(held[0].index, span) + context:
            yield _leave(held, runs, core, context, span)
        held.append(item.frame)
        _add(runs, index, item.crops)
        while held and index >= _group_end(held[0].index, span) + context:
            yield _leave(held, runs, core, context, span)
    while held:
        yield _leave(held, runs, core, context, span)


def frames_held(core: int, context: int, cores_per_batch: int = 1) -> int:
    """The most frames that ``window`` holds at one time."""
    return core * cores_per_batch + context


def _group_end(frame_index: int, span: int) -> int:
    """Last frame of the group of cores that a frame belongs to."""
    return frame_index // span * span + span - 1


def _add(runs: list[_Run], frame_index: int, crops: tuple[Crop, ...]) -> None:
    """Appends each crop to its track's run, or begins one; a run that got none, or its last, has ended."""
    alive = {run.crops[-1].tracked.track: run for run in runs if not run.ended}
    for crop in crops:
        run = alive.pop(crop.tracked.track, None)
        if run is None or run.last != frame_index - 1:
            if run is not None:
                run.ended = True
            run = _Run(frame_index)
            runs.append(run)
        run.crops.append(crop)
        run.ended = crop.tracked.last
    for run in alive.values():
        run.ended = True


def _leave(held: deque[Frame], runs: list[_Run], core: int, context: int, span: int) -> Batch[Window]:
    """Takes the first group of frames out, with their windows; forgets what later windows do not see."""
    end = _group_end(held[0].index, span)
    start = end - span + 1
    frames = []
    while held and held[0].index <= end:
        frames.append(held.popleft())
    windows = [
        _window(run, begin, core, context)
        for begin in range(start, end + 1, core)
        for run in runs
        if run.first < begin + core and run.last >= begin
    ]
    runs[:] = [run for run in runs if run.last > end or not run.ended]
    for run in runs:
        while run.first <= end - context and len(run.crops) > 1:
            run.crops.popleft()
            run.first += 1
    return Batch(tuple(frames), tuple(windows))


def _window(run: _Run, begin: int, core: int, context: int) -> Window:
    crops = tuple(run.at(i) for i in range(begin - context, begin + core + context))
    owned = range(max(run.first, begin), min(run.last, begin + core - 1) + 1)
    return Window(crops, tuple(i - begin + context for i in owned))
