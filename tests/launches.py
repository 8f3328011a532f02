"""What a run asks of a device, per frame: kernels to launch, and bytes that cross to the host and from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from export.networks import find, spec_of
from pipeline.config import resolve
from pipeline.cuda import to_device, to_host
from pipeline.decode import open_decoder
from pipeline.stages.crop import crop
from pipeline.stages.find_mosaics import FindSettings, find_mosaics, looked_for
from pipeline.stages.paste import paste
from pipeline.stages.restore import restore
from pipeline.stages.track import TrackSettings, track
from pipeline.stages.window import window
from pipeline.types import Cropped, Frame, StreamInfo, Tracked
from tests.pipeline.scene import CubicEngine
from tests.pretend import PRETENDED, Counted, pretended_device

FRAMES = 16


def counted_per_frame(clip: Path, net: str, device: torch.device = PRETENDED) -> dict[str, Any]:
    """Every stage over the first frames of a clip, one after the other, with a network of ``net``'s shapes
    that does nothing: a network is one launch where it is a graph. On a real device it is only run."""
    checkpoint = find(net)
    spec = spec_of(checkpoint.net, checkpoint.sha256)
    with open_decoder(clip) as decoder:
        info, frames = decoder.info, list(islice(decoder.frames(), FRAMES))
    pretended = device == PRETENDED
    with pretended_device() if pretended else nullcontext(Counted()) as counted:
        stages: dict[str, dict[str, float]] = {}

        def through(name: str, items: Iterator[Any]) -> list[Any]:
            counted.launches, counted.to_host, counted.to_device = 0, [], []
            out = list(items)
            stages[name] = {
                "launches": counted.launches / FRAMES,
                "waits": len(counted.to_host) / FRAMES,
                "kib_to_host": sum(counted.to_host) / FRAMES / 1024,
                "kib_to_device": sum(counted.to_device) / FRAMES / 1024,
            }
            return out

        painted = _painted(through, to_device(frames, device), info, spec)
        through("download", to_host(painted))
    if not pretended:
        return {"frames": FRAMES}
    return {"frames": FRAMES, "per_frame": stages}


def _painted(through: Any, frames: Iterator[Frame], info: StreamInfo, spec: Any) -> list[Frame]:
    config = resolve().config
    engine = CubicEngine(spec.window, spec.context, spec.size_px, spec.cells, spec.fused)
    settings = FindSettings(**config.find.model_dump())
    with closing(engine):
        there = through("upload", frames)
        found = through("find", find_mosaics(there, settings=settings))
        followed = track(
            found, settings=TrackSettings(**config.track.model_dump()), again=looked_for(settings)
        )
        tracked: list[Tracked] = through("track", followed)
        cropped: list[Cropped] = through(
            "crop",
            crop(tracked, info=info, size_px=spec.size_px, cells=spec.cells, margin=config.crop.margin),
        )
        cores = max(1, config.window.batch_frames // spec.core)
        windows = through(
            "window", window(cropped, core=spec.core, context=spec.context, cores_per_batch=cores)
        )
        patches = through("restore", restore(windows, engine=engine, batch_size=config.restore.batch_size))
        return through("paste", paste(patches, info=info))
