"""The parts of a run, for programs that put stages of their own between them; docs/python.md has an example.

A stage is a generator function: it takes the items of the stage before it and yields its own, in order,
holding back as few as it must. Frames lie in the decoder's own pixel format; ``conversion`` turns rectangles
of them into RGB and back. Close a generator that is left early; decoders and encoders are context managers.

    reconstruct   open_decoder, find_mosaics, track, crop, window, restore, paste, PyAVEncoder
    anonymize     open_decoder, FaceDetection, track_faces, select, Pixelizer, paint, PyAVEncoder
"""

from __future__ import annotations

from pipeline.config import FacesConfig, FindConfig, MaskConfig, ProtectConfig, RunConfig, TrackConfig
from pipeline.decode import Decoder, open_decoder
from pipeline.encode import Encoder, EncodeSettings
from pipeline.encode.pyav import PyAVEncoder
from pipeline.engines import Engine, open_engine
from pipeline.flow import prefetch
from pipeline.picture.color import conversion
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
from pipeline.track.select import Choice, select
from pipeline.types import (
    Batch,
    Box,
    Crop,
    Cropped,
    FaceRegion,
    Found,
    Frame,
    Mask,
    Masked,
    MosaicRegion,
    Patch,
    StreamInfo,
    Tracked,
    TrackedFaces,
    TrackedRegion,
    Window,
)

__all__ = [
    "open_decoder", "Decoder", "PyAVEncoder", "Encoder", "EncodeSettings", "open_engine", "Engine",
    "prefetch", "conversion",
    "find_mosaics", "redetect_with", "is_clean", "track", "crop", "window", "restore", "paste",
    "FaceDetection", "track_faces", "select", "Choice", "Pixelizer", "paint",
    "RunConfig", "FindConfig", "TrackConfig", "FacesConfig", "MaskConfig", "ProtectConfig",
    "Frame", "StreamInfo", "Box", "MosaicRegion", "FaceRegion", "TrackedRegion", "Found", "Tracked",
    "TrackedFaces", "Crop", "Cropped", "Window", "Batch", "Patch", "Mask", "Masked",
]  # fmt: skip
