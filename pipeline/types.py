"""What flows: one frozen type per boundary between stages, no field that is filled in later.

Time is ``pts: int`` in units of ``time_base: Fraction``, never an index over a rate. Boxes are floats
in px of the coded picture, half-open: ``x0 <= x < x1``. Tensors state shape, dtype and range below
their name. Only ``Frame`` carries pixels of the whole picture, and in the decoder's own format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.pixelation import Operator

T = TypeVar("T")

_SAMPLE_TYPES = (torch.uint8, torch.uint16)


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour description under FFmpeg's names, as tagged; ``"unknown"`` where the stream is silent."""

    matrix: str
    """bt709, smpte170m, bt470bg, bt2020nc, gbr, ..., unknown"""
    range: str
    """tv (16-235), pc (0-255) or unknown"""
    primaries: str
    transfer: str


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The video stream that is processed, from the container's header and a demux-only probe."""

    path: Path
    stream_index: int
    """Index in the container, over streams of all kinds."""
    codec: str
    width: int
    height: int
    """Size in px as coded, before rotation."""
    rotation: int
    """Degrees counter-clockwise that a player turns the picture: 0, 90, 180 or 270."""
    sample_aspect: Fraction
    """Width of a pixel over its height; 1 where unknown."""
    pix_fmt: str
    """FFmpeg's name of the decoder's pixel format."""
    bit_depth: int
    colour: Colour
    time_base: Fraction
    """Seconds per unit of pts."""
    pts: Sequence[int]
    """Presentation times of all frames, ascending."""
    rate: Fraction
    """Average frames per second; for progress and rate control, never for time."""
    interlaced: bool
    duration_s: float
    mirrored: bool = False
    """A player exchanges left and right after it has turned the picture."""


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """One picture in the decoder's own pixel format. Raises ValueError for planes that cannot be one."""

    index: int
    """Position in presentation order, from 0."""
    pts: int
    planes: tuple[Tensor, ...]
    """One (rows, columns) tensor per component in the order of the format (Y, U, V[, A] or R, G, B[, A]),
    uint8 up to 8 bits, uint16 above, no padding; chroma planes are ceil(size / subsampling).
    The tensors belong to this frame: nobody else writes to them."""
    pix_fmt: str
    """Planar name, e.g. yuv420p, yuv422p10le, gray, gbrp; packed formats are unpacked by the decoder."""
    colour: Colour
    time_base: Fraction
    key: bool
    """True where the source had a key frame."""

    def __post_init__(self) -> None:
        if not self.planes:
            raise ValueError(f"frame {self.index} has no planes")
        for plane in self.planes:
            if len(plane.shape) != 2 or plane.dtype not in _SAMPLE_TYPES:
                raise ValueError(
                    f"frame {self.index} has a plane of shape {tuple(plane.shape)} and {plane.dtype}; "
                    "wanted (rows, columns) of uint8 or uint16"
                )

    def __repr__(self) -> str:
        rows, columns = self.planes[0].shape
        return f"Frame({self.index}, pts={self.pts}, {columns}x{rows} {self.pix_fmt}, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where its planes lie, and where every stage works on it."""
        return self.planes[0].device


