"""Patches -> frames: restored pixels go back into the native planes, and nothing else changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.pixelation import block_means, coverage, interpolation
from pipeline.picture.cell_samples import Cells, cells_of, cut_planes, is_none, sent
from pipeline.picture.color import Conversion, conversion
from pipeline.picture.geometry import as_coded, view_of
from pipeline.types import Batch, Frame, Patch, Samples, StreamInfo

# The sample of a cell is known to half a step of 8 bits, and to this share of the codec's noise in it:
# its error is no longer white, so that averaging over the cell does not remove it all.
_NOISE_SHARE = 0.5
# Cells that the mosaic covers by less have a value that may stem from pixels outside of it.
_WHOLE = 0.98
# Two rounds bring a bicubic picture to a third of an 8-bit step and gain 0.2 dB over projection alone.
_SMOOTH_ROUNDS = 2


def paste(batches: Iterable[Batch[Patch]], *, info: StreamInfo) -> Iterator[Frame]:
    """Puts every patch into its frame; frames without patches pass as the same object.

    A patch is resized to the frame's pixels, its cell means are held to the mosaic's samples as far as
    ``Patch.trust`` says, and it is converted with the frame's matrix, range and depth. Luma is written
    for pixels of the mosaic, a chroma sample where all luma pixels that it covers lie in the mosaic; any
    other sample of any plane keeps its value. Of two mosaics that overlap the later patch is seen.
    """
    for batch in batches:
        yield from _painted(batch, info)
        del batch  # else its frames stay alive while the next batch is made


def _painted(batch: Batch[Patch], info: StreamInfo) -> Iterator[Frame]:
    by_frame: dict[int, list[Patch]] = defaultdict(list)
    for patch in batch.items:
        by_frame[patch.crop.frame_index].append(patch)
    for frame in batch.frames:
        patches = by_frame.get(frame.index)
        yield frame if patches is None else _paste(frame, patches, info)


def _paste(frame: Frame, patches: list[Patch], info: StreamInfo) -> Frame:
    height, width = frame.planes[0].shape
    convert = conversion(frame.pix_fmt, frame.colour, width, height)
    planes = tuple(p.clone() for p in frame.planes)
    painted = replace(frame, planes=planes)
    for patch in patches:
        region, samples = patch.crop.tracked.region, patch.crop.samples
        mosaic = None
        if region.grid is not None:
            mosaic = cells_of(region, region.grid, convert, width, height, frame.device)
        if mosaic is None:
            raise ValueError(
                f"frame {frame.index}: a patch for track {patch.crop.tracked.track}, but no mosaic"
            )
        restored = consistent(_in_picture(patch, mosaic, info), mosaic, samples, patch.trust)
        _write(painted, mosaic, restored, convert)
    return painted


def _in_picture(patch: Patch, mosaic: Cells, info: StreamInfo) -> Tensor:
    """The patch at the picture's pixels, on the mosaic's rectangle: (3, H, W)."""
    size_px = patch.pixels.shape[-1]
    view = view_of(patch.crop.to_frame, size_px, info.rotation, info.mirrored)
    rows, used_rows = _upsampling(size_px, view.height, mosaic.y0 - view.y0, mosaic.y1 - view.y0)
    cols, used_cols = _upsampling(size_px, view.width, mosaic.x0 - view.x0, mosaic.x1 - view.x0)
    rows, cols = sent((rows, cols), patch.pixels.device)
    pixels = as_coded(patch.pixels, info.rotation, info.mirrored)
    return rows @ (pixels[:, used_rows, used_cols] @ cols.T)


def _upsampling(size_px: int, length: int, start: int, stop: int) -> tuple[Tensor, slice]:
    """Bicubic, anti-aliased weights (stop - start, n) of canonical px for pixels of a view, and which px.

    Rows of the matrix that resizes ``size_px`` to ``length``, without the px that none of them reads;
    pixels beyond the view take its edge. On the host, which has to know which px.
    """
    weights = _resizing(size_px, length)[torch.arange(start, stop).clamp_(0, length - 1)]
    read = weights.any(0).nonzero()
    used = slice(int(read[0]), int(read[-1]) + 1)
    return weights[:, used], used


# The crops of a track keep their side: one entry per face at a time, 4 bytes x size_px x length.
@lru_cache(maxsize=16)
def _resizing(size_px: int, length: int) -> Tensor:
    """(length, size_px): bicubic, anti-aliased resizing of an axis."""
    identity = torch.eye(size_px).view(1, 1, size_px, size_px)
    return F.interpolate(identity, (length, size_px), mode="bicubic", antialias=True, align_corners=False)[
        0, 0
    ]


def consistent(pixels: Tensor, mosaic: Cells, samples: Samples, trust: float) -> Tensor:
    """Pixels (3, H, W) with the mean of each whole cell moved towards its sample, by ``trust``.

    What the means lack is first added smoothly, interpolated between cells, and only the rest cell by
    cell: shifting whole cells at once would draw the grid into the picture. All of it is worked out on
    means of cells, where it is linear, and added to the pixels once.
    """
    rows, cols, mask = mosaic.rows, mosaic.cols, mosaic.mask
    slack = 0.5 / 255 + _NOISE_SHARE * samples.noise
    whole = (coverage(rows, cols, mask) >= _WHOLE).to(pixels.dtype)

    def beyond(lacking: Tensor) -> Tensor:
        return (lacking - lacking.clamp(-slack, slack)) * whole

    lacking = samples.values - block_means(pixels, rows, cols, mask)
    up, across = (interpolation(axis, torch.ones_like(axis[:, 0])) for axis in (rows, cols))
    across = across.T
    up_means, across_means = _axis_means(rows) @ up, across @ _axis_means(cols).T
    smooth = torch.zeros_like(lacking)
    for _ in range(_SMOOTH_ROUNDS):
        step = beyond(lacking)
        if is_none(step):
            break
        smooth += step
        lacking = lacking - up_means @ step @ across_means
    # Interpolation and replication are both (H, R) @ (R, Q) @ (Q, W): side by side they are one product.
    move = torch.cat([up, rows.T], 1) @ torch.cat([smooth @ across, beyond(lacking) @ cols], 1)
    return torch.addcmul(pixels, move, mask, value=trust).clamp_(0, 1)


def _axis_means(member: Tensor) -> Tensor:
    """Membership (N, size) -> weights of the mean over each cell."""
    return member / member.sum(1, keepdim=True).clamp_min(1)


def _write(painted: Frame, mosaic: Cells, restored: Tensor, convert: Conversion) -> None:
    """Writes ``restored`` (3, H, W) into the mosaic's pixels of ``painted``, whose planes are ours.

    The filters of chroma read across the mosaic's border: there ``restored`` shows the surroundings.
    """
    codes = convert.from_rgb(restored)
    step = convert.format.step_y, convert.format.step_x
    inside = mosaic.mask[0] == 1
    covered = inside if step == (1, 1) else F.avg_pool2d(mosaic.mask, step, ceil_mode=True)[0] == 1
    masks = [inside] + [covered] * (len(codes) - 1)
    planes = cut_planes(painted, convert, mosaic.x0, mosaic.y0, mosaic.x1, mosaic.y1)
    for plane, code, mask in zip(planes, codes, masks, strict=True):
        plane.copy_(torch.where(mask, code, plane.to(code.dtype)))
