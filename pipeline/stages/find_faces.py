"""Finder of faces as a stage: regions and cuts of each frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.faces import FaceFinder
from pipeline.faces.picture import SmallPicture
from pipeline.mosaic.find import FindSettings, find
from pipeline.stages.cuts import Cuts
from pipeline.stages.find_mosaics import luma8
from pipeline.types import Found, Frame, Kind, Region, Shape

_SAME_PLACE = 0.5
"""Share of a face that lies in a mosaic, from which it is the face under the mosaic."""


def find_faces(
    frames: Iterable[Frame],
    *,
    finder: FaceFinder,
    picture: SmallPicture,
    min_score: float,
    mosaics: FindSettings | None = None,
) -> Iterator[Found]:
    """Each frame with its faces, in px of the frame as coded, in order, holding none back.

    With ``mosaics`` also faces that are pixelated already: each mosaic with its grid, grown by the face that
    the finder sees in it.
    """
    cuts = Cuts()
    previous: list[Region] = []
    for frame in frames:
        small = picture.of(frame)
        cut = cuts.before_picture(frame.index, small)
        faces = [picture.back(face) for face in finder(small, min_score)]
        regions = [Region(f.box, Kind.FACE, Shape.ELLIPSE, f.score, None, f.landmarks) for f in faces]
        if mosaics is not None:
            previous = find(luma8(frame), mosaics, [] if cut else previous)
            regions = _joined(regions, previous)
        yield Found(frame, tuple(regions), cut)


def _joined(faces: list[Region], mosaics: list[Region]) -> list[Region]:
    """Mosaics with the faces in them, and the other faces."""
    joined = []
    for mosaic in mosaics:
        inside = [f for f in faces if f.box.covered(mosaic.box) >= _SAME_PLACE]
        faces = [f for f in faces if f not in inside]
        box, score = mosaic.box, mosaic.score
        for face in inside:
            box, score = box.hull(face.box), max(score, face.score)
        joined.append(Region(box, Kind.MOSAIC, mosaic.shape, score, mosaic.grid))
    return joined + faces
