"""Makes the folders of ``vidpipe eval --table recognition``: a folder a person, two pictures in each.

    python -m tools.list_people PEOPLE --faces faces/train.csv
    python -m tools.list_people PEOPLE --clips videos/test.csv videos/train.csv

Faces: a table whose rows have ``file``, beside itself, and ``identity``. Of the pictures of one identity
that dlib's network takes for one person, the two are used that are least alike, so that no copy of a picture
is its pair. Clips: a table of ``file`` and ``max_people``; the two pictures are an early and a late frame of
a clip of one person, and a person who was in a clip before is left out. Look through the folders: dlib errs.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.faces import FaceDetector, open_detector
from pipeline.people.network import AROUND, SIDE_PX, DlibNetwork, Embedding
from pipeline.types import Box

ONE_PERSON = 0.45
"""Distance of embeddings up to which two pictures show one person"""
TWO_PEOPLE = 0.5
"""and from which two clips show two"""
COPY = 0.93
"""Correlation of two faces from which they may be one picture"""
WIDE = 2.6
"""Side of a picture that is cut from a clip, over the longer side of the face's box"""
SHARES = (0.08, 0.92)
"""Of a clip, where its two frames lie"""
LOOKED_AT_PX = 640
MIN_SCORE, MIN_PX = 0.5, 64

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sight:
    """A picture of one face."""

    picture: Picture
    """(H, W, 3) RGB"""
    box: Box
    embedding: Embedding
    small: NDArray[np.float64]
    """(n,) of the face, mean 0, length 1"""

    def distance(self, other: Sight) -> float:
        """Of the embeddings."""
        return float(np.linalg.norm(self.embedding - other.embedding))

    def alike(self, other: Sight) -> float:
        """Correlation of the faces' pixels."""
        return float(self.small @ other.small)

    def written(self, path: Path) -> None:
        """With ``WIDE`` x the face, as far as there is a picture."""
        height, width = self.picture.shape[:2]
        half = WIDE / 2 * max(self.box.width, self.box.height)
        x, y = self.box.centre
        x0, y0, x1, y1 = Box(x - half, y - half, x + half, y + half).pixels(width, height)
        cv2.imwrite(str(path), self.picture[y0:y1, x0:x1, ::-1])


def sight(picture: Picture, detect: FaceDetector, network: DlibNetwork) -> Sight | None:
    """None where the picture shows no face, or several."""
    height, width = picture.shape[:2]
    scale = LOOKED_AT_PX / max(height, width)
    canvas = np.zeros((LOOKED_AT_PX, LOOKED_AT_PX, 3), np.uint8)
    resized = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    faces = detect(canvas, MIN_SCORE)
    if len(faces) != 1:
        return None
    box = Box(*(v / scale for v in (faces[0].box.x0, faces[0].box.y0, faces[0].box.x1, faces[0].box.y1)))
    if box.height < MIN_PX:
        return None
    small = cv2.cvtColor(_square(picture, box, 1.0, 24), cv2.COLOR_RGB2GRAY).astype(np.float64).ravel()
    small -= small.mean()
    return Sight(
        picture,
        box,
        network(_square(picture, box, AROUND, SIDE_PX)),
        small / max(float(np.linalg.norm(small)), 1e-9),
    )


def _square(picture: Picture, box: Box, around: float, side: int) -> Picture:
    scale = side / (around * max(box.width, box.height))
    x, y = box.centre
    to_square = np.array([[scale, 0, side / 2 - x * scale], [0, scale, side / 2 - y * scale]])
    return np.asarray(cv2.warpAffine(picture, to_square, (side, side), flags=cv2.INTER_AREA), np.uint8)


def of_faces(table: Path, detect: FaceDetector, network: DlibNetwork) -> Iterator[tuple[str, Sight, Sight]]:
    """(name, a picture, another one) of everybody who has two."""
    people = defaultdict(list)
    with table.open() as file:
        for row in csv.DictReader(file):
            people[row["identity"]].append(table.with_suffix("") / row["file"])
    for name, files in people.items():
        if len(files) < 2:
            continue
        read = [p for p in (cv2.imread(str(f), cv2.IMREAD_COLOR_RGB) for f in files) if p is not None]
        sights = [s for s in (sight(np.asarray(p, np.uint8), detect, network) for p in read) if s is not None]
        pairs = [(a, b) for a, b in combinations(sights, 2) if a.distance(b) < ONE_PERSON]
        if not pairs:
            continue
        a, b = min(pairs, key=lambda pair: pair[0].alike(pair[1]))
        if a.alike(b) < COPY:
            yield name, a, b


def of_clips(
    tables: Sequence[Path], detect: FaceDetector, network: DlibNetwork
) -> Iterator[tuple[str, Sight, Sight]]:
    """(name, an early frame, a late one) of every clip of one person whom no earlier clip showed."""
    known: list[Sight] = []
    for table in tables:
        with table.open() as file:
            rows = [r for r in csv.DictReader(file) if r["max_people"] == "1"]
        for row in rows:
            pictures = _frames(table.with_suffix("") / row["file"], int(row["frames"]))
            sights = [sight(p, detect, network) for p in pictures]
            a, b = (sights[0], sights[-1]) if sights else (None, None)
            if (
                a is None
                or b is None
                or a.distance(b) >= TWO_PEOPLE
                or any(s.distance(k) < TWO_PEOPLE for s in (a, b) for k in known)
            ):
                continue
            known += [a, b]
            yield Path(row["file"]).stem, a, b


def _frames(path: Path, frames: int) -> list[Picture]:
    wanted = {round(share * (frames - 1)) for share in SHARES}
    with av.open(str(path)) as file:
        return [
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            for n, frame in enumerate(file.decode(video=0))
            if n in wanted
        ]


def main() -> None:
    """Writes the folders and says how many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("people", type=Path, help="folder to be made")
    parser.add_argument("--faces", type=Path, help="a table of pictures")
    parser.add_argument("--count", type=int, default=10**6, help="people at most")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="tables of clips")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = (LOOKED_AT_PX, LOOKED_AT_PX)
    detect = open_detector("centerface", size, threads=1, device=torch.device("cpu"))
    network, count = DlibNetwork(), 0
    found = of_faces(options.faces, detect, network) if options.faces else iter(())
    both = chain(found, of_clips(options.clips, detect, network))
    for name, a, b in islice(both, options.count):
        folder = options.people / name
        folder.mkdir(parents=True, exist_ok=True)
        a.written(folder / "1.png")
        b.written(folder / "2.png")
        count += 1
    print(f"{count} people")


if __name__ == "__main__":
    main()
