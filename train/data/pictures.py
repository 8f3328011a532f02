"""Training pictures: stills and clips in memory as uint8, drawn by a generator, so that a step's batch
depends on (seed, step) alone and a resumed run sees what an uninterrupted one would have seen."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import InputError

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MIN_SIDE_PX = 96
"""A smaller picture holds less than two pixels per cell at 20 blocks: nothing to learn from."""

MOST_OF_A_SOURCE = 0.15
"""Largest share of the draws that the pictures of one source (a folder below FACES) get."""

WHITE_BALANCE = 0.08
"""Largest change of a colour channel's gain."""

JPEG_TAIL = 4096
"""Bytes at the end of a JPEG file among which its end marker stands; some append notes of their own."""


@dataclass(frozen=True)
class Clips:
    """A batch of clean clips and how their pictures move."""

    frames: Tensor
    """(B, T, 3, S, S) float32 RGB in [0, 1]"""
    placement: Tensor
    """(B, T, 2, 3): from picture coordinates of frame t to those of the still, both in [-1, 1]"""
    still: Tensor
    """(B,) bool: True where the motion is the camera's alone, and so known"""


@dataclass(frozen=True)
class Stills:
    """Square face crops of 1.6 x the face box, roughly centred."""

    pictures: Tensor
    """(N, 3, S, S) uint8 RGB"""
    chances: Tensor | None = None
    """(N,) float64, chance of each picture to be drawn, see ``balanced``; None: all alike"""

    def draw(self, generator: torch.Generator) -> int:
        """Index of one picture."""
        if self.chances is None:
            return int(torch.randint(len(self.pictures), (1,), generator=generator))
        return int(torch.multinomial(self.chances, 1, generator=generator))

    @staticmethod
    def load(folder: Path, size_px: int) -> Stills:
        """Reads every picture below ``folder``. Raises InputError where there is none to train on."""
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; wanted one with face pictures")
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        read = [(path, read_picture(path, size_px)) for path in files]
        kept = [picture for _, picture in read if picture is not None]
        if not kept:
            raise InputError(
                f"no usable face picture below {folder} ({len(files)} picture files); wanted square crops "
                f"of 1.6 x the face, at least {MIN_SIDE_PX} px, as {', '.join(SUFFIXES)}"
            )
        if len(kept) < len(files):
            log.warning("%s: %d of %d pictures left out", folder, len(files) - len(kept), len(files))
        sources = [path.relative_to(folder).parts[0] for path, picture in read if picture is not None]
        pictures = torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2).contiguous()
        return Stills(pictures, balanced(sources))


def balanced(sources: list[str], most: float = MOST_OF_A_SOURCE) -> Tensor:
    """Chance of each picture to be drawn, (N,) float64, sum 1.

    ``sources`` names the source of each picture. All pictures are alike but for those of sources that hold
    more than the share ``most`` of all: such a source is drawn with that share, or with an equal share where
    there are too few sources for it.
    """
    names, index, counts = np.unique(np.array(sources), return_inverse=True, return_counts=True)
    bound = max(most, 1 / len(names))
    share = counts / counts.sum()
    capped = np.zeros(len(names), dtype=bool)
    while (over := ~capped & (share > bound + 1e-12)).any():
        capped |= over
        share = np.where(capped, bound, counts / max(counts[~capped].sum(), 1) * (1 - bound * capped.sum()))
    return torch.from_numpy((share / counts)[index] / share.sum())


def _is_cut(data: bytes) -> bool:
    """Whether a JPEG file breaks off, which decoders fill up with gray."""
    return data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-JPEG_TAIL:]


