"""What a region is worth, what is no mosaic though a grid fits, and what plainly shows none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.data import astronaut

from nets.pixelation import Operator
from pipeline.mosaic.evidence import Evidence
from pipeline.mosaic.region import fit_region
from pipeline.mosaic.rejection import Rule
from pipeline.mosaic.score import Judgement, codec_axes, is_blocking, is_clean_at_scale, judge_region
from pipeline.types import Axis, Box, Grid, MosaicRegion, Shape
from tests.support.mosaics import Mosaic, fixed, noisy, pixelate, texture

FACE = (160, 50, 300, 210)
BOX = Box(*(float(v) for v in FACE))


def portrait() -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def grid(pitch: float) -> Grid:
    return Grid(Axis(pitch, 0.0), Axis(pitch, 0.0), Operator.AREA, 1.0)


def shown(pitch: float, phase: tuple[float, float], operator: Operator = Operator.AREA) -> NDArray[np.uint8]:
    mosaic = fixed(FACE, pitch, phase)
    return pixelate(portrait(), Mosaic(mosaic.box, mosaic.x, mosaic.y, operator=operator))


@pytest.mark.parametrize("pitch", [4.0, 5.3, 8.0, 12.0, 17.5, 23.0])
def test_a_sharp_face_is_clean(pitch: float) -> None:
    assert is_clean_at_scale(noisy(portrait(), 0, 1.0), BOX, grid(pitch))


@given(
    pitch=st.floats(4.5, 30.0),
    phase=st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 30.0)),
    off=st.tuples(*[st.integers(-6, 6)] * 4),
    operator=st.sampled_from([Operator.AREA, Operator.CENTRE]),
)
@settings(max_examples=40, deadline=None)
def test_a_mosaic_is_not_whatever_its_phase(
    pitch: float, phase: tuple[float, float], off: tuple[int, int, int, int], operator: Operator
) -> None:
    box = Box(*(v + d * pitch / 12 for v, d in zip(FACE, off, strict=True)))
    assert not is_clean_at_scale(noisy(shown(pitch, phase, operator), 0, 1.0), box, grid(pitch * 1.01))


def test_nor_is_a_flat_place_nor_one_too_small_to_tell() -> None:
    flat = np.full((200, 200), 90, dtype=np.uint8)
    assert not is_clean_at_scale(noisy(flat, 0, 0.3), Box(40, 40, 160, 160), grid(10.0))
    assert not is_clean_at_scale(noisy(portrait(), 0, 1.0), Box(160, 50, 190, 210), grid(16.0))
    assert not is_clean_at_scale(portrait(), Box(-90, -90, -10, -10), grid(8.0))


def judged(picture: NDArray[np.uint8]) -> Judgement:
    evidence = Evidence.from_luma(noisy(picture, 1, 0.5))
    fit = fit_region(evidence, 110.0)
    assert fit is not None
    return judge_region(evidence, fit.grid, fit.bounds)


def checks(values: NDArray[np.float64], pitch: int) -> NDArray[np.uint8]:
    return np.kron(np.tile(values, (10, 10)), np.ones((pitch, pitch)))[:240, :240].astype(np.uint8)


def tiles() -> NDArray[np.uint8]:
    """Flat tiles of 24 px with grout of 2 px."""
    values = np.random.default_rng(1).integers(60, 220, (10, 10))
    picture = np.kron(values, np.ones((24, 24))).astype(np.uint8)
    for k in range(2):
        picture[k::24] = picture[:, k::24] = 30
    return picture


def test_a_mosaic_scores_high_and_says_why() -> None:
    found = judged(pixelate(texture(240, 240, 1), fixed((60, 50, 180, 190), 12.0, (1.0, 3.0))))
    assert found.score > 0.5
    assert min(found.contrast, found.filled, found.quiet, found.size) > 0.5
    assert found.echo < 0.5
    assert f"score {found.score:.2f}" in found.figures()


@pytest.mark.parametrize(
    ("picture", "rule"),
    [
        pytest.param(checks(np.array([[70.0, 180.0], [140.0, 100.0]]), 12), Rule.REPEATED, id="checks"),
        pytest.param(tiles(), Rule.JOINTS, id="tiles"),
    ],
)
def test_what_fits_a_grid_and_is_no_mosaic_scores_nothing(picture: NDArray[np.uint8], rule: Rule) -> None:
    found = judged(picture)
    assert (found.score, found.rule) == (0.0, rule)


def test_lines_of_a_codec_count_for_less_than_the_same_lines_elsewhere() -> None:
    scene = texture(240, 240, 4, 6.0)
    on, off = (judged(pixelate(scene, fixed((64, 48, 176, 192), 8.0, (p, p)))) for p in (0.0, 3.0))
    assert (on.rule, off.rule) == (Rule.CODEC_GRID, Rule.LOW_SCORE)
    assert on.score < off.score


@pytest.mark.parametrize(
    ("pitch", "origin", "axes"), [(8.0, 64.0, 2), (16.0, 64.0, 2), (8.0, 67.0, 0), (9.0, 64.0, 0)]
)
def test_a_codecs_grid_is_told_by_pitch_and_phase(pitch: float, origin: float, axes: int) -> None:
    grid = Grid(Axis(pitch, origin), Axis(pitch, origin), Operator.AREA, 1.0)
    region = MosaicRegion(Box(64, 64, 208, 208), Shape.RECTANGLE, 0.9, grid)
    assert codec_axes(region) == axes
    assert is_blocking(region, 160, 160) == (axes == 2 and pitch == 8.0)
    assert not is_blocking(region, 640, 640)
