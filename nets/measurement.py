"""What the mosaics of a window measure: a map from one picture to the cells of every frame, and back.

The picture is that of the reference frame. ``theta`` takes its places to those of each frame, a similarity
(nets.registration) and, on top, a displacement of ``BENDS`` x ``BENDS`` control points, since faces turn
and speak.
Both are corrected by Gauss-Newton steps on the cells themselves: interpolated cells bias them by up to a
pixel, which costs 1 dB.

Shapes: B windows of T frames, M = B * T; h and w are the part of the picture that mosaics span, n the cells
in use; coordinates are those of nets.registration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nets import pixelation
from nets.observation import HALF_STEP, Observation
from nets.registration import DAMPING, grid_of, invert, register, sample, similarity

CELL_DOUBT = 0.02
"""What a cell of another frame than the reference may contradict, 5 grey levels, before it counts half
(Cauchy weights). Without them 16 frames of real clips lose 1 dB."""

WHOLE = 0.98
"""Least share of a cell inside the mosaic for its sample to say what lies in it."""

CLEAN = 0.95
"""Least share of clean pixels in what a frame shows of a place for it to count as seen."""

SHARP = 0.35
"""Distance from a cell's centre, in cells, at which its sample counts 0.6 in ``sharp``."""

FAR = 0.02
"""What a point sample says of all that lies farther off, at least."""

LEAST = 0.1
"""What frames count for a pixel together, below which they do not make it up."""

FASTEST = 0.03
"""Farthest that a step corrects the motion, in half pictures."""

BENDS = 4
"""Control points on an axis. 6 gain as much on real clips and lose 0.2 dB on moved stills."""

STIFF = 0.2
"""How much neighbouring control points are held together, in shares of what cells say of one. At a sixth,
real clips gain 0.1 dB from 16 frames and moved stills lose 0.25."""

DISAGREEING = 0.5
"""What the variance of clean pixels of several frames counts beside what cells contradict."""

CODED = 1 / 255
"""What a sample may differ from the picture, as it was coded."""

FITS = 0.25
"""Trust in a frame below which it is given less of the common picture."""

GIVEN_UP = 0.05
"""What a frame's cell may lack of the common picture, 13 grey levels, before half of that is given up."""

PLACE = slice(7, 9)
"""Of ``nets.observation.Observation.features``: a pixel's place in its cell, down and across, -1..1."""

MARGIN_PX = 4
"""About the mosaics of a batch: what lies farther out is left out of the work."""


