"""Laws of telling area means from point samples."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nets.pixelation import Operator
from pipeline.mosaic.operator import cell_values, classify, roughness
from tests.mosaics import fixed, locked, pixelate, texture

BOX = (30, 20, 270, 260)


@given(seed=st.integers(0, 10_000), blocks=st.integers(8, 20))
@settings(max_examples=25, deadline=None)
def test_means_are_smoother_than_samples_of_the_same_picture(seed: int, blocks: int) -> None:
    values = {}
    for operator in (Operator.AREA, Operator.CENTRE):
        mosaic = locked(BOX, (blocks, blocks), operator=operator)
        picture = pixelate(texture(280, 300, seed), mosaic)
        values[operator] = roughness(cell_values(picture, mosaic.x, mosaic.y, BOX))
    assert values[Operator.AREA] < values[Operator.CENTRE]


def test_cell_values_are_those_of_the_whole_cells() -> None:
    mosaic = fixed(BOX, 16.0, (5.0, 3.0))
    picture = pixelate(texture(280, 300, 1), mosaic)
    values = cell_values(picture, mosaic.x, mosaic.y, BOX)
    # Lattice lines inside the box: columns 37, 53, ..., 261 and rows 35, 51, ..., 259.
    assert values.shape == (14, 14)
    np.testing.assert_array_equal(values, picture[36:259:16, 38:261:16])


def test_values_without_relation_are_samples_and_a_wave_is_means() -> None:
    rng = np.random.default_rng(0)
    mosaic = locked(BOX, (12, 12))
    unrelated = np.repeat(np.repeat(rng.integers(0, 255, (14, 15)), 20, 0), 20, 1).astype(np.uint8)
    grid = locked((20, 20, 280, 260), (13, 12))
    assert classify(unrelated, grid.x, grid.y, grid.box) is Operator.CENTRE
    wave = 120 + 80 * np.sin(np.arange(300) / 40)[None, :] + 30 * np.sin(np.arange(280) / 30)[:, None]
    smooth = pixelate(wave.astype(np.uint8), mosaic)
    assert classify(smooth, mosaic.x, mosaic.y, BOX) is Operator.AREA


@pytest.mark.shared
@pytest.mark.parametrize("cells", [10, 16, 20])
def test_most_training_faces_are_told_right_in_coarse_and_in_fine_cells(cells: int, shared: Path) -> None:
    right = {Operator.AREA: 0, Operator.CENTRE: 0}
    paths = sorted((shared / "data" / "faces" / "train").rglob("*.jpg"))[::100][:40]
    for path in paths:
        face = cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (300, 280))
        for operator in right:
            mosaic = locked(BOX, (cells, cells), operator=operator)
            told = classify(pixelate(face, mosaic), mosaic.x, mosaic.y, BOX)
            right[operator] += told is operator
    assert min(right.values()) >= 0.7 * len(paths) > 0


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (30, 20, 60, 50)])
def test_too_few_cells_are_called_means(box: tuple[int, int, int, int]) -> None:
    mosaic = locked(BOX, (12, 12))
    picture = np.random.default_rng(1).integers(0, 255, (280, 300)).astype(np.uint8)
    assert classify(picture, mosaic.x, mosaic.y, box) is Operator.AREA
