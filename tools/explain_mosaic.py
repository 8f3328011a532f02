"""Shows why the finder misses a mosaic: `python -m tools.explain_mosaic CLIP --frame N -o OUT.png`.

Prints the regions found on one frame and the candidates that were rejected, each with its rule, and writes
the frame with all of them drawn in. `--region x,y,w,h` (px of the coded picture) asks about one place.

One frame is examined by itself: what frames before it would add (``multi_frame``, ``redetect``) is not in it.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import FindConfig
from pipeline.decode import open_decoder
from pipeline.errors import VidpipeError
from pipeline.mosaic.debug import explain_region
from pipeline.picture.resize import luma8
from pipeline.types import Box


def luma_of_frame(clip: Path, index: int) -> NDArray[np.uint8] | None:
    """(H, W) uint8 of a frame, counted from 0; None beyond the last."""
    with open_decoder(clip) as decoder:
        for frame in islice(decoder.frames(), index, None):
            return np.array(luma8(frame), np.uint8)
    return None


def region(text: str) -> Box:
    """x,y,w,h in px."""
    x, y, width, height = (float(v) for v in text.split(","))
    return Box(x, y, x + width, y + height)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.explain_mosaic", description=__doc__.split("\n")[0]
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frame", type=int, required=True, help="index, from 0")
    parser.add_argument("--region", type=region, help="x,y,w,h, px")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG")
    parser.add_argument("--min-cells", type=int, default=FindConfig().min_cells)
    parser.add_argument("--min-score", type=float, default=FindConfig().min_score)
    options = parser.parse_args(arguments)
    try:
        luma = luma_of_frame(options.clip, options.frame)
    except VidpipeError as error:
        parser.error(str(error))
    if luma is None:
        parser.error(f"{options.clip} has no frame {options.frame}")
    height, width = luma.shape
    if options.region is not None and not options.region.covered(Box(0, 0, width, height)):
        parser.error(f"--region lies outside the {width}x{height} picture")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    settings = FindConfig(min_cells=options.min_cells, min_score=options.min_score)
    explanation = explain_region(luma, settings, options.region)
    if not cv2.imwrite(str(options.output), explanation.picture[:, :, ::-1]):
        parser.error(f"cannot write {options.output}")
    print(explanation.as_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
