"""Perturbation: one change for all frames of a track, of cells or within them; what cannot be is said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nets.pixelizer_io import add, answer, read, subdivision
from pipeline.engines import EngineSpec
from pipeline.errors import InputError
from pipeline.picture.color import conversion
from pipeline.picture.grid_paint import paint
from pipeline.stages.perturb import Perturber
from pipeline.types import Box, Mask, Masked, Shape, TrackedRegion
from tests.support.faces_scene import COLOUR, HEIGHT, WIDTH, face, noise_frame
from tests.support.fixtures import SPEC

BOX = Box(20, 10, 84, 90)


class Wave:
    """Adds 8 levels to every second pixel of what it is shown."""

    name = "wave"

    def __init__(self, net: str, size_px: int) -> None:
        self.spec: EngineSpec = replace(SPEC, net=net, size_px=size_px)
        self.calls = 0

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.calls += 1
        size = self.spec.size_px
        wave = ((torch.arange(size).unsqueeze(1) + torch.arange(size)) % 2) * 8 / 255
        clean = inputs["mask"]
        return {"residual": wave * (1 - clean).expand(-1, -1, 3, -1, -1), "trust": torch.zeros(1, 1)}

    def close(self) -> None: ...


def _masks(count: int, samples: Tensor, track: int = 1) -> list[Masked]:
    region = TrackedRegion(track, face(BOX), seen=True, born=False, last=False)
    masks = [Mask(region, BOX.scaled(1 + i / 100), Shape.ELLIPSE, samples, False) for i in range(count)]
    return [Masked(noise_frame(i), (mask,)) for i, mask in enumerate(masks)]


def test_a_track_is_changed_once_while_its_colours_hold() -> None:
    engine = Wave("pixelizer-block", 16)
    perturber, samples = Perturber(engine), torch.full((3, 10, 8), 0.5)
    masks = [item.masks[0] for item in perturber(_masks(5, samples))]
    assert engine.calls == 1
    assert all(mask.samples is masks[0].samples for mask in masks)
    assert masks[0].samples.shape == samples.shape
    assert perturber.levels[1] == pytest.approx(4)
    list(perturber(_masks(2, samples.clone())))
    assert engine.calls == 2, "colours that are measured anew are changed anew"


def test_pixels_are_changed_within_cells_and_cover_what_whole_cells_do() -> None:
    samples = torch.rand(3, 10, 8, generator=torch.Generator().manual_seed(0))
    (item,) = Perturber(Wave("pixelizer-pixel", 40))(_masks(1, samples))
    (mask,) = item.masks
    assert (mask.fine, tuple(mask.samples.shape)) == (4, (3, 40, 32))
    cells = mask.samples.unfold(1, 4, 4).unfold(2, 4, 4)
    assert torch.allclose(cells.mean((-1, -2)), samples + 4 / 255, atol=8 / 255)
    convert = conversion("yuv420p", COLOUR, WIDTH, HEIGHT)
    fine, whole = (replace(f, planes=tuple(torch.zeros_like(p) for p in f.planes)) for f in [item.frame] * 2)
    bright = torch.ones_like(mask.samples)
    paint(fine, [replace(mask, samples=bright)], convert)
    paint(whole, [replace(mask, samples=torch.ones_like(samples), fine=1)], convert)
    assert all(torch.equal(a, b) for a, b in zip(fine.planes, whole.planes, strict=True))


def test_a_lattice_that_is_too_large_is_said_and_left(caplog: pytest.LogCaptureFixture) -> None:
    samples = torch.full((3, 20, 8), 0.5)
    with caplog.at_level(logging.WARNING):
        perturber = Perturber(Wave("pixelizer-block", 16))
        items = list(perturber(_masks(3, samples)))
    assert all(item.masks[0].samples is samples for item in items)
    assert len(caplog.records) == 1 and "20 x 8" in caplog.text
    assert not perturber.levels


def test_an_engine_of_another_network_is_refused() -> None:
    with pytest.raises(InputError, match="idn"):
        Perturber(Wave("idn", 64))


def test_what_a_network_reads_is_the_lattice_and_its_answer_lies_on_it() -> None:
    lattices = [torch.rand(3, 9, 7), torch.rand(3, 5, 6)]
    features, mask = read(lattices, "pixel", 40)
    for lattice, drawn, clean in zip(lattices, features, mask, strict=True):
        cells = lattice.shape[1], lattice.shape[2]
        k = subdivision("pixel", 40, cells)
        assert float((1 - clean).sum()) == cells[0] * cells[1] * k * k
        assert torch.allclose(
            answer(drawn[:3] + 0.5, "pixel", cells),
            add(lattice, torch.zeros(3, cells[0] * k, cells[1] * k)),
            atol=1e-6,
        )
    assert subdivision("block", 40, (9, 7)) == 1
    with pytest.raises(ValueError, match="wanted 40"):
        read([torch.rand(3, 41, 4)], "pixel", 40)
