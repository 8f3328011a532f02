"""Frames without meaning and faces with boxes: what the stages that cover faces are fed with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import torch

from pipeline.picture.color import pixel_format
from pipeline.types import Box, Colour, FaceRegion, Found, Frame, Region, StreamInfo

COLOUR = Colour(matrix="bt709", range="tv", primaries="unknown", transfer="unknown")
RATE = 25
WIDTH, HEIGHT = 160, 120


def noise_frame(index: int, pix_fmt: str = "yuv420p", width: int = WIDTH, height: int = HEIGHT) -> Frame:
    """Every sample random, so that a sample that was written differs."""
    fmt = pixel_format(pix_fmt)
    generator = torch.Generator().manual_seed(index)
    planes = []
    for plane in range(fmt.colour_planes + ("a" in pix_fmt.partition("p")[0])):
        fine = plane in (0, 3)
        shape = (
            height if fine else -(-height // fmt.step_y),
            width if fine else -(-width // fmt.step_x),
        )
        values = torch.randint(1 << fmt.bits, shape, generator=generator)
        planes.append(values.to(torch.uint8 if fmt.bits <= 8 else torch.uint16))
    return Frame(
        index=index,
        pts=index,
        planes=tuple(planes),
        pix_fmt=pix_fmt,
        colour=COLOUR,
        time_base=Fraction(1, RATE),
        key=index == 0,
    )


def stream_info(frames: int, rotation: int = 0, width: int = WIDTH, height: int = HEIGHT) -> StreamInfo:
    return StreamInfo(
        path=Path("clip.mp4"),
        stream_index=0,
        codec="h264",
        width=width,
        height=height,
        rotation=rotation,
        sample_aspect=Fraction(1),
        pix_fmt="yuv420p",
        bit_depth=8,
        colour=COLOUR,
        time_base=Fraction(1, RATE),
        pts=range(frames),
        rate=Fraction(RATE),
        interlaced=False,
        duration_s=frames / RATE,
    )


def face(box: Box, score: float = 0.9) -> FaceRegion:
    return FaceRegion(box, score)


def found(sights: Sequence[Sequence[FaceRegion]], cuts: Sequence[int] = ()) -> Iterator[Found[Region]]:
    """One frame per entry."""
    for index, regions in enumerate(sights):
        yield Found(noise_frame(index), tuple(regions), index in cuts)
