"""The face finder on every library that runs it here: milliseconds per look, and how many faces each sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from pipeline.cuda import CPU, sent
from pipeline.errors import VidpipeError
from pipeline.faces import open_detector
from pipeline.faces.centerface_cuda import drawn
from pipeline.faces.input_picture import DetectorView, scales
from pipeline.types import Frame
from tests.support.faces_scene import noise_frame, stream_info

SIZE = (1920, 1080)
SCORE = 0.15
Library = Literal["openvino", "onnxruntime", "torch"]


def frame_of_faces() -> Frame:
    """1080p, grey, with drawn faces."""
    luma = np.ascontiguousarray(drawn(SIZE)[..., 1])
    made = noise_frame(0, width=SIZE[0], height=SIZE[1])
    made.planes[0].copy_(torch.from_numpy(luma))
    for plane in made.planes[1:]:
        plane.fill_(128)
    return made


def measured(device: torch.device, ms: Callable[[Callable[[], Any], torch.device], float]) -> dict[str, Any]:
    """From a frame of 1080p to the faces on it, by library and kind of look."""
    sizes = scales(stream_info(1, 0, *SIZE), None)
    runs: list[tuple[Library, torch.device]] = [("openvino", CPU), ("onnxruntime", CPU)]
    if device.type != "cpu":
        runs += [("torch", device), ("onnxruntime", device)]
    rows, frame = [], frame_of_faces()
    for kind, picture in (("fine", sizes.fine), ("quick", sizes.quick)):
        for library, place in runs:
            row: dict[str, Any] = {"look": kind, "size_px": picture.size_px, "library": library}
            row["device"] = str(place)
            rows.append(row)
            try:
                eye = DetectorView(
                    open_detector("centerface", picture.size_px, library, device=place), picture
                )
                there = sent(frame, place)
                row["faces"] = len(eye.faces(there, SCORE))
                row["ms"] = ms(lambda e=eye, f=there: e.faces(f, SCORE), place)  # type: ignore[misc]
                row["finder"] = eye.detector.name
            except (VidpipeError, RuntimeError, ImportError) as error:
                row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:400]}"
    return {"device": str(device), "threads": torch.get_num_threads(), "looks": rows}
