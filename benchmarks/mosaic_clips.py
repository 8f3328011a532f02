"""Clips for ``benchmarks/mosaics.py``: faces by CenterFace, pixelated and encoded, with the truth beside
them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import onnx
import onnxruntime
from av.video.stream import VideoStream
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

from nets.pixelation import Operator
from pipeline.types import Axis, Shape
from tests.support.mosaics import Mosaic, fixed, pixelate

_STRIDE = 4
_SIDE_PX = 640
_SEARCH = 60
_FAR = 0.5
_AROUND = 160
"""px of the clip around a face that ``around`` keeps"""
MIN_FACE_PX = 64.0
"""Height of the smallest face that is pixelated: 12 cells across it are 4 px wide."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a clip is pixelated and encoded."""

    blocks: int
    """cells across the face"""
    moving: bool
    """grid moves with the face; else it is fixed in the frame"""
    whole: bool
    """pitch in whole px"""
    operator: Operator
    crf: int
    shape: Shape = Shape.RECTANGLE
    codec: str = "libx264"

    @property
    def name(self) -> str:
        grid = "moving" if self.moving else "fixed"
        pitch = "whole" if self.whole else "frac"
        return f"{self.blocks}-{grid}-{pitch}-{self.operator}-{self.shape}-{self.codec}-crf{self.crf}"


