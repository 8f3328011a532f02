"""Patches -> frames: restored pixels go back into the native planes, and nothing else changes."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.pixelation import block_means, coverage, interpolation
from pipeline.cuda import pinned_to
from pipeline.picture.cell_samples import Cells, Place, cut_planes, is_none, laid, place_of, together
from pipeline.picture.color import Conversion, conversion
from pipeline.picture.geometry import View, as_coded, view_of
from pipeline.types import Batch, Frame, Patch, StreamInfo

# The sample of a cell is known to half a step of 8 bits, and to this share of the codec's noise in it:
# its error is no longer white, so that averaging over the cell does not remove it all.
_NOISE_SHARE = 0.5
# Cells that the mosaic covers by less have a value that may stem from pixels outside of it.
_WHOLE = 0.98
# Two rounds bring a bicubic picture to a third of an 8-bit step and gain 0.2 dB over projection alone.
_SMOOTH_ROUNDS = 2
# Frames of a device that are painted in one go.
_TOGETHER = 8


def paste(batches: Iterable[Batch[Patch]], *, info: StreamInfo) -> Iterator[Frame]:
    """Puts every patch into its frame; frames without patches pass as the same object.

    A patch is resized to the frame's pixels, its cell means are held to the mosaic's samples as far as
    ``Patch.trust`` says, and it is converted with the frame's matrix, range and depth. Luma is written
    for pixels of the mosaic, a chroma sample where all luma pixels that it covers lie in the mosaic; any
    other sample of any plane keeps its value. Of two mosaics that overlap the later patch is seen. Frames of
    a device are painted several at a time, in the calls of one.
    """
    for batch in batches:
        yield from _painted(batch, info)
        del batch  # else its frames stay alive while the next batch is made


def _painted(batch: Batch[Patch], info: StreamInfo) -> Iterator[Frame]:
    by_frame: dict[int, list[Patch]] = defaultdict(list)
    for patch in batch.items:
        by_frame[patch.crop.frame_index].append(patch)
    frames = deque(batch.frames)
    while frames:
        count = 1 if frames[0].device.type == "cpu" else _TOGETHER
        some = [frames.popleft() for _ in range(min(count, len(frames)))]
        painted = [
            replace(f, planes=tuple(p.clone() for p in f.planes)) if f.index in by_frame else f for f in some
        ]
        due = [[_due(frame, patch, info) for patch in by_frame.get(frame.index, ())] for frame in painted]
        for turn in range(max(map(len, due))):
            groups: dict[tuple[object, ...], list[_Due]] = defaultdict(list)
            for one in (of_frame[turn] for of_frame in due if turn < len(of_frame)):
                groups[one.key].append(one)
            for group in groups.values():
                _paste(group, info)
        del some, due
        while painted:
            yield painted.pop(0)


@dataclass(frozen=True, slots=True)
class _Due:
    """A patch to be pasted into a frame whose planes are ours."""

    frame: Frame
    patch: Patch
    convert: Conversion
    place: Place
    view: View

    @property
    def key(self) -> tuple[object, ...]:
        """Those of several frames whose keys are alike are pasted in one go."""
        planes = tuple((plane.shape, plane.dtype) for plane in self.frame.planes)
        alone = None if together(self.place, self.convert) else id(self)
        return self.convert, planes, self.frame.device, self.view.width, self.view.height, alone


def _due(frame: Frame, patch: Patch, info: StreamInfo) -> _Due:
    height, width = frame.planes[0].shape
    convert = conversion(frame.pix_fmt, frame.colour, width, height)
    region = patch.crop.tracked.region
    place = None if region.grid is None else place_of(region, region.grid, convert, width, height)
    if place is None:
        raise ValueError(f"frame {frame.index}: a patch for track {patch.crop.tracked.track}, but no mosaic")
    view = view_of(patch.crop.to_frame, patch.pixels.shape[-1], info.rotation, info.mirrored)
    return _Due(frame, patch, convert, place, view)


def _paste(group: list[_Due], info: StreamInfo) -> None:
    """Writes patches into K frames, one each."""
    convert, where = group[0].convert, group[0].patch.pixels.device
    height, width = group[0].frame.planes[0].shape
    patches = [one.patch for one in group]
    trust = [[torch.tensor([patch.trust], dtype=torch.float64)] for patch in patches]
    mosaics, (held,) = laid([one.place for one in group], (width, height), convert, where, trust)
    values = _padded([patch.crop.samples.values for patch in patches], mosaics)
    noise = torch.stack([patch.crop.samples.noise for patch in patches])
    restored = consistent(_in_picture(group, mosaics, info), mosaics, values, noise, held.to(torch.float32))
    _write([one.frame for one in group], mosaics, restored, convert)


def _padded(values: list[Tensor], mosaics: Cells) -> Tensor:
    """Samples (3, R, Q) of K mosaics in one tensor; cells that one has less than others hold 0."""
    rows, cols = mosaics.rows.shape[1], mosaics.cols.shape[1]
    return torch.stack(
        [
            x if x.shape[1:] == (rows, cols) else F.pad(x, (0, cols - x.shape[2], 0, rows - x.shape[1]))
            for x in values
        ]
    )


def _in_picture(group: list[_Due], mosaics: Cells, info: StreamInfo) -> Tensor:
    """The patches at the picture's pixels, on the mosaics' rectangles: (K, 3, H, W)."""
    view, where = group[0].view, group[0].patch.pixels.device
    size_px, (height, width) = group[0].patch.pixels.shape[-1], mosaics.mask.shape[-2:]
    lefts = [x0 - one.view.x0 for one, (x0, _) in zip(group, mosaics.corners, strict=True)]
    tops = [y0 - one.view.y0 for one, (_, y0) in zip(group, mosaics.corners, strict=True)]
    rows, used_rows = _upsampling(size_px, view.height, tops, height, where)
    cols, used_cols = _upsampling(size_px, view.width, lefts, width, where)
    pixels = as_coded(torch.stack([one.patch.pixels for one in group]), info.rotation, info.mirrored)
    # Rows of all colours side by side are one product.
    across = pixels[..., used_rows, used_cols].flatten(1, 2) @ cols.transpose(-1, -2)
    restored: Tensor = rows.unsqueeze(1) @ across.unflatten(1, (3, -1))
    return restored


def _upsampling(
    size_px: int, length: int, starts: list[int], size: int, device: torch.device
) -> tuple[Tensor, slice]:
    """Bicubic, anti-aliased weights (K, size, n) of canonical px for ``size`` pixels of a view from each of
    ``starts`` on, and which px.

    Rows of the matrix that resizes ``size_px`` to ``length``, without px that none of them reads; pixels
    beyond the view take its edge.
    """
    at = (torch.tensor(starts).unsqueeze(1) + torch.arange(size)).clamp_(0, length - 1)
    scale = size_px / length
    reach = 2 * max(scale, 1.0) + 1  # of the kernel, and a px for what is rounded
    first = max(int((int(at.min()) + 0.5) * scale - reach), 0)
    last = min(int((int(at.max()) + 0.5) * scale + reach) + 1, size_px)
    weights = _resizing(size_px, length, device)[:, first:last]
    return weights[pinned_to(at, device)], slice(first, last)


# The crops of a track keep their side: one entry per face at a time, 4 bytes x size_px x length.
@lru_cache(maxsize=16)
def _resizing(size_px: int, length: int, device: torch.device) -> Tensor:
    """(length, size_px): bicubic, anti-aliased resizing of an axis."""
    identity = torch.eye(size_px).view(1, 1, size_px, size_px)
    resized = F.interpolate(identity, (length, size_px), mode="bicubic", antialias=True, align_corners=False)
    return pinned_to(resized[0, 0], device)


def consistent(pixels: Tensor, mosaics: Cells, values: Tensor, noise: Tensor, trust: Tensor) -> Tensor:
    """Pixels (K, 3, H, W) with the mean of each whole cell moved towards its sample ``values`` (K, 3, R, Q),
    which has ``noise`` (K,), by ``trust`` (K, 1).

    What the means lack is first added smoothly, interpolated between cells, and only the rest cell by
    cell: shifting whole cells at once would draw the grid into the picture. All of it is worked out on
    means of cells, where it is linear, and added to the pixels once.
    """
    rows, cols, mask = mosaics.rows, mosaics.cols, mosaics.mask
    slack = (0.5 / 255 + _NOISE_SHARE * noise).view(-1, 1, 1, 1)
    whole = (coverage(rows, cols, mask) >= _WHOLE).to(pixels.dtype)

    def beyond(lacking: Tensor) -> Tensor:
        return (lacking - lacking.clamp(-slack, slack)) * whole

    lacking = values - block_means(pixels, rows, cols, mask)
    up, across = (interpolation(axis, axis.amax(-1)).unsqueeze(1) for axis in (rows, cols))
    across = across.transpose(-1, -2)
    up_means = _axis_means(rows).unsqueeze(1) @ up
    across_means = across @ _axis_means(cols).transpose(-1, -2).unsqueeze(1)
    smooth = torch.zeros_like(lacking)
    for _ in range(_SMOOTH_ROUNDS):
        step = beyond(lacking)
        if is_none(step):
            break
        smooth += step
        lacking = lacking - up_means @ step @ across_means
    # Interpolation and replication are both (H, R) @ (R, Q) @ (Q, W): side by side they are one product.
    from_cells = torch.cat([up, rows.transpose(-1, -2).unsqueeze(1)], -1) * trust.view(-1, 1, 1, 1)
    move = from_cells @ torch.cat([smooth @ across, beyond(lacking) @ cols.unsqueeze(1)], -2)
    return torch.addcmul(pixels, move, mask).clamp_(0, 1)


def _axis_means(member: Tensor) -> Tensor:
    """Membership (K, N, size) -> weights of the mean over each cell."""
    return member / member.sum(-1, keepdim=True).clamp_min(1)


def _write(frames: list[Frame], mosaics: Cells, restored: Tensor, convert: Conversion) -> None:
    """Writes ``restored`` (K, 3, H, W) into the mosaics' pixels of K frames, whose planes are ours.

    The filters of chroma read across the mosaic's border: there ``restored`` shows the surroundings.
    """
    codes = convert.from_rgb(restored.transpose(0, 1))
    step = convert.format.step_y, convert.format.step_x
    height, width = mosaics.mask.shape[-2:]
    inside = mosaics.mask[:, 0] == 1
    covered = inside if step == (1, 1) else F.avg_pool2d(mosaics.mask, step, ceil_mode=True)[:, 0] == 1
    masks = [inside] + [covered] * (len(codes) - 1)
    cuts = [
        cut_planes(frame, convert, x0, y0, x0 + width, y0 + height)
        for frame, (x0, y0) in zip(frames, mosaics.corners, strict=True)
    ]
    for planes, code, mask in zip(zip(*cuts, strict=True), codes, masks, strict=True):
        before = torch.stack([plane.to(code.dtype) for plane in planes])
        for plane, after in zip(planes, torch.where(mask, code, before), strict=True):
            plane.copy_(after)
