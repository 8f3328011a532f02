"""``python -m vidpipe.demo``: pixelates a face, reconstructs it, and shows both on one sheet.

The picture is NASA's portrait of Eileen Collins, in the public domain, which scikit-image ships. A camera
moves over it; the mosaic's grid stands still in the frame while the face moves under it, as with an editor's
mosaic effect below a tracked mask.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from nets.pixelation import axis_index, membership, pixelate
from vidpipe.cli.main import Interrupts, run_command

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB"""

WIDTH, HEIGHT = 640, 480
RATE = Fraction(25)
FRAMES = 100
PITCH_PX = 14.0
"""Width of a cell: about ten across the face."""
ORIGIN_PX = 5.0
FACE = (176.0, 68.0, 268.0, 176.0)
"""The face in the portrait: x0, y0, x1, y1 in its px."""
SOUND_HZ, SAMPLE_RATE = 440, 48_000
SHEET_COLUMNS, SHEET_CELL_PX = 5, 256


def camera(index: int) -> NDArray[np.float64]:
    """(2, 3): px of the portrait -> px of frame ``index``. A slow circle with a slow zoom."""
    angle = 2 * math.pi * index / FRAMES
    scale = 1.42 + 0.08 * math.sin(angle)
    x, y = 225 + 12 * math.cos(angle), 160 + 7 * math.sin(2 * angle)
    return np.array([[scale, 0, WIDTH / 2 - scale * x], [0, scale, HEIGHT / 2 - scale * y]])


def face_box(index: int) -> tuple[int, int, int, int]:
    """Where the face is in frame ``index``: x0, y0, x1, y1 in whole px."""
    matrix = camera(index)
    x0, y0 = matrix @ (FACE[0], FACE[1], 1)
    x1, y1 = matrix @ (FACE[2], FACE[3], 1)
    return round(x0), round(y0), round(x1), round(y1)


def original(portrait: Picture, index: int) -> Picture:
    """Frame ``index`` as the camera sees it."""
    seen = cv2.warpAffine(
        portrait, camera(index), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(seen, np.uint8)


def with_mosaic(picture: Picture, index: int) -> Picture:
    """The picture with the face as cell means."""
    x0, y0, x1, y1 = face_box(index)
    whole = math.ceil(PITCH_PX)  # of a cell that the box cuts, all pixels are averaged
    top, left, bottom, right = y0 - whole, x0 - whole, y1 + whole, x1 + whole
    around = torch.from_numpy(picture[top:bottom, left:right]).permute(2, 0, 1).float()
    weight = torch.zeros(1, bottom - top, right - left)
    weight[:, whole:-whole, whole:-whole] = 1
    rows, cols = _cells(top, bottom), _cells(left, right)
    mosaic = pixelate(around, rows, cols, weight).round().clamp(0, 255).byte()
    out = picture.copy()
    out[top:bottom, left:right] = mosaic.permute(1, 2, 0).numpy()
    return out


def _cells(start: int, stop: int) -> Tensor:
    """Membership of the pixels from ``start`` to ``stop`` in the cells of the frame's grid."""
    index = axis_index(stop, PITCH_PX, ORIGIN_PX)[start:]
    return membership(index - index[0], int(index[-1] - index[0]) + 1)


def tone() -> Iterator[av.AudioFrame]:
    """A quiet sine as long as the clip, in frames of 1024 samples."""
    total = int(FRAMES / RATE * SAMPLE_RATE)
    for start in range(0, total, 1024):
        time_s = np.arange(start, min(start + 1024, total)) / SAMPLE_RATE
        samples = 0.1 * np.sin(2 * math.pi * SOUND_HZ * time_s)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield frame


def write_clip(path: Path, pictures: Iterator[Picture]) -> None:
    """H.264 at crf 20 with an AAC tone."""
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "20"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        for frame in tone():
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def read_clip(path: Path, indices: Sequence[int]) -> list[Picture]:
    """The frames with these numbers, as RGB."""
    with av.open(path) as container:
        wanted = set(indices)
        frames = enumerate(container.decode(video=0))
        return [np.asarray(frame.to_ndarray(format="rgb24")) for i, frame in frames if i in wanted]


def psnr_inside(a: Picture, b: Picture, index: int) -> float:
    """dB over the pixels of the mosaic."""
    x0, y0, x1, y1 = face_box(index)
    difference = a[y0:y1, x0:x1].astype(np.float64) - b[y0:y1, x0:x1]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def sheet(rows: Sequence[tuple[str, Sequence[Picture]]], indices: Sequence[int]) -> Image.Image:
    """One row per clip, one column per time, cut square around the face."""
    out = Image.new("RGB", (SHEET_CELL_PX * len(indices), SHEET_CELL_PX * len(rows)))
    draw = ImageDraw.Draw(out)
    for r, (label, pictures) in enumerate(rows):
        for c, (index, picture) in enumerate(zip(indices, pictures, strict=True)):
            x0, y0, x1, y1 = face_box(index)
            half = 0.75 * (y1 - y0)
            middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
            square = (middle_x - half, middle_y - half, middle_x + half, middle_y + half)
            cell = Image.fromarray(picture).resize(
                (SHEET_CELL_PX, SHEET_CELL_PX), Image.Resampling.BICUBIC, box=_inside(square)
            )
            out.paste(cell, (c * SHEET_CELL_PX, r * SHEET_CELL_PX))
        draw.text((6, r * SHEET_CELL_PX + 4), label, fill="yellow", stroke_width=2, stroke_fill="black")
    return out


def _inside(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    dx = max(0.0, -x0) - max(0.0, x1 - WIDTH)
    dy = max(0.0, -y0) - max(0.0, y1 - HEIGHT)
    return x0 + dx, y0 + dy, x1 + dx, y1 + dy


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the clip, runs ``vidpipe run`` on it, writes the sheet. Returns the exit code of the run."""
    parser = argparse.ArgumentParser(prog="python -m vidpipe.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out"), help="where the files go")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    import skimage  # the demo extra

    portrait: Any = skimage.data.astronaut()
    clip, result = folder / "demo.mp4", folder / "demo.reconstruct.mp4"
    write_clip(clip, (with_mosaic(original(portrait, index), index) for index in range(FRAMES)))
    print(f"clip with a pixelated face: {clip}")
    interrupts = Interrupts()
    interrupts.install()
    code = run_command(["run", str(clip), "--mode", "reconstruct", "-o", str(result), "-y"], interrupts)
    if code:
        return code
    indices = [round((c + 0.5) * FRAMES / SHEET_COLUMNS) for c in range(SHEET_COLUMNS)]
    before, after = read_clip(clip, indices), read_clip(result, indices)
    truth = [original(portrait, index) for index in indices]
    for name, pictures in (("input", before), ("output", after)):
        values = [psnr_inside(*item) for item in zip(pictures, truth, indices, strict=True)]
        print(f"PSNR inside the mosaic, {name} against original: {np.mean(values):.2f} dB")
    contact = folder / "demo.png"
    sheet((("input", before), ("output", after), ("original", truth)), indices).save(contact)
    print(f"contact sheet (input, output, original): {contact}")
    print(f"reconstructed clip: {result}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
