"""What a face detector and a recogniser see through masks, by look and number of blocks.

``python -m benchmarks.see_through CLIP... [--recogniser mobilefacenet.safetensors]``

Of each clip two frames are taken and the faces on them covered, without an encoder between. The detector is
that of the release check and looks as it does. The recogniser gets the largest face of the first frame and
names one of the clips by their second frames; with one person a clip, chance is one in so many clips.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from nets.mobilefacenet import FaceEmbedding
from pipeline.config import MaskConfig
from pipeline.decode import Decoder, open_decoder
from pipeline.faces import Face, open_detector
from pipeline.faces.input_picture import DetectorView, scales
from pipeline.picture.resize import rgb_on_host
from pipeline.run.release.see_through import SIDE_PX, MaskView
from pipeline.stages.paint import paint
from pipeline.stages.pixelize import Pixelizer
from pipeline.types import FaceRegion, Frame, StreamInfo, TrackedFaces, TrackedRegion

LOOKS = [
    ("none", 0),
    *(("mosaic", n) for n in (6, 8, 10, 12, 16, 24)),
    *(("blur", n) for n in (6, 8, 10, 12, 16, 24)),
]
FRAMES = (5, 40)
SURE = 0.5
LEAST_PX = 16
_CHIP = np.array([[30.3, 51.7], [65.5, 51.5], [48.0, 71.7], [33.5, 92.4], [62.7, 92.2]], np.float32)
"""Eyes, nose and corners of the mouth in the 96 x 112 px that the recogniser takes."""

Chip = NDArray[np.uint8]


def _covered(frame: Frame, faces: Sequence[Face], info: StreamInfo, look: str, blocks: int) -> Frame:
    if look == "none":
        return frame
    settings = MaskConfig.model_validate({"look": look, "blocks": blocks})
    regions = tuple(
        TrackedRegion(n, FaceRegion(face.box, face.score), seen=True, born=True, last=True)
        for n, face in enumerate(faces, start=1)
    )
    (painted,) = paint(Pixelizer(info, settings)([TrackedFaces(frame, regions, {})]))
    return painted


def _chip(frame: Frame, face: Face) -> Chip:
    rows, columns = frame.planes[0].shape
    assert face.landmarks is not None, "CenterFace gives them"
    move, _ = cv2.estimateAffinePartial2D(face.landmarks, _CHIP)
    return np.asarray(cv2.warpAffine(rgb_on_host(frame, columns, rows), move, (96, 112)), np.uint8)


def _shown(decoder: Decoder) -> list[tuple[Frame, list[Face]]]:
    """Two frames with the faces on them, largest first."""
    info = decoder.info
    picture = scales(info, None).quick
    view = DetectorView(open_detector("centerface", picture.size_px, threads=1), picture)
    wanted = sorted({min(index, len(info.pts) - 1) for index in FRAMES})
    shown = []
    for frame in decoder.frames(None, info.pts[wanted[-1]] + 1):
        if frame.index in wanted:
            faces = [face for face in view.faces(frame, SURE) if face.box.height >= LEAST_PX]
            shown.append((frame, sorted(faces, key=lambda face: -face.box.width)))
    return shown


def _named(net: FaceEmbedding, chips: Sequence[Chip], others: Sequence[Chip]) -> int:
    """How many of the chips are nearest to the one of the same clip."""

    def vectors(rows: Sequence[Chip]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return np.asarray(net(batch).numpy(), np.float32)

    nearest = (vectors(chips) @ vectors(others).T).argmax(1)
    return int((nearest == np.arange(len(chips))).sum())


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--recogniser", type=Path, help="weights of MobileFaceNet, safetensors")
    asked = parser.parse_args()
    detector = open_detector("centerface", (SIDE_PX, SIDE_PX), threads=1)
    scores: dict[tuple[str, int], list[float]] = defaultdict(list)
    chips: dict[tuple[str, int], list[Chip]] = defaultdict(list)
    others: list[Chip] = []
    for clip in asked.clips:
        with open_decoder(clip) as decoder:
            info, shown = decoder.info, _shown(decoder)
        view = MaskView(detector, info)
        two = len(shown) == 2 and all(faces for _, faces in shown)
        for look in LOOKS:
            for frame, faces in shown:
                painted = _covered(frame, faces, info, *look)
                scores[look] += [view.score(painted, face.box) for face in faces]
            if two:
                chips[look].append(_chip(_covered(*shown[0], info, *look), shown[0][1][0]))
        if two:
            others.append(_chip(shown[1][0], shown[1][1][0]))
    net = None if asked.recogniser is None else FaceEmbedding.load(asked.recogniser)
    print(f"| {len(scores['none', 0])} faces | seen | median score | highest | named, of {len(others)} |")
    print("|---|---|---|---|---|")
    for look, values in scores.items():
        named = "" if net is None else _named(net, chips[look], others)
        seen, middle = sum(value >= SURE for value in values), float(np.median(values))
        print(f"| {look[0]} {look[1] or ''} | {seen} | {middle:.2f} | {max(values):.2f} | {named} |")


if __name__ == "__main__":
    main()
