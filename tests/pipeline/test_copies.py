"""What leaves a device before the encoder, in each mode: no plane of a frame, nor anything of its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.config import TrackConfig, resolve
from pipeline.cover import Mode, mask_settings, track_settings
from pipeline.cuda import to_host
from pipeline.faces import Face
from pipeline.faces.picture import SmallPicture, scales
from pipeline.stages.crop import crop
from pipeline.stages.find_faces import Eye, FaceLooker, LookSettings
from pipeline.stages.find_mosaics import FindSettings, find_mosaics, looked_for
from pipeline.stages.paint import paint
from pipeline.stages.paste import paste
from pipeline.stages.pixelize import Pixelizer
from pipeline.stages.restore import restore
from pipeline.stages.track import TrackSettings, track
from pipeline.stages.track_faces import track_faces
from pipeline.stages.window import window
from pipeline.types import Box, Frame, StreamInfo
from tests.mosaics import fixed, locked, noisy, pixelate, texture
from tests.pipeline.faces_scene import noise_frame, stream_info
from tests.pipeline.scene import CubicEngine
from tests.pretend import Counted, pretended_device, sent

WIDTH, HEIGHT, FRAMES = 640, 480, 16
LUMA, CHROMA = WIDTH * HEIGHT, WIDTH * HEIGHT // 4
"""bytes of the planes"""
THUMBNAIL = 128 * 96
"""bytes of a plane of what scene cuts are seen in"""
CLEAR = locked((60, 60, 156, 156), (9, 9))
FAINT = fixed((60, 50, 160, 170), 7.3, (2.1, 3.4))
"""Found only from some frames together, see ``pool``."""


def frames() -> list[Frame]:
    """A scene that moves a pixel a frame under two mosaics that stay."""
    bold, soft = texture(HEIGHT, WIDTH + FRAMES, 3), texture(240, 320, 3, 4.0)
    made = []
    for i in range(FRAMES):
        luma = pixelate(np.ascontiguousarray(bold[:, i : i + WIDTH]), CLEAR)
        luma[220:460, 340:620] = noisy(pixelate(np.ascontiguousarray(soft[:, i : i + 280]), FAINT), i, 1.5)
        frame = noise_frame(i, width=WIDTH, height=HEIGHT)
        grey = tuple(torch.full_like(plane, 128) for plane in frame.planes[1:])
        made.append(replace(frame, planes=(torch.from_numpy(luma), *grey)))
    return made


def reconstructed(source: Iterator[Frame], info: StreamInfo, seen: list[int]) -> Iterator[Frame]:
    settings = FindSettings()
    found = find_mosaics(source, settings=settings)
    followed = track(found, settings=TrackSettings(**TrackConfig().model_dump()), again=looked_for(settings))

    def counted() -> Iterator[object]:
        for item in followed:
            seen.append(len(item.regions))
            yield item

    cropped = crop(counted(), info=info, size_px=64, cells=32, margin=1.6)  # type: ignore[arg-type]
    windows = window(cropped, core=1, context=0, cores_per_batch=8)
    return paste(restore(windows, engine=CubicEngine(cells=32), batch_size=4), info=info)


def test_reconstructing_fetches_what_it_examines_and_nothing_else() -> None:
    """Also where lattices are searched in sums over frames."""
    source, info = frames(), stream_info(FRAMES, width=WIDTH, height=HEIGHT)
    here: list[int] = []
    wanted = list(reconstructed(iter(source), info, here))
    assert max(here) == 2  # the faint one, too: the pool has been searched
    with pretended_device() as counted:
        there: list[int] = []
        painted = list(reconstructed((sent(f) for f in source), info, there))
        copies = list(counted.to_host)
        counted.to_host.clear()
        back = list(to_host(painted))
        assert sum(counted.to_host) == FRAMES * (LUMA + 2 * CHROMA)  # the counter counts
    assert there == here
    assert max(copies) < CHROMA, sorted(copies)[-5:]
    assert sum(copies) < FRAMES * LUMA, sum(copies) / FRAMES
    for a, b in zip(wanted, back, strict=True):
        assert all((x.int() - y.int()).abs().max() <= 1 for x, y in zip(a.planes, b.planes, strict=True))


@dataclass(slots=True)
class Told:
    """Sees the face that it was told of."""

    name: str = "told"

    def __call__(self, picture: NDArray[np.uint8], min_score: float) -> list[Face]:
        height, width, _ = picture.shape
        return [Face(0.9, Box(width / 4, height / 4, width / 2, height / 1.5), None)]


@dataclass(slots=True)
class Watched:
    """A small picture, and what is fetched for it."""

    inner: SmallPicture
    counted: Counted
    fetched: list[Sequence[int]] = field(default_factory=list)
    """Bytes of the copies of each look"""

    def of(self, frame: Frame) -> NDArray[np.uint8]:
        before = len(self.counted.to_host)
        picture = self.inner.of(frame)
        self.fetched.append(self.counted.to_host[before:])
        del self.counted.to_host[before:]
        return picture

    def back(self, face: Face) -> Face:
        return self.inner.back(face)


@pytest.mark.parametrize("mode", ["pixelize", "protect"])
@pytest.mark.parametrize("look", ["mosaic", "blur"])
def test_covering_fetches_thumbnails_colours_and_the_finders_picture(mode: Mode, look: str) -> None:
    """Faces are found on the CPU: what the finder looks at comes to it, of the frames that it looks at."""
    source, info = frames(), stream_info(FRAMES, width=WIDTH, height=HEIGHT)
    config = resolve().config
    config = config.model_copy(update={"mask": config.mask.model_copy(update={"look": look})})
    small = scales(info, 50.0).fine
    with pretended_device() as counted:
        watched = Watched(small, counted)
        eye = Eye(Told(), watched)  # type: ignore[arg-type]
        every = LookSettings(every_s=config.faces.every_s, fine_every_s=config.faces.fine_every_s)
        followed = track_faces(
            FaceLooker(eye, eye, every)(sent(f) for f in source),
            settings=track_settings(config),
            info=info,
        )
        painted = list(paint(Pixelizer(info, mask_settings(mode, config))(followed)))
        copies = list(counted.to_host)
        back = list(to_host(painted))
    assert max(copies) <= THUMBNAIL, sorted(copies)[-5:]
    assert copies.count(THUMBNAIL) == 3 * FRAMES
    assert 0 < len(watched.fetched) < FRAMES / 2
    assert all(sum(planes) == 3 * small.width * small.height for planes in watched.fetched)
    assert small.width * small.height < LUMA / 4
    for a, b in zip(source, back, strict=True):
        assert not torch.equal(a.planes[0], b.planes[0])
