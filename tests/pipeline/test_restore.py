"""Windows to patches: batching, which output belongs to which crop, and what a bad network is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.errors import GateError, InputError
from pipeline.stages.crop import crop
from pipeline.stages.restore import restore
from pipeline.stages.window import window
from pipeline.types import Batch, Patch, Tracked, Window
from tests.pipeline.scene import CubicEngine, scene


class NumberEngine(CubicEngine):
    """Marks each restored frame with what its middle pixel showed."""

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = super().infer(inputs)
        core = slice(self.spec.context, self.spec.window - self.spec.context)
        outputs["restored"] = inputs["image"][:, core] * 0 + inputs["image"][:, core, :1, :1, :1]
        outputs["trust"] = inputs["image"][:, core, 0, 0, 0]
        return outputs


def windows(count: int, core: int, context: int, cores: int = 1) -> list[Batch[Window]]:
    shots = [scene(index=i, seed=i, pix_fmt="gbrp") for i in range(count)]
    frames = [Tracked(s.frame, (s.tracked(born=i == 0, last=i == count - 1),)) for i, s in enumerate(shots)]
    crops = crop(frames, info=shots[0].info, size_px=64, cells=16, margin=1.6)
    return list(window(crops, core=core, context=context, cores_per_batch=cores))


def patches(batches: list[Batch[Window]], engine: CubicEngine, batch_size: int = 4) -> list[Patch]:
    return [p for b in restore(batches, engine=engine, batch_size=batch_size) for p in b.items]


def test_every_crop_gets_its_own_output() -> None:
    made = patches(windows(7, 3, 1), NumberEngine(window=5, context=1), batch_size=2)
    assert [p.crop.frame_index for p in made] == list(range(7))
    for patch in made:
        mark = patch.crop.image[0, 0, 0]
        assert torch.equal(patch.pixels, torch.full((3, 64, 64), float(mark)))
        assert patch.trust == pytest.approx(float(mark))


def test_calls_are_batched_and_bounded() -> None:
    engine = CubicEngine()
    made = patches(windows(7, 1, 0, cores=7), engine, batch_size=3)
    assert engine.batches == [3, 3, 1]
    assert len(made) == 7


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
        (lambda o: {"restored": o["restored"]}, InputError, "no output 'trust'"),
        (lambda o: {**o, "trust": o["trust"][0]}, InputError, r"promise \(1, 1\)"),
        (lambda o: {**o, "restored": o["restored"] / 0}, GateError, "NaN or infinity"),
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
