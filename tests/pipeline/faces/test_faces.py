"""Finding faces: the picture they are looked for in, the finders, the gate, the record and its replay."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray

from pipeline.config import FacesConfig
from pipeline.errors import MissingError
from pipeline.faces import Face, open_detector
from pipeline.faces.face_alignment import FaceAlignmentDetector
from pipeline.faces.input_picture import DetectorView, SmallPicture, scales, small_picture
from pipeline.faces.weights import shipped
from pipeline.picture.geometry import as_coded
from pipeline.run.replay import frames_held, replay
from pipeline.run.track_records import TrackRecorder
from pipeline.stages.find_faces import FaceDetection
from pipeline.track.faces import look_ahead_s, track_faces
from pipeline.types import Box, Frame
from tests.support.faces_scene import COLOUR, RATE, face, found, noise_frame, stream_info

ASTRONAUT = Box(176, 68, 268, 176)
"""The face in scikit-image's portrait."""


def _portrait_frame(rotation: int = 0) -> Frame:
    rgb = torch.from_numpy(skimage.data.astronaut().copy()).permute(2, 0, 1)
    planes = tuple(plane.contiguous() for plane in as_coded(rgb, rotation).unbind(0))
    return Frame(0, 0, planes, "gbrp", COLOUR, Fraction(1, 25), True)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_points_go_to_the_picture_and_back(rotation: int, mirrored: bool) -> None:
    frame = noise_frame(0, "gray", 400, 200)
    frame.planes[0].zero_()
    frame.planes[0][40:60, 300:340] = 255
    picture = SmallPicture(200, 100, rotation, 400, 200, mirrored)
    bright = picture.from_frame(frame)[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    box = Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    corners = np.array([[box.x0, box.y0], [box.x1, box.y0], [box.x0, box.y1], [box.x1, box.y1], box.centre])
    back = picture.back(Face(1.0, box, corners.astype(np.float32)))
    assert (back.box.x0, back.box.y0, back.box.x1, back.box.y1) == (300, 40, 340, 60)
    assert back.landmarks is not None
    assert set(map(tuple, back.landmarks)) == {(300, 40), (340, 40), (300, 60), (340, 60), (320, 50)}


@pytest.mark.slow
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("library", ["openvino", "onnxruntime"])
def test_centerface_finds_a_face_upright_in_rotated_footage(rotation: int, library: str) -> None:
    frame = _portrait_frame(rotation)
    info = stream_info(1, rotation, 512, 512)
    picture = small_picture(info, min_face_px=40)
    assert picture.size_px == (256, 256)
    finder = open_detector("centerface", picture.size_px, library, threads=1)  # type: ignore[arg-type]
    eye = DetectorView(finder, picture)
    ((found_frame),) = FaceDetection(eye, eye, FacesConfig(min_score=0.5))([frame])
    (region,) = found_frame.regions
    assert region.landmarks is not None
    turned = np.zeros((512, 512), np.uint8)
    turned[int(ASTRONAUT.y0) : int(ASTRONAUT.y1), int(ASTRONAUT.x0) : int(ASTRONAUT.x1)] = 1
    coded = as_coded(torch.from_numpy(turned), rotation).numpy()
    rows, columns = np.flatnonzero(coded.any(1)), np.flatnonzero(coded.any(0))
    truth = Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert region.box.iou(truth) > 0.6
    x, y = region.landmarks[:, 0], region.landmarks[:, 1]
    assert bool(((x > truth.x0) & (x < truth.x1) & (y > truth.y0) & (y < truth.y1)).all())


def test_landmarks_are_eyes_above_nose_above_mouth() -> None:
    picture: NDArray[np.uint8] = skimage.data.astronaut()
    (best, *_) = open_detector("centerface", (512, 512), threads=1)(picture, 0.5)
    assert best.landmarks is not None
    left_eye, right_eye, nose, left_mouth, right_mouth = best.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert left_mouth[0] < right_mouth[0]


def test_the_smallest_face_sets_the_scale() -> None:
    info = stream_info(1, 0, 1920, 1080)
    whole = small_picture(info, 8)
    assert whole.size_px == (1792, 1024)  # 1920 x 1080 fills multiples of 32 badly: a few percent smaller
    assert whole.width >= 0.92 * 1920
    for wanted in (25, 40, 55, 80, 160):
        picture = small_picture(info, wanted)
        assert 0.9 * 20 <= wanted * picture.height / 1080 <= 20.5
        assert picture.width / picture.height == pytest.approx(1920 / 1080, rel=0.01)


def test_quick_looks_are_at_a_smaller_picture_and_the_gate_looks_at_another() -> None:
    for width, height in ((1920, 1080), (640, 360), (3840, 2160), (720, 1280)):
        sizes = scales(stream_info(1, 0, width, height), None)
        assert sizes.fine.width >= 0.9 * min(width, 1920 * width / max(width, height))
        areas = [math.prod(p.size_px) for p in (sizes.fine, sizes.gate, sizes.quick)]
        assert areas == sorted(areas, reverse=True)
        assert sizes.quick_face_px > sizes.min_face_px
    large_only = scales(stream_info(1, 0, 1920, 1080), 120)
    assert large_only.min_face_px == large_only.quick_face_px == 120
    assert large_only.quick is large_only.fine


def test_a_finder_that_is_not_there_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.faces.face_alignment.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pip install face-alignment"):
        open_detector("s3fd", (64, 64))
    with pytest.raises(MissingError, match=r"lacks no\.onnx of pipeline/faces/weights"):
        shipped("no.onnx")


@pytest.mark.parametrize("backend", ["s3fd", "blazeface"])
def test_face_alignment_takes_only_weights_that_are_there_and_known(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipeline.faces.face_alignment.find_spec", lambda name: True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingError, match="nothing is fetched") as caught:
        open_detector(backend, (64, 64))
    assert "\n" not in str(caught.value)
    weights = tmp_path / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    for name in ("s3fd-619a316812.pth", "blazeface.pth"):
        (weights / name).write_text("other weights")
    with pytest.raises(MissingError, match="another SHA-256"):
        open_detector(backend, (64, 64))


@pytest.mark.shared
def test_blazeface_finds_a_face_with_the_weights_at_hand(
    shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("face_alignment")
    weights = tmp_path / "hub" / "checkpoints"
    weights.parent.mkdir()
    weights.symlink_to(shared / "models" / "face_alignment")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    picture = np.asarray(cv2.resize(skimage.data.astronaut()[:256, 80:336], (128, 128)), np.uint8)
    (best, *_) = FaceAlignmentDetector("blazeface")(picture, 0.5)
    truth = Box((176 - 80) / 2, 68 / 2, (268 - 80) / 2, 176 / 2)
    assert best.box.iou(truth) > 0.4


def test_a_record_is_played_back_as_it_was() -> None:
    sights = [[face(Box(30 + i, 30, 60 + i, 70), 0.5 + i / 100)] if 6 <= i <= 20 else [] for i in range(40)]
    info, settings = (
        stream_info(40),
        FacesConfig(every_s=0, fine_every_s=0, fill_before_s=0.2, fill_after_s=0.2),
    )
    book = TrackRecorder()
    before = list(book.listen(track_faces(found(sights, [30]), settings=settings, info=info)))
    records = book.records(info)
    after = list(replay((item.frame for item in before), records))
    assert len(after) == len(before)
    for a, b in zip(before, after, strict=True):
        assert a.frame is b.frame
        for one, two in zip(a.regions, b.regions, strict=True):
            assert (one.track, one.seen, one.born, one.last) == (two.track, two.seen, two.born, two.last)
            assert one.region.box.iou(two.region.box) > 0.98
        assert {t: r.frame.index for t, r in a.references.items()} == {
            t: r.frame.index for t, r in b.references.items()
        }
    assert frames_held(records) <= look_ahead_s(settings) * RATE + 3


def test_the_record_tells_what_was_covered_and_what_was_left() -> None:
    info, settings = stream_info(20), FacesConfig()
    sights = [[face(Box(30, 30, 60, 70)), face(Box(100, 30, 130, 70))] for _ in range(20)]
    book = TrackRecorder()
    items = book.listen(track_faces(found(sights), settings=settings, info=info))
    left = (replace(i, regions=tuple(r for r in i.regions if r.track == 1)) for i in items)
    assert len(list(book.listen_covered(left))) == 20
    covered, spared = book.on_frame(7)
    assert ([t for t, _ in covered], [t for t, _ in spared]) == ([1], [2])
    assert [(r.track, r.decision) for r in book.records(info)] == [(1, "covered"), (2, "left")]
    assert book.frames_covered == 20
