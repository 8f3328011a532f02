"""The finder on made-up pictures: what it must find, and what it must not."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nets.pixelation import Operator
from pipeline.config import FindConfig
from pipeline.mosaic.redetect import verify_mosaic
from pipeline.mosaic.single_scale import find_at_scale, read_grid_at_scale
from pipeline.track.mosaics import REPEATED_SCORE
from pipeline.types import Box, Shape
from tests.support import SHARED
from tests.support.mosaics import assert_right, fixed, iou, locked, noisy, phase_error_px, pixelate, texture

pytestmark = pytest.mark.slow

SETTINGS = FindConfig()


def jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


@given(
    across=st.integers(6, 16),
    down=st.integers(6, 18),
    width=st.integers(100, 300),
    height=st.integers(110, 300),
    x=st.integers(0, 150),
    y=st.integers(0, 120),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_a_resized_rectangle_is_found_with_its_grid(
    across: int, down: int, width: int, height: int, x: int, y: int, seed: int
) -> None:
    mosaic = locked((x, y, x + width, y + height), (across, down))
    regions = find_at_scale(noisy(pixelate(texture(460, 500, seed), mosaic), seed), SETTINGS)
    assert len(regions) == 1
    assert_right(regions[0], mosaic)


@given(
    pitch=st.floats(6.0, 40.0),
    phase=st.tuples(st.floats(0, 40), st.floats(0, 40)),
    shape=st.sampled_from(Shape),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_a_grid_fixed_in_the_frame_is_found_though_the_region_cuts_its_cells(
    pitch: float, phase: tuple[float, float], shape: Shape, seed: int
) -> None:
    mosaic = fixed((101, 67, 375, 393), pitch, phase, shape=shape)
    regions = find_at_scale(noisy(pixelate(texture(460, 500, seed), mosaic), seed), SETTINGS)
    assert len(regions) == 1
    assert_right(regions[0], mosaic)


@pytest.mark.parametrize("shape", Shape)
def test_the_shape_is_told(shape: Shape) -> None:
    right = 0
    for seed in range(10):
        mosaic = fixed((80, 60, 300, 320), 17.5, (3.0, 5.0), shape=shape)
        regions = find_at_scale(noisy(pixelate(texture(400, 400, seed), mosaic), seed), SETTINGS)
        right += regions[0].shape is shape
    assert right >= 9


def test_an_ellipse_is_found_to_the_pixel() -> None:
    """Pixels of it that are left out stay as a dashed line along its edge."""
    left_out = taken_in = 0.0
    for seed in range(8):
        mosaic = fixed((80, 60, 300, 320), 17.5, (3.0, 5.0), shape=Shape.ELLIPSE)
        (region, *_) = find_at_scale(noisy(pixelate(texture(400, 400, seed), mosaic), seed), SETTINGS)
        box, true = region.box, mosaic.mask(400, 400)
        u = (np.arange(400) + 0.5 - box.centre[0]) / (box.width / 2)
        v = (np.arange(400) + 0.5 - box.centre[1]) / (box.height / 2)
        seen = u * u + (v * v)[:, None] <= 1.0
        left_out += (true & ~seen).sum() / (np.pi * 240) / 8
        taken_in += (seen & ~true).sum() / (np.pi * 240) / 8
    assert left_out < 0.02
    assert taken_in < 1.5


def test_several_mosaics_with_grids_of_their_own() -> None:
    mosaics = [
        locked((20, 30, 180, 200), (10, 10)),
        locked((260, 60, 420, 260), (9, 12)),
        fixed((500, 0, 640, 150), 11.0, (4.0, 2.0)),
    ]
    picture = texture(360, 640, 3)
    for mosaic in mosaics:
        picture = pixelate(picture, mosaic)
    regions = find_at_scale(noisy(picture, 3), SETTINGS)
    assert len(regions) == 3
    for mosaic in mosaics:
        assert_right(max(regions, key=lambda r: iou(r, mosaic)), mosaic)


def test_a_whole_frame() -> None:
    mosaic = locked((0, 0, 640, 360), (40, 24))
    regions = find_at_scale(noisy(pixelate(texture(360, 640, 5), mosaic), 5), SETTINGS)
    assert len(regions) == 1
    assert_right(regions[0], mosaic)


@pytest.mark.parametrize("cells", [4, 5, 40])
def test_few_and_many_cells(cells: int) -> None:
    side = max(200, cells * 6)
    mosaic = locked((50, 40, 50 + side, 40 + side), (cells, cells))
    regions = find_at_scale(noisy(pixelate(texture(400, 420, 2), mosaic), 2), SETTINGS)
    assert len(regions) == 1
    assert_right(regions[0], mosaic)


def text() -> NDArray[np.uint8]:
    picture = np.full((480, 640), 235, dtype=np.uint8)
    for k, y in enumerate(range(16, 480, 15)):
        cv2.putText(picture, f"{k} the quick brown fox jumps over {k * 7919} lazy dogs", (5, y), 0, 0.45, 20)
    return picture


def table() -> NDArray[np.uint8]:
    picture = np.full((480, 640), 245, dtype=np.uint8)
    picture[::24] = 120
    picture[:, ::64] = 120
    picture[24:48] = 200
    return picture


def tiles() -> NDArray[np.uint8]:
    """Flat tiles with grout between."""
    values = np.random.default_rng(1).integers(60, 220, (12, 16))
    picture = np.repeat(np.repeat(values, 40, axis=0), 40, axis=1).astype(np.uint8)
    for offset in range(3):
        picture[offset::40] = picture[:, offset::40] = 30
    return picture


def blinds() -> NDArray[np.uint8]:
    values = np.random.default_rng(2).integers(60, 220, 24)
    return np.broadcast_to(np.repeat(values, 20)[:, None], (480, 640)).astype(np.uint8)


def letterbox() -> NDArray[np.uint8]:
    picture = texture(480, 640, 4)
    picture[:60] = picture[-60:] = 16
    picture[:, :40] = picture[:, -40:] = 16
    return picture


def cartoon() -> NDArray[np.uint8]:
    rng = np.random.default_rng(3)
    picture = np.full((480, 640), 200, dtype=np.uint8)
    for _ in range(40):
        x, y, w, h = (int(v) for v in rng.integers(10, 300, 4))
        cv2.rectangle(picture, (2 * x, y), (2 * x + w, y + h), int(rng.integers(0, 255)), -1)
        cv2.circle(picture, (x + w, y), h // 3, int(rng.integers(0, 255)), -1)
    return picture


def twice() -> NDArray[np.uint8]:
    """Enlarged by two without interpolation."""
    return np.repeat(np.repeat(texture(240, 320, 6), 2, axis=0), 2, axis=1)


@pytest.mark.parametrize(
    "picture",
    [
        *(pytest.param(f(), id=f.__name__) for f in (text, table, tiles, blinds, letterbox, cartoon, twice)),
        *(pytest.param(jpeg(texture(480, 640, 7), q), id=f"jpeg-{q}") for q in (5, 8, 20)),
        *(
            pytest.param(texture(480, 640, s, c), id=f"texture-{c}")
            for s, c in ((8, 4.0), (9, 20.0), (10, 60.0))
        ),
        pytest.param(np.zeros((480, 640), dtype=np.uint8), id="black"),
        pytest.param(np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8), id="white noise"),
    ],
)
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_no_false_alarm(picture: NDArray[np.uint8], sigma: float) -> None:
    strong = [r for r in find_at_scale(noisy(picture, 1, sigma), SETTINGS) if r.score >= 0.5]
    assert strong == []


@given(height=st.integers(1, 70), width=st.integers(1, 70), cells=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_size_is_survived(height: int, width: int, cells: int, seed: int) -> None:
    picture = pixelate(texture(height, width, seed), locked((0, 0, width, height), (cells, cells)))
    for region in find_at_scale(picture, SETTINGS):
        assert 0 <= region.box.x0 < region.box.x1 <= width
        assert 0 <= region.box.y0 < region.box.y1 <= height


def test_cell_zero_is_the_first_that_the_region_touches() -> None:
    mosaic = fixed((90, 77, 333, 301), 16.0, (5.0, 11.0))
    region = find_at_scale(pixelate(texture(400, 420, 1), mosaic), SETTINGS)[0]
    assert region.grid is not None
    for axis, start in ((region.grid.x, region.box.x0), (region.grid.y, region.box.y0)):
        assert 0 <= np.floor((start - axis.origin) / axis.pitch + 1e-6) < 1


def test_the_grid_of_a_given_box_is_read() -> None:
    mosaic = fixed((90, 77, 333, 301), 16.0, (5.0, 11.0))
    grid = read_grid_at_scale(pixelate(texture(400, 420, 1), mosaic), Box(100, 90, 320, 290), SETTINGS)
    assert grid is not None
    assert grid.x.pitch == pytest.approx(16.0, rel=0.02)
    assert phase_error_px(mosaic.x, grid.x, 100) <= 1.0
    assert phase_error_px(mosaic.y, grid.y, 90) <= 1.0


@pytest.mark.parametrize("box", [Box(0, 0, 300, 300), Box(290, 290, 340, 340), Box(500, 500, 600, 600)])
def test_no_grid_where_there_is_none(box: Box) -> None:
    assert read_grid_at_scale(texture(300, 300, 1), box, SETTINGS) is None


@pytest.mark.shared
def test_real_footage_has_no_mosaic_that_a_track_is_born_of() -> None:
    clips = SHARED / "data" / "videos" / "train"
    if not clips.exists():
        pytest.skip("no ../shared/data/videos/train beside the checkout")
    for path in sorted(clips.glob("*.mp4"))[::4]:
        with av.open(str(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % 10 == 0:
                    found = find_at_scale(frame.to_ndarray(format="gray"), SETTINGS)
                    strong = [region for region in found if region.score >= REPEATED_SCORE]
                    assert strong == [], f"{path.name}, frame {index}"
                if index == 40:
                    break


@pytest.mark.parametrize("seed", [0, 2, 3, 6])
def test_a_box_reaches_over_a_forehead_where_one_line_of_cells_shows(seed: int) -> None:
    mosaic = fixed((93, 81, 173, 185), 8.0, (5.0, 1.0))
    face = texture(320, 320, seed, 60.0)
    face[40:105, 40:230] = 130 + 6 * np.clip((np.arange(40, 230) - 115) / 20, 0, 1)
    drawn = pixelate(face, mosaic)
    drawn[81:105, 93:173] = np.where(np.arange(93, 173) < 125, 130, 136)
    (region, *_) = find_at_scale(noisy(drawn, seed), SETTINGS)
    assert abs(region.box.y0 - 81) <= 4
    assert_right(region, mosaic)


@pytest.mark.parametrize("cut", [3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_strip_of_a_cut_cell_is_not_left_beside_whole_ones(cut: int, seed: int) -> None:
    mosaic = fixed((107 - cut, 95, 107 + 126, 95 + 154 + cut), 14.0, (9.0, 11.0))
    (region, *_) = find_at_scale(noisy(pixelate(texture(400, 400, seed, 60.0), mosaic), seed), SETTINGS)
    sides = (region.box.x0, region.box.y0, region.box.x1, region.box.y1)
    assert np.abs(np.subtract(sides, mosaic.box)).max() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_wide_cells_are_followed_out_of_their_liveliest_corner(seed: int) -> None:
    """The screening fires where cells differ most: here in 4 x 4 of 10 x 10."""
    mosaic = fixed((103, 75, 583, 555), 48.0, (7.0, 27.0))
    cells = np.random.default_rng(seed).integers(0, 2, (10, 10)) * 3.0
    cells[6:, 6:] = np.random.default_rng(seed).integers(-8, 8, (4, 4)) * 5.0
    picture = np.full((700, 720), 128, dtype=np.uint8)
    picture[75:555, 103:583] = 128 + np.kron(cells, np.ones((48, 48)))
    (region, *others) = find_at_scale(noisy(picture, seed, 0.5), SETTINGS)
    assert not others
    assert_right(region, mosaic)


@pytest.mark.parametrize("seed", range(3))
def test_whole_cells_do_not_cut_off_most_of_a_cell(seed: int) -> None:
    """Sides 1 to 6 px beside a grid of 6.7 px: moved to its lines, the box lost a tenth of each side."""
    mosaic = fixed((122, 101, 190, 184), 6.6973, (116.999, 95.602), operator=Operator.CENTRE)
    (region, *_) = find_at_scale(noisy(pixelate(texture(300, 320, seed, 60.0), mosaic), seed), SETTINGS)
    sides = (region.box.x0, region.box.y0, region.box.x1, region.box.y1)
    assert np.abs(np.subtract(sides, mosaic.box)).max() <= 2


def test_small_cells_are_flat_though_a_codec_ripples_at_their_sides() -> None:
    """At 4 to 5 px a cell most pixels lie next to a step, where its rest is above codec noise."""
    found = 0
    for seed in range(8):
        mosaic = fixed((81, 67, 141, 137), 5.3, (1.3, 2.2), operator=Operator.CENTRE)
        regions = find_at_scale(jpeg(pixelate(texture(240, 240, seed, 60.0), mosaic), 75), SETTINGS)
        found += any(iou(r, mosaic) > 0.8 and r.score > 0.5 for r in regions)
    assert found >= 7


def test_cells_are_square_where_one_axis_hides_most_of_its_lines() -> None:
    """Two halves of 7 rows of cells differ by far more than cells do: lines seem 7 cells apart."""
    mosaic, right = fixed((80, 66, 152, 150), 6.0, (80.0, 66.0)), 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = 120 + 12 * np.repeat(rng.permutation(8)[:2], 7)
        cells = rows[:, None] + rng.normal(0.0, 5.0, (14, 12))
        picture = texture(240, 240, seed, 20.0)
        picture[66:150, 80:152] = np.clip(np.kron(cells, np.ones((6, 6))), 0, 255)
        regions = find_at_scale(noisy(picture, seed, 1.5), SETTINGS)
        right += any(
            iou(r, mosaic) > 0.8 and r.grid is not None and abs(r.grid.y.pitch - 6) < 0.2 for r in regions
        )
    assert right >= 5


@pytest.mark.parametrize("high", [8, 16])
def test_half_of_the_lines_are_nearly_hidden_or_not_there(high: int) -> None:
    """Rows of dark cells that differ in pairs: cells are square if there is anything between the pairs."""
    right = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = 58 + 12 * rng.permutation(8)[:7]
        detail = rng.normal(0.0, 1.0, (112 // high, 12))
        cells = np.repeat(rows, 16 // high)[:, None] + 6.0 * rng.integers(-1, 2, 12) + detail
        picture = texture(240, 240, seed, 10.0) // 2
        picture[66:178, 80:176] = np.clip(np.kron(cells, np.ones((high, 8))), 0, 255)
        grids = [r.grid for r in find_at_scale(noisy(picture, seed, 0.8), SETTINGS) if r.grid is not None]
        right += any(abs(g.x.pitch - 8) < 0.2 and abs(g.y.pitch / high - 1) < 0.03 for g in grids)
    assert right >= 7


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("pitch", [5.0, 12.0])
def test_rectangles_in_small_cells_say_what_their_strips_speak_for(pitch: float, shape: Shape) -> None:
    mosaic = fixed((161, 127, 281, 277), pitch, (1.0, 2.0), shape=shape)
    (region,) = find_at_scale(noisy(pixelate(texture(460, 500, 3), mosaic), 3), SETTINGS)
    if shape is Shape.ELLIPSE or pitch > 10:
        assert region.strips == (None, None)
        return
    for strips, start, end in zip(region.strips, (161, 127), (281, 277), strict=True):
        assert strips is not None
        assert len(strips.ends) == len(strips.log_odds) + 1
        assert (np.diff(strips.ends) > 0).all()
        inside = (strips.ends[:-1] >= start) & (strips.ends[1:] <= end)
        outside = (strips.ends[1:] <= start) | (strips.ends[:-1] >= end)
        assert (strips.log_odds[inside] > 0).mean() > 0.9
        assert (strips.log_odds[outside] < 0).mean() > 0.9
        assert outside.sum() >= 8


@pytest.mark.parametrize("pitch", [8, 12, 17])
@pytest.mark.parametrize("colours", [2, 3])
def test_checks_are_no_mosaic(pitch: int, colours: int) -> None:
    """Flat cells on a grid, but they repeat."""
    rng = np.random.default_rng(pitch)
    values = rng.permutation(np.linspace(70, 180, colours * colours)).reshape(colours, colours)
    checks = np.kron(np.tile(values, (40, 40)), np.ones((pitch, pitch)))[:460, :500].astype(np.uint8)
    assert find_at_scale(noisy(checks, 1, 1.0), SETTINGS) == []
    mosaic = fixed((161, 127, 361, 327), 10.0)
    checks[mosaic.box[1] : mosaic.box[3], mosaic.box[0] : mosaic.box[2]] = pixelate(
        texture(460, 500, 2), mosaic
    )[mosaic.box[1] : mosaic.box[3], mosaic.box[0] : mosaic.box[2]]
    assert all(r.box.width < 400 for r in find_at_scale(noisy(checks, 1, 1.0), SETTINGS))


@pytest.mark.parametrize("x", [160, 163])
def test_cells_of_a_codecs_size_off_its_grid_are_redetected(x: int) -> None:
    """Blocks of 8 px, down from line 100, are no codec's; found where they were as in the whole picture."""
    mosaic = locked((x, 100, x + 152, 300), (19, 25))
    picture = noisy(pixelate(texture(460, 500, 4, 6.0), mosaic), 4)
    (region,) = find_at_scale(picture, SETTINGS)
    repeated = verify_mosaic(picture, region.box, region.grid) if region.grid is not None else None
    assert repeated is not None
    assert repeated.score == pytest.approx(region.score, abs=0.1)
