"""The named test conditions: how clean faces are pixelated when networks are measured.

``clean-N``: cells are means over the area, no noise, N cells across the mosaic's width, a rectangle whose
grid stands still in the frame at any phase and fractional pitch. ``-moving`` behind: the still moves over it,
and crop and mosaic follow it by a share that is drawn. ``wild-N``: all that training draws
(``Degradation()``) at N cells; ``wild``: at any number. ``filmed-N``, ``filmed``: the same, and each goes
through what happens to footage, with a real codec (``train.data.footage``). Every method sees the same
draw: a scene depends on the seed and the picture's place alone, not on who is measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation
from nets.observation import CELLS
from nets.pixelation import Operator
from pipeline.errors import InputError, UsageError
from train.data.degrade import Degradation, degrade
from train.data.mosaic_geometry import Mosaic
from train.data.pictures import Segments, Stills
from train.metrics import dis_flow

LONGER_SIDE = (0.58, 0.67)
"""Longer side of the mosaic over the crop's: 1 / 1.6 at run time, give or take the finder's error."""
ASPECT = (0.7, 1.1)
CROP_PX = (96.0, 600.0)
"""Side of the crop in the frame, log-uniform"""
TRAVEL = (1.0, 2.0)
"""Moving faces: cells that the face travels over the grid within the middle ``TRAVEL_FRAMES``"""
TRAVEL_FRAMES = 5
ZOOM = 0.87
"""Of moved stills, so that what comes into the crop is picture"""
LONGEST = 16
"""Frames that a scene offers about each judged one"""


@dataclass(frozen=True)
class Condition:
    """One part of a report: what was done to the faces."""

    kind: str
    """clean, wild or filmed"""
    blocks: float | None
    """cells across the mosaic's width; None: drawn"""
    moving: bool = False
    """stills are moved over the grid by a known motion; of clips only those count whose face travels a
    cell"""
    noise: float = 0.0
    """standard deviation in grey levels of what is added to every pixel of the pixelated picture"""
    gamma: float = 1.0
    """exponent that picture and truth get after pixelation"""

    @property
    def name(self) -> str:
        blocks = "" if self.blocks is None else f"-{self.blocks:g}"
        noise = f"-noise{self.noise:g}" if self.noise else ""
        gamma = f"-gamma{self.gamma:g}" if self.gamma != 1 else ""
        return self.kind + blocks + ("-moving" if self.moving else "") + noise + gamma

    @staticmethod
    def parse(text: str) -> Condition:
        """``clean-8``, ``wild``, ``wild-12``, ``clean-10-moving``, ``clean-10-noise5``. Raises UsageError."""
        number = r"(\d+(?:\.\d+)?)"
        pattern = rf"(clean|wild|filmed)(?:-{number})?(-moving)?(?:-noise{number})?(?:-gamma{number})?"
        found = re.fullmatch(pattern, text)
        if found is None or (found[1] == "clean" and found[2] is None):
            raise UsageError(
                f"condition is {text!r}; wanted clean-BLOCKS, wild[-BLOCKS] or filmed[-BLOCKS], then "
                "any of -moving, -noiseN, -gammaN in this order, e.g. clean-10 or clean-10-moving"
            )
        blocks = float(found[2]) if found[2] else None
        noise, gamma = float(found[4] or 0), float(found[5] or 1)
        if blocks is not None and not 2 <= blocks <= 40:
            raise UsageError(f"condition {text!r}: {blocks:g} blocks; wanted 2 to 40 across the mosaic")
        if not (noise <= 64 and 0.2 <= gamma <= 5):
            raise UsageError(f"condition {text!r}: wanted noise up to 64 grey levels and gamma of 0.2 to 5")
        return Condition(found[1], blocks, bool(found[3]), noise, gamma)


