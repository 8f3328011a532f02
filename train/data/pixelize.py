"""Clean faces -> faces under a mosaic that spans their box, as ``pipeline.stages.pixelize`` lays it, whose
colours a pixelizer may change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation, pixelizer_io
from nets.observation import CELLS
from nets.pixelizer import PixelizerConfig
from train.data.mosaic_geometry import Mosaic
from train.data.transmission import eight_bits

FINE = 96
"""Most sub-cells of an axis"""


@dataclass(frozen=True, kw_only=True)
class MosaicRanges:
    """Ranges that a mosaic is drawn from, uniform unless said otherwise."""

    blocks: tuple[float, float] = (4.0, 12.0)
    """cells across the mosaic's shorter side, log-uniform"""
    longer_side: tuple[float, float] = (0.56, 0.68)
    """longer side of the mosaic over the crop's side"""
    aspect: tuple[float, float] = (0.65, 1.1)
    """width over height"""
    crop_px: tuple[float, float] = (120.0, 700.0)
    """side of the crop in frame px, log-uniform"""


@dataclass(frozen=True)
class PixelizedFaces:
    """A batch of faces under mosaics. Shapes as in ``train.data.degrade.Example`` without T."""

    truth: Tensor
    """(B, 3, S, S)"""
    mask: Tensor
    rows: Tensor
    cols: Tensor
    samples: tuple[Tensor, ...]
    """(3, R, C) each: the colours of the cells"""
    fine: tuple[tuple[Tensor, Tensor], ...]
    """(FINE, S) each: membership of rows and columns in the sub-cells of a change"""

    def painted(self, delta: tuple[Tensor, ...] | None = None) -> Tensor:
        """(B, 3, S, S): the mosaics in 8 bits, changed by what is given for each."""
        out = []
        for i, samples in enumerate(self.samples):
            colours, rows, cols = samples, self.rows[i], self.cols[i]
            if delta is not None:
                colours, (rows, cols) = pixelizer_io.add(samples, delta[i]), self.fine[i]
            R, C = colours.shape[1:]
            out.append(pixelation.replicate(colours, rows[:R], cols[:C]))
        return torch.where(self.mask > 0, self.truth, eight_bits(torch.stack(out)))

    def to(self, device: torch.device) -> PixelizedFaces:
        return PixelizedFaces(
            self.truth.to(device),
            self.mask.to(device),
            self.rows.to(device),
            self.cols.to(device),
            tuple(x.to(device) for x in self.samples),
            tuple((rows.to(device), cols.to(device)) for rows, cols in self.fine),
        )


def pixelize(
    clean: Tensor, size_px: int, ranges: MosaicRanges, config: PixelizerConfig, generator: torch.Generator
) -> PixelizedFaces:
    """clean (B, 3, F, F) in [0, 1], F >= size_px -> faces of S = size_px. ``config`` is that of the
    pixelizer that is to change them."""
    samples, masks, rows, cols, fine = [], [], [], [], []
    for picture in clean:
        mosaic, cells = draw_mosaic(ranges, generator)
        down, across, _ = mosaic.render(picture.shape[-1])
        measured = pixelation.block_means(picture, down[0], across[0])[:, : cells[0], : cells[1]]
        samples.append(torch.round(measured * 255) / 255)
        row, col, weight = mosaic.render(size_px)
        k = pixelizer_io.subdivision(config.perturb, config.size_px, cells)
        finer = replace(mosaic, pitch=(mosaic.pitch[0] / k, mosaic.pitch[1] / k), cells=FINE)
        fine_row, fine_col, _ = finer.render(size_px)
        masks.append(1 - weight[0])
        rows.append(row[0])
        cols.append(col[0])
        fine.append((fine_row[0], fine_col[0]))
    truth = F.interpolate(clean, (size_px, size_px), mode="area")
    mask, row, col = (torch.stack(x) for x in (masks, rows, cols))
    return PixelizedFaces(truth, mask, row, col, tuple(samples), tuple(fine))


def draw_mosaic(ranges: MosaicRanges, generator: torch.Generator) -> tuple[Mosaic, tuple[int, int]]:
    """A mosaic whose grid is locked to it, and its (rows, columns)."""

    def draw(low: float, high: float) -> float:
        return float(torch.rand(1, generator=generator)) * (high - low) + low

    crop = ranges.crop_px[0] * (ranges.crop_px[1] / ranges.crop_px[0]) ** draw(0, 1)
    longer, aspect = draw(*ranges.longer_side) * crop, draw(*ranges.aspect)
    width, height = (longer * aspect, longer) if aspect < 1 else (longer, longer / aspect)
    pitch = min(width, height) / (ranges.blocks[0] * (ranges.blocks[1] / ranges.blocks[0]) ** draw(0, 1))
    cells = max(2, round(height / pitch)), max(2, round(width / pitch))
    left = (crop - width) / 2 + draw(-0.01, 0.01) * crop
    top = (crop - height) / 2 + draw(-0.01, 0.01) * crop
    mosaic = Mosaic(
        crop=crop,
        left=left,
        top=top,
        width=width,
        height=height,
        pitch=(width / cells[1], height / cells[0]),
        origins=((left, top),),
        snapped=False,
        ellipse=draw(0, 1) < 0.5,
        cells=CELLS,
    )
    return mosaic, cells


def averaged_cells(image: Tensor, mask: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """The mosaic with each cell at its mean: what whoever knows the grid does first."""
    means = pixelation.block_means(image, rows, cols, 1 - mask)
    return torch.where(mask > 0, image, pixelation.replicate(means, rows, cols))
