"""What a run asks of a device, per frame: kernels to launch, and bytes that cross to the host and from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.networks import find, spec_of
from pipeline.config import resolve
from pipeline.cuda import to_device, to_host
from pipeline.decode import open_decoder
from pipeline.engines import EngineSpec
from pipeline.faces import Face, Picture
from pipeline.faces.centerface_cuda import FETCHED_CELLS
from pipeline.faces.input_picture import DetectorView, scales
from pipeline.stages.crop import crop
from pipeline.stages.find_faces import FaceDetection
from pipeline.stages.find_mosaics import find_mosaics, is_clean, redetect_with
from pipeline.stages.paint import paint
from pipeline.stages.paste import paste
from pipeline.stages.pixelize import Pixelizer
from pipeline.stages.restore import restore
from pipeline.stages.window import window
from pipeline.track.faces import track_faces
from pipeline.track.mosaics import track
from pipeline.types import Box, Cropped, Frame, StreamInfo, Tracked
from tests.support.pretend import PRETENDED, Counted, pretended_device
from tests.support.scene import CubicEngine

Through = Callable[[str, Iterator[Any]], list[Any]]
"""Runs a stage over all frames, and keeps what it asked for under its name."""


def counted_per_frame(
    clip: Path, net: str, device: torch.device = PRETENDED, frames: int = 16, batch_frames: int | None = None
) -> dict[str, Any]:
    """Every stage of ``reconstruct`` over the first frames of a clip, one after the other, with a network of
    ``net``'s shapes that does nothing: a network is one launch where it is a graph. ``batch_frames`` is
    ``window.batch_frames``. On a real device it is only run."""

    checkpoint = find(net)
    spec = spec_of(checkpoint.net, checkpoint.sha256)

    def stages(through: Through, there: list[Frame], info: StreamInfo) -> list[Frame]:
        return _reconstructed(through, there, info, spec, batch_frames)

    return _counted(clip, device, frames, stages)


def covering_per_frame(clip: Path, device: torch.device = PRETENDED, frames: int = 16) -> dict[str, Any]:
    """The same of ``protect``, with a finder that does nothing but fetch its answer."""
    return _counted(clip, device, frames, _covered)


def _counted(
    clip: Path,
    device: torch.device,
    count: int,
    stages: Callable[[Through, list[Frame], StreamInfo], list[Frame]],
) -> dict[str, Any]:
    with open_decoder(clip) as decoder:
        info, frames = decoder.info, list(islice(decoder.frames(), count))
    pretended = device == PRETENDED
    with pretended_device() if pretended else nullcontext(Counted()) as counted:
        asked: dict[str, dict[str, float]] = {}

        def through(name: str, items: Iterator[Any]) -> list[Any]:
            counted.launches, counted.to_host, counted.to_device = 0, [], []
            out = list(items)
            asked[name] = {
                "launches": counted.launches / count,
                "waits": len(counted.to_host) / count,
                "kib_to_host": sum(counted.to_host) / count / 1024,
                "kib_to_device": sum(counted.to_device) / count / 1024,
            }
            return out

        there = through("upload", to_device(frames, device))
        through("download", to_host(stages(through, there, info)))
    return {"frames": count, "per_frame": asked} if pretended else {"frames": count}


def _reconstructed(
    through: Through, there: list[Frame], info: StreamInfo, spec: EngineSpec, batch_frames: int | None
) -> list[Frame]:
    config = resolve().config
    engine = CubicEngine(spec.window, spec.context, spec.size_px, spec.cells, spec.fused)
    settings = config.find
    with closing(engine):
        found = through("find", find_mosaics(there, settings=settings))
        followed = track(
            found,
            settings=config.track,
            redetect=redetect_with(settings),
            is_clean=is_clean,
        )
        tracked: list[Tracked] = through("track", followed)
        cropped: list[Cropped] = through(
            "crop",
            crop(tracked, info=info, size_px=spec.size_px, cells=spec.cells, margin=config.crop.margin),
        )
        cores = max(1, (batch_frames or config.window.batch_frames) // spec.core)
        windows = through(
            "window", window(cropped, core=spec.core, context=spec.context, cores_per_batch=cores)
        )
        size = max(config.restore.batch_size, cores)
        patches = through("restore", restore(windows, engine=engine, batch_size=size))
        return through("paste", paste(patches, info=info))


class _Told:
    """Sees a face in the middle, and fetches as much as ``faces.ondevice`` does."""

    name = "told"
    calls = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, picture: Picture, min_score: float) -> list[Face]:
        assert not isinstance(picture, np.ndarray)
        rows = picture.flatten()[: 16 * FETCHED_CELLS].clone()  # its one launch
        rows.cpu()
        height, width = picture.shape[2:]
        return [Face(0.9, Box(width * 0.42, height * 0.36, width * 0.58, height * 0.64), None)]


def _covered(through: Through, there: list[Frame], info: StreamInfo) -> list[Frame]:
    config = resolve().config
    sizes = scales(info, config.faces.min_face_px)
    fine, quick = (DetectorView(_Told(there[0].device), picture) for picture in (sizes.fine, sizes.quick))
    detection = FaceDetection(fine, quick, config.faces, config.find)
    found = through("find", detection(iter(there)))
    followed = track_faces(iter(found), settings=config.faces, info=info)
    tracked = through("track", followed)
    masked = through("pixelize", Pixelizer(info, config.mask, config.protect)(iter(tracked)))
    return through("paint", paint(masked))
