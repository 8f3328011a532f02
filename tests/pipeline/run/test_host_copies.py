"""What leaves a device before the encoder, in each mode: no plane of a frame, nor anything of its size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray

from pipeline.config import FacesConfig, FindConfig, TrackConfig, resolve
from pipeline.cuda import CPU, to_host
from pipeline.faces import Face, FaceDetector, open_detector
from pipeline.faces.centerface_cuda import FETCHED_CELLS, DeviceCenterFace
from pipeline.faces.input_picture import DetectorView, Scales, SmallPicture, scales
from pipeline.run.anonymize_sidecar import Mode
from pipeline.stages.crop import crop
from pipeline.stages.find_faces import FaceDetection
from pipeline.stages.find_mosaics import find_mosaics, redetect_with
from pipeline.stages.paint import paint
from pipeline.stages.paste import paste
from pipeline.stages.pixelize import Pixelizer
from pipeline.stages.restore import restore
from pipeline.stages.window import window
from pipeline.track.faces import track_faces
from pipeline.track.mosaics import track
from pipeline.types import Box, Found, Frame, Region, StreamInfo
from tests.support.faces_scene import noise_frame, stream_info
from tests.support.mosaics import fixed, locked, noisy, pixelate, texture
from tests.support.pretend import PRETENDED, pretended_device, sent
from tests.support.scene import CubicEngine

pytestmark = pytest.mark.slow

WIDTH, HEIGHT, FRAMES = 640, 480, 16
LUMA, CHROMA = WIDTH * HEIGHT, WIDTH * HEIGHT // 4
"""bytes of the planes"""
THUMBNAIL = 128 * 96
"""bytes of a plane of what scene cuts are seen in"""
CLEAR = locked((60, 60, 156, 156), (9, 9))
FAINT = fixed((60, 50, 160, 170), 7.3, (2.1, 3.4))
"""Found only from some frames together, see ``multi_frame``."""


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
    settings = FindConfig()
    found = find_mosaics(source, settings=settings)
    followed = track(found, settings=TrackConfig(), redetect=redetect_with(settings))

    def counted() -> Iterator[object]:
        for item in followed:
            seen.append(len(item.regions))
            yield item

    cropped = crop(counted(), info=info, size_px=64, cells=32, margin=1.6)  # type: ignore[arg-type]
    windows = window(cropped, core=1, context=0, cores_per_batch=8)
    return paste(restore(windows, engine=CubicEngine(cells=32), batch_size=4), info=info)


def test_reconstructing_fetches_what_it_examines_and_nothing_else() -> None:
    """Also where grids are searched in sums over frames."""
    source, info = frames(), stream_info(FRAMES, width=WIDTH, height=HEIGHT)
    here: list[int] = []
    wanted = list(reconstructed(iter(source), info, here))
    assert max(here) == 2  # the faint one, too: sums over frames have been searched
    with pretended_device() as counted:
        there: list[int] = []
        painted = list(reconstructed((sent(f) for f in source), info, there))
        copies = list(counted.to_host)
        counted.to_host.clear()
        back = list(to_host(painted))
        assert sum(counted.to_host) == FRAMES * (LUMA + 2 * CHROMA)  # the counter counts
    assert there == here
    assert max(copies) < 0.75 * LUMA, sorted(copies)[-5:]  # what is examined on a frame, no plane
    assert sum(copies) < FRAMES * LUMA, sum(copies) / FRAMES
    for a, b in zip(wanted, back, strict=True):
        assert all((x.int() - y.int()).abs().max() <= 1 for x, y in zip(a.planes, b.planes, strict=True))


@pytest.mark.parametrize("mode", ["pixelize", "protect"])
@pytest.mark.parametrize("look", ["mosaic", "blur"])
def test_covering_fetches_thumbnails_colours_and_places(mode: Mode, look: str) -> None:
    """With the finder itself on the device: of a picture that it looks at come 16 numbers a likely place."""
    source, info = with_a_face(frames()), stream_info(FRAMES, width=WIDTH, height=HEIGHT)
    config = resolve().config
    config = config.model_copy(update={"mask": config.mask.model_copy(update={"look": look})})
    sizes = scales(info, 50.0)
    every = config.faces

    def covered(
        eyes: tuple[DetectorView, DetectorView], given: Iterable[Frame], seen: list[Box]
    ) -> Iterator[Frame]:
        detection = FaceDetection(*eyes, every)

        def counted() -> Iterator[Found[Region]]:
            for item in detection(given):
                seen.extend(region.box for region in item.regions)
                yield item

        followed = track_faces(counted(), settings=config.faces, info=info)
        yield from paint(
            Pixelizer(info, config.mask, config.protect if mode == "protect" else None)(followed)
        )
        assert 0 < detection.count.fine < FRAMES / 2

    here: list[Box] = []
    finders = [open_detector("centerface", picture.size_px, "onnxruntime", 1) for picture in eyes_at(sizes)]
    assert len(list(covered(pair(finders, sizes), iter(source), here))) == FRAMES
    with pretended_device() as counted:
        there: list[Box] = []
        eyes = pair([DeviceCenterFace(picture.size_px, PRETENDED) for picture in eyes_at(sizes)], sizes)
        counted.to_host.clear()
        painted = list(covered(eyes, (sent(f) for f in source), there))
        copies = list(counted.to_host)
        counted.to_host.clear()
        back = list(to_host(painted))
        assert sum(counted.to_host) == FRAMES * (LUMA + 2 * CHROMA)  # the counter counts
    places = 4 * 16 * FETCHED_CELLS
    assert max(copies) == 3 * THUMBNAIL < CHROMA
    assert places < CHROMA
    assert copies.count(3 * THUMBNAIL) == FRAMES
    looks = copies.count(places)
    assert 0 < looks < FRAMES
    assert sum(copies) - looks * places < FRAMES * (3 * THUMBNAIL + 8192)
    assert len(here) == len(there) > 0
    assert all(a.iou(b) > 0.98 for a, b in zip(here, there, strict=True))
    for a, b in zip(source, back, strict=True):
        assert not torch.equal(a.planes[0], b.planes[0])


def with_a_face(made: list[Frame]) -> list[Frame]:
    """The frames with a portrait in the lower left corner."""
    portrait = skimage.color.rgb2gray(skimage.data.astronaut()[40:240, 120:320])
    luma = torch.from_numpy((16 + 219 * portrait).astype(np.uint8))
    for frame in made:
        frame.planes[0][260:460, 40:240] = luma
    return made


def eyes_at(sizes: Scales) -> list[SmallPicture]:
    return [sizes.fine] if sizes.quick is sizes.fine else [sizes.fine, sizes.quick]


def pair(finders: Sequence[FaceDetector], sizes: Scales) -> tuple[DetectorView, DetectorView]:
    """The fine eye and the quick one."""
    eyes = [DetectorView(finder, picture) for finder, picture in zip(finders, eyes_at(sizes), strict=True)]
    return eyes[0], eyes[-1]


@dataclass(slots=True)
class Told:
    """Sees the face that it was told of, on the CPU."""

    name: str = "told"
    calls: int = 1
    device: torch.device = CPU

    def __call__(self, picture: NDArray[np.uint8], min_score: float) -> list[Face]:
        height, width, _ = picture.shape
        return [Face(0.9, Box(width / 4, height / 4, width / 2, height / 1.5), None)]


def test_a_finder_on_the_cpu_gets_its_picture_and_no_more() -> None:
    """Those of face-alignment run there: a small picture comes to them, made on the device."""
    source, info = frames(), stream_info(FRAMES, width=WIDTH, height=HEIGHT)
    small = scales(info, 50.0).fine
    eye = DetectorView(Told(), small)  # type: ignore[arg-type]
    detection = FaceDetection(eye, eye, FacesConfig())
    with pretended_device() as counted:
        assert len(list(detection(sent(f) for f in source))) == FRAMES
        plane = small.width * small.height
        assert 0 < detection.count.fine < FRAMES / 2
        assert sum(counted.to_host) == FRAMES * 3 * THUMBNAIL + detection.count.fine * 3 * plane
        assert plane < LUMA / 4