class Shape(StrEnum):
    RECTANGLE = "rectangle"
    ELLIPSE = "ellipse"


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open rectangle in px."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        if w <= 0 or h <= 0:
            return 0.0
        both = w * h
        return both / (self.width * self.height + other.width * other.height - both)

    def covered(self, by: Box) -> float:
        """Share of this box that lies in another, 0..1."""
        w = min(self.x1, by.x1) - max(self.x0, by.x0)
        h = min(self.y1, by.y1) - max(self.y0, by.y0)
        return w * h / (self.width * self.height) if w > 0 and h > 0 else 0.0

    def scaled(self, factor: float) -> Box:
        """The box grown around its centre."""
        (x, y), w, h = self.centre, self.width * factor / 2, self.height * factor / 2
        return Box(x - w, y - h, x + w, y + h)

    def hull(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1)
        )

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Whole pixels (x0, y0, x1, y1) that the box covers by half or more, clipped to a picture."""
        x0, y0 = math.floor(self.x0 + 0.5), math.floor(self.y0 + 0.5)
        x1, y1 = math.floor(self.x1 + 0.5), math.floor(self.y1 + 0.5)
        return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


@dataclass(frozen=True, slots=True)
class Axis:
    """Grid on one axis: pixel i lies in cell floor((i - origin) / pitch)."""

    pitch: float
    """Mean width of a cell in px, fractional."""
    origin: float
    """Where cell 0 begins, px of the picture; its first pixel is ceil(origin). Cell 0 is the first cell
    that the region touches."""


@dataclass(frozen=True, slots=True)
class Grid:
    x: Axis
    y: Axis
    operator: Operator
    confidence: float
    """0..1, how sure the finder is of pitch and phase."""
    log_odds: float = 0.0
    """That the cells hold point samples and not means, as this one frame says; 0 where nothing is known."""


@dataclass(frozen=True, slots=True)
class Strips:
    """Columns (or rows) of cells in and around a mosaic, each as long as the mosaic is in this frame."""

    ends: NDArray[np.float64]
    """(n + 1,) px of the picture, ascending: strip i lies from ``ends[i]`` to ``ends[i + 1]``"""
    log_odds: NDArray[np.float64]
    """(n,) that a strip is the mosaic's, as this one frame says"""


@dataclass(frozen=True, slots=True)
class MosaicRegion:
    """A mosaic on one frame."""

    box: Box
    shape: Shape
    score: float
    """0..1"""
    grid: Grid | None
    """None where it could not be read."""
    strips: tuple[Strips | None, Strips | None] = field(default=(None, None), compare=False)
    """Columns and rows, of a rectangle in small cells: what speaks for other sides than those of ``box``."""
    scale: int = 1
    """The picture was 1 / ``scale`` of its size where it was found; see ``pipeline.mosaic.finder``."""
    face_score: float = 0.0
    """0..1, of a face that the face detector saw in it, too; 0: it saw none."""


@dataclass(frozen=True, slots=True)
class FaceRegion:
    """A face on one frame, or a place that a person wants to have covered."""

    box: Box
    score: float
    """0..1"""
    landmarks: NDArray[np.float32] | None = None
    """(5, 2) px: eyes, nose, corners of the mouth; None where the detector gives none."""


Region = MosaicRegion | FaceRegion

R_co = TypeVar("R_co", bound=MosaicRegion | FaceRegion, covariant=True)


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a mosaic, as a person has measured them."""

    width: float
    height: float
    """px, of one cell"""
    corner: tuple[float, float] | None = None
    """x, y of a corner of any of them, px of the coded picture; None: nobody knows."""


@dataclass(frozen=True, slots=True)
class ManualRegion:
    """A place that a person pointed at (``--region x,y,w,h[@start-end]``)."""

    box: Box
    """px of the coded picture"""
    start_s: float | None = None
    """Presentation time of its first frame in seconds; None: from the beginning."""
    end_s: float | None = None
    """Presentation time in seconds that its frames lie before; None: to the end."""
    cells: Cells | None = None
    """Of the mosaic in it; None: they are read from the picture."""

    def covers(self, frame: Frame) -> bool:
        """True on frames whose time is within the region's range."""
        return self.lasts_at(float(frame.pts * frame.time_base))

    def lasts_at(self, time_s: float) -> bool:
        """True at presentation times within the region's range."""
        return (self.start_s is None or time_s >= self.start_s) and (
            self.end_s is None or time_s < self.end_s
        )


@dataclass(frozen=True, slots=True)
class Found(Generic[R_co]):
    """Frame with the regions that a finder or detector saw in it."""

    frame: Frame
    regions: tuple[R_co, ...]
    cut: bool
    """True on the first frame of a new shot."""


