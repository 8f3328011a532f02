"""Films of people who have two pictures each, covered by the run that users start, and cut out again.

The *film* shows one picture of each person, moved a little over its frames. The *list* shows the other one in
many ways, each with a mask that is measured anew. Faces stand beside each other on a page, every one before a
background of its own that is drawn anew for film and list; what lay in a picture's corners is cut away.

No tracker runs: a face is detected in its picture, and its box moves with it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config import Given, resolve
from pipeline.errors import InputError
from pipeline.faces import FaceDetector, open_detector
from pipeline.run.anonymize import anonymize
from pipeline.run.anonymize_sidecar import Mode
from pipeline.run.job import AnonymizeJob
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import Box
from train.data.pictures import SUFFIXES
from train.evaluation.pixelized_faces import RATE, read_clip, write_clip

TILE_PX = 256
ON_A_PAGE = 14
"""Faces, in one row: a low picture, since cells have a least size, which is a share of its height"""
FACE_PX = 120.0
"""Height of a face's box as it is shown, before it is shown larger or smaller"""
LOOKED_AT_PX = 320
"""Side of the picture in which faces are detected"""
MIN_SCORE = 0.4
RING = 0.15
"""Width of the ring around a mask over the mask's side"""
APART = Fraction(1, 2)
"""Frames per second of the list: too slow for a run to take two frames for one scene"""
INNER = (96, 80)
"""Rows and columns of a mask that is cut out"""
OUTER = (104, 88)
"""Of a mask with its ring"""
FINER = 2
"""A cut is drawn so much finer first, then averaged"""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Person:
    """Two pictures of somebody, and where the face lies in each."""

    name: str
    listed: Bytes
    """(H, W, 3) RGB, the attacker's"""
    filmed: Bytes
    listed_box: Box
    filmed_box: Box

    @property
    def swapped(self) -> Person:
        """The same with the attacker's picture in the film."""
        return Person(self.name, self.filmed, self.listed, self.filmed_box, self.listed_box)


def read_people(folder: Path, count: int, finder: FaceDetector | None = None) -> list[Person]:
    """The first ``count`` people of a folder that has a folder with two pictures, or more, for each.

    The first and the last picture in the order of their names are used. Raises InputError where fewer than
    two people have two pictures with a face.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; wanted one that has a folder for each person")
    side = (LOOKED_AT_PX, LOOKED_AT_PX)
    detect = finder or open_detector("centerface", side, threads=1, device=torch.device("cpu"))
    people: list[Person] = []
    for one in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = sorted(p for p in one.iterdir() if p.suffix.lower() in SUFFIXES)
        if len(files) < 2 or len(people) == count:
            continue
        read = [cv2.imread(str(f), cv2.IMREAD_COLOR) for f in (files[0], files[-1])]
        rgb = [np.ascontiguousarray(p[..., ::-1], np.uint8) for p in read if p is not None]
        if len(rgb) < 2:
            continue
        boxes = [_face_in(p, detect) for p in rgb]
        if boxes[0] is not None and boxes[1] is not None:
            people.append(Person(one.name, rgb[0], rgb[1], boxes[0], boxes[1]))
    if len(people) < 2:
        raise InputError(
            f"{folder} has {len(people)} people with two pictures of a face; wanted a folder for each "
            "person, and at least two of them"
        )
    return people


def _face_in(picture: Bytes, detect: FaceDetector) -> Box | None:
    """The best face, found with the whole picture squeezed into the detector's."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (LOOKED_AT_PX, LOOKED_AT_PX), interpolation=cv2.INTER_AREA)
    faces = detect(np.ascontiguousarray(small, np.uint8), MIN_SCORE)
    if not faces:
        return None
    box, x, y = faces[0].box, width / LOOKED_AT_PX, height / LOOKED_AT_PX
    return Box(box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y)


@dataclass(frozen=True)
class Pose:
    """How a face is shown on one frame."""

    zoom: float
    dx: float
    """px from the middle of its tile"""
    dy: float
    gain: float
    """of all its values"""
    slip: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """error of the box: shares of its sides in x and y, and a factor of its size"""


