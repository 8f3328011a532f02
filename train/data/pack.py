"""Cuts face clips into segments for training; the command is ``vidpipe pack``.

Each segment is a run of consecutive frames of one shot, cropped by a square of MARGIN x the face that stands
still within the run, so that the face's own motion stays. Clips are read by decord, for its random access.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.decode.open import open_input
from pipeline.errors import InputError, MissingError
from pipeline.faces import FaceDetector, open_detector
from pipeline.types import Box
from train.data.pictures import MARGIN

log = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
"""Of clips"""
LENGTH = 20
"""Frames of a segment: a window of 16, and some room."""
SIZE_PX = 256
FINDER_PX = (640, 384)
"""The picture is squeezed into this to find its face."""
MIN_SCORE = 0.5
CUT = 25.0
"""Mean absolute difference of successive frames, grey levels, above which a shot ends."""


def segments(path: Path, finder: FaceDetector) -> list[NDArray[np.uint8]]:
    """(LENGTH, SIZE_PX, SIZE_PX, 3) RGB runs of one clip. Raises MissingError without decord."""
    decord = _decord()
    try:
        open_input(path).close()  # no playlist reaches decord, which would read what it names
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    except (InputError, decord.DECORDError, RuntimeError):
        log.warning("%s: not a clip that can be read; left out", path)
        return []
    runs = []
    for first in range(0, len(reader) - LENGTH + 1, LENGTH):
        frames = reader.get_batch(range(first, first + LENGTH)).asnumpy()
        steps = np.abs(np.diff(frames[:, ::8, ::8].astype(np.int16), axis=0)).mean((1, 2, 3))
        box = _best_face(frames[LENGTH // 2], finder)
        if steps.max() > CUT or box is None:
            continue
        runs.append(_crop(frames, box))
    return runs


def _decord() -> ModuleType:
    try:
        import decord  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingError(
            f"clips are read by decord, which is missing ({error}): pip install decord"
        ) from error
    found: ModuleType = decord
    return found


def _best_face(picture: NDArray[np.uint8], finder: FaceDetector) -> Box | None:
    small = np.asarray(cv2.resize(picture, FINDER_PX, interpolation=cv2.INTER_AREA), np.uint8)
    faces = finder(small, MIN_SCORE)
    if not faces:
        return None
    box, x, y = faces[0].box, picture.shape[1] / FINDER_PX[0], picture.shape[0] / FINDER_PX[1]
    return Box(box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y)


def _crop(frames: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    side = MARGIN * max(box.width, box.height)
    scale = SIZE_PX / side
    x, y = box.centre
    to_crop = np.array([[scale, 0, SIZE_PX / 2 - x * scale], [0, scale, SIZE_PX / 2 - y * scale]])
    # warpAffine does not filter: shrink by area first where the crop is larger than its picture.
    shrink = max(1.0, side / SIZE_PX)
    out = []
    for frame in frames:
        picture = frame
        matrix = to_crop
        if shrink > 1:
            size = (round(frame.shape[1] / shrink), round(frame.shape[0] / shrink))
            picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            matrix = to_crop @ np.diag([frame.shape[1] / size[0], frame.shape[0] / size[1], 1])
        out.append(
            cv2.warpAffine(
                picture, matrix, (SIZE_PX, SIZE_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            )
        )
    return np.stack(out)


def pack(folder: Path, target: Path) -> list[int]:
    """Writes all segments of the clips in ``folder`` to ``target`` (.npy) and, beside it as .json, the clip
    of each, counted in order of their names; returns those. Raises InputError, or MissingError without
    decord."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; wanted one with clips")
    clips = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not clips:
        raise InputError(f"no clip in {folder}; wanted {', '.join(SUFFIXES)}")
    _decord()
    finder = open_detector("centerface", FINDER_PX, "onnxruntime", threads=1)
    runs: list[NDArray[np.uint8]] = []
    origin: list[int] = []
    for n, path in enumerate(clips):
        found = segments(path, finder)
        log.info("%s: %d segments", path.name, len(found))
        runs += found
        origin += [n] * len(found)
    if not runs:
        raise InputError(
            f"no face in any of the {len(clips)} clips in {folder}; wanted shots of {LENGTH} frames and more "
            "with a face"
        )
    np.save(target, np.stack(runs))
    target.with_suffix(".json").write_text(json.dumps(origin) + "\n")
    return origin
