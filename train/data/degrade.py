"""Clean clips -> what a network gets to see: mosaics of many kinds, measured with noise.

Geometry is drawn as it arises in the pipeline: the crop's side is 1.6 x the longer side of the
mosaic, the frame has its own pixel raster, and the index map runs over frame pixels, so that
canonical cells have uneven widths exactly as at run time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation
from nets.pixelation import Operator
from train.data.footage import Filmed, Footage, film
from train.data.mosaic_geometry import Mosaic

OPERATORS = (Operator.AREA, Operator.CENTRE, Operator.CORNER, Operator.BILINEAR, Operator.LINEAR)
SHARES = (0.66, 0.1, 0.1, 0.07, 0.07)
MEANS = torch.tensor([OPERATORS.index(o) for o in (Operator.AREA, Operator.LINEAR)])


@dataclass(frozen=True)
class Degradation:
    """Ranges that are drawn from, uniform unless said otherwise."""

    blocks: tuple[float, float] = (6.0, 20.0)
    """cells across the mosaic's width, log-uniform ("infinite" strategy of the IDN paper)"""
    choices: tuple[float, ...] = ()
    """cells across, one of these; empty: of the range ("single" and "multiple" strategies)"""
    longer_side: tuple[float, float] = (0.56, 0.68)
    """longer side of the mosaic over the crop's side; 1 / 1.6 = 0.625 at run time"""
    aspect: tuple[float, float] = (0.65, 1.15)
    """width over height"""
    crop_px: tuple[float, float] = (90.0, 700.0)
    """side of the crop in frame px, log-uniform"""
    locked_share: float = 0.5
    """grids that move with the mosaic; the rest stand still in the frame"""
    steady: float = 0.3
    """fastest steady drift of a grid that stands still in the frame, in cells per frame"""
    ellipse_share: float = 0.25
    mistaken: float = 0.08
    """share of mosaics whose kind of cells, means or point samples, is given wrongly"""
    noise: float = 4.0
    """largest standard deviation of a cell's value in grey levels of 255 (x264 crf 28: 4.2)"""
    filmed: float = 0.0
    """share of clips whose mosaic goes through ``footage`` and a real codec instead of that noise; 0 draws
    what versions without it drew"""
    footage: Footage = field(default_factory=Footage)


FILMED = Degradation(filmed=0.35)
"""What shipped networks finish their training on."""


