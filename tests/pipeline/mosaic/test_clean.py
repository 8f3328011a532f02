"""Pictures that plainly show no mosaic where there is none, and never where there is one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.data import astronaut

from nets.pixelation import Operator
from pipeline.mosaic.clean import is_bare
from pipeline.types import Axis, Box, Grid
from tests.support.mosaics import Mosaic, fixed, noisy, pixelate

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
def test_a_sharp_face_is_bare(pitch: float) -> None:
    assert is_bare(noisy(portrait(), 0, 1.0), BOX, grid(pitch))


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
    assert not is_bare(noisy(shown(pitch, phase, operator), 0, 1.0), box, grid(pitch * 1.01))


def test_nor_is_a_flat_place_nor_one_too_small_to_tell() -> None:
    flat = np.full((200, 200), 90, dtype=np.uint8)
    assert not is_bare(noisy(flat, 0, 0.3), Box(40, 40, 160, 160), grid(10.0))
    assert not is_bare(noisy(portrait(), 0, 1.0), Box(160, 50, 190, 210), grid(16.0))
    assert not is_bare(portrait(), Box(-90, -90, -10, -10), grid(8.0))