class CenterFace:
    """Face boxes from CenterFace's ONNX file in ``pipeline/faces/weights`` (MIT)."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        for value in (*model.graph.input[:1], *model.graph.output):
            for dim in (d for i, d in enumerate(value.type.tensor_type.shape.dim) if i != 1):
                dim.dim_param = f"{value.name}-{id(dim)}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        onnxruntime.set_default_logger_severity(3)
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, rgb: NDArray[np.uint8], min_score: float = 0.6) -> list[list[float]]:
        """Boxes (x0, y0, x1, y1) in px of the picture, best first."""
        height, width = rgb.shape[:2]
        scale = min(1.0, _SIDE_PX / max(height, width))
        w, h = (max(32, round(s * scale / 32) * 32) for s in (width, height))
        blob = cv2.dnn.blobFromImage(rgb, 1.0, (w, h), swapRB=False)
        heat, size, offset, _ = self._session.run(["537", "538", "539", "540"], {"input.1": blob})
        rows, cols = np.nonzero(heat[0, 0] > min_score)
        score = heat[0, 0, rows, cols]
        bh, bw = np.exp(size[0, :, rows, cols]).T * _STRIDE
        cy = (rows + offset[0, 0, rows, cols] + 0.5) * _STRIDE
        cx = (cols + offset[0, 1, rows, cols] + 0.5) * _STRIDE
        boxes = np.stack([cx - bw / 2, cy - bh / 2, bw, bh], axis=1)
        keep = cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), min_score, 0.3)
        back = np.array([width / w, height / h, width / w, height / h])
        boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) * back
        return [boxes[i].tolist() for i in np.array(keep, dtype=int).ravel()]


def read(path: Path, start: int, end: int, scale: float = 1.0) -> tuple[list[NDArray[np.uint8]], Fraction]:
    """Frames [start, end) as RGB (H, W, 3), scaled, and the rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = itertools.islice(container.decode(stream), start, end)
        frames = [np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in pictures]
        rate = stream.average_rate or Fraction(25)
    if scale == 1.0:
        return frames, rate
    shrunk = [cv2.resize(f, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for f in frames]
    return [np.asarray(f, np.uint8) for f in shrunk], rate


def faces(path: Path, detector: CenterFace, limit: int, cache: Path) -> tuple[int, list[NDArray[np.float64]]]:
    """The longest run of a face of MIN_FACE_PX among the first _SEARCH frames, ``limit`` of it at most.

    Returns its first frame and smoothed boxes, (frames, 4) px, of all faces that are there on 80 % of it.
    Detections are kept as JSON in ``cache``; they are linked by place and size, so not over a cut.
    """
    file = cache / f"{path.stem}-{_SEARCH}.json"
    if not file.exists():
        frames, _ = read(path, 0, _SEARCH)
        file.write_text(json.dumps([detector(frame) for frame in frames]))
    seen: list[list[list[float]]] = json.loads(file.read_text())
    tracks: list[NDArray[np.float64]] = []
    for t, boxes in enumerate(seen):
        cost = np.array([[_distance(_last(track, t), box) for box in boxes] for track in tracks])
        taken = set()
        if cost.size:
            for i, j in zip(*linear_sum_assignment(cost), strict=True):
                if cost[i, j] < _FAR:
                    tracks[i][t] = boxes[j]
                    taken.add(j)
        for j, box in enumerate(boxes):
            if j not in taken:
                track = np.full((len(seen), 4), np.nan)
                track[t] = box
                tracks.append(track)
    tracks = [t for t in tracks if np.nanmean(t[:, 3] - t[:, 1]) >= MIN_FACE_PX]
    if not tracks:
        return 0, []
    runs = [np.flatnonzero(np.isfinite(t[:, 0])) for t in tracks]
    longest = max(runs, key=len)
    start, end = int(longest[0]), min(int(longest[-1]) + 1, int(longest[0]) + limit)
    return start, [_smooth(t[start:end]) for t in tracks if np.isfinite(t[start:end, 0]).mean() > 0.8]


def around(
    size: tuple[int, ...], face: NDArray[np.float64], width: float
) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """Even part around a face, (frames, 4) px, of pictures of ``size`` (H, W), and the face in it."""
    height, across = (
        min(s, int(w + 2 * _AROUND)) // 2 * 2 for s, w in zip(size, (1.4 * width, width), strict=True)
    )
    middle = (face[:, :2] + face[:, 2:]).mean(axis=0) / 2
    left = int(np.clip(middle[0] - across / 2, 0, size[1] - across))
    top = int(np.clip(middle[1] - height / 2, 0, size[0] - height))
    return (slice(top, top + height), slice(left, left + across)), face - [left, top, left, top]


def _last(track: NDArray[np.float64], t: int) -> NDArray[np.float64]:
    known = np.flatnonzero(np.isfinite(track[:t, 0]))
    box: NDArray[np.float64] = track[known[-1]]
    return box


def _distance(a: NDArray[np.float64], b: list[float]) -> float:
    """Distance of the centres over the mean height, plus |log2| of the ratio of the heights."""
    gap = np.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
    heights = a[3] - a[1], b[3] - b[1]
    return float(gap / (sum(heights) / 2) + abs(np.log2(heights[0] / heights[1])))


def _smooth(track: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.arange(len(track))
    known = np.isfinite(track[:, 0])
    filled = np.stack([np.interp(t, t[known], track[known, k]) for k in range(4)], axis=1)
    result: NDArray[np.float64] = gaussian_filter1d(filled, 3.0, axis=0, mode="nearest")
    return result


def truth(track: NDArray[np.float64], recipe: Recipe, size: tuple[int, int], seed: int) -> list[Mosaic]:
    """One mosaic per frame over a face's track, cut to a picture of ``size`` (width, height) px.

    A fixed grid has a random phase and one pitch for the clip. A moving grid starts at the box's corner; with
    a fractional pitch it divides the box as resizing does (its pitch follows the box's size).
    """
    rng = np.random.default_rng(seed)
    mean_width = float(np.mean(track[:, 2] - track[:, 0]))
    pitch = mean_width / recipe.blocks
    pitch = max(4.0, round(pitch)) if recipe.whole else pitch
    phase = rng.uniform(0, pitch, 2)
    if recipe.whole:
        phase = np.floor(phase)
    out = []
    for face in track:
        x0, y0 = (round(float(v)) for v in face[:2])
        x1, y1 = (round(float(v)) for v in face[2:])
        if not recipe.moving:
            mosaic = fixed(
                (max(x0, 0), max(y0, 0), min(x1, size[0]), min(y1, size[1])), pitch, (phase[0], phase[1])
            )
        elif recipe.whole:
            mosaic = Mosaic((x0, y0, x1, y1), Axis(pitch, x0), Axis(pitch, y0))
        else:
            down = max(4, round(recipe.blocks * (y1 - y0) / (x1 - x0)))
            mosaic = Mosaic((x0, y0, x1, y1), Axis((x1 - x0) / recipe.blocks, x0), Axis((y1 - y0) / down, y0))
        out.append(Mosaic(mosaic.box, mosaic.x, mosaic.y, recipe.shape, recipe.operator))
    return out


def encode(path: Path, frames: Iterator[NDArray[np.uint8]], rate: Fraction, codec: str, crf: int) -> None:
    """RGB frames to a 4:2:0 file; odd sizes lose a row or column."""
    with av.open(str(path), "w") as container:
        stream: VideoStream | None = None
        for rgb in frames:
            height, width = (s // 2 * 2 for s in rgb.shape[:2])
            if stream is None:
                stream = cast(VideoStream, container.add_stream(codec, rate=rate))
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.thread_count = 1
                stream.options = {"qscale": str(crf)} if codec == "mpeg4" else {"crf": str(crf)}
                if codec in ("libx264", "libx265"):
                    stream.options = {**stream.options, "preset": "fast"}
                if codec == "mpeg4":
                    stream.codec_context.flags |= 0x0002  # AV_CODEC_FLAG_QSCALE
                    stream.codec_context.global_quality = crf * 118  # FF_QP2LAMBDA
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))


def draw(rgb: NDArray[np.uint8], mosaics: list[Mosaic]) -> NDArray[np.uint8]:
    """The picture with all its mosaics."""
    for mosaic in mosaics:
        rgb = pixelate(rgb, mosaic)
    return rgb
