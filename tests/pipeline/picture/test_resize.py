"""Planes made smaller: alike on the host and on a device, whatever the depth and size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pipeline.cuda import to_device
from pipeline.picture.resize import (
    DeviceLuma,
    area,
    area_on_host,
    linear,
    linear_array,
    linear_on_host,
    luma8,
    rgb_on_device,
    rgb_on_host,
    shrunk,
    to8,
    to8_array,
)
from tests.support.devices import DEVICES, entered
from tests.support.mosaics import texture
from tests.support.scene import scene

TOLERANCE_LEVELS = 1
"""Codes by which a device may differ: sums in another order, rounded."""


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("rows", "cols"), [(72, 128), (73, 131), (288, 512), (1080, 1920)])
def test_planes_shrink_as_opencv_shrinks_them(device: str, bits: int, rows: int, cols: int) -> None:
    wide = texture(rows, cols, seed=7).astype(np.uint16) * (1 << (bits - 8))
    plane = torch.from_numpy(wide.astype(np.uint8) if bits == 8 else wide + 1)
    width, height = max(1, cols * 4 // 9), max(1, rows * 4 // 9)
    eight = to8_array(plane.numpy(), bits)
    by_area = cv2.resize(eight, (width, height), interpolation=cv2.INTER_AREA).astype(int)
    by_line = linear_array(plane.numpy(), bits, width, height).astype(int)
    with entered(device) as (place, _):
        there = plane.to(place)
        assert np.array_equal(to8(there, bits).cpu().numpy(), eight)
        small = area(to8(there, bits), width, height).cpu().numpy()
        bilinear = linear(there, bits, width, height).cpu().numpy()
        assert np.array_equal(area_on_host(there, bits, width, height), small)
        assert np.array_equal(linear_on_host(there, bits, width, height), bilinear)
    assert np.abs(small - by_area).max() <= TOLERANCE_LEVELS
    assert np.abs(bilinear - by_line).max() <= TOLERANCE_LEVELS
    assert np.array_equal(linear_on_host(plane, bits, width, height), by_line)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("size", [(97, 64), (48, 65), (3, 3), (1, 9)])
def test_luma_is_shrunk_to_the_bit_alike(times: int, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    there = shrunk(DeviceLuma(torch.from_numpy(picture)), times)
    here = shrunk(picture, times)
    assert isinstance(there, DeviceLuma)
    assert here.shape == there.shape == (size[0] // times, size[1] // times)
    assert np.array_equal(np.asarray(here), there.plane.numpy())


def test_a_mean_of_a_half_goes_up() -> None:
    assert np.asarray(shrunk(np.array([[0, 1], [0, 1]], np.uint8), 2)).tolist() == [[1]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray", "gbrp", "yuv422p10le"])
def test_luma_is_that_of_yuv_or_the_green_of_rgb_at_eight_bits(device: str, pix_fmt: str) -> None:
    frame = scene(pix_fmt=pix_fmt).frame
    here = np.asarray(luma8(frame))
    wanted = frame.planes[1 if pix_fmt == "gbrp" else 0].numpy().astype(float)
    assert np.abs(here - wanted / (4 if "10" in pix_fmt else 1)).max() <= 0.5
    with entered(device) as (place, _):
        (sent,) = to_device([frame], place)
        there = luma8(sent)
        assert isinstance(there, DeviceLuma)
        assert np.array_equal(there[:, :], here)


@pytest.mark.parametrize("size", [(160, 75), (320, 150), (500, 300)])
def test_rgb_of_a_frame_is_about_the_same_on_host_and_device(size: tuple[int, int]) -> None:
    frame = scene(size=(320, 150)).frame
    here = rgb_on_host(frame, *size).astype(int)
    there = rgb_on_device(frame, *size).permute(1, 2, 0).numpy()
    assert here.shape == there.shape == (size[1], size[0], 3)
    # A level of luma is 255 / 219 of blue, one of chroma 1.77, and three roundings may go another way.
    assert np.abs(here - there).max() <= 4
    assert np.abs(here - there).mean() < 0.3