@dataclass(frozen=True, slots=True)
class TrackedRegion(Generic[R_co]):
    """A region of one track on one frame, from the track's birth to its end; frames between that plainly show
    none have none."""

    track: int
    """Identity, unique in the file, from 1; regions drawn by hand count down from -1."""
    region: R_co
    seen: bool
    """False where it was predicted or filled, not found."""
    born: bool
    """First frame of the track."""
    last: bool
    """Last frame of the track."""
    filled: bool = False
    """Before the track's first sight or after its last one: the face is covered in case it is there."""
    person: int = 0
    """Who it is, from 1, the same in all tracks and shots of a person; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """Frame with one mosaic per living track."""

    frame: Frame
    regions: tuple[TrackedRegion[MosaicRegion], ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """What the cells of a mosaic hold on one frame."""

    values: Tensor
    """(3, R, Q) float32 RGB in [0, 1] of the R x Q cells that the mosaic touches, in coded orientation;
    0 where a cell has no pixel in the mosaic."""
    noise: Tensor
    """() float32: median over cells of the standard deviation of luma inside a cell, RGB units: the codec's
    noise."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a track shows its face best, within the look-ahead of its birth."""

    frame: Frame
    box: Box
    """px of the face on that frame"""
    score: float = 1.0
    """0..1, of the detection there; 0 where none is at hand"""


@dataclass(frozen=True, slots=True)
class TrackedFaces:
    """Frame with what is to be covered on it."""

    frame: Frame
    regions: tuple[TrackedRegion[Region], ...]
    references: Mapping[int, Reference]
    """By track, of the tracks that are born on this frame. Its frame may be a later one."""


@dataclass(frozen=True, slots=True)
class Mask:
    """What is painted over one region of one frame: a lattice of colours that spans ``box``."""

    tracked: TrackedRegion[Region]
    box: Box
    """px; larger than the face by the mask's scale, may reach outside the picture"""
    shape: Shape
    """With ELLIPSE, a mosaic's cells that the ellipse touches are painted, of other looks its pixels."""
    samples: Tensor
    """(3, R, C) float32 RGB, gamma-coded; row 0 and column 0 at ``box.y0``, ``box.x0`` as coded"""
    smooth: bool
    """True: colours are interpolated between the cells' centres; False: each cell is constant"""
    fine: int = 1
    """Samples per cell of the mosaic along either axis: more than 1 where it is perturbed within its cells"""
    area: Box | None = None
    """px that ``shape`` lies in; None: ``box``. Outside of ``box`` the lattice's outer cells go on."""


@dataclass(frozen=True, slots=True)
class Masked:
    """Frame with its masks, still to be painted; of two that overlap the later one is seen."""

    frame: Frame
    masks: tuple[Mask, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """What a mosaic spans of a crop, as the host knows it: nobody has to ask a device."""

    top: int
    bottom: int
    left: int
    right: int
    """Canonical px, half-open; all pixels of the mosaic lie within."""
    cells: int
    """At least as many as it has along either axis."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A mosaic and its surroundings in canonical coordinates: S x S px, upright, RGB."""

    tracked: TrackedRegion[MosaicRegion]
    frame_index: int
    image: Tensor
    """(3, S, S) float32 in [0, 1]. Inside the mosaic each cell has its sample, exactly constant."""
    mask: Tensor
    """(1, S, S) float32: 1 clean, 0 pixelated (the papers' M)."""
    rows: Tensor
    cols: Tensor
    """(N, S) float32 one-hot membership of canonical rows and columns in cells, see nets.pixelation.
    Made by looking the frame's own index map up, so that no second grid exists."""
    samples: Samples
    """Read from the frame, not from ``image``; what a patch is held to."""
    to_frame: NDArray[np.float64]
    """(2, 3): canonical px -> px of the coded picture; continuous coordinates, pixel i spans [i, i + 1)."""
    extent: Extent | None = None
    """None: not known; it may be all of the crop."""


@dataclass(frozen=True, slots=True)
class Cropped:
    """Frame with one crop per living track, in the order of its regions."""

    frame: Frame
    crops: tuple[Crop, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """T consecutive crops of one track, ``core`` of them to be restored; edges repeat."""

    crops: tuple[Crop, ...]
    """length T = core + 2 * context"""
    core: tuple[int, ...]
    """Positions in ``crops`` that this window restores; fewer than the engine's core at a track's ends."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What goes back into a frame."""

    crop: Crop
    pixels: Tensor
    """(3, S, S) float32 RGB in [0, 1], canonical coordinates"""
    trust: float
    """0..1: how far the network holds that cell means equal their samples; scales the projection."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Frames that leave together, with the items that belong to them."""

    frames: tuple[Frame, ...]
    items: tuple[T, ...]
