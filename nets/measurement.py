"""The measurement operator of a window: it maps one picture to the cells of every frame, and cells back.

The picture is that of the reference frame. ``theta`` maps its places to those of each frame by a similarity
(nets.registration); a smooth displacement of ``CONTROL_POINTS`` x ``CONTROL_POINTS`` control points comes on
top, since faces turn and speak. Gauss-Newton steps on the cells themselves correct both: registration works
on interpolated cells, which are biased by up to a pixel.

Shapes: B windows of T frames, M = B * T; h and w are the part of the picture that mosaics span, n the cells
in use; coordinates are those of nets.registration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation
from nets.observation import HALF_STEP, Observation
from nets.registration import DAMPING, grid_of, invert, register, sample, similarity, solve

CELL_DOUBT = 0.02
"""Misfit of a cell outside the reference frame, 5 grey levels, at which it counts half (Cauchy weights)."""

WHOLE_CELL = 0.98
"""Least share of a cell inside the mosaic for its sample to say what lies in it."""

CLEAN_SHARE = 0.95
"""Least share of clean pixels in what a frame shows of a place for the place to count as clean there."""

SHARPNESS_CELLS = 0.35
"""Standard deviation, in cells, of the weight of a sample about the centre of its cell."""

MIN_SHARPNESS = 0.02
"""Least weight of a point sample, however far away."""

MIN_WEIGHT = 0.1
"""Weight of all frames together at a pixel, below which they do not determine it."""

MAX_STEP = 0.03
"""Largest correction of the motion in one step, in half pictures."""

CONTROL_POINTS = 4
"""Control points of the displacement on an axis."""

STIFFNESS = 0.2
"""Weight that holds neighbouring control points together, over the weight of the cells about one."""

VARIANCE_WEIGHT = 0.5
"""Weight of the variance of clean pixels over frames, beside the squared misfit of cells."""

ROUNDING = 1 / 255
"""Largest difference of a sample from its picture that coding explains."""

MIN_TRUST = 0.25
"""Trust in a frame below which it takes less of the common picture."""

MAX_MISFIT = 0.05
"""Misfit of a frame's cell to the common picture, 13 grey levels, at which the frame takes half of it."""

PLACE = slice(7, 9)
"""Channels of ``nets.observation.Observation.features``: a pixel's place in its cell, y and x, -1..1."""

MARGIN_PX = 4
"""Border about the mosaics of a batch; what lies farther out is not computed."""


@dataclass(frozen=True)
class Part:
    """What mosaics span, known before they are looked at: sizes that do not follow what tensors hold, as a
    CUDA graph wants them."""

    rows: Tensor
    cols: Tensor
    """(h,) and (w,) int64, ascending: rows and columns of the picture; even numbers of each"""
    cells: int
    """n, at least as many as any frame uses on an axis"""


