"""The contact sheet: who is in a clip, one row per track, before the long run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.encode.atomic_file import write_whole
from pipeline.picture.color import conversion
from pipeline.picture.geometry import upright
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import Box, Frame, StreamInfo, TrackedFaces

_CELL_PX = 112
_SHOWN = 5
"""Pictures per track."""
_LABEL_PX = 210
_AROUND = 1.5
"""Side of a picture over the longer side of the face."""
_ROWS_PER_COLUMN = 16

Picture = NDArray[np.uint8]


class ContactSheet:
    """Cuts pictures of tracks out of frames that pass by; at most 2 x ``_SHOWN`` of a track are kept."""

    def __init__(self, info: StreamInfo) -> None:
        self._info = info
        self._pictures: dict[int, list[Picture]] = {}
        self._strides: dict[int, int] = {}
        self._counts: dict[int, int] = {}

    def watch(self, items: Iterator[TrackedFaces]) -> Iterator[TrackedFaces]:
        """The same items."""
        for item in items:
            for tracked in item.regions:
                if tracked.seen:
                    self._look(tracked.track, item.frame, tracked.region.box)
            yield item

    def _look(self, track: int, frame: Frame, box: Box) -> None:
        count, stride = self._counts.get(track, 0), self._strides.get(track, 1)
        self._counts[track] = count + 1
        if count % stride:
            return
        pictures = self._pictures.setdefault(track, [])
        pictures.append(_cut(frame, box, self._info.rotation))
        if len(pictures) >= 2 * _SHOWN:
            del pictures[1::2]
            self._strides[track] = 2 * stride

    def save(self, path: Path, tracks: Sequence[FaceTrackRecord]) -> None:
        """Writes the sheet as PNG: of each track a few pictures, number and times. Raises OutputError."""
        rows = max(1, min(len(tracks), _ROWS_PER_COLUMN))
        columns = max(1, -(-len(tracks) // rows))
        width = _LABEL_PX + _SHOWN * _CELL_PX
        sheet = Image.new("RGB", (columns * width, rows * _CELL_PX), (24, 24, 24))
        draw = ImageDraw.Draw(sheet)
        first_s = float(self._info.pts[0] * self._info.time_base)
        for i, record in enumerate(tracks):
            left, top = i // rows * width, i % rows * _CELL_PX
            label = (
                f"track {record.track}\n{record.first_s - first_s:.2f} - {record.last_s - first_s:.2f} s\n"
                f"seen {record.frames_seen}, filled {record.frames_filled}\n{record.decision}"
            )
            draw.multiline_text((left + 8, top + 6), label, fill="white", font_size=16)
            pictures = self._pictures.get(record.track, [])
            picked = np.linspace(0, len(pictures) - 1, min(len(pictures), _SHOWN)).round().astype(int)
            for column, at in enumerate(picked):
                place = (left + _LABEL_PX + column * _CELL_PX, top)
                sheet.paste(Image.fromarray(pictures[at]), place)
        coded = io.BytesIO()
        sheet.save(coded, format="PNG")
        write_whole(path, coded.getvalue())


def _cut(frame: Frame, box: Box, rotation: int) -> Picture:
    """(_CELL_PX, _CELL_PX, 3) RGB around a face, upright, black beyond the picture."""
    height, width = frame.planes[0].shape
    convert = conversion(frame.pix_fmt, frame.colour, width, height)
    side = _AROUND * max(box.width, box.height)
    (x, y), half = box.centre, side / 2
    x0, y0, x1, y1 = Box(x - half, y - half, x + half, y + half).pixels(width, height)
    step_x, step_y = convert.format.step_x, convert.format.step_y
    x0, y0 = x0 // step_x * step_x, y0 // step_y * step_y
    out = np.zeros((_CELL_PX, _CELL_PX, 3), np.uint8)
    if x1 <= x0 or y1 <= y0:
        return out
    planes = [frame.planes[0][y0:y1, x0:x1]]
    for plane in frame.planes[1 : convert.format.colour_planes]:
        planes.append(plane[y0 // step_y : -(-y1 // step_y), x0 // step_x : -(-x1 // step_x)])
    rgb = upright(convert.to_rgb(planes).clamp(0, 1), rotation)
    picture = (rgb * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    scale = _CELL_PX / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    small = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    out[: size[1], : size[0]] = small
    return out