@dataclass(frozen=True)
class Scene:
    """A pixelated clip of T frames and its truth. A still is a clip of one frame."""

    index: int
    """place of the picture or clip in its source"""
    truth: Tensor
    """(T, 3, S, S)"""
    image: Tensor
    """(T, 3, S, S), as in pipeline.engines.EngineSpec like the next three"""
    mask: Tensor
    """(T, 1, S, S)"""
    rows: Tensor
    """(T, N, S)"""
    cols: Tensor
    judged: tuple[int, ...]
    """successive frames in the middle that are compared with the truth"""
    means: Tensor
    """(T,): 1 where a method is given that cells are means of their pixels, 0 for point samples"""
    placement: Tensor | None
    """(T, 2, 3): where the frame's pixels lie in the still, both in [-1, 1]; None where motion is not
    known"""

    @property
    def weight(self) -> Tensor:
        """(T, 1, S, S), 1 in the mosaic."""
        return 1 - self.mask

    def around(self, frame: int, frames: int) -> range:
        """``frames`` frames about one, fewer where the clip ends."""
        T = len(self.truth)
        first = min(max(0, frame - frames // 2), max(0, T - frames))
        return range(first, min(T, first + frames))


def scenes(
    source: Stills | Segments, condition: Condition, count: int, size_px: int, judged: int, seed: int
) -> Iterator[Scene]:
    """``count`` scenes, drawn without repetition; ``judged`` successive frames of each are compared. Raises
    InputError where faces are to move and those of all clips stand still."""
    total = len(source.pictures if isinstance(source, Stills) else source.frames)
    longest = LONGEST + judged - 1
    drawn = 0
    for place in np.random.default_rng(seed).permutation(total):
        if drawn == count:
            break
        index = int(place)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        if isinstance(source, Stills):
            still = source.pictures[index].float() / 255
            clean = still.expand(longest if condition.moving else 1, -1, -1, -1)
        else:
            run = source.frames[index]
            first = max(0, len(run) - longest) // 2
            clip = torch.from_numpy(np.array(run[first : first + longest]))
            clean = clip.permute(0, 3, 1, 2).float() / 255
        moved = condition.moving and isinstance(source, Stills)
        scene = _pixelated(clean, index, condition, moved, size_px, judged, generator)
        if condition.moving and not moved and travelled(scene) < TRAVEL[0]:
            continue
        drawn += 1
        yield scene
    if not drawn:
        raise InputError(f"{condition.name}: none of {total} clips has a face that moves by a cell or more")


def travelled(scene: Scene) -> float:
    """Cells that the face travels over the frames of a clip, along the axis where it travels more: of the
    median in the mosaic of DIS flow of the truth."""
    frame = scene.judged[0]
    inside = scene.weight[frame, 0] > 0
    to_each = [dis_flow(scene.truth[frame], other)[0][inside].median(0).values for other in scene.truth]
    places = torch.stack(to_each)
    pitch = torch.stack([m[frame].sum(-1).amax() for m in (scene.cols, scene.rows)])
    return float(((places.amax(0) - places.amin(0)) / pitch).amax())


def _pixelated(
    clean: Tensor,
    index: int,
    condition: Condition,
    moved: bool,
    size_px: int,
    judged: int,
    generator: torch.Generator,
) -> Scene:
    """clean (T, 3, F, F) -> a scene."""
    T = len(clean)
    first = max(0, T - judged) // 2
    mosaic = draw_clean(condition.blocks or 10.0, T, generator)
    placement = None
    if moved:
        cell = (2 * mosaic.pitch[0] / mosaic.crop, 2 * mosaic.pitch[1] / mosaic.crop)
        placement = travel(T, first, cell, generator)
        # The crop follows its mosaic and the mosaic the face, more or less; the grid stands in the frame.
        follow = float(torch.rand(1, generator=generator))
        drift = placement[:, :, 2] * follow * mosaic.crop / 2 / ZOOM
        x, y = mosaic.origins[0]
        mosaic = replace(mosaic, origins=tuple((x + float(dx), y + float(dy)) for dx, dy in drift))
        placement[:, :, 2] *= 1 - follow
        grid = F.affine_grid(placement, [T, 3, *clean.shape[-2:]], align_corners=False)
        clean = F.grid_sample(clean, grid, "bilinear", "reflection", align_corners=False)
    if condition.kind != "clean":
        ranges = Degradation(filmed=1.0 if condition.kind == "filmed" else 0.0)
        if condition.blocks is not None:
            ranges = replace(ranges, blocks=(condition.blocks, condition.blocks + 1e-6))
        drawn = degrade(clean[None], size_px, CELLS, ranges, generator)
        parts = (drawn.truth[0], drawn.image[0], drawn.mask[0], drawn.rows[0], drawn.cols[0])
        means = drawn.tensors()[-1].expand(T)
    else:
        parts, means = _measure(clean, mosaic, size_px), torch.ones(T)
    truth, image, mask, rows, cols = parts
    if condition.gamma != 1:
        truth, image = truth**condition.gamma, image**condition.gamma
    if condition.noise:
        noisy = image + torch.randn(image.shape, generator=generator) * condition.noise / 255
        image = torch.round(noisy.clamp(0, 1) * 255) / 255
    return Scene(
        index, truth, image, mask, rows, cols, tuple(range(first, min(T, first + judged))), means, placement
    )


def draw_clean(blocks: float, frames: int, generator: torch.Generator) -> Mosaic:
    """A rectangle of ``blocks`` cells across, square cells, a grid that stands still at any phase."""

    def draw(low: float, high: float) -> float:
        return float(torch.rand(1, generator=generator)) * (high - low) + low

    crop = CROP_PX[0] * (CROP_PX[1] / CROP_PX[0]) ** draw(0, 1)
    longer, aspect = draw(*LONGER_SIDE) * crop, draw(*ASPECT)
    width, height = (longer * aspect, longer) if aspect < 1 else (longer, longer / aspect)
    pitch = width / blocks
    phase = draw(0, pitch), draw(0, pitch)
    left = (crop - width) / 2 + draw(-0.01, 0.01) * crop
    top = (crop - height) / 2 + draw(-0.01, 0.01) * crop
    return Mosaic(
        crop=crop,
        left=left,
        top=top,
        width=width,
        height=height,
        pitch=(pitch, pitch),
        origins=(phase,) * frames,
        snapped=draw(0, 1) < 0.5,
        ellipse=False,
        cells=CELLS,
    )


def _measure(clean: Tensor, mosaic: Mosaic, size_px: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Area means rounded to 8 bits: truth, image, mask, rows, cols. Cells are read from the fine raster."""
    row, col, weight = mosaic.render(size_px)
    fine_row, fine_col, _ = mosaic.render(clean.shape[-1])
    samples = pixelation.sample(clean, fine_row, fine_col, Operator.AREA)
    truth = F.interpolate(clean, (size_px, size_px), mode="area")
    blocks = pixelation.replicate(torch.round(samples * 255) / 255, row, col)
    return truth, torch.where(weight > 0, blocks, truth), 1 - weight, row, col


def travel(frames: int, middle: int, cell: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Smooth motion of a still: placements (T, 2, 3), the identity but for a zoom at frame ``middle``.

    ``cell`` is a cell's width and height in half pictures. Shift along both axes, some turn and zoom; scaled
    so that the face travels ``TRAVEL`` cells within ``TRAVEL_FRAMES`` about the middle, along the axis where
    it travels more.
    """
    length, tries = 4 * LONGEST, 16
    knots = torch.randn(tries, 4, length // 5, generator=generator)
    curves = F.interpolate(knots, size=length, mode="linear", align_corners=True)
    curves = F.avg_pool1d(curves, 5, 1, 2, count_include_pad=False)
    centre = length // 2
    curves = curves - curves[..., centre : centre + 1]
    near, far = (_reach(curves[:, :2], centre, n) / torch.tensor(cell) for n in (TRAVEL_FRAMES, LONGEST))
    # The least drift for the wanted travel: the face stays in the crop, as it does in a track's.
    which = int((far.amax(1) / near.amax(1)).argmin())
    wanted = TRAVEL[0] + float(torch.rand(1, generator=generator)) * (TRAVEL[1] - TRAVEL[0])
    curve = curves[which]
    shift = curve[:2] * (wanted / near[which].amax())
    part = slice(centre - middle, centre - middle + frames)
    shift, turn, zoom = shift[:, part], curve[2, part] * 0.01, ZOOM * torch.exp(curve[3, part] * 0.01)
    cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
    first = torch.stack([cos, -sin, shift[0]], -1)
    return torch.stack([first, torch.stack([sin, cos, shift[1]], -1)], -2)


def _reach(curves: Tensor, centre: int, frames: int) -> Tensor:
    """Largest minus least value of curves (..., T) among ``frames`` about the middle."""
    part = curves[..., centre - frames // 2 : centre - frames // 2 + frames]
    return part.amax(-1) - part.amin(-1)
