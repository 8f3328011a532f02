"""Grids accumulated over frames: what no frame gives away by itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.mosaic import multi_frame
from pipeline.mosaic.edges import PixelBox
from pipeline.mosaic.screening import HostSampledEdges
from pipeline.mosaic.single_scale import find_at_scale
from tests.pipeline.stages.test_find_mosaics import frame, run
from tests.support.mosaics import Mosaic, fixed, iou, noisy, pixelate, texture

pytestmark = pytest.mark.slow

MOSAIC = fixed((60, 50, 160, 170), 7.3, (2.1, 3.4))


def shots(contrast: float, sigma: float, mosaic: Mosaic | None = MOSAIC) -> list[NDArray[np.uint8]]:
    """Twelve frames of a scene that moves a pixel per frame under a grid that stays."""
    scene = texture(240, 320, 3, contrast)
    moving = [np.ascontiguousarray(scene[:, i : i + 280]) for i in range(12)]
    return [noisy(p if mosaic is None else pixelate(p, mosaic), i, sigma) for i, p in enumerate(moving)]


def test_a_mosaic_that_no_frame_gives_away_is_found_from_some_together() -> None:
    frames = shots(contrast=4.0, sigma=1.5)
    assert [find_at_scale(f, FindConfig()) for f in frames] == [[]] * 12
    found = run([frame(i, f) for i, f in enumerate(frames)])
    assert all(len(f.regions) == 1 for f in found[7:])
    assert iou(found[-1].regions[0], MOSAIC) > 0.8
    grid = found[-1].regions[0].grid
    assert grid is not None
    assert grid.x.pitch == pytest.approx(7.3, rel=0.02)


def test_the_first_picture_of_a_shot_is_looked_at_for_small_cells_at_once() -> None:
    """A codec keeps most of it; from then on little is enough."""
    small = fixed((60, 50, 190, 180), 5.3, (2.1, 3.4))
    frames = shots(4.0, 1.0, small)
    assert find_at_scale(frames[0], FindConfig()) == []
    (found,) = run([frame(0, frames[0])])
    assert iou(found.regions[0], small) > 0.7


@pytest.mark.parametrize("contrast", [4.0, 12.0, 60.0])
@pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
def test_nothing_is_found_where_there_is_none(contrast: float, sigma: float) -> None:
    frames = shots(contrast, sigma, None)
    assert not any(f.regions for f in run([frame(i, f) for i, f in enumerate(frames)]))


def test_a_mosaic_that_left_is_not_found() -> None:
    gone = shots(4.0, 1.5)[:8] + shots(4.0, 1.5, None)[8:]
    found = run([frame(i, f) for i, f in enumerate(gone)])
    assert found[7].regions
    assert not any(f.regions for f in found[8:])


def test_a_codecs_blocks_that_stay_in_their_place_are_no_mosaic() -> None:
    frames = shots(4.0, 1.5, fixed((64, 48, 160, 168), 8.0))
    assert [find_at_scale(f, FindConfig()) for f in frames] == [[]] * 12
    assert not any(f.regions for f in run([frame(i, f) for i, f in enumerate(frames)]))


def test_searches_in_vain_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def everywhere(edges: HostSampledEdges, frames: int) -> list[PixelBox]:
        searched.append(frames)
        return [(0, 0, 280, 240)]

    monkeypatch.setattr(multi_frame, "accumulated_candidates", everywhere)
    accumulator = multi_frame.EdgeAccumulator(110.0)
    for picture in shots(contrast=4.0, sigma=1.5, mosaic=None) * 4:
        accumulator.add(HostSampledEdges.from_luma(picture))
        accumulator.hints()  # nobody says that a frame showed one
    assert searched == [4, 8, 8, 8]  # of twelve that were due
