"""Small cells amid clutter: where edges repeat with one period on both axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.mosaic.periodicity import periodic_grids
from pipeline.mosaic.screening import HostSampledEdges, sample_edges
from pipeline.picture.resize import DeviceLuma
from pipeline.types import Box
from tests.pipeline.stages.test_find_mosaics import frame, run
from tests.support.mosaics import fixed, noisy, pixelate, texture


def cluttered(seed: int, pitch: float | None) -> NDArray[np.uint8]:
    """(240, 320) uint8: a soft scene with 30 hard-edged boxes, and a mosaic of 60 x 72 px in it."""
    scene = texture(240, 320, seed, 40.0).astype(np.int64)
    rng = np.random.default_rng(seed)
    for _ in range(30):
        x, y, w, h = rng.integers((0, 0, 8, 8), (300, 220, 60, 60))
        scene[y : y + h, x : x + w] += rng.integers(-30, 30)
    picture = np.clip(scene, 0, 255).astype(np.uint8)
    if pitch is not None:
        picture = pixelate(picture, fixed((131, 90, 191, 162), pitch, (1.3, 2.1)))
    return noisy(picture, seed, 1.0)


@pytest.mark.parametrize("pitch", [4.3, 5.0, 6.7, 8.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_strongest_place_is_the_mosaics_and_tells_its_pitch(pitch: float, seed: int) -> None:
    (box, grid), *_ = periodic_grids(HostSampledEdges.from_luma(cluttered(seed, pitch)))
    assert box.iou(Box(131, 90, 191, 162)) > 0.3
    assert grid.x.pitch == grid.y.pitch == pytest.approx(pitch, rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_footage_without_cells_is_no_place_to_look(seed: int) -> None:
    assert periodic_grids(HostSampledEdges.from_luma(noisy(texture(240, 320, seed, 60.0), seed, 1.5))) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_what_repeats_by_chance_among_hard_edges_is_not_found(seed: int) -> None:
    assert not any(f.regions for f in run([frame(i, cluttered(seed, None)) for i in range(9)]))


def test_lines_on_one_axis_are_no_place_to_look() -> None:
    blinds = np.where(np.arange(200) % 10 < 5, 100, 140).astype(np.uint8)
    assert periodic_grids(HostSampledEdges.from_luma(np.ascontiguousarray(np.tile(blinds, (160, 1))))) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (63, 63), (64, 64), (65, 120)])
def test_any_size_is_looked_at(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    assert isinstance(periodic_grids(HostSampledEdges.from_luma(picture)), list)


def test_a_picture_on_a_device_has_the_same_bands_and_places() -> None:
    picture = cluttered(1, 4.6)[:, :317]
    here, there = (
        HostSampledEdges.from_luma(np.ascontiguousarray(picture)),
        sample_edges(DeviceLuma(torch.from_numpy(picture.copy()))),
    )
    for own, other in zip(here.bands(), there.bands(), strict=True):
        np.testing.assert_array_equal(own, other)
    assert periodic_grids(here) == periodic_grids(there) != []
