"""How much memory a run may take: a calibrated estimate whose terms are the bounds of the stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from av.video.format import VideoFormat

from pipeline.config import RunConfig
from pipeline.engines import EngineSpec
from pipeline.flow import lookahead_items
from pipeline.run import replay
from pipeline.run.track_records import FaceTrackRecord
from pipeline.track.faces import lookahead_frames
from pipeline.types import StreamInfo

MIB = 2**20
PREFETCH_HANDS = 2
"""Of a boundary: one item in the worker's hand, one in the consumer's (``pipeline.flow``)."""
CODEC_FRAMES = 90
"""Pictures that FFmpeg holds: reference and reordered ones of a decoder thread each, and x264's look-ahead of
40 at preset medium with its half-size copies. benchmarks/bench_run.py compares the whole bound with a run."""
LIBRARIES_BYTES = 600 * MIB
"""Python, PyTorch, OpenVINO, OpenCV and FFmpeg: 405 MiB with a network opened, the probe of the input, and
what the allocator keeps: with 500 the whole bound was 58 MiB too low (benchmarks/results/memory.json)."""
PROGRAMS_BYTES = 128 * MIB
"""What an engine compiles: 130 MiB for idn with batches of 1, 2 and 4, inputs and activations included."""
ENGINE_WINDOWS = 12
"""Activations as multiples of the windows that go in: nar took 260 MiB in all where this gives 320."""

TRACK_BYTES = 56
"""Per face and frame (``pipeline.run.track_records`` 20, ``pipeline.run.release.painted`` 36)."""


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """Terms of the bound. All are constant over a file but the crops, which grow with the faces at a time."""

    decoded_frames: int
    """At the boundary after the decoder."""
    track_frames: int
    """In the look-ahead."""
    tracked_frames: int
    """At the boundary after the tracker."""
    window_frames: int
    restored_frames: int
    """Of batches that are restored at a time, further than the one that ``window_frames`` counts."""
    painted_frames: int
    """At the boundary before the encoder."""
    frame_bytes: int
    crop_bytes: int
    """Of one face on one frame: picture, mask, membership, and the patch that is made of it."""
    engine_bytes: int
    """Compiled programs, and inputs and activations of the calls that run at a time."""

    @property
    def frames(self) -> int:
        """Frames alive at a time outside FFmpeg."""
        outside = self.decoded_frames + self.tracked_frames + self.painted_frames
        return outside + self.track_frames + self.window_frames + self.restored_frames

    def total_bytes(self, faces: int) -> int:
        """Bound for ``faces`` people in the picture at a time."""
        frames = (self.frames + CODEC_FRAMES) * self.frame_bytes
        crops = (self.window_frames + self.restored_frames) * self.crop_bytes * faces
        return LIBRARIES_BYTES + frames + crops + self.engine_bytes

    def formula(self, faces: int) -> str:
        """The sum with its numbers, for people."""
        return (
            f"({self.decoded_frames} decoded + {self.track_frames} track + {self.tracked_frames} tracked + "
            f"{self.window_frames} window + {self.restored_frames} restored + "
            f"{self.painted_frames} painted + {CODEC_FRAMES} codec) frames"
            f" x {_mib(self.frame_bytes)}"
            f" + {self.window_frames + self.restored_frames} crops x {_mib(self.crop_bytes)} x {faces} faces"
            f" + engine {_mib(self.engine_bytes)} + libraries {_mib(LIBRARIES_BYTES)}"
            f" = {_mib(self.total_bytes(faces))}"
        )


@dataclass(frozen=True, slots=True)
class AnonymizeMemoryBound:
    """The same for a run that covers faces."""

    decoded_frames: int
    held_frames: int
    """In the look-ahead and in the detector."""
    painted_frames: int
    frames: int
    """Of the output: the tracks grow with them."""
    frame_bytes: int
    detector_bytes: int
    """Compiled detectors of the run and of the release check, which has two, and their activations."""

    @staticmethod
    def of(
        info: StreamInfo,
        config: RunConfig,
        frames: int,
        activation_bytes: int,
        calls: int,
        tracks: Sequence[FaceTrackRecord] | None,
        waits_s: float = 0.0,
    ) -> AnonymizeMemoryBound:
        """For a detector that looks at ``calls`` frames at a time and takes ``activation_bytes`` for them, or
        for ``tracks`` of an earlier run. Frames wait for ``waits_s`` behind the tracks."""
        if tracks is None:
            held = lookahead_frames(info, config.faces) + lookahead_items(calls)
        else:
            held = replay.frames_held(tracks)
        held += math.ceil(waits_s * float(info.rate))
        return AnonymizeMemoryBound(
            decoded_frames=config.decode.prefetch_frames + PREFETCH_HANDS,
            held_frames=held,
            painted_frames=config.encode.prefetch_frames + PREFETCH_HANDS,
            frames=frames,
            frame_bytes=frame_bytes(info),
            detector_bytes=3 * PROGRAMS_BYTES + activation_bytes,
        )

    def total_bytes(self, faces: int) -> int:
        """Bound for ``faces`` people in the picture at a time."""
        frames = self.decoded_frames + self.held_frames + self.painted_frames + CODEC_FRAMES
        tracks = faces * self.frames * TRACK_BYTES
        return frames * self.frame_bytes + tracks + self.detector_bytes + LIBRARIES_BYTES

    def formula(self, faces: int) -> str:
        """The sum with its numbers, for people."""
        return (
            f"({self.decoded_frames} decoded + {self.held_frames} in the look-ahead + {self.painted_frames} "
            f"painted + {CODEC_FRAMES} codec) frames x {_mib(self.frame_bytes)} + tracks of {faces} faces on "
            f"{self.frames} frames {_mib(faces * self.frames * TRACK_BYTES)} + finders "
            f"{_mib(self.detector_bytes)} + libraries {_mib(LIBRARIES_BYTES)} "
            f"= {_mib(self.total_bytes(faces))}"
        )


def _mib(count: int) -> str:
    return f"{count / MIB:.4g} MiB"


def frame_bytes(info: StreamInfo) -> int:
    """Bytes of the planes of one frame."""
    components = VideoFormat(info.pix_fmt, info.width, info.height).components
    samples = sum(component.width * component.height for component in components)
    return samples * (2 if info.bit_depth > 8 else 1)


def crop_bytes(spec: EngineSpec) -> int:
    """float32 picture, mask, two memberships and a patch of the picture's size."""
    side = spec.size_px
    return 4 * (3 * side * side + side * side + 2 * spec.cells * side + 3 * side * side)


def engine_bytes(spec: EngineSpec, batch_size: int, calls: int = 1) -> int:
    """Compiled programs, and inputs and activations of ``calls`` at a time. Exporting, on first use, comes on
    top."""
    return PROGRAMS_BYTES + calls * batch_size * spec.frames * crop_bytes(spec) * ENGINE_WINDOWS
