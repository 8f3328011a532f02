"""Restored pixels go back, and nothing else changes."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nets.pixelation import block_means
from pipeline.cuda import CPU
from pipeline.picture.cell_samples import Cells, laid, place_of, read_samples
from pipeline.picture.geometry import upright, view_of
from pipeline.stages.crop import crop
from pipeline.stages.paste import consistent, paste
from pipeline.stages.restore import restore
from pipeline.stages.window import frames_held, window
from pipeline.types import Batch, Frame, Patch, Shape, Tracked
from tests.support.scene import CubicEngine, Scene, scene

FORMATS = [
    "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv420p10le", "yuv422p12le", "yuv444p16le",
    "yuva420p", "gray", "gray12le", "gbrp", "gbrp10le", "gbrap12le",
]  # fmt: skip


def patched(shot: Scene, pixels: Tensor | None = None, trust: float = 1.0) -> list[Batch[Patch]]:
    """The scene through crop, window and the stand-in network; ``pixels`` and ``trust`` in its place."""
    frames = [Tracked(shot.frame, (shot.tracked(),))]
    crops = crop(frames, info=shot.info, size_px=64, cells=16, margin=1.6)
    batches = restore(window(crops, core=1, context=0), engine=CubicEngine(), batch_size=1)
    return [
        Batch(
            b.frames,
            tuple(replace(p, pixels=p.pixels if pixels is None else pixels, trust=trust) for p in b.items),
        )
        for b in batches
    ]


def pasted(shot: Scene, batches: Iterable[Batch[Patch]]) -> Frame:
    (frame,) = paste(batches, info=shot.info)
    return frame


def read(shot: Scene) -> tuple[Cells, Tensor, Tensor]:
    """Its mosaic, and the values and the noise of its cells."""
    grid = shot.region.grid
    assert grid is not None
    place = place_of(shot.region, grid, shot.convert, shot.info.width, shot.info.height)
    assert place is not None
    mosaic, _ = laid([place], (shot.info.width, shot.info.height), shot.convert, CPU)
    return mosaic, *read_samples([shot.frame], mosaic, shot.convert)


@settings(deadline=None, max_examples=25)
@given(
    pix_fmt=st.sampled_from(FORMATS),
    shape=st.sampled_from(list(Shape)),
    rotation=st.sampled_from([0, 90, 180, 270]),
    corner=st.tuples(st.integers(-40, 120), st.integers(-40, 100)),
    odd=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    blocks=st.floats(4, 12),
    seed=st.integers(0, 99),
)
def test_pixels_outside_the_mosaic_are_bit_identical(
    pix_fmt: str,
    shape: Shape,
    rotation: int,
    corner: tuple[int, int],
    odd: tuple[int, int],
    blocks: float,
    seed: int,
) -> None:
    """Whatever the network draws, in every format, at any place and size."""
    size = (150 + odd[0], 120 + odd[1])
    box = (*corner, corner[0] + 61, corner[1] + 61)
    shot = scene(box, blocks, pix_fmt=pix_fmt, shape=shape, rotation=rotation, size=size)
    before = [p.clone() for p in shot.frame.planes]
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed))
    after = pasted(shot, patched(shot, noise, trust=0.5))
    assert (after.pts, after.index, after.pix_fmt) == (shot.frame.pts, shot.frame.index, pix_fmt)
    fmt = shot.convert.format
    for number, (old, new, kept) in enumerate(zip(before, after.planes, shot.frame.planes, strict=True)):
        assert torch.equal(old, kept)  # the frame that came belongs to somebody else
        assert new.dtype == old.dtype
        mosaic = shot.mask[0] > 0
        if number >= fmt.colour_planes:
            mosaic = torch.zeros_like(mosaic)  # alpha
        elif number > 0:
            mosaic = _all_covered(mosaic, fmt.step_y, fmt.step_x)
        assert torch.equal(new.int()[~mosaic], old.int()[~mosaic])
        if mosaic.sum() > 50:
            assert (new.int() != old.int())[mosaic].float().mean() > 0.3  # and inside something happened


def _all_covered(mask: Tensor, step_y: int, step_x: int) -> Tensor:
    """Chroma samples all of whose luma pixels (those in the picture) lie in the mosaic."""
    height, width = mask.shape
    padded = torch.ones(-(-height // step_y) * step_y, -(-width // step_x) * step_x, dtype=torch.bool)
    padded[:height, :width] = mask
    return padded.unfold(0, step_y, step_y).unfold(1, step_x, step_x).flatten(2).all(-1)


def test_frames_without_patches_are_the_same_object() -> None:
    shot = scene()
    assert pasted(shot, [Batch((shot.frame,), ())]) is shot.frame


def error_db(a: Tensor, b: Tensor, mask: Tensor) -> float:
    return float(-10 * torch.log10((((a - b) ** 2) * mask).sum() / (a.shape[0] * mask.sum())))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le", "gbrp"])
def test_the_chain_beats_the_mosaic(pix_fmt: str, rotation: int) -> None:
    shot = scene(pix_fmt=pix_fmt, rotation=rotation)
    after = shot.convert.to_rgb(pasted(shot, patched(shot)).planes)
    mosaic = shot.convert.to_rgb(shot.frame.planes)
    gain_db = error_db(after, shot.clean, shot.mask) - error_db(mosaic, shot.clean, shot.mask)
    assert gain_db > 1.6


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_perfect_network_gives_the_clean_picture_back(rotation: int) -> None:
    """A patch goes back onto the very pixels that its crop showed."""
    shot = scene((37, 30, 133, 126), pix_fmt="yuv444p10le", size=(200, 190), rotation=rotation)
    (crops,) = crop(
        [Tracked(shot.frame, (shot.tracked(),))], info=shot.info, size_px=256, cells=16, margin=1.3
    )
    (made,) = crops.crops
    view = view_of(made.to_frame, 256, rotation)
    shown = shot.clean[:, view.y0 : view.y0 + view.height, view.x0 : view.x0 + view.width]
    large = torch.nn.functional.interpolate(shown.unsqueeze(0), (256, 256), mode="bicubic", antialias=True)
    patch = Patch(made, upright(large[0], rotation), trust=1.0)
    after = shot.convert.to_rgb(pasted(shot, [Batch((shot.frame,), (patch,))]).planes)
    psnr_db = error_db(after, shot.clean, shot.mask)
    assert psnr_db > 45


@given(trust=st.floats(0, 1), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=20)
def test_trust_scales_the_projection(trust: float, seed: int) -> None:
    shot = scene()
    mosaic, values, deviation = read(shot)
    noise = torch.rand(1, 3, *mosaic.mask.shape[2:], generator=torch.Generator().manual_seed(seed))
    start = (0.4 * noise + 0.3) * mosaic.mask

    def held(trust: float) -> Tensor:
        return consistent(start, mosaic, values, deviation, torch.full((1, 1), trust))

    def off(x: Tensor) -> Tensor:
        return (block_means(x, mosaic.rows, mosaic.cols, mosaic.mask) - values).abs()

    slack = 0.5 / 255 + deviation
    assert off(held(1.0)).max() <= slack + 0.02  # 0.02: clamped to [0, 1]
    assert off(held(trust)).sum() <= off(start).sum() + 1e-3
    assert torch.equal(held(0.0), start)


def test_projection_draws_no_grid() -> None:
    """A smooth picture stays smooth where cells meet."""
    shot = scene(pix_fmt="gbrp")
    mosaic, values, noise = read(shot)
    flat = torch.full((1, 3, *mosaic.mask.shape[2:]), 0.5)
    moved = consistent(flat, mosaic, values, noise, torch.ones(1, 1))[0, :, 3:-3, 3:-3]
    step = moved.diff(dim=-1).abs().mean((0, 1))
    at_edges = step[torch.arange(step.shape[0]) % 12 == 9].mean()
    assert mosaic.corners[0][0] == 36  # so that columns of cells begin at 1, 13, ... of the rectangle
    assert at_edges < 2 * step.mean()


def test_two_mosaics_on_one_frame() -> None:
    shot = scene((10, 10, 70, 70), 6)
    other = scene((90, 60, 150, 120), 6)
    frames = [Tracked(shot.frame, (shot.tracked(1), other.tracked(2)))]
    crops = crop(frames, info=shot.info, size_px=64, cells=16, margin=1.6)
    batches = restore(window(crops, core=1, context=0), engine=CubicEngine(), batch_size=2)
    after = pasted(shot, batches)
    changed = after.planes[0] != shot.frame.planes[0]
    assert bool(changed[10:70, 10:70].any())
    assert bool(changed[60:120, 90:150].any())


def test_the_chain_keeps_no_frame_longer_than_it_says() -> None:
    core, context = 8, 2
    shot = scene()
    made: list[weakref.ref[Tensor]] = []
    most = 0

    def tracked() -> Iterator[Tracked]:
        nonlocal most
        for i in range(40):
            planes = tuple(p.clone() for p in shot.frame.planes)
            made.append(weakref.ref(planes[0]))
            most = max(most, sum(ref() is not None for ref in made))
            frame = replace(shot.frame, index=i, planes=planes)
            del planes
            yield Tracked(frame, (shot.tracked(born=i == 0, last=i == 39),) if i % 10 == 0 else ())
            del frame

    crops = crop(tracked(), info=shot.info, size_px=16, cells=16, margin=1.6)
    engine = CubicEngine(core + 2 * context, context, size_px=16)
    batches = restore(window(crops, core=core, context=context), engine=engine, batch_size=4)
    count = 0
    for frame in paste(batches, info=shot.info):
        assert frame.index == count
        count += 1
        del frame
    assert count == 40
    assert most <= frames_held(core, context) + 2  # the one being made, and one in the hand of crop