class Measurement:
    """Of the (M, ...) frames of an observation, ``window`` each, one window after the other."""

    def __init__(self, obs: Observation, window: int) -> None:
        self.window, self.reference = window, window // 2
        self.part, used = _part(obs.weight), max(_used(obs.rows), _used(obs.cols))
        planes = (obs.base, obs.weight, _sharpness(obs))
        base, weight, sharp = (x[..., self.part[0], self.part[1]] for x in planes)
        self.own, self.weight, self.sharp = base, weight, sharp
        self.samples = obs.samples[..., :used, :used]
        rows, cols = obs.rows[..., :used, self.part[0]], obs.cols[..., :used, self.part[1]]
        cover = pixelation.coverage(rows, cols, weight)
        self.whole, present = (cover >= WHOLE).to(cover.dtype), (cover > 0).to(cover.dtype)
        self.points = points = (obs.means <= 0).view(-1, 1, 1, 1)
        self.of_means = 1 - self.split(points.to(base.dtype))[:, self.reference]
        read = _sampling((rows, cols), points.view(-1, 1, 1))
        self.reading = read[0].unsqueeze(-3), read[1].unsqueeze(-3).transpose(-1, -2)
        tall, wide = self.reading[0].sum(-1, keepdim=True), self.reading[1].sum(-2, keepdim=True)
        self.size = (tall * wide).clamp_min(1)
        # Two ways back from cells to pixels, on each axis: between their centres, and to all of their pixels.
        up = pixelation.interpolation(rows, (present.sum(-1) > 0).to(cover.dtype).squeeze(-2)).unsqueeze(-3)
        across = pixelation.interpolation(cols, (present.sum(-2) > 0).to(cover.dtype).squeeze(-2))
        self.smooth = up, across.unsqueeze(-3).transpose(-1, -2)
        self.flat = rows.unsqueeze(-3).transpose(-1, -2), cols.unsqueeze(-3)
        place = obs.features[:, PLACE, self.part[0], self.part[1]] * torch.pi
        self.phase = torch.cat([place.cos() * weight, place.sin() * weight, weight], dim=1)
        self.crossed = torch.zeros_like(weight)
        self.bumps = _bumps(base.shape[-2], base), _bumps(base.shape[-1], base)
        self.at_cells = tuple(
            torch.einsum("mnp,kp->mkn", r, bumps) / r.sum(-1).clamp_min(1).unsqueeze(1)
            for r, bumps in zip(read, self.bumps, strict=True)
        )
        near = torch.where(points, sharp.clamp_min(FAR), 1.0) * weight
        self.frames = torch.cat([base, weight, near], dim=1)
        self.bend = torch.zeros(len(base), 2, BENDS, BENDS, device=base.device)
        pictures, inside = (self.split(F.avg_pool2d(x, 2)) for x in (base, weight))
        self._align(register(pictures, inside, self.reference).flatten(0, 1))

    def _align(self, theta: Tensor) -> None:
        """Sets the motion: ``theta`` (M, 2, 3) beside ``bend``, and what is seen along it."""
        self.theta = theta
        there, back = grid_of(theta, self.frames), grid_of(invert(theta), self.frames)
        moved = torch.einsum("mcij,ih,jw->mchw", self.bend, *self.bumps)
        self.back = back + moved.permute(0, 2, 3, 1)
        self.there = there - torch.einsum("mab,mbhw->mhwa", theta[..., :2], sample(moved, there))
        shown = sample(self.frames, self.there)
        within = (self.there.abs() <= 1).all(-1).unsqueeze(1)
        self.shown, hidden, self.near = shown[:, :3], shown[:, 3:4], shown[:, 4:]
        self.bare = (1 - hidden) * (within & (hidden < 1 - CLEAN)).to(shown.dtype)

    def refine(self, picture: Tensor, lack: Tensor) -> None:
        """A Gauss-Newton step of the motion from what the cells lack of a picture (B, 3, h, w).

        Frames of point samples keep theirs: a picture fits those whatever the motion.
        """
        slope, trust = self._slope(picture), (self.cell_trust(lack) * self.whole).squeeze(1)
        y, x = (self._centres(axis) for axis in (0, 1))
        linear = torch.stack([x * slope[:, 0] + y * slope[:, 1], x * slope[:, 1] - y * slope[:, 0]], dim=1)
        normal, right = _equations(torch.cat([linear, slope], dim=1), lack, trust)
        diagonal = torch.diagonal(normal, dim1=-2, dim2=-1)
        step = torch.linalg.solve(normal + torch.diag_embed(DAMPING * diagonal + 1e-4), right)
        given = torch.einsum("machw,mih,mjw->maijchw", slope, *self.at_cells).flatten(1, 3)
        normal, right = _equations(given, lack, trust)
        held = STIFF * torch.diagonal(normal, dim1=-2, dim2=-1).mean(-1) + 1e-4
        held = held[:, None, None] * _stiffness(picture)
        right = right - (held @ self.bend.flatten(1).unsqueeze(-1)).squeeze(-1)
        bend = torch.linalg.solve(normal + held, right)
        still = torch.arange(len(step), device=step.device) % self.window == self.reference
        fixed = (still | self.points.flatten())[:, None]
        step, bend = (torch.where(fixed, 0, s).clamp(-FASTEST, FASTEST) for s in (step, bend))
        self.bend = self.bend + bend.view_as(self.bend)
        back = invert(self.theta)
        own = torch.stack([back[:, 0, 0] - 1, back[:, 1, 0], back[:, 0, 2], back[:, 1, 2]], dim=1)
        self._align(invert(similarity(own + step)))

    def _slope(self, picture: Tensor) -> Tensor:
        """(M, 2, 3, n, n): change of each cell where the picture is read farther right, farther down."""
        frames = sample(picture.repeat_interleave(self.window, 0), self.back)
        h, w = frames.shape[-2:]
        padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
        right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (w / 4)
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * (h / 4)
        return torch.stack([self.read(right), self.read(down)], dim=1)

    def _centres(self, axis: int) -> Tensor:
        """Coordinates of cells on an axis, (M, 1, n, 1) down or (M, 1, 1, n) across."""
        member = self.reading[0].squeeze(1) if axis == 0 else self.reading[1].squeeze(1).transpose(-1, -2)
        size = member.shape[-1]
        at = (torch.arange(size, device=member.device, dtype=member.dtype) * 2 + 1) / size - 1
        centres = (member * at).sum(-1) / member.sum(-1).clamp_min(1)
        return centres[:, None, :, None] if axis == 0 else centres[:, None, None, :]

    def split(self, x: Tensor) -> Tensor:
        """(M, ...) -> (B, T, ...)."""
        apart: Tensor = x.unflatten(0, (-1, self.window))
        return apart

    def read(self, frames: Tensor) -> Tensor:
        """(M, 3, h, w) -> cells (M, 3, n, n)."""
        return self.reading[0] @ frames @ self.reading[1] / self.size

    def lack(self, picture: Tensor) -> Tensor:
        """(M, 3, n, n): samples less those of a picture (B, 3, h, w), beyond rounding."""
        lack = self.samples - self.read(sample(picture.repeat_interleave(self.window, 0), self.back))
        return (lack - lack.clamp(-HALF_STEP, HALF_STEP)) * self.whole

    def cell_trust(self, lack: Tensor) -> Tensor:
        """(M, 1, n, n) in (0, 1]: weight of each cell by what it contradicts, 1 in the reference."""
        trust = self.split(1 / (1 + (lack**2).mean(1, keepdim=True) / CELL_DOUBT**2)).clone()
        trust[:, self.reference] = 1
        return trust.flatten(0, 1)

    def spread(self, cells: Tensor) -> Tensor:
        """(M, 3, n, n) -> (M, 3, h, w), in the mosaic: flat over means that others cross, else smooth."""
        smooth, flat = self._between(cells), self.flat[0] @ cells @ self.flat[1]
        return torch.lerp(smooth, flat, self.crossed) * self.weight

    def _between(self, cells: Tensor) -> Tensor:
        """(M, C, n, n) -> (M, C, h, w): interpolated."""
        return self.smooth[0] @ cells @ self.smooth[1]

    def share(self, trust: Tensor) -> Tensor:
        """(M, 1, h, w): what each frame's cells count for a pixel of the picture; ``trust`` (M, 1, 1, 1).

        From now on cells are spread by that: flat, which is the gradient, only as far as the cells of several
        frames lie apart there, on both axes. What one frame says alone, or all about the same cells, would
        leave hard edges. How far apart is the circular variance of a pixel's places in its cells.
        """
        weight = self.near * trust
        total = self.split(weight).sum(1).clamp_min(LEAST)
        share = weight / total.repeat_interleave(self.window, 0)
        phase = (self.split(sample(self.phase, self.there)) * share.unflatten(0, (-1, self.window))).sum(1)
        cos, sin, seen = phase.split((2, 2, 1), dim=1)
        alike = ((cos**2 + sin**2) / seen.clamp_min(1e-3) ** 2).amax(1, keepdim=True)
        apart = (1 - alike).clamp(0, 1).repeat_interleave(self.window, 0)
        self.crossed = sample(apart, self.back) * (1 - self.points.to(apart.dtype))
        return share

    def clean(self, trust: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w): what frames show of the reference beside their mosaics; (B, 1, h, w): what share of
        the way a step goes there.

        The less, the more a cell of the reference contradicts that, with its interpolation for the rest of
        the cell (a picture that is being fitted would make up for what is wrong), and the more frames
        contradict each other: a background does not move with the head, and a head that turns hides what
        others show. Squared, as every step goes there: small shares would add up.
        """
        weight = self.split(self.bare * trust)
        total, own = weight.sum(1), self.split(self.own)[:, self.reference]
        frames = self.split(self.shown)
        shown, sure = (frames * weight).sum(1) / total.clamp_min(1e-3), total.clamp_max(1)
        lack = self.lack(torch.lerp(own, shown, sure)).square().mean(1, keepdim=True)
        doubt = self.split(self._between(lack) * self.weight)[:, self.reference].clamp_min(0)
        apart = (frames - shown.unsqueeze(1)).square().mean(2, keepdim=True)
        doubt = doubt + DISAGREEING * (apart * weight).sum(1) / total.clamp_min(1e-3)
        return shown, (sure / (1 + doubt / CELL_DOUBT**2)) ** 2

    def hold(self, frames: Tensor, trust: Tensor) -> Tensor:
        """The common picture seen from each frame, (M, 3, h, w), brought nearer to the frame's own samples:
        smoothly by what it lacks, and back to the frame's own interpolation where it lacks much, where the
        reference does not show the place, or if ``trust`` (M, 1, 1, 1) says that the frame fits badly. Point
        samples hold nothing: they say what a pixel was, but not what lies about it."""
        within = (self.back.abs() <= 1).all(-1).unsqueeze(1)
        frames = torch.lerp(self.own, frames, self.weight * within)
        lack = (self.samples - self.read(frames)) * self.whole
        wrong = lack.square().mean(1, keepdim=True)
        given_up = self._between(wrong / (wrong + GIVEN_UP**2)) * self.weight
        held = frames + self.spread(lack - lack.clamp(-CODED, CODED))
        held = torch.lerp(self.own, held, (1 - given_up.clamp(0, 1)) * (trust / FITS).clamp_max(1))
        return torch.where(self.points, frames, held)

    def start(self, trust: Tensor) -> Tensor:
        """(B, 3, h, w): mean of the interpolated frames."""
        weight = self.split(self.near * trust)
        total = weight.sum(1)
        mean = (self.split(self.shown) * weight).sum(1) / total.clamp_min(1e-3)
        return torch.where(total > LEAST, mean, self.split(self.own)[:, self.reference])


def _equations(slope: Tensor, lack: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    """Of weighted least squares for P parameters: slope (M, P, 3, n, n), lack (M, 3, n, n), trust (M, n, n)
    -> (M, P, P), (M, P)."""
    normal = torch.einsum("mphrc,mqhrc,mrc->mpq", slope, slope, trust)
    return normal, torch.einsum("mphrc,mhrc,mrc->mp", slope, lack, trust)


def _stiffness(like: Tensor) -> Tensor:
    """(2 * BENDS ** 2,) squared: differences of neighbouring control points, and a fifth of their size."""
    points = torch.eye(BENDS**2, device=like.device).view(-1, BENDS, BENDS)
    apart = [(points[:, 1:] - points[:, :-1]).flatten(1), (points[..., 1:] - points[..., :-1]).flatten(1)]
    of_axis = apart[0] @ apart[0].T + apart[1] @ apart[1].T + 0.2 * torch.eye(BENDS**2, device=like.device)
    stiffness: Tensor = torch.block_diag(of_axis, of_axis)
    return stiffness


def _bumps(size: int, like: Tensor) -> Tensor:
    """(BENDS, size): what each control point of an axis counts at a pixel, cubic between them."""
    points = torch.eye(BENDS, device=like.device)[:, None, :, None]
    bumps: Tensor = F.interpolate(points, (size, 1), mode="bicubic", align_corners=True)[:, 0, :, 0]
    return bumps


def _used(member: Tensor) -> int:
    """How many of the N cells of an axis any frame has, 1 at least."""
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
    """Membership of the pixels that a cell's sample stems from: all of its own, or the one in its middle."""
    rows, cols = (torch.where(points, pixelation.pick(x, pixelation.Operator.CENTRE), x) for x in member)
    return rows, cols


def _sharpness(obs: Observation) -> Tensor:
    """(M, 1, H, W): 1 in the middle of a cell, falling off as a Gaussian of the distance in cells."""
    place = obs.features[:, PLACE] / 2 / SHARP
    return torch.exp(-0.5 * (place**2).sum(1, keepdim=True)) * obs.weight
