"""Prototypes: means of many faces in the coordinates of a detector's box, which ``protect`` paints.

Each face is detected as a run detects it (CenterFace), turned upright by its landmarks and sampled over
``SPAN`` x its box. One picture a person; faces that are turned away are left out. Faces are divided by the
tone of their cheeks (individual typology angle, Chardon et al., Int. J. Cosmetic Science 1991) and, within a
tone, along the first principal component into halves, so that two people of one tone need not look alike.
A mean counts every source alike as far as ``balanced`` goes, and every face together with its mirror image.
"""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.faces import Face
from pipeline.faces.centerface import CenterFace
from pipeline.prototypes.pose import roll
from pipeline.prototypes.prototype import SIDE, SPAN, TONES, Prototype, PrototypeSet
from pipeline.prototypes.scene import LUMA
from train.data.pictures import SUFFIXES, balanced

log = logging.getLogger(__name__)

LEAST_PEOPLE = 50
"""Behind a mean; fewer are refused."""
VARIANTS = 2
"""Means per tone."""
_SIDE_PX = 256
_MARGIN_PX = 32
"""Around the picture, its border repeated, so that the detector sees where the face ends."""
_FINE = 4
"""Pixels that are drawn per sample along either axis before they are averaged."""
_BROAD = 4.0
"""Samples, standard deviation of the blur that contrast is measured against."""
_CONTRAST = 0.8
_COLOUR = 0.95
"""Of the portraits' saturation, and"""
_EXPOSURE = 0.86
"""of their brightness: so the means' skins are as bright as those of film. In 73 training clips light, medium
and dark skins have a luma of 0.60, 0.52 and 0.39, and red 1.5, 1.7 and 2.1 times their blue; what is paler
than film looks less wrong than what is more orange."""
_SKIN = 0.6
_ABOVE, _BESIDE, _BELOW = 0.5, 0.88, 0.57
"""Of the skin's brightness, around the head: hair above, hair or wall beside it, clothes at the lower
corners. Medians around 32 faces of training clips."""
_HEAD = (1.0, 1.08)
"""Half axes of a head in half boxes."""
_FADE = 0.3
"""In half axes, from the head to what is around it."""
_SURE = 0.5
_MOST_ROLL = 20.0
_MOST_YAW = 0.35
"""Of the nose from the middle of the eyes, in distances of the eyes."""
_TONE_LIMITS = (41.0, 10.0)
"""Degrees of the typology angle: light above the first, dark below the second."""


@dataclass(frozen=True)
class Aligned:
    """One person's face."""

    source: str
    person: str
    picture: NDArray[np.float32]
    """(SIDE, SIDE, 3) RGB of 0..255"""
    inside: NDArray[np.float32]
    """(SIDE, SIDE) share of a sample that the picture holds"""
    angle: float
    """typology angle, degrees; larger is lighter"""


def make(folder: Path, target: Path, sources: Sequence[str] = ()) -> PrototypeSet:
    """Reads the pictures below ``folder`` (of its subfolders ``sources``, else of all) and writes the means.

    Raises InputError where there are too few people.
    """
    made = average(list(faces_of(folder, sources)))
    made.save(target)
    return made


def average(faces: Sequence[Aligned]) -> PrototypeSet:
    """``VARIANTS`` means of each tone. Raises InputError where a tone has too few people for that."""
    prototypes = []
    for tone, name in enumerate(TONES):
        of_tone = [face for face in faces if _tone(face.angle) == tone]
        if len(of_tone) < VARIANTS * LEAST_PEOPLE:
            raise InputError(
                f"{len(of_tone)} people of tone {name}; {VARIANTS} means of at least "
                f"{LEAST_PEOPLE} people each need {VARIANTS * LEAST_PEOPLE}"
            )
        for group in _halves(of_tone):
            prototypes.append(Prototype(_finished(_mean(group)), tone, len(group)))
            log.info("%s: mean of %d people", name, len(group))
    return PrototypeSet(tuple(prototypes), digest=_digest(faces))


def contact_sheet(prototypes: PrototypeSet, path: Path, cells: Sequence[tuple[int, int]]) -> None:
    """A PNG of every mean, and below each its lattices of (rows, columns)."""
    side = 64
    columns = []
    for prototype in prototypes.prototypes:
        tiles = [np.asarray(cv2.resize(prototype.picture, (side, side), interpolation=cv2.INTER_CUBIC))]
        for shape in cells:
            lattice = prototype.lattice(shape, 1.3, 0.0).permute(1, 2, 0).numpy() * 255
            tiles.append(cv2.resize(lattice, (side, side), interpolation=cv2.INTER_NEAREST))
        columns.append(np.concatenate([np.clip(np.rint(t), 0, 255).astype(np.uint8) for t in tiles]))
    sheet = np.ascontiguousarray(np.concatenate(columns, 1)[..., ::-1])
    if not cv2.imwrite(str(path), sheet):
        raise InputError(f"cannot write {path}")


def faces_of(folder: Path, sources: Sequence[str] = ()) -> Iterator[Aligned]:
    """One face a person, in order of the files' names, of the pictures below a folder or its ``sources``.

    Who is on a picture stands in the table beside the folder (FOLDER.csv: file, identity); without one
    each picture is of another person. Raises InputError where there is no picture."""
    people = _people(folder)
    edge, size = _MARGIN_PX, _SIDE_PX + 2 * _MARGIN_PX
    detector = CenterFace((size, size))
    known: set[str] = set()
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"no pictures below {folder}")
    for path in files:
        name = path.relative_to(folder)
        person = people.get(name.as_posix(), name.as_posix())
        if (sources and name.parts[0] not in sources) or person in known:
            continue
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        picture = cv2.resize(picture, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)[..., ::-1]
        padded = cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        found = detector(np.ascontiguousarray(padded), _SURE)
        aligned = (
            None if not found else _aligned(np.asarray(padded, np.uint8), found[0], name.parts[0], person)
        )
        if aligned is not None:
            known.add(person)
            yield aligned


