"""The second opinion: what it says of a face and of what is none, turned, dark, beyond the border."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Literal

import cv2
import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray

from pipeline.engines.detector_runtime import compile_on_cpu
from pipeline.faces import Face
from pipeline.faces.second_opinion import FLAG_PX, SecondOpinion
from pipeline.faces.square import Square
from pipeline.faces.weights import shipped
from pipeline.picture.geometry import as_coded
from pipeline.types import Box, Frame
from tests.support.faces_scene import COLOUR, noise_frame

FACE = Box(176, 68, 268, 176)
"""In scikit-image's portrait, 512 x 512 px."""
SLEEVE = Box(330, 330, 430, 450)


def _portrait(rotation: int = 0, light: float = 1.0) -> Frame:
    rgb = torch.from_numpy((skimage.data.astronaut() * light).astype(np.uint8)).permute(2, 0, 1)
    planes = tuple(plane.contiguous() for plane in as_coded(rgb, rotation).unbind(0))
    return Frame(0, 0, planes, "gbrp", replace(COLOUR, range="pc"), Fraction(1, 25), True)


def _coded(box: Box, rotation: int) -> Box:
    inside = np.zeros((512, 512), np.uint8)
    inside[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 1
    coded = as_coded(torch.from_numpy(inside), rotation).numpy()
    rows, columns = np.flatnonzero(coded.any(1)), np.flatnonzero(coded.any(0))
    return Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


@cache
def _second(rotation: int) -> SecondOpinion:
    return SecondOpinion(rotation, Fraction(1), "onnxruntime", threads=1)


@pytest.mark.parametrize("rotation", [0, 90])
def test_it_speaks_for_a_face_and_not_for_a_sleeve(rotation: int) -> None:
    frame = _portrait(rotation)
    second = _second(rotation)
    yes, no = second(frame, _coded(FACE, rotation)), second(frame, _coded(SLEEVE, rotation))
    assert yes.close > 0.5
    assert not no.flag and no.close < 0.1


def test_a_face_in_the_dark_is_brightened() -> None:
    assert _second(0)(_portrait(light=0.06), FACE).close > 0.5


def test_the_landmark_network_is_asked_where_the_close_look_is_not_sure() -> None:
    """A box half beside the face: the close look sees the face, and not in the box's place."""
    beside = Box(FACE.x0 + 48, FACE.y0, FACE.x1 + 48, FACE.y1)
    opinion = _second(0)(_portrait(), beside)
    assert opinion.flag and opinion.close < 0.4


def test_the_face_beside_the_expected_place_is_found_where_it_is() -> None:
    frame = _portrait(90)
    truth = _coded(FACE, 90)
    beside = Box(truth.x0 + 40, truth.y0 - 30, truth.x1 + 40, truth.y1 - 30)
    face = _second(90).look(frame, beside, 0.5)
    assert face is not None and face.box.iou(truth) > 0.6
    assert _second(90).look(frame, _coded(SLEEVE, 90), 0.15) is None


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gray"])
@pytest.mark.parametrize("box", [Box(-30, -20, 10, 30), Box(150, 100, 190, 150), Box(-90, -90, -50, -50)])
def test_a_box_at_the_border_gives_a_whole_picture(pix_fmt: str, box: Box) -> None:
    picture = Square.around(box, 1.6, 64, 0, 1.0).picture(noise_frame(0, pix_fmt))
    assert picture.shape == (64, 64, 3)
    x, y = box.centre
    half = 0.8 * max(box.width, box.height)
    for corner, inside in (((0, 0), x - half >= 0 and y - half >= 0), ((63, 63), x + half <= 160)):
        assert picture[corner].any() == (inside and x + half > 0)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_face_of_the_square_lies_in_the_frame_where_its_pixels_lie(rotation: int, mirrored: bool) -> None:
    frame = noise_frame(0, "gray", 400, 200)
    frame.planes[0].zero_()
    frame.planes[0][80:100, 180:220] = 255
    square = Square.around(Box(170, 60, 240, 120), 2.0, 160, rotation, 1.0)
    bright = square.picture(frame)[..., 0] > 127
    bright = bright[:, ::-1] if mirrored else bright
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    box = Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    back = square.back(Face(1.0, box, None), mirrored=mirrored).box
    assert (back.x0, back.y0, back.x1, back.y1) == pytest.approx((180, 80, 220, 100), abs=1.0)


CROPS = {(135, 35, 175): 47.754, (142, 20, 160): 30.982, (300, 300, 180): -3.372, (20, 300, 100): -7.490}
"""x, y and side in the portrait: log odds of MediaPipe's own face_landmark.tflite, run by OpenVINO 2026.4"""


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_the_converted_network_says_what_the_original_says(
    library: Literal["onnxruntime", "openvino"],
) -> None:
    if library == "openvino":
        pytest.importorskip("openvino")
    program = compile_on_cpu(shipped("face_flag.onnx"), (FLAG_PX, FLAG_PX), library, threads=1)
    rough = "bf16" in program.name
    for (x, y, side), wanted in CROPS.items():
        part: NDArray[np.uint8] = skimage.data.astronaut()[y : y + side, x : x + side]
        picture = np.asarray(cv2.resize(part, (FLAG_PX, FLAG_PX), interpolation=cv2.INTER_AREA), np.uint8)
        said = program(picture)[0].item()
        assert said == pytest.approx(wanted, abs=1.5 if rough else 0.01)
