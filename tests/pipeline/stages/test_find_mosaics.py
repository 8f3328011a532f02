"""The finding stage: formats, regions given by a person, cuts."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.decode import open_decoder
from pipeline.mosaic.finder import find_mosaics_in_picture
from pipeline.mosaic.multi_frame import EdgeAccumulator
from pipeline.picture.resize import luma8
from pipeline.stages import find_mosaics as find_mosaics_stage
from pipeline.stages.find_mosaics import find_mosaics
from pipeline.types import Box, Cells, Colour, Found, Frame, ManualRegion, MosaicRegion
from tests.support.clips import write_clip
from tests.support.mosaics import fixed, locked, pixelate, texture

COLOUR = Colour("bt709", "tv", "bt709", "bt709")
MOSAIC = locked((60, 40, 204, 184), (12, 12))


def frame(index: int, luma: NDArray[np.uint8], pix_fmt: str = "yuv420p") -> Frame:
    """``luma`` as a frame of a format, its chroma neutral."""
    height, width = luma.shape
    ten = "10" in pix_fmt
    y = torch.from_numpy(luma.astype(np.uint16) * 4 if ten else luma)
    if pix_fmt.startswith("gray"):
        planes: tuple[torch.Tensor, ...] = (y,)
    elif pix_fmt.startswith("gbr"):
        planes = (y, y, y)
    else:
        half = ((height + 1) // 2, (width + 1) // 2) if "420" in pix_fmt else (height, width)
        chroma = torch.full(half, 512 if ten else 128, dtype=y.dtype)
        planes = (y, chroma, chroma)
    return Frame(index, index * 40, planes, pix_fmt, COLOUR, Fraction(1, 1000), False)


def run(frames: list[Frame], manual: tuple[ManualRegion, ...] = ()) -> list[Found[MosaicRegion]]:
    return list(find_mosaics(frames, settings=FindConfig(), manual=manual))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "gray", "gray10le", "gbrp"])
def test_every_format_shows_the_same_region(pix_fmt: str) -> None:
    picture = pixelate(texture(241, 301, 1), MOSAIC)
    (found,) = run([frame(0, picture, pix_fmt)])
    (reference,) = run([frame(0, picture, "gray")])
    assert np.array_equal(luma8(found.frame), picture)
    assert found.regions == reference.regions
    assert len(found.regions) == 1
    assert not found.cut


def test_a_given_region_is_taken_as_given_and_its_grid_is_read() -> None:
    picture = pixelate(texture(240, 300, 1), MOSAIC)
    box = Box(50.0, 30.0, 214.0, 194.0)
    (found,) = run([frame(0, picture)], (ManualRegion(box),))
    (region,) = found.regions
    assert region.box == box
    assert region.grid is not None
    assert region.grid.x.pitch == pytest.approx(12.0, rel=0.02)


@pytest.mark.parametrize(("pitch", "phase"), [(8.0, (3.0, 5.0)), (9.5, (0.0, 0.0))])
def test_cells_that_compression_hid_are_given_by_hand(
    tmp_path: Path, pitch: float, phase: tuple[float, float]
) -> None:
    """Nobody says where their corners are, or somebody does."""
    mosaic, box = fixed((61, 43, 173, 155), pitch, phase), Box(61, 43, 173, 155)
    faint = (texture(240, 332, 3) * 0.35 + 80).astype(np.uint8)

    def draw(index: int, width: int, height: int, pix_fmt: str) -> list[NDArray[np.uint8]]:
        grey = np.full((height // 2, width // 2), 128, np.uint8)
        return [pixelate(np.ascontiguousarray(faint[:, index : index + width]), mosaic), grey, grey]

    hard = {"crf": "32", "preset": "medium"}
    clip = write_clip(tmp_path / "in.mp4", frames=12, width=320, height=240, draw=draw, options=hard)
    with open_decoder(clip) as decoder:
        frames = list(decoder.frames())
    assert all(not found.regions for found in run(frames))
    for corner in (None, phase):
        found = run(frames, (ManualRegion(box, cells=Cells(pitch, pitch, corner)),))
        for item in found[11:] if corner is None else found:
            (region,) = item.regions
            assert region.grid is not None
            assert region.grid.x.pitch == region.grid.y.pitch == pitch
            assert region.grid.x.origin == pytest.approx(mosaic.x.origin, abs=1.0 if corner is None else 1e-9)
            assert region.grid.y.origin == pytest.approx(mosaic.y.origin, abs=1.0 if corner is None else 1e-9)


def test_a_given_region_without_a_mosaic_has_no_grid() -> None:
    (found,) = run([frame(0, texture(240, 300, 1))], (ManualRegion(Box(50, 30, 214, 194)),))
    assert [r.grid for r in found.regions] == [None]


def test_a_given_region_holds_for_its_time_only() -> None:
    blank = np.full((64, 64), 100, dtype=np.uint8)
    manual = ManualRegion(Box(8, 8, 56, 56), start_s=0.08, end_s=0.16)
    found = run([frame(i, blank) for i in range(6)], (manual,))
    assert [len(f.regions) for f in found] == [0, 0, 1, 1, 0, 0]


def test_a_cut_is_marked_on_the_first_frame_of_the_new_shot() -> None:
    shots = [np.full((90, 160), 40, dtype=np.uint8), np.full((90, 160), 200, dtype=np.uint8)]
    found = run([frame(i, shots[i // 5 % 2]) for i in range(15)])
    assert [f.frame.index for f in found if f.cut] == [5, 10]


def test_a_mosaic_ends_with_the_last_frame_that_shows_it() -> None:
    plain = [texture(240, 300, k) for k in range(12)]
    shown = {*range(3, 6), 8}
    found = run([frame(k, pixelate(p, MOSAIC) if k in shown else p) for k, p in enumerate(plain)])
    assert {f.frame.index for f in found if f.regions} == shown


def test_what_is_expected_of_a_frame_ends_with_the_shot(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def spy(
        luma: NDArray[np.uint8],
        settings: FindConfig,
        expected: list[MosaicRegion],
        accumulator: EdgeAccumulator,
        *,
        smaller: bool,
    ) -> list[MosaicRegion]:
        asked.append(len(expected))
        return find_mosaics_in_picture(luma, settings, expected, accumulator, smaller=smaller)

    monkeypatch.setattr(find_mosaics_stage, "find_mosaics_in_picture", spy)
    dark, light = np.full((240, 300), 30, dtype=np.uint8), np.full((240, 300), 220, dtype=np.uint8)
    dark[40:184, 60:204] = pixelate(texture(240, 300, 1), MOSAIC)[40:184, 60:204]
    found = run([frame(k, dark if k < 3 else light) for k in range(6)])
    assert [f.frame.index for f in found if f.cut] == [3]
    assert asked == [0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 33), (720, 5)])
def test_small_and_odd_pictures(size: tuple[int, int]) -> None:
    (found,) = run([frame(0, texture(*size, 1))])
    assert found.regions == ()
