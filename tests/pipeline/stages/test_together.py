"""Frames of a device are cropped and pasted several at a time: what comes is what one at a time gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from nets.observation import observe
from pipeline.cuda import to_device, to_host
from pipeline.stages import crop as crop_stage
from pipeline.stages.crop import crop
from pipeline.stages.paste import paste
from pipeline.stages.restore import restore
from pipeline.stages.window import window
from pipeline.types import Cropped, Frame, Shape, Tracked
from tests.support.devices import DEVICES, entered
from tests.support.scene import CubicEngine, Scene, scene

COUNT = 11
"""frames: more than are cropped at a time"""


def moving(pix_fmt: str, rotation: int, shape: Shape, size: tuple[int, int]) -> list[Scene]:
    """A mosaic that wanders out of the picture on the left, in cells that come and go."""
    made = []
    for i in range(COUNT):
        x, y = 40 - 7 * i, 21 + i
        box = (x, y, x + 80 + i % 3, y + 80)
        shot = scene(
            box, 8 + 0.2 * i, pix_fmt=pix_fmt, rotation=rotation, shape=shape, size=size, index=i, seed=3
        )
        made.append(shot)
    return made


def cropped(shots: Sequence[Scene], frames: Sequence[Frame]) -> Iterator[Cropped]:
    tracked = (
        Tracked(f, (s.tracked(born=i == 0, last=i == COUNT - 1),))
        for i, (f, s) in enumerate(zip(frames, shots, strict=True))
    )
    return crop(tracked, info=shots[0].info, size_px=64, cells=16, margin=1.6)


def through(shots: Sequence[Scene], frames: Sequence[Frame]) -> list[Frame]:
    windows = window(cropped(shots, frames), core=2, context=1, cores_per_batch=4)
    engine = CubicEngine(window=4, context=1, fused=True)
    return list(paste(restore(windows, engine=engine, batch_size=3), info=shots[0].info))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("pix_fmt", "rotation", "shape", "size"),
    [
        ("yuv420p", 0, Shape.RECTANGLE, (170, 150)),
        ("yuv420p", 0, Shape.ELLIPSE, (171, 151)),
        ("yuv422p10le", 90, Shape.ELLIPSE, (170, 150)),
        ("gbrp", 180, Shape.RECTANGLE, (170, 150)),
        ("gray", 270, Shape.RECTANGLE, (170, 150)),
    ],
)
def test_frames_together_are_frames_alone(
    device: str, pix_fmt: str, rotation: int, shape: Shape, size: tuple[int, int]
) -> None:
    shots = moving(pix_fmt, rotation, shape, size)
    here = through(shots, [s.frame for s in shots])
    with entered(device) as (place, _):
        there = through(shots, list(to_device([s.frame for s in shots], place)))
        back = list(to_host(there))
    assert [f.index for f in back] == list(range(COUNT))
    for ours, theirs in zip(here, back, strict=True):
        for a, b in zip(ours.planes, theirs.planes, strict=True):
            assert (a.int() - b.int()).abs().max() <= (1 if a.dtype == torch.uint8 else 4)


def test_a_device_holds_as_many_frames_as_is_said() -> None:
    shots = moving("yuv420p", 0, Shape.RECTANGLE, (170, 150))
    with entered("pretended") as (place, _):
        taken = 0

        def counted() -> Iterator[Tracked]:
            nonlocal taken
            for i, frame in enumerate(to_device([s.frame for s in shots], place)):
                taken += 1
                yield Tracked(frame, (shots[i].tracked(last=False),))

        came = crop(counted(), info=shots[0].info, size_px=64, cells=16, margin=1.6)
        for done, _ in enumerate(came):
            assert taken - done <= crop_stage.frames_held(place)
    assert crop_stage.frames_held(torch.device("cpu")) == 1


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_knows_what_its_mosaic_spans(rotation: int, mirrored: bool) -> None:
    shot = scene((20, 30, 116, 90), 8, rotation=rotation, shape=Shape.ELLIPSE, phase=(0.3, 0.1))
    info = replace(shot.info, mirrored=mirrored)
    (made,) = crop([Tracked(shot.frame, (shot.tracked(),))], info=info, size_px=64, cells=16, margin=1.6)
    (one,) = made.crops
    assert one.extent is not None
    lines, columns = (torch.nonzero(1 - one.mask[0].amin(dim)).flatten() for dim in (1, 0))
    spans = (one.extent.top, one.extent.bottom - 1, one.extent.left, one.extent.right - 1)
    assert spans == (int(lines[0]), int(lines[-1]), int(columns[0]), int(columns[-1]))
    seen = observe(*(x.unsqueeze(0) for x in (one.image, one.mask, one.rows, one.cols)))
    used = torch.nonzero(seen.samples[0].sum(0))
    assert int(used.max()) < one.extent.cells
