"""What networks make of the demo's portrait, as a picture for the documentation.

    python -m benchmarks.pictures docs/restored.png

A row for 8, 10 and 12 cells across the face: input, bicubic, IDN (that frame alone), NAR (16 frames of a
camera that moves by a cell or two), truth. The portrait is NASA's of Eileen Collins, in the public domain; no
network was trained on it. One picture shows what restorations look like; how good they are, tables say.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from train.data.pictures import MARGIN, Stills
from train.evaluation.conditions import Condition, scenes
from train.evaluation.methods import BICUBIC, NEAREST, SHIPPED, Method, read_networks
from vidpipe.demo import FACE

SIZE_PX = 256
BLOCKS = (8.0, 10.0, 12.0)
FRAMES = 16
HEAD_PX = 18


def portrait() -> Stills:
    """The portrait as a training picture: a square of 1.6 x the face."""
    from skimage import data  # noqa: PLC0415 - of the demo's extra

    x0, y0, x1, y1 = FACE
    half = MARGIN * max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    cut = data.astronaut()[round(y - half) : round(y + half), round(x - half) : round(x + half)]
    square = cv2.resize(cut, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_CUBIC)
    return Stills(torch.from_numpy(np.asarray(square, np.uint8)).permute(2, 0, 1)[None].contiguous())


def rows(methods: list[Method], size_px: int) -> Iterator[tuple[float, list[Tensor], list[float]]]:
    """For each number of cells: pictures (3, S, S) of all methods and the truth, and PSNR in the mosaic."""
    for blocks in BLOCKS:
        condition = Condition("clean", blocks, moving=True)
        (scene,) = scenes(portrait(), condition, 1, size_px, judged=1, seed=2)
        at = scene.judged[0]
        truth, weight = scene.truth[at], scene.weight[at]
        pictures, psnr = [], []
        for method in methods:
            restored = method(scene)[0].clamp(0, 1)
            error = float(((restored - truth) ** 2 * weight).sum() / (3 * weight.sum()))
            pictures.append(restored)
            psnr.append(float(-10 * np.log10(error)))
        yield blocks, [*pictures, truth], psnr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", type=Path, help="a .png")
    target = parser.parse_args().target
    idn, nar = read_networks(SHIPPED, [FRAMES], torch.device("cpu"))
    methods: list[Method] = [NEAREST, BICUBIC, idn, nar]
    names = ["input", "bicubic", "IDN, 1 frame", f"NAR, {FRAMES} frames", "truth"]
    size_px = 128
    sheet = []
    print(f"| cells | {' | '.join(names[:-1])} |\n|{'---|' * len(names)}")
    for blocks, pictures, psnr in rows(methods, size_px):
        sheet.append(torch.cat(pictures, -1))
        print(f"| {blocks:g} | {' | '.join(f'{p:.2f} dB' for p in psnr)} |")
    pixels = (torch.cat(sheet, -2).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    picture = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + HEAD_PX), "white")
    picture.paste(Image.fromarray(pixels), (0, HEAD_PX))
    for column, name in enumerate(names):
        ImageDraw.Draw(picture).text((column * size_px + 4, 3), name, fill="black")
    picture.save(target, optimize=True)


if __name__ == "__main__":
    main()
