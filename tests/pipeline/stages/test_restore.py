"""Windows to patches: batching, which output belongs to which crop, and what a bad network is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from time import sleep

import pytest
import torch
from torch import Tensor

from nets.observation import compose, observe
from nets.pixelation import Operator
from pipeline.errors import CheckError, InputError
from pipeline.stages.crop import crop
from pipeline.stages.restore import batches_held, restore
from pipeline.stages.window import window
from pipeline.types import Batch, Patch, Tracked, Window
from tests.support.scene import CubicEngine, scene


class EchoEngine(CubicEngine):
    """Answers for each frame with what it saw of it, so that a mix-up shows."""

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.batches.append(inputs["features"].shape[0])
        core = slice(self.spec.context, self.spec.window - self.spec.context)
        return {"residual": echo(inputs["features"][:, core]), "trust": inputs["features"][:, core, 0, 0, 0]}


def echo(features: Tensor) -> Tensor:
    return 0.1 * features[..., :3, :, :].flip(-1)


def windows(count: int, core: int, context: int, cores: int = 1) -> list[Batch[Window]]:
    shots = [scene(index=i, seed=i, pix_fmt="gbrp") for i in range(count)]
    frames = [Tracked(s.frame, (s.tracked(born=i == 0, last=i == count - 1),)) for i, s in enumerate(shots)]
    crops = crop(frames, info=shots[0].info, size_px=64, cells=16, margin=1.6)
    return list(window(crops, core=core, context=context, cores_per_batch=cores))


def patches(batches: list[Batch[Window]], engine: CubicEngine, batch_size: int = 4) -> list[Patch]:
    return [p for b in restore(batches, engine=engine, batch_size=batch_size) for p in b.items]


def test_every_crop_gets_its_own_answer() -> None:
    """Whatever the window it came in: the same as observing and composing that crop alone."""
    made = patches(windows(7, 3, 1), EchoEngine(window=5, context=1), batch_size=2)
    assert [p.crop.frame_index for p in made] == list(range(7))
    for patch in made:
        crop_ = patch.crop
        image = crop_.image.unsqueeze(0)
        alone = observe(image, crop_.mask.unsqueeze(0), crop_.rows.unsqueeze(0), crop_.cols.unsqueeze(0))
        trust = alone.features[:, 0, 0, 0].clamp(0, 1)
        wanted = compose(alone, image, echo(alone.features), trust).clamp(0, 1)[0]
        assert torch.allclose(patch.pixels, wanted, atol=1e-5)
        assert patch.trust == pytest.approx(float(trust), abs=1e-6)


def test_point_samples_are_not_taken_for_means() -> None:
    """Where the finder says so, no cell mean is held to its sample, whatever the network believes."""
    batch = windows(1, 1, 0)[0]
    (one,) = batch.items
    tracked = one.crops[0].tracked
    assert tracked.region.grid is not None
    grid = replace(tracked.region.grid, operator=Operator.CENTRE)
    point = replace(one.crops[0], tracked=replace(tracked, region=replace(tracked.region, grid=grid)))
    sampled = Batch(batch.frames, (replace(one, crops=(point,)),))
    engine = CubicEngine()
    (mean,), (patch,) = patches([batch], engine), patches([sampled], engine)
    crop_ = one.crops[0]
    base = observe(*(x.unsqueeze(0) for x in (crop_.image, crop_.mask, crop_.rows, crop_.cols))).base[0]
    assert (mean.trust, patch.trust) == (1.0, 0.0)
    assert torch.allclose(patch.pixels, base.clamp(0, 1), atol=1e-5)
    assert not torch.allclose(mean.pixels, base.clamp(0, 1), atol=1e-3)


def test_calls_are_batched_and_bounded() -> None:
    engine = CubicEngine()
    made = patches(windows(7, 1, 0, cores=7), engine, batch_size=3)
    assert engine.batches == [3, 3, 1]
    assert len(made) == 7


class Several(EchoEngine):
    """Takes two calls at a time, and the first of two is the slower one."""

    calls = 2
    running = most = begun = 0
    lock = threading.Lock()

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self.lock:
            self.begun += 1
            self.running += 1
            self.most = max(self.most, self.running)
            slow = self.begun % 2
        sleep(0.03 * slow)
        with self.lock:
            self.running -= 1
        return super().infer(inputs)


def test_batches_that_are_restored_at_a_time_leave_in_order_and_as_they_would_in_turn() -> None:
    batches = windows(12, 1, 0)
    engine = Several()
    made, in_turn = patches(batches, engine), patches(batches, EchoEngine())
    assert engine.most == 2
    assert [p.crop.frame_index for p in made] == list(range(12))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(made, in_turn, strict=True))


def test_no_more_batches_are_held_than_is_said() -> None:
    taken = 0

    def counted() -> Iterator[Batch[Window]]:
        nonlocal taken
        for batch in windows(12, 1, 0):
            taken += 1
            yield batch

    engine = Several()
    for left, _ in enumerate(restore(counted(), engine=engine, batch_size=4)):
        assert taken - left <= batches_held(engine.calls)


def test_frames_without_windows_pass() -> None:
    empty: list[Batch[Window]] = [Batch(b.frames, ()) for b in windows(2, 1, 0)]
    engine = CubicEngine()
    assert [b.frames for b in restore(empty, engine=engine, batch_size=2)] == [b.frames for b in empty]
    assert engine.batches == []


class Broken(CubicEngine):
    """An engine whose outputs are spoilt in one way."""

    def __init__(self, spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        super().__init__()
        self.spoil = spoil

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.spoil(super().infer(inputs))


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (lambda o: {"residual": o["residual"]}, InputError, "no output 'trust'"),
        (lambda o: {**o, "trust": o["trust"][0]}, InputError, r"promise \(1, 1\)"),
        (lambda o: {**o, "residual": o["residual"] / 0}, CheckError, "NaN or infinity"),
    ],
)
def test_a_bad_network_is_named(
    spoil: Callable[[dict[str, Tensor]], dict[str, Tensor]], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        patches(windows(1, 1, 0), Broken(spoil))
    assert str(caught.value).startswith("cubic 1 on cubic")


def test_windows_for_another_network_are_refused() -> None:
    engine = CubicEngine()
    engine.spec = replace(engine.spec, cells=8)
    with pytest.raises(ValueError, match=r"\(1, 64, 16\); cubic 1 takes \(1, 64, 8\)"):
        patches(windows(1, 1, 0), engine)