class MeasurementOperator:
    """The operator of the (M, ...) frames of an observation: windows of ``window`` frames, one after the
    other. ``part`` holds all mosaics; without it what they span is looked up, which a GPU is waited for.

    Attributes, all over the part of the picture that mosaics span: ``own`` (M, 3, h, w) each frame's
    interpolated cells, ``weight`` (M, 1, h, w) its mosaic, ``samples`` (M, 3, n, n), ``is_whole`` (M, 1, n,
    n) the cells that count, ``is_point`` (M, 1, 1, 1) frames of point samples, ``is_mean`` (B, 1, 1, 1)
    windows whose cells are means; and, after every correction of the motion: ``in_frame`` and
    ``in_reference`` (M, h, w, 2), where a pixel of the reference lies in each frame and where one of a frame
    lies in the reference; ``shown`` (M, 3, h, w) and ``sharpness`` (M, 1, h, w), what each frame shows of
    the reference; ``uncovered`` (M, 1, h, w), where it shows it clean.
    """

    def __init__(self, obs: Observation, window: int, part: Part | None = None) -> None:
        self.window, self.reference = window, window // 2
        self.part = _part(obs.weight) if part is None else (part.rows, part.cols)
        used = max(_used(obs.rows), _used(obs.cols)) if part is None else part.cells
        base, weight, sharp = (self.cut(x) for x in (obs.base, obs.weight, _sharpness(obs)))
        self.own, self.weight, self.own_sharpness = base, weight, sharp
        self.samples = obs.samples[..., :used, :used]
        rows, cols = (
            _along(m[..., :used, :], a, -1) for m, a in ((obs.rows, self.part[0]), (obs.cols, self.part[1]))
        )
        cover = pixelation.coverage(rows, cols, weight)
        self.is_whole, present = (cover >= WHOLE_CELL).to(cover.dtype), (cover > 0).to(cover.dtype)
        self.is_point = points = (obs.means <= 0).view(-1, 1, 1, 1)
        self.is_mean = 1 - self.by_window(points.to(base.dtype))[:, self.reference]
        read = _sampling((rows, cols), points.view(-1, 1, 1))
        self.reading = read[0].unsqueeze(-3), read[1].unsqueeze(-3).transpose(-1, -2)
        tall, wide = self.reading[0].sum(-1, keepdim=True), self.reading[1].sum(-2, keepdim=True)
        self.cell_sizes = (tall * wide).clamp_min(1)
        # From cells to pixels on each axis: between the cells' centres, or the same all over a cell.
        up = pixelation.interpolation(rows, (present.sum(-1) > 0).to(cover.dtype).squeeze(-2)).unsqueeze(-3)
        across = pixelation.interpolation(cols, (present.sum(-2) > 0).to(cover.dtype).squeeze(-2))
        self.interpolation = up, across.unsqueeze(-3).transpose(-1, -2)
        self.replication = rows.unsqueeze(-3).transpose(-1, -2), cols.unsqueeze(-3)
        place = self.cut(obs.features[:, PLACE]) * torch.pi
        self.phase = torch.cat([place.cos() * weight, place.sin() * weight, weight], dim=1)
        self.diversity = torch.zeros_like(weight)
        self.control_weights = _control_weights(base.shape[-2], base), _control_weights(base.shape[-1], base)
        self.at_cells = tuple(
            torch.einsum("mnp,kp->mkn", r, weights) / r.sum(-1).clamp_min(1).unsqueeze(1)
            for r, weights in zip(read, self.control_weights, strict=True)
        )
        sharpness = torch.where(points, sharp.clamp_min(MIN_SHARPNESS), 1.0) * weight
        self.frames = torch.cat([base, weight, sharpness], dim=1)
        self.displacement = torch.zeros(len(base), 2, CONTROL_POINTS, CONTROL_POINTS, device=base.device)
        pictures, inside = (self.by_window(F.avg_pool2d(x, 2)) for x in (base, weight))
        self._align(register(pictures, inside, self.reference).flatten(0, 1))

    def _align(self, theta: Tensor) -> None:
        """Sets the motion ``theta`` (M, 2, 3) and what depends on it and on ``displacement``."""
        self.theta = theta
        there, back = grid_of(theta, self.frames), grid_of(invert(theta), self.frames)
        moved = torch.einsum("mcij,ih,jw->mchw", self.displacement, *self.control_weights)
        self.in_reference = back + moved.permute(0, 2, 3, 1)
        self.in_frame = there - torch.einsum("mab,mbhw->mhwa", theta[..., :2], sample(moved, there))
        shown = sample(self.frames, self.in_frame)
        within = (self.in_frame.abs() <= 1).all(-1).unsqueeze(1)
        self.shown, hidden, self.sharpness = shown[:, :3], shown[:, 3:4], shown[:, 4:]
        self.uncovered = (1 - hidden) * (within & (hidden < 1 - CLEAN_SHARE)).to(shown.dtype)

    def refine(self, picture: Tensor, misfit: Tensor) -> None:
        """Corrects the motion by a Gauss-Newton step on the ``misfit`` (M, 3, n, n) of a picture (B, 3, h,
        w).

        Frames of point samples keep their motion: a picture fits those whatever the motion.
        """
        slope, trust = self._slope(picture), (self.cell_trust(misfit) * self.is_whole).squeeze(1)
        y, x = (self._centres(axis) for axis in (0, 1))
        linear = torch.stack([x * slope[:, 0] + y * slope[:, 1], x * slope[:, 1] - y * slope[:, 0]], dim=1)
        normal, right = _equations(torch.cat([linear, slope], dim=1), misfit, trust)
        diagonal = torch.diagonal(normal, dim1=-2, dim2=-1)
        step = solve(normal + torch.diag_embed(DAMPING * diagonal + 1e-4), right)
        given = torch.einsum("machw,mih,mjw->maijchw", slope, *self.at_cells).flatten(1, 3)
        normal, right = _equations(given, misfit, trust)
        held = STIFFNESS * torch.diagonal(normal, dim1=-2, dim2=-1).mean(-1) + 1e-4
        held = held[:, None, None] * _stiffness(picture)
        right = right - (held @ self.displacement.flatten(1).unsqueeze(-1)).squeeze(-1)
        moved_points = solve(normal + held, right)
        still = torch.arange(len(step), device=step.device) % self.window == self.reference
        fixed = (still | self.is_point.flatten())[:, None]
        step, moved_points = (
            torch.where(fixed, 0, s).clamp(-MAX_STEP, MAX_STEP) for s in (step, moved_points)
        )
        self.displacement = self.displacement + moved_points.view_as(self.displacement)
        back = invert(self.theta)
        own = torch.stack([back[:, 0, 0] - 1, back[:, 1, 0], back[:, 0, 2], back[:, 1, 2]], dim=1)
        self._align(invert(similarity(own + step)))

    def _slope(self, picture: Tensor) -> Tensor:
        """(M, 2, 3, n, n): change of each cell per shift of the picture in x and in y."""
        frames = sample(picture.repeat_interleave(self.window, 0), self.in_reference)
        h, w = frames.shape[-2:]
        padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
        right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (w / 4)
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * (h / 4)
        return torch.stack([self.read(right), self.read(down)], dim=1)

    def _centres(self, axis: int) -> Tensor:
        """Coordinates of the cells' centres: (M, 1, n, 1) for y, axis 0, and (M, 1, 1, n) for x."""
        member = self.reading[0].squeeze(1) if axis == 0 else self.reading[1].squeeze(1).transpose(-1, -2)
        size = member.shape[-1]
        at = (torch.arange(size, device=member.device, dtype=member.dtype) * 2 + 1) / size - 1
        centres = (member * at).sum(-1) / member.sum(-1).clamp_min(1)
        return centres[:, None, :, None] if axis == 0 else centres[:, None, None, :]

    def cut(self, x: Tensor) -> Tensor:
        """(..., H, W) -> (..., h, w)."""
        return _along(_along(x, self.part[0], -2), self.part[1], -1)

    def put(self, x: Tensor, part: Tensor) -> None:
        """Writes ``part`` (..., h, w) where it lies in ``x`` (..., H, W)."""
        rows, cols = self.part
        if isinstance(rows, Tensor):
            x[..., rows.unsqueeze(-1), cols] = part
        else:
            x[..., rows, cols] = part

    def by_window(self, x: Tensor) -> Tensor:
        """(M, ...) -> (B, T, ...)."""
        apart: Tensor = x.unflatten(0, (-1, self.window))
        return apart

    def read(self, frames: Tensor) -> Tensor:
        """Pixelates frames: (M, 3, h, w) -> cells (M, 3, n, n)."""
        return self.reading[0] @ frames @ self.reading[1] / self.cell_sizes

    def misfit(self, picture: Tensor) -> Tensor:
        """Samples less those of a picture (B, 3, h, w), beyond rounding: (M, 3, n, n)."""
        misfit = self.samples - self.read(
            sample(picture.repeat_interleave(self.window, 0), self.in_reference)
        )
        return (misfit - misfit.clamp(-HALF_STEP, HALF_STEP)) * self.is_whole

    def cell_trust(self, misfit: Tensor) -> Tensor:
        """Weight of each cell by its misfit, (M, 1, n, n) in (0, 1]; 1 in the reference frame."""
        trust = self.by_window(1 / (1 + (misfit**2).mean(1, keepdim=True) / CELL_DOUBT**2)).clone()
        trust[:, self.reference] = 1
        return trust.flatten(0, 1)

    def back_project(self, cells: Tensor) -> Tensor:
        """From cells to pixels, (M, 3, n, n) -> (M, 3, h, w) inside the mosaic.

        The adjoint of ``read``, which is flat over a cell, where the cells of several frames overlap
        (``diversity``), and interpolation elsewhere.
        """
        smooth, flat = self._between(cells), self.replication[0] @ cells @ self.replication[1]
        return torch.lerp(smooth, flat, self.diversity) * self.weight

    def _between(self, cells: Tensor) -> Tensor:
        """Interpolates cells: (M, C, n, n) -> (M, C, h, w)."""
        return self.interpolation[0] @ cells @ self.interpolation[1]

    def shares(self, trust: Tensor) -> Tensor:
        """Share of each frame in a pixel of the picture: (M, 1, h, w); ``trust`` (M, 1, 1, 1) weighs frames.

        Sets ``diversity`` for ``back_project``: how far apart the cells of several frames lie at a pixel, on
        both axes, as the circular variance of the pixel's place in its cells. Where one frame decides, or
        all have the same cells, a flat gradient would leave hard edges.
        """
        weight = self.sharpness * trust
        total = self.by_window(weight).sum(1).clamp_min(MIN_WEIGHT)
        share = weight / total.repeat_interleave(self.window, 0)
        phase = (
            self.by_window(sample(self.phase, self.in_frame)) * share.unflatten(0, (-1, self.window))
        ).sum(1)
        cos, sin, seen = phase.split((2, 2, 1), dim=1)
        alike = ((cos**2 + sin**2) / seen.clamp_min(1e-3) ** 2).amax(1, keepdim=True)
        apart = (1 - alike).clamp(0, 1).repeat_interleave(self.window, 0)
        self.diversity = sample(apart, self.in_reference) * (1 - self.is_point.to(apart.dtype))
        return share

    def clean(self, trust: Tensor) -> tuple[Tensor, Tensor]:
        """Clean pixels that frames show where the reference has its mosaic: (B, 3, h, w), and the share of
        the way that a step goes to them, (B, 1, h, w).

        The share falls with the misfit of the reference's cells to those pixels, completed by interpolation
        (the picture that is being fitted would make up for what is wrong), and with the variance over
        frames: a background does not move with the head, and a head that turns hides what others show. It is
        squared, since every step goes there and small shares add up.
        """
        weight = self.by_window(self.uncovered * trust)
        total, own = weight.sum(1), self.by_window(self.own)[:, self.reference]
        frames = self.by_window(self.shown)
        shown, sure = (frames * weight).sum(1) / total.clamp_min(1e-3), total.clamp_max(1)
        misfit = self.misfit(torch.lerp(own, shown, sure)).square().mean(1, keepdim=True)
        doubt = self.by_window(self._between(misfit) * self.weight)[:, self.reference].clamp_min(0)
        apart = (frames - shown.unsqueeze(1)).square().mean(2, keepdim=True)
        doubt = doubt + VARIANCE_WEIGHT * (apart * weight).sum(1) / total.clamp_min(1e-3)
        return shown, (sure / (1 + doubt / CELL_DOUBT**2)) ** 2

    def held_to_samples(self, frames: Tensor, trust: Tensor) -> Tensor:
        """The common picture as each frame sees it, (M, 3, h, w), held to the frame's own samples.

        It is corrected smoothly by its misfit, and gives way to the frame's own interpolation where the
        misfit is large, where the reference does not show the place, and where ``trust`` (M, 1, 1, 1) in the
        frame is low. Point samples hold nothing: they give a pixel's value and not what lies about it.
        """
        within = (self.in_reference.abs() <= 1).all(-1).unsqueeze(1)
        frames = torch.lerp(self.own, frames, self.weight * within)
        misfit = (self.samples - self.read(frames)) * self.is_whole
        wrong = misfit.square().mean(1, keepdim=True)
        given_up = self._between(wrong / (wrong + MAX_MISFIT**2)) * self.weight
        held = frames + self.back_project(misfit - misfit.clamp(-ROUNDING, ROUNDING))
        held = torch.lerp(self.own, held, (1 - given_up.clamp(0, 1)) * (trust / MIN_TRUST).clamp_max(1))
        return torch.where(self.is_point, frames, held)

    def mean_picture(self, trust: Tensor) -> Tensor:
        """Weighted mean of the interpolated frames: (B, 3, h, w)."""
        weight = self.by_window(self.sharpness * trust)
        total = weight.sum(1)
        mean = (self.by_window(self.shown) * weight).sum(1) / total.clamp_min(1e-3)
        return torch.where(total > MIN_WEIGHT, mean, self.by_window(self.own)[:, self.reference])


