"""Real codecs in memory, and what a mosaic goes through between its tool and the finder."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nets import pixelation
from nets.pixelation import Operator
from pipeline.picture.color import conversion
from train.data.codecs import CODECS, SHARES, Codec, draw_codec, through
from train.data.degrade import Degradation, Example, degrade
from train.data.footage import EXACT, UNTAGGED, Footage, draw_misplacement, film, softened
from train.data.mosaic_geometry import Mosaic

NOTHING = Footage(soft=0.0, rescaled=0.0, gamma=0.0, misplaced=0.0)


def seeded(seed: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(frames: int, size: int = 96) -> Tensor:
    """(T, 3, size, size): smooth, with some detail, panning."""
    coarse = torch.rand(1, 3, 24, 24, generator=seeded(1))
    still = F.interpolate(coarse, (size + 32, size + 32), mode="bicubic", align_corners=False).clamp(0, 1)
    return torch.cat([still[..., t : t + size, 2 * t : 2 * t + size] for t in range(frames)])


def as_bytes(clip: Tensor) -> NDArray[np.uint8]:
    out: NDArray[np.uint8] = (clip * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return out


def error(clip: Tensor, planes: list[tuple[Tensor, ...]], codec: Codec) -> float:
    """Root mean square of what a codec did, in grey levels."""
    side = clip.shape[-1]
    convert = conversion(codec.pix_fmt, UNTAGGED, side, side)
    rgb = torch.stack([convert.to_rgb(list(p)) for p in planes])
    return float(((rgb - clip) ** 2).mean().sqrt() * 255)


@pytest.mark.parametrize("name", list(CODECS))
@pytest.mark.parametrize("frames", [1, 4])
def test_a_codec_gives_all_frames_back_and_does_what_its_quality_says(name: str, frames: int) -> None:
    codec, clip = CODECS[name], pictures(frames)
    good, bad = (through(as_bytes(clip), codec, q, seeded()) for q in codec.quality)
    assert len(good) == frames and [tuple(p.shape) for p in good[0]] == [(96, 96), (48, 48), (48, 48)]
    assert 0.2 < error(clip, good, codec) < error(clip, bad, codec) < 25
    again = through(as_bytes(clip), codec, codec.quality[1], seeded())
    assert all(torch.equal(a, b) for x, y in zip(bad, again, strict=True) for a, b in zip(x, y, strict=True))


def test_frames_come_in_order() -> None:
    clip = torch.linspace(0.1, 0.9, 6).view(6, 1, 1, 1).expand(6, 3, 64, 64)
    for codec in CODECS.values():
        luma = [
            float(p[0].float().mean()) for p in through(as_bytes(clip), codec, codec.quality[0], seeded())
        ]
        assert luma == sorted(luma) and luma[-1] - luma[0] > 100


def test_every_codec_is_drawn_and_sizes_are_checked() -> None:
    generator = seeded()
    drawn = [draw_codec(generator) for _ in range(200)]
    assert {c.name for c, _ in drawn} == set(CODECS) == set(SHARES)
    assert all(c.quality[0] <= q <= c.quality[1] for c, q in drawn)
    with pytest.raises(ValueError, match="even"):
        through(as_bytes(pictures(1, 95)), CODECS["x264"], 20, seeded())


def mosaic(**changes: object) -> Mosaic:
    made = Mosaic(
        crop=150.0,
        left=29.0,
        top=24.0,
        width=88.0,
        height=96.0,
        pitch=(9.3, 9.3),
        origins=((3.4, 1.2), (4.1, 2.0)),
        snapped=False,
        ellipse=False,
        cells=32,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{}, {"snapped": True}, {"ellipse": True}], ids=str)
def test_a_filmed_mosaic_is_read_where_it_was_drawn(changes: dict[str, object]) -> None:
    clean, drawn = pictures(2, 150), mosaic(**changes)
    truth = F.interpolate(clean, (128, 128), mode="area")
    filmed = film(clean, Operator.AREA, drawn, truth, NOTHING, seeded(11))
    rows, cols, weight = drawn.render(128)
    assert torch.equal(filmed.rows, rows) and torch.equal(filmed.cols, cols)
    # An ellipse's edge goes through pixels; all else is the same to the pixel.
    assert float((filmed.mask != 1 - weight).float().mean()) < (0.01 if drawn.ellipse else 1e-9)
    frame_rows, frame_cols, _ = drawn.render(150)
    wanted = pixelation.block_means(clean, frame_rows, frame_cols)
    got = pixelation.block_means(filmed.image, rows, cols, 1 - filmed.mask)
    whole = pixelation.coverage(rows, cols, 1 - filmed.mask) > 0.9
    deviation = ((got - wanted) * whole).abs() * 255
    assert 0 < float(deviation.sum() / (3 * whole.sum())) < 6  # a codec's noise, not another cell's value
    assert torch.equal(filmed.truth, truth)
    outside = ((filmed.image - truth) * filmed.mask).abs()
    assert float(outside.mean()) < 8 / 255


def test_each_part_of_footage_happens() -> None:
    clean = pictures(1, 150)
    drawn, truth = mosaic(origins=((3.4, 1.2),)), F.interpolate(clean, (128, 128), mode="area")

    def run(**shares: float) -> Example:
        made = film(clean, Operator.AREA, drawn, truth, replace(NOTHING, **shares), seeded(2))
        return Example(*(getattr(made, n)[None] for n in ("truth", "image", "mask", "rows", "cols")), clean)

    plain = run()
    soft, scaled, gamma, misplaced = (
        run(**{share: 1.0}) for share in ("soft", "rescaled", "gamma", "misplaced")
    )
    assert torch.equal(soft.mask, plain.mask) and not torch.equal(soft.image, plain.image)
    assert not torch.equal(scaled.image, plain.image) and torch.equal(scaled.truth, plain.truth)
    assert not torch.allclose(gamma.truth, plain.truth, atol=0.01)
    assert not torch.equal(misplaced.mask, plain.mask)
    error = draw_misplacement(lambda low, high: (low + high) / 2)
    assert error.sides == EXACT.sides and error.phase == EXACT.phase


def test_a_soft_edge_rises_within_its_radius() -> None:
    hard = torch.zeros(1, 1, 20, 20)
    hard[..., 4:16, 4:16] = 1
    edge = softened(hard, 2)[0, 0, 10]
    assert float((edge * (1 - hard[0, 0, 10])).max()) == 0
    assert 0 < float(edge[4]) < float(edge[5]) < 1 and torch.equal(edge[6:14], torch.ones(8))


def test_a_share_of_clips_is_filmed_and_the_others_stay_as_they_were() -> None:
    clean = pictures(6, 128).unflatten(0, (6, 1))
    plain = degrade(clean, 128, 64, Degradation(), seeded(3))
    none = degrade(clean, 128, 64, Degradation(filmed=1e-9), seeded(3))
    half, again = (degrade(clean, 128, 64, Degradation(filmed=0.5), seeded(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(plain.tensors(), none.tensors(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(half.tensors(), again.tensors(), strict=True))
    same = [torch.equal(a, b) for a, b in zip(half.image, plain.image, strict=True)]
    assert 0 < sum(same) < 6
    assert torch.equal(clean, pictures(6, 128).unflatten(0, (6, 1)))  # not written into