def read_picture(path: Path, size_px: int) -> NDArray[np.uint8] | None:
    """(S, S, 3) RGB, the middle square resized; None with a log line where it cannot serve."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    whole = data and not _is_cut(data)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if whole else None
    if picture is None:
        log.warning("%s: not a picture that can be read; left out", path)
        return None
    side = min(picture.shape[:2])
    if side < MIN_SIDE_PX:
        log.warning("%s: %d px, fewer than %d; left out", path, side, MIN_SIDE_PX)
        return None
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = picture[top : top + side, left : left + side, ::-1]
    if side != size_px:
        how = cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC
        square = cv2.resize(square, (size_px, size_px), interpolation=how)
    return np.ascontiguousarray(square, dtype=np.uint8)


@dataclass(frozen=True)
class Segments:
    """Runs of consecutive frames of real clips under a crop that stands still within the run."""

    frames: NDArray[np.uint8]
    """(N, L, S, S, 3) RGB; may be a memory map"""

    @staticmethod
    def load(path: Path) -> Segments:
        """Opens what ``python -m train.data.pack`` wrote."""
        if not path.exists():
            raise InputError(f"{path} does not exist; make it with: python -m train.data.pack CLIPS {path}")
        try:
            frames = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is no .npy file that can be read; make one of a folder of clips with: "
                "python -m train.data.pack CLIPS OUT.npy"
            ) from error
        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise InputError(f"{path} holds {frames.dtype}{frames.shape}; wanted uint8 (N, L, S, S, 3)")
        return Segments(frames)


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a list of pictures or clips."""
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def jitter(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Colour: white balance, brightness, contrast, saturation, gamma, one draw per clip.

    batch (B, T, 3, S, S) in [0, 1]; the same comes back.
    """
    B = batch.shape[0]

    def draw(low: float, high: float) -> Tensor:
        return (torch.rand(B, 1, 1, 1, 1, generator=generator) * (high - low) + low).to(batch.device)

    balance = 1 + (torch.rand(B, 1, 3, 1, 1, generator=generator) - 0.5).to(batch.device) * 2 * WHITE_BALANCE
    batch = batch * balance
    grey = batch.mean(2, keepdim=True)
    batch = grey + (batch - grey) * draw(0.7, 1.25)
    middle = batch.mean((1, 2, 3, 4), keepdim=True)
    batch = (batch - middle) * draw(0.8, 1.15) + middle * draw(0.8, 1.2)
    return batch.clamp(1e-4, 1) ** draw(0.75, 1.35)


def smooth_noise(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """Low-pass random curves of about unit standard deviation: (count, frames), 0 in the middle."""
    knots = max(2, frames // 4 + 2)
    coarse = torch.randn(count, 1, knots, generator=generator)
    curve = F.interpolate(coarse, size=frames, mode="linear", align_corners=True).squeeze(1)
    return curve - curve[:, frames // 2 : frames // 2 + 1]


def check_sizes(sources: tuple[Stills, Segments | None]) -> None:
    """Raises InputError where stills and segments cannot stand in one batch."""
    stills, segments = sources
    if segments is not None and segments.frames.shape[2:4] != stills.pictures.shape[2:]:
        wanted, given = stills.pictures.shape[-1], segments.frames.shape[2:4]
        raise InputError(
            f"segments of {given[1]} x {given[0]} px; wanted {wanted} x {wanted} px as the stills"
        )


def draw_clips(
    sources: tuple[Stills, Segments | None],
    batch: int,
    frames: int,
    real_share: float,
    generator: torch.Generator,
) -> Clips:
    """Stills under a moving camera, and real segments with a share of ``real_share``."""
    stills, segments = sources
    size_px = stills.pictures.shape[-1]
    picks = torch.rand(batch, generator=generator)
    base = torch.empty(batch, frames, 3, size_px, size_px)
    for i in range(batch):
        if segments is not None and picks[i] < real_share:
            n, length = segments.frames.shape[:2]
            which = int(torch.randint(n, (1,), generator=generator))
            stride = 1 + int(torch.randint(2, (1,), generator=generator)) if frames > 1 else 1
            span = (frames - 1) * stride + 1
            first = int(torch.randint(max(length - span, 0) + 1, (1,), generator=generator))
            steps = [min(first + k * stride, length - 1) for k in range(frames)]
            run = torch.from_numpy(np.ascontiguousarray(segments.frames[which, steps]))
            base[i] = run.permute(0, 3, 1, 2).float() / 255
        else:
            which = stills.draw(generator)
            base[i] = stills.pictures[which].float().div(255).expand(frames, -1, -1, -1)
    return _move(base, picks < (real_share if segments is not None else 0), generator)


def _move(clips: Tensor, real: Tensor, generator: torch.Generator) -> Clips:
    """Mirror, zoom, turn and shift each clip; stills also move from frame to frame."""
    B, T, _, S, _ = clips.shape

    def draw(spread: float) -> Tensor:
        return (torch.rand(B, 1, generator=generator) * 2 - 1) * spread

    # Motion in shares of the half picture: speeds of 0 to about 4 px a frame at 256 px.
    speed = torch.rand(B, 1, generator=generator) ** 1.5 * 0.08 * (~real).unsqueeze(-1)
    curves = [smooth_noise(B, T, generator) for _ in range(4)]
    zoom = torch.exp(draw(0.27) - 0.15 + speed * 0.5 * curves[2])
    turn = draw(0.12) + speed * 0.6 * curves[3]
    mirror = torch.where(torch.rand(B, 1, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
    theta = torch.stack(
        [
            torch.stack([cos * mirror, -sin, draw(0.06) + speed * curves[0]], -1),
            torch.stack([sin * mirror, cos, draw(0.06) + speed * curves[1]], -1),
        ],
        -2,
    )
    grid = F.affine_grid(theta.reshape(B * T, 2, 3), [B * T, 3, S, S], align_corners=False)
    moved = F.grid_sample(clips.reshape(B * T, 3, S, S), grid, "bilinear", "reflection", align_corners=False)
    return Clips(moved.reshape(B, T, 3, S, S), theta, ~real)