def _people(folder: Path) -> dict[str, str]:
    """Who is on each picture, of the table beside the folder; empty where there is none."""
    table = folder.with_suffix(".csv")
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        return {row["file"]: row["identity"] for row in csv.DictReader(file) if row.get("identity")}


def _aligned(picture: NDArray[np.uint8], face: Face, source: str, person: str) -> Aligned | None:
    """None where the face is turned away."""
    marks = face.landmarks
    if marks is None:
        return None
    eyes, turned = marks[:2], roll(marks)
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    if abs(turned) > _MOST_ROLL or abs(float(marks[2, 0] - eyes[:, 0].mean())) > _MOST_YAW * apart:
        return None
    (x, y), side = face.box.centre, SIDE * _FINE
    turn = np.radians(turned)
    scale = np.array([face.box.width, face.box.height]) * SPAN / side
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation * scale
    shift = np.array([x, y]) - linear @ [side / 2 - 0.5, side / 2 - 0.5] - 0.5
    to_picture = np.concatenate([linear, shift[:, None]], 1)

    def drawn(values: NDArray[np.float32]) -> NDArray[np.float32]:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(values, to_picture, (side, side), flags=flags)
        return np.asarray(cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)

    held = np.zeros(picture.shape[:2], np.float32)
    held[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX] = 1
    colours = drawn(picture.astype(np.float32))
    return Aligned(source, person, colours, drawn(held), _angle(picture, marks))


def _angle(picture: NDArray[np.uint8], marks: NDArray[np.float32]) -> float:
    """Individual typology angle of both cheeks: arctan((L - 50) / b), CIELAB, degrees."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    radius = max(1, round(float(np.linalg.norm(marks[1] - marks[0])) * 0.12))
    patches = []
    for eye, mouth in ((0, 3), (1, 4)):
        x, y = (marks[eye] * 0.45 + marks[mouth] * 0.55).round().astype(int)
        patches.append(lab[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1])
    lightness, _, yellow = np.median(np.concatenate([p.reshape(-1, 3) for p in patches]), 0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def _tone(angle: float) -> int:
    return sum(angle <= limit for limit in _TONE_LIMITS)


def _halves(faces: Sequence[Aligned]) -> list[list[Aligned]]:
    """Parts of nearly the same size along the first principal component of what the faces look like."""
    flat = np.stack([cv2.resize(f.picture, (8, 8), interpolation=cv2.INTER_AREA).ravel() for f in faces])
    centred = flat - flat.mean(0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    axis = axis * np.sign(axis.sum())  # the sign of a component is the library's choice
    order = np.argsort(centred @ axis, kind="stable")
    return [[faces[i] for i in part] for part in np.array_split(order, VARIANTS)]


def _mean(faces: Sequence[Aligned]) -> NDArray[np.float32]:
    """(SIDE, SIDE, 3): symmetric; samples beyond a picture do not count."""
    chances = balanced([face.source for face in faces], 0.34).numpy().astype(np.float32)
    weights = np.stack([face.inside for face in faces]) * chances[:, None, None]
    total = (np.stack([face.picture for face in faces]) * weights[..., None]).sum(0)
    counts = weights.sum(0)[..., None]
    total, counts = total + total[:, ::-1], counts + counts[:, ::-1]
    return np.asarray(total / np.maximum(counts, 1e-6), np.float32)


def _finished(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """(SIDE, SIDE, 3): a mean has less contrast than a face, which is given back, and more colour than film;
    around the head it shows the walls of many rooms, in whose place comes a shade of the skin."""
    at = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1) * SPAN
    away = np.hypot(at[None, :] / _HEAD[0], at[:, None] / _HEAD[1]).astype(np.float32)
    outside = np.clip((away - 1) / _FADE, 0, 1)[..., None]
    luma = mean @ np.array(LUMA, np.float32)
    inside = (away < 1).astype(np.float32)
    broad = cv2.GaussianBlur(luma * inside, (0, 0), _BROAD) / np.maximum(
        cv2.GaussianBlur(inside, (0, 0), _BROAD), 1e-3
    )
    sharp = luma + _CONTRAST * (luma - broad) * inside
    finished = sharp[..., None] + _COLOUR * (mean - luma[..., None])
    skin = finished[away < _SKIN].mean(0)
    above = np.clip((-at[:, None] - 0.75) / 0.3, 0, 1)
    corner = np.clip((at[:, None] - 0.8) / 0.3, 0, 1) * np.clip((np.abs(at[None, :]) - 0.5) / 0.4, 0, 1)
    share = _BESIDE - (_BESIDE - _ABOVE) * above - (_BESIDE - _BELOW) * corner
    shade = share[..., None].astype(np.float32) * (skin.mean() + (skin - skin.mean()) / 2)
    shown = (finished * (1 - outside) + shade * outside) * _EXPOSURE
    return np.asarray(np.clip(shown, 0, 255), np.float32)


def _digest(faces: Sequence[Aligned]) -> str:
    """Of who went in."""
    return hashlib.sha256("\n".join(f"{f.source}/{f.person}" for f in faces).encode()).hexdigest()