def film_poses(random: np.random.Generator, frames: int) -> list[Pose]:
    """A face that moves smoothly: about a tenth of a mask's cell a frame."""
    zoom, gain = random.uniform(0.92, 1.08), random.uniform(0.85, 1.15)
    x, y = random.uniform(-6, 6, 2)
    angle, speed = random.uniform(0, 2 * math.pi), random.uniform(0.4, 2.5)
    return [
        Pose(
            zoom * (1 + 0.002 * n), x + speed * n * math.cos(angle), y + speed * n * math.sin(angle) / 2, gain
        )
        for n in range(frames)
    ]


def list_poses(random: np.random.Generator, frames: int) -> list[Pose]:
    """What a list is made larger with: places, sizes, brightness, and errors of the detector's box."""
    out = []
    for _ in range(frames):
        zoom, (x, y), gain = random.uniform(0.9, 1.1), random.uniform(-8, 8, 2), random.uniform(0.8, 1.2)
        (across, down), size = random.uniform(-0.04, 0.04, 2), random.uniform(0.95, 1.06)
        out.append(Pose(zoom, float(x), float(y), gain, (float(across), float(down), size)))
    return out


def _background(random: np.random.Generator) -> NDArray[np.float32]:
    """(TILE_PX, TILE_PX, 3): a smooth texture around a colour."""
    coarse = random.uniform(-40, 40, (6, 6, 3)) + random.uniform(40, 215, 3)
    smooth = cv2.resize(coarse.astype(np.float32), (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth.clip(0, 255), np.float32)


def _tile(
    picture: Bytes, box: Box, pose: Pose, behind: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Box]:
    """(TILE_PX, TILE_PX, 3) with a face, and its box there, not yet with the pose's error."""
    scale = FACE_PX * pose.zoom / box.height
    x, y = box.centre
    to_tile = np.array(
        [[scale, 0, TILE_PX / 2 + pose.dx - x * scale], [0, scale, TILE_PX / 2 + pose.dy - y * scale]]
    )
    # Half-pixel centres: OpenCV's coordinates are those of pixels' centres.
    centred = to_tile.copy()
    centred[:, 2] += 0.5 * scale - 0.5
    height, width = picture.shape[:2]
    inner = picture if scale > 0.6 else cv2.GaussianBlur(picture, (0, 0), 0.4 / scale)
    warped = cv2.warpAffine(inner, centred, (TILE_PX, TILE_PX), borderMode=cv2.BORDER_REPLICATE)
    ys, xs = np.mgrid[0:TILE_PX, 0:TILE_PX] + 0.5
    across = (xs - to_tile[0, 2]) / scale / width * 2 - 1
    down = (ys - to_tile[1, 2]) / scale / height * 2 - 1
    share = ((1.0 - np.hypot(across, down)) / 0.08).clip(0, 1)[..., None]
    shown = (warped.astype(np.float32) * pose.gain).clip(0, 255) * share + behind * (1 - share)
    placed = Box(*(float(v) * scale for v in (box.x0, box.y0, box.x1, box.y1)))
    return shown.astype(np.float32), _moved(placed, *to_tile[:, 2])


def _moved(box: Box, dx: float, dy: float) -> Box:
    return Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy)


@dataclass(frozen=True)
class Page:
    """A clip of several people."""

    path: Path
    names: tuple[str, ...]
    boxes: tuple[tuple[Box, ...], ...]
    """by person, by frame: the face's box in px of the picture"""
    held: bool
    """True: one track per person; False: one per person and frame, each measured anew"""

    def tracks(self) -> tuple[FaceTrackRecord, ...]:
        """As an earlier run would have reported them."""
        out: list[FaceTrackRecord] = []
        for boxes in self.boxes:
            if self.held:
                out.append(_record(len(out) + 1, 0, boxes))
            else:
                out += [_record(len(out) + 1 + n, n, (box,)) for n, box in enumerate(boxes)]
        return tuple(out)


def _record(track: int, first: int, boxes: Sequence[Box]) -> FaceTrackRecord:
    sides = [(b.x0, b.y0, b.x1, b.y1) for b in boxes]
    middle = len(boxes) // 2
    return FaceTrackRecord(
        track=track,
        kind="face",
        first_s=0.0,
        last_s=0.0,
        frames_seen=len(boxes),
        frames_filled=0,
        frames_covered=len(boxes),
        decision="covered",
        grid=None,
        reference_frame=first + middle,
        reference_box=sides[middle],
        first_frame=first,
        boxes=[(*side, 1) for side in sides],
    )


