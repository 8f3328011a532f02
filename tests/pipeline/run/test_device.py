"""Stages on a device: what they do on the CPU they do there, and only what must come back does.

Without a GPU the device is one that pretends (``tests.support.pretend``); with one, the same tests run on
it, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import FindConfig, TrackConfig
from pipeline.cuda import memory_errors, place, to_device, to_host
from pipeline.decode import open_decoder
from pipeline.errors import MissingError, UsageError
from pipeline.faces.input_picture import small_picture
from pipeline.mosaic.edges import isolated_edges
from pipeline.mosaic.screening import (
    HostSampledEdges,
    accumulated_candidates,
    candidates,
    isolated_edges_on_device,
    sample_edges,
)
from pipeline.picture.grid_paint import measure
from pipeline.picture.resize import DeviceLuma
from pipeline.stages.crop import crop
from pipeline.stages.find_mosaics import find_mosaics, redetect_with
from pipeline.stages.paint import paint
from pipeline.stages.paste import paste
from pipeline.stages.restore import restore
from pipeline.stages.window import window
from pipeline.track.mosaics import track
from pipeline.types import Box, Found, Frame, Mask, Masked, MosaicRegion, Shape, Tracked
from tests.support.devices import DEVICES, entered
from tests.support.mosaics import locked, pixelate, texture
from tests.support.pretend import PRETENDED, pretended_device
from tests.support.scene import CubicEngine, Scene, scene

pytestmark = pytest.mark.slow

TOLERANCE_LEVELS = 1
"""Codes by which a device may differ: sums in another order, rounded."""


def restored(shot: Scene, frames: list[Frame]) -> list[Frame]:
    """Through every stage after the tracker."""
    tracked = (Tracked(frame, (shot.tracked(),)) for frame in frames)
    engine = CubicEngine()
    cropped = crop(tracked, info=shot.info, size_px=64, cells=16, margin=1.6)
    windows = window(cropped, core=1, context=0)
    return list(paste(restore(windows, engine=engine, batch_size=4), info=shot.info))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp", "gray", "yuva420p"])
@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("rotation", [0, 90])
def test_restoring_gives_the_same_picture(device: str, pix_fmt: str, shape: Shape, rotation: int) -> None:
    shot = scene(pix_fmt=pix_fmt, shape=shape, rotation=rotation, phase=(0.3, 0.1))
    (here,) = restored(shot, [shot.frame])
    with entered(device) as (place, counted):
        frames = list(to_device([shot.frame], place))
        assert frames[0].device == place
        if counted is not None:
            counted.to_host.clear()
        (there,) = restored(shot, frames)
        if counted is not None:
            # Nothing of the size of a picture: two flags, the trust of one patch.
            assert sum(counted.to_host) <= 64, counted.to_host
        assert there.device == place
        (back,) = to_host([there])
    assert back.device.type == "cpu"
    changed = 0
    for ours, theirs, before in zip(here.planes, back.planes, shot.frame.planes, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours.int() - theirs.int()).abs().max() <= TOLERANCE_LEVELS
        changed += int((theirs != before).sum())
    assert changed > 0


@pytest.mark.parametrize("device", DEVICES)
def test_a_network_of_many_frames_reads_the_same(device: str) -> None:
    """Motion and fusion of a window, computed where its frames lie."""
    shots = [scene(index=i, phase=(0.1 * i, 0.0)) for i in range(4)]

    def through(frames: Iterable[Frame]) -> list[Frame]:
        tracked = (
            Tracked(f, (s.tracked(born=i == 0, last=i == 3),))
            for i, (f, s) in enumerate(zip(frames, shots, strict=True))
        )
        cropped = crop(tracked, info=shots[0].info, size_px=64, cells=16, margin=1.6)
        engine = CubicEngine(window=4, context=1, fused=True)
        windows = window(cropped, core=2, context=1)
        return list(paste(restore(windows, engine=engine, batch_size=2), info=shots[0].info))

    here = through([s.frame for s in shots])
    with entered(device) as (place, _):
        back = list(to_host(through(to_device([s.frame for s in shots], place))))
    for ours, theirs in zip(here, back, strict=True):
        for a, b in zip(ours.planes, theirs.planes, strict=True):
            assert (a.int() - b.int()).abs().max() <= TOLERANCE_LEVELS


@pytest.mark.parametrize("device", DEVICES)
def test_frames_come_back_in_order_and_untouched(device: str) -> None:
    shots = [scene(seed=i, index=i).frame for i in range(5)]
    with entered(device) as (place, _):
        # A frame of the host between those of the device keeps its place.
        there = [*to_device(shots[:2], place), shots[2], *to_device(shots[3:], place)]
        back = list(to_host(iter(there)))
    assert [f.index for f in back] == [0, 1, 2, 3, 4]
    assert back[2] is shots[2]
    for ours, theirs in zip(shots, back, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours.planes, theirs.planes, strict=True))


def test_one_frame_is_held_back_no_more() -> None:
    with pretended_device():
        made = []

        def frames() -> Iterator[Frame]:
            for i in range(4):
                made.append(i)
                yield from to_device([scene(index=i).frame], PRETENDED)

        coming = to_host(frames())
        for i in range(3):
            assert next(coming).index == i
            assert made[-1] == i + 1


def test_the_pretended_device_has_a_devices_manners() -> None:
    with pretended_device() as counted:
        x = torch.ones(4, device=PRETENDED)
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.ones(4)
        with pytest.raises(RuntimeError):
            x.numpy()
        assert float((x * 2).sum()) == 8
        assert counted.to_host == [4]
        assert torch.equal(x.cpu(), torch.ones(4))
        assert counted.to_host == [4, 16]


@pytest.mark.parametrize("device", DEVICES)
def test_a_clip_from_decoder_to_encoder(device: str, mosaic_clip: Path) -> None:
    """Found, tracked, restored and pasted: the same regions and pictures, no whole frame to the host."""
    with open_decoder(mosaic_clip) as decoder:
        info, frames = decoder.info, list(decoder.frames())
    found: dict[str, list[MosaicRegion]] = {}

    def run(source: Iterable[Frame], name: str) -> list[Frame]:
        seen = found.setdefault(name, [])

        def watched(items: Iterable[Found[MosaicRegion]]) -> Iterator[Found[MosaicRegion]]:
            for item in items:
                seen.extend(item.regions)
                yield item

        settings = FindConfig()
        followed = track(
            watched(find_mosaics(source, settings=settings)),
            settings=TrackConfig(),
            redetect=redetect_with(settings),
        )
        cropped = crop(followed, info=info, size_px=64, cells=32, margin=1.6)
        windows = window(cropped, core=1, context=0, cores_per_batch=8)
        return list(paste(restore(windows, engine=CubicEngine(cells=32), batch_size=4), info=info))

    here = run(frames, "host")
    with entered(device) as (place, counted):
        there = run(to_device(frames, place), "device")
        if counted is not None:
            assert all(f.device == place for f in there)
            # The mosaic's neighbourhood is all of this small picture: its luma is the most that is asked for,
            # and with it may come that of two smaller pictures.
            assert max(counted.to_host) <= 1.5 * frames[0].planes[0].nbytes
        back = list(to_host(there))
    assert found["host"] == found["device"] != []
    changed = 0
    for ours, theirs, before in zip(here, back, frames, strict=True):
        assert (ours.index, ours.pts) == (theirs.index, theirs.pts)
        for a, b, source in zip(ours.planes, theirs.planes, before.planes, strict=True):
            assert (a.int() - b.int()).abs().max() <= TOLERANCE_LEVELS
            changed += int((a != source).sum())
    assert changed > 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(1, 1), (40, 30), (64, 64), (250, 333), (720, 1281)])
def test_screening_is_the_same_to_the_bit(device: str, size: tuple[int, int]) -> None:
    luma = texture(*size, seed=3)
    if min(size) > 200:
        luma = pixelate(luma, locked((60, 40, 188, 168), (13, 11)))
    known = [(10, 20, 60, 41)]
    with entered(device) as (place, _):
        there = DeviceLuma(torch.from_numpy(luma).to(place))
        for without in ([], known):
            ours, theirs = sample_edges(luma), sample_edges(there)
            for box in without:
                ours.erase(box)
                theirs.erase(box)
            assert candidates(ours) == candidates(theirs)
            for _ in range(4):
                ours.add(HostSampledEdges.from_luma(luma))
                theirs.add(sample_edges(there))
            assert accumulated_candidates(ours, 5) == accumulated_candidates(theirs, 5)
            part = (size[1] // 5, size[0] // 7, size[1] - 1, size[0])
            assert np.array_equal(ours.across(part), theirs.across(part))
            assert np.array_equal(ours.down(part), theirs.down(part))
        assert bool(candidates(sample_edges(luma))) == (min(size) > 200)
        assert np.array_equal(there[: size[0] // 2, 1:], luma[: size[0] // 2, 1:])
        vertical, horizontal = (edges.cpu().numpy() for edges in isolated_edges_on_device(there.plane))
    assert np.array_equal(vertical, isolated_edges(luma[::2]))
    assert np.array_equal(horizontal, isolated_edges(np.ascontiguousarray(luma[:, ::2].T)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp", "gray"])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("box", [Box(30.5, 20, 90, 88.2), Box(-20, -9, 33, 41), Box(140, 130, 200, 190)])
def test_covering_is_the_same_to_the_bit(device: str, pix_fmt: str, smooth: bool, box: Box) -> None:
    """Colours of a lattice measured and painted where the frame lies."""
    shot = scene(pix_fmt=pix_fmt)

    def covered(frame: Frame) -> tuple[Frame, Tensor]:
        samples = measure(frame, [box], [(6, 5)], shot.convert)[0].samples
        mask = Mask(shot.tracked(), box, Shape.ELLIPSE, samples.clamp(0, 1), smooth)
        (painted,) = paint([Masked(frame, (mask,))])
        return painted, samples

    here, samples = covered(shot.frame)
    with entered(device) as (place, counted):
        (frame,) = to_device([shot.frame], place)
        there, same = covered(frame)
        if counted is not None:
            # The sums of 6 x 5 cells of each plane as float64.
            assert sum(counted.to_host) <= 8 * 6 * 5 * len(shot.frame.planes), counted.to_host
        (back,) = to_host([there])
    assert torch.equal(samples, same)
    assert all(torch.equal(a, b) for a, b in zip(here.planes, back.planes, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(here.planes, shot.frame.planes, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp", "gray"])
@pytest.mark.parametrize("rotation", [0, 90])
def test_the_face_finder_sees_the_same_picture(device: str, pix_fmt: str, rotation: int) -> None:
    """Where frames come to it, and where it runs on the device itself."""
    shot = scene(pix_fmt=pix_fmt, rotation=rotation, size=(320, 260))
    for mirrored in (False, True):
        small = small_picture(shot.info, 50, mirrored)
        here = small.from_frame(shot.frame).astype(int)
        with entered(device) as (place, counted):
            (frame,) = to_device([shot.frame], place)
            fetched = small.from_frame(frame).astype(int)
            before = 0 if counted is None else len(counted.to_host)
            left = small.on_device(frame)
            assert counted is None or len(counted.to_host) == before
            assert (left.device, left.dtype) == (place, torch.float32)
            there = left.cpu()[0].permute(1, 2, 0).numpy()
        assert here.shape == fetched.shape == there.shape
        # A level of luma is 255 / 219 of blue, one of chroma 1.77, and three roundings may go another way.
        for other in (fetched, there):
            assert np.abs(here - other).max() <= 4
            assert np.abs(here - other).mean() < 0.3


class Full:
    """An engine with room for so many windows."""

    calls = 1

    def __init__(self, room: int) -> None:
        self.inner, self.room = CubicEngine(), room
        self.spec, self.name = self.inner.spec, "full"

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if inputs["mask"].shape[0] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.inner.infer(inputs)

    def close(self) -> None:
        """Nothing to close."""


def through(engine: Full, batch_size: int) -> list[Frame]:
    shots = [scene(index=i, seed=i) for i in range(7)]
    tracked = (Tracked(s.frame, (s.tracked(born=i == 0, last=i == 6),)) for i, s in enumerate(shots))
    cropped = crop(tracked, info=shots[0].info, size_px=64, cells=16, margin=1.6)
    windows = window(cropped, core=1, context=0, cores_per_batch=7)
    return list(paste(restore(windows, engine=engine, batch_size=batch_size), info=shots[0].info))


def test_a_full_gpu_gets_smaller_batches(caplog: pytest.LogCaptureFixture) -> None:
    engine, roomy = Full(room=2), Full(room=100)
    for a, b in zip(through(engine, 7), through(roomy, 7), strict=True):
        assert all((x.int() - y.int()).abs().max() <= 1 for x, y in zip(a.planes, b.planes, strict=True))
    # 7 and 3 do not fit, 1 does, and stays: what did not fit once is not tried again.
    assert engine.inner.batches == [1] * 7
    assert roomy.inner.batches == [7]
    assert [r.message.count("gets") for r in caplog.records if "memory" in r.message] == [1, 1]


def test_no_room_for_one_window_is_one_line() -> None:
    with pytest.raises(MissingError) as caught, memory_errors(torch.device("cuda:0")):
        through(Full(room=0), 4)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    assert "its memory is full" in str(caught.value)
    assert "--device cpu" in str(caught.value)


@pytest.mark.parametrize(
    ("available", "cuda", "driver", "warning", "said"),
    [
        (False, None, False, None, "built without CUDA"),
        (False, "13.0", False, None, "no NVIDIA driver"),
        (
            False,
            "13.0",
            True,
            "The NVIDIA driver on your system is too old (found version 11040).",
            "too old",
        ),
        (False, "13.0", True, "CUDA initialization: error 999", "error 999"),
    ],
)
def test_why_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch,
    available: bool,
    cuda: str | None,
    driver: bool,
    warning: str | None,
    said: str,
) -> None:
    def is_available() -> bool:
        if warning is not None:
            warnings.warn(warning, stacklevel=1)
        return available

    monkeypatch.setattr("torch.cuda.is_available", is_available)
    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr("pipeline.cuda._has_driver", lambda: driver)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(MissingError, match=said) as caught:
            place(device)
        assert "\n" not in str(caught.value)
        assert "--device cpu" in str(caught.value)
    assert place("auto") == place("cpu") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(MissingError, match="has GPUs 0 to 1"):
        place("cuda:7")
    with pytest.raises(UsageError, match="wanted auto, cpu, cuda or cuda:N"):
        place("gpu")


@pytest.mark.parametrize("device", DEVICES)
def test_two_runs_share_a_gpu(device: str) -> None:
    """Each on a thread of its own; what they make, and what they keep for later, does not mix."""
    shots = [scene(), scene(pix_fmt="yuv422p10le", shape=Shape.RECTANGLE, phase=(0.3, 0.1))]
    wanted = [restored(shot, [shot.frame]) for shot in shots]

    def once(turn: int) -> list[Frame]:
        shot = shots[turn % 2]
        with entered(device) as (place, _):
            return list(to_host(restored(shot, list(to_device([shot.frame], place)))))

    with ThreadPoolExecutor(2) as pool:
        for turn, frames in enumerate(pool.map(once, range(16))):
            for a, b in zip(frames[0].planes, wanted[turn % 2][0].planes, strict=True):
                assert (a.int() - b.int()).abs().max() <= TOLERANCE_LEVELS