def _equations(slope: Tensor, misfit: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    """The normal equations of weighted least squares for P parameters: slope (M, P, 3, n, n), misfit (M, 3,
    n, n), trust (M, n, n) -> (M, P, P), (M, P)."""
    normal = torch.einsum("mphrc,mqhrc,mrc->mpq", slope, slope, trust)
    return normal, torch.einsum("mphrc,mhrc,mrc->mp", slope, misfit, trust)


def _stiffness(like: Tensor) -> Tensor:
    """The regulariser of the control points, a matrix of 2 * CONTROL_POINTS ** 2: squared differences of
    neighbours, and a fifth of the squares."""
    points = torch.eye(CONTROL_POINTS**2, device=like.device).view(-1, CONTROL_POINTS, CONTROL_POINTS)
    apart = [(points[:, 1:] - points[:, :-1]).flatten(1), (points[..., 1:] - points[..., :-1]).flatten(1)]
    of_axis = (
        apart[0] @ apart[0].T + apart[1] @ apart[1].T + 0.2 * torch.eye(CONTROL_POINTS**2, device=like.device)
    )
    stiffness: Tensor = torch.block_diag(of_axis, of_axis)
    return stiffness


def _control_weights(size: int, like: Tensor) -> Tensor:
    """Weights of the control points of an axis at its pixels, cubic between them: (CONTROL_POINTS, size)."""
    points = torch.eye(CONTROL_POINTS, device=like.device)[:, None, :, None]
    weights: Tensor = F.interpolate(points, (size, 1), mode="bicubic", align_corners=True)[:, 0, :, 0]
    return weights


def _along(x: Tensor, part: slice | Tensor, dim: int) -> Tensor:
    """Some entries of the last dimension, -1, or of the one before it."""
    if isinstance(part, Tensor):
        return x.index_select(dim, part)
    return x[..., part] if dim == -1 else x[..., part, :]


def _used(member: Tensor) -> int:
    """Number of the N cells of an axis that any frame uses, 1 at least."""
    return 1 + max(torch.nonzero(member.amax((0, -1)).cpu()).flatten().tolist(), default=0)


def _part(weight: Tensor) -> tuple[slice, slice]:
    """The rows and columns that the mosaics of all frames (M, 1, H, W) span, an even number of each."""
    spans = []
    for along, size in ((-1, weight.shape[-2]), (-2, weight.shape[-1])):
        at = torch.nonzero(weight.amax((0, 1, along)).cpu()).flatten().tolist() or [0, size - 1]
        first, end = max(0, at[0] - MARGIN_PX), min(size, at[-1] + 1 + MARGIN_PX)
        spans.append(slice(first - first % 2, min(size, end + end % 2)))
    return spans[0], spans[1]


def _sampling(member: tuple[Tensor, Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
    """Membership of the pixels that a cell's sample is made of: all of them, or the one in its middle."""
    rows, cols = (torch.where(points, pixelation.pick(x, pixelation.Operator.CENTRE), x) for x in member)
    return rows, cols


def _sharpness(obs: Observation) -> Tensor:
    """(M, 1, H, W): 1 in the middle of a cell, falling off as a Gaussian of the distance in cells."""
    place = obs.features[:, PLACE] / 2 / SHARPNESS_CELLS
    return torch.exp(-0.5 * (place**2).sum(1, keepdim=True)) * obs.weight