def write_pages(people: Sequence[Person], folder: Path, frames: int, held: bool, seed: int) -> list[Page]:
    """Clips without loss: the film (``held``) or the list, ``frames`` of each person."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for start in range(0, len(people), ON_A_PAGE):
        group = people[start : start + ON_A_PAGE]
        pictures = torch.zeros(frames, 3, TILE_PX, len(group) * TILE_PX)
        boxes: list[tuple[Box, ...]] = []
        for n, person in enumerate(group):
            random = np.random.default_rng([seed, start + n, int(held)])
            poses = (film_poses if held else list_poses)(random, frames)
            picture, box = (person.filmed, person.filmed_box) if held else (person.listed, person.listed_box)
            behind = _background(random)
            x = n * TILE_PX
            of_person = []
            for t, pose in enumerate(poses):
                shown, placed = _tile(picture, box, pose, behind if held else _background(random))
                pictures[t, :, :, x : x + TILE_PX] = torch.from_numpy(shown).permute(2, 0, 1) / 255
                across, down, size = pose.slip
                slipped = _moved(placed, across * placed.width, down * placed.height).scaled(size)
                of_person.append(_moved(slipped, x, 0.0))
            boxes.append(tuple(of_person))
        path = folder / f"{'film' if held else 'list'}-{start // ON_A_PAGE}.mp4"
        write_clip(path, pictures, Fraction(RATE) if held else APART)
        out.append(Page(path, tuple(p.name for p in group), tuple(boxes), held))
    return out


@dataclass(frozen=True)
class Covering:
    """A run that covers, or covers nothing."""

    mode: Mode | None
    """None: nothing is covered"""
    settings: Mapping[str, object] = field(default_factory=dict)
    """By dotted name, as in ``pipeline.config``"""
    perturber: Path | None = None
    scale: float = 1.3
    """Of the mask over the face's box"""

    @property
    def digest(self) -> str:
        """16 digits of a hash of what decides the files, but for the people."""
        decides = [self.mode, dict(self.settings), str(self.perturber), self.scale]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cuts:
    """What a file shows of its people."""

    masks: Bytes
    """(N, T, *INNER, 3) RGB: the mask's box"""
    rings: Bytes
    """(N, T, *OUTER, 3): the same with a ring of RING around it"""


def cover(page: Page, covering: Covering, target: Path, crf: float) -> Cuts:
    """Runs the command's own pipeline over a page and cuts its people out of the encoded file."""
    settings: dict[str, object] = {
        "mask.scale": covering.scale,
        "encode.codec": "libx264",
        "encode.crf": crf,
        "encode.preset": "veryfast",
        "gate.scan": False,
        **covering.settings,
    }
    tracks = page.tracks() if covering.mode is not None else ()
    job = AnonymizeJob(
        page.path,
        target,
        overwrite=True,
        mode=covering.mode or "pixelize",
        tracks=tracks,
        perturber=covering.perturber,
    )
    anonymize(job, resolve({k: Given(v, "table") for k, v in settings.items()}), lambda _: None)
    frames = (read_clip(target).permute(0, 2, 3, 1) * 255).round().byte().contiguous().numpy()
    masks, rings = [], []
    for boxes in page.boxes:
        around = [box.scaled(covering.scale) for box in boxes]
        masks.append([_cut(f, b, INNER) for f, b in zip(frames, around, strict=True)])
        wide = [b.scaled(1 + 2 * RING) for b in around]
        rings.append([_cut(f, b, OUTER) for f, b in zip(frames, wide, strict=True)])
    return Cuts(np.array(masks, np.uint8), np.array(rings, np.uint8))


def _cut(frame: Bytes, box: Box, size: tuple[int, int]) -> Bytes:
    """(rows, columns, 3) of a box of a frame; beyond the picture its edge is repeated."""
    rows, columns = size[0] * FINER, size[1] * FINER
    x, y = box.width / columns, box.height / rows
    to_frame = np.array([[x, 0, box.x0 + 0.5 * x - 0.5], [0, y, box.y0 + 0.5 * y - 0.5]])
    fine = cv2.warpAffine(
        frame,
        to_frame,
        (columns, rows),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
