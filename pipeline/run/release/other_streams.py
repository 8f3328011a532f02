"""The pictures of an output beside the stream that the run wrote: further video streams, covers, thumbnails.

They were copied as they are, so a face in them is a face that nobody covered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.decode import open_decoder
from pipeline.decode.open import is_cover, open_input
from pipeline.errors import CheckError, InputError
from pipeline.faces import Face
from pipeline.faces.input_picture import DetectorView, SmallPicture, scales
from pipeline.notes import silent
from pipeline.run.release.looks import Pace, looked_at
from pipeline.types import Colour, Frame, StreamInfo

OpenView = Callable[[SmallPicture], DetectorView]
"""Opens the face detector for pictures of one size."""

_COLOUR = Colour("unknown", "unknown", "unknown", "unknown")


@dataclass(frozen=True, slots=True)
class FaceElsewhere:
    """A face in another stream of the output."""

    stream: int
    """Index in the output, over streams of all kinds."""
    frame: int
    """Index in that stream."""
    time_s: float
    """From the first frame of that stream; 0 for an attached picture."""
    face: Face


def faces_elsewhere(
    path: Path, written: StreamInfo, open_view: OpenView, min_score: float, pace: Pace
) -> Iterator[FaceElsewhere]:
    """Faces in all video streams of a file but the one that was written, one frame at a time.

    Raises CheckError for a stream that cannot be decoded: nobody knows what is in it.
    """
    with open_input(path) as container:
        others = [(s.index, is_cover(s)) for s in container.streams.video if s.index != written.stream_index]
    for index, cover in others:
        try:
            looks = _covers(path, index, written) if cover else _frames(path, index, pace)
            views: dict[SmallPicture, DetectorView] = {}
            for frame, time_s, picture in looks:
                if picture not in views:
                    views[picture] = open_view(picture)
                for face in views[picture].faces(frame, min_score):
                    yield FaceElsewhere(index, frame.index, time_s, face)
        except (InputError, FFmpegError) as error:
            raise CheckError(
                f"video stream {index} of the output cannot be looked at ({error}); nothing was released. "
                "Remove it from the source, or add --gate off to copy it unseen"
            ) from error


_Look = tuple[Frame, float, SmallPicture]


def _frames(path: Path, index: int, pace: Pace) -> Iterator[_Look]:
    """Of a video stream, as often as ``pace`` says."""
    with silent(), open_decoder(path, stream=index) as decoder:
        info = decoder.info
        times_s = [float((pts - info.pts[0]) * info.time_base) for pts in info.pts]
        due = looked_at(times_s, pace, [False] * len(times_s))
        picture = scales(info, None).fine
        for frame, time_s, look in zip(decoder.frames(), times_s, due, strict=True):
            if look:
                yield frame, time_s, picture


def _covers(path: Path, index: int, written: StreamInfo) -> Iterator[_Look]:
    """An attached picture, or all of a track of thumbnails."""
    with open_input(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        for number, shown in enumerate(container.decode(stream)):
            upright = replace(written, rotation=0, sample_aspect=Fraction(1))
            info = replace(upright, width=shown.width, height=shown.height)
            yield _as_frame(shown, number), 0.0, scales(info, None).fine


def _as_frame(shown: VideoFrame, number: int) -> Frame:
    rgb = shown.to_ndarray(format="rgb24")
    planes = tuple(torch.from_numpy(np.ascontiguousarray(rgb[..., at])) for at in range(3))
    return Frame(number, number, planes, "gbrp", _COLOUR, Fraction(1), key=True)