@dataclass(frozen=True)
class Example:
    """A batch for a network of window T, and the truth."""

    truth: Tensor
    """(B, T, 3, S, S)"""
    image: Tensor
    mask: Tensor
    rows: Tensor
    cols: Tensor
    """as in pipeline.engines.EngineSpec"""
    means: Tensor
    """(B,) 1 where the finder would take cells for means of their pixels, 0 for point samples"""

    def flat(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """image, mask, rows, cols with the frames of all clips in one dimension."""
        return tuple(x.flatten(0, 1) for x in (self.image, self.mask, self.rows, self.cols))  # type: ignore[return-value]

    def frames(self, kept: list[int]) -> Example:
        """The same clips, only those frames."""
        return replace(self, **{f.name: getattr(self, f.name)[:, kept] for f in fields(self)[:-1]})

    def replace_clip(self, clip: int, filmed: Filmed) -> None:
        """Writes another view of a clip into these tensors."""
        for part in fields(filmed):
            getattr(self, part.name)[clip] = getattr(filmed, part.name)

    def tensors(self) -> tuple[Tensor, ...]:
        """In the order of the fields."""
        return self.truth, self.image, self.mask, self.rows, self.cols, self.means

    def to(self, device: torch.device) -> Example:
        return Example(*(x.to(device) for x in self.tensors()))


def degrade(
    clean: Tensor, size_px: int, cells: int, ranges: Degradation, generator: torch.Generator
) -> Example:
    """clean (B, T, 3, F, F) in [0, 1], F >= size_px -> Example of S = size_px.

    Cells are sampled from the fine raster, so that point samples alias as they do in a frame. One
    mosaic per clip, its place drifting over time.
    """
    B, T, _, F_, _ = clean.shape
    which = torch.multinomial(torch.tensor(SHARES), B, replacement=True, generator=generator)
    mosaics = [draw_mosaic(T, ranges, cells, generator) for _ in range(B)]
    rows, cols, weights, sampled = [], [], [], []
    for i, mosaic in enumerate(mosaics):
        row, col, weight = mosaic.render(size_px)
        fine_row, fine_col, _ = mosaic.render(F_)
        operator = OPERATORS[int(which[i])]
        sampled.append(pixelation.sample(clean[i], fine_row, fine_col, operator))
        rows.append(row)
        cols.append(col)
        weights.append(weight)
    row, col, weight = torch.stack(rows), torch.stack(cols), torch.stack(weights)
    truth = clean
    if size_px != F_:
        flat = F.interpolate(clean.flatten(0, 1), (size_px, size_px), mode="area")
        truth = flat.unflatten(0, (B, T))
    sigma = torch.rand(B, 1, 1, 1, 1, generator=generator) * ranges.noise / 255
    samples = torch.stack(sampled)
    # Luma noise is common to the channels, chroma noise is not (measured: about 3 to 1).
    common = torch.randn(samples[:, :, :1].shape, generator=generator)
    own = torch.randn(samples.shape, generator=generator)
    samples = (samples + sigma * (0.9 * common + 0.4 * own)).clamp(0, 1)
    samples = torch.round(samples * 255) / 255
    around = truth + torch.randn(truth.shape, generator=generator) * sigma * 0.7
    blocks = pixelation.replicate(samples, row, col)
    image = torch.where(weight > 0, blocks, around.clamp(0, 1))
    means = torch.isin(which, MEANS)
    mistaken = torch.rand(B, generator=generator) < ranges.mistaken
    example = Example(truth, image, 1 - weight, row, col, (means ^ mistaken).float())
    if ranges.filmed:
        chosen = torch.rand(B, generator=generator) < ranges.filmed
        if truth is clean:  # what follows writes into it
            example = replace(example, truth=truth.clone())
        for i in chosen.nonzero().flatten().tolist():
            operator = OPERATORS[int(which[i])]
            filmed = film(clean[i], operator, mosaics[i], example.truth[i], ranges.footage, generator)
            example.replace_clip(i, filmed)
    return example


def draw_mosaic(frames: int, ranges: Degradation, cells: int, generator: torch.Generator) -> Mosaic:
    """A mosaic about the middle of the crop, with at most ``cells`` cells per axis."""

    def draw(low: float, high: float) -> float:
        return float(torch.rand(1, generator=generator)) * (high - low) + low

    def log_draw(low: float, high: float) -> float:
        return float(low * (high / low) ** draw(0, 1))

    crop = log_draw(*ranges.crop_px)
    longer = draw(*ranges.longer_side) * crop
    aspect = draw(*ranges.aspect)
    width, height = (longer * aspect, longer) if aspect < 1 else (longer, longer / aspect)
    pitch = width / log_draw(*ranges.blocks)
    if ranges.choices:
        pitch = width / ranges.choices[int(draw(0, len(ranges.choices)))]
    pitch = max(pitch, 3.0, height / (cells - 2), width / (cells - 2))
    kind = draw(0, 1)
    locked = kind < ranges.locked_share
    # Fixed grids: half of the tools cut the border cells, half widen the mosaic to whole cells.
    snapped = not locked and kind > (1 + ranges.locked_share) / 2
    left = (crop - width) / 2 + draw(-0.01, 0.01) * crop
    top = (crop - height) / 2 + draw(-0.01, 0.01) * crop
    if locked:
        pitches = width / max(round(width / pitch), 1), height / max(round(height / pitch), 1)
        origins = [(left, top)] * frames
    else:
        pitches = pitch, pitch
        # The crop follows the mosaic; a grid that stands still in the frame drifts in the crop.
        speed = draw(0, 1) ** 2 * 0.01 * crop
        drift = torch.randn(frames, 2, generator=generator).cumsum(0) * speed
        steady = torch.tensor([draw(-1, 1), draw(-1, 1)]) * draw(0, 1) * ranges.steady * pitch
        drift = drift + torch.arange(frames).unsqueeze(1) * steady
        phase = draw(0, pitch), draw(0, pitch)
        origins = [(phase[0] + float(dx), phase[1] + float(dy)) for dx, dy in drift]
    return Mosaic(
        crop=crop,
        left=left,
        top=top,
        width=width,
        height=height,
        pitch=pitches,
        origins=tuple(origins),
        snapped=snapped,
        ellipse=draw(0, 1) < ranges.ellipse_share,
        cells=cells,
    )
