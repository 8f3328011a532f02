"""Clips of faces, pixelized by the very run that users start, and read back from the encoded file.

A clip is written to a file, ``pipeline.run.anonymize.run`` pixelizes its face, the output is decoded, and
the mosaic is cut out of it as an attacker would who knows where it lies and how many cells it has. Only the
camera that moves over stills is simulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nets.observation import CELLS
from nets.pixelation import membership
from pipeline.config import Given, resolve
from pipeline.decode import open_decoder
from pipeline.errors import InputError
from pipeline.picture.cell_samples import index_from
from pipeline.picture.color import conversion
from pipeline.picture.geometry import View, pixels_under, view_around
from pipeline.picture.grid_paint import cells_across, least_cell_px
from pipeline.run.anonymize import anonymize
from pipeline.run.anonymize_sidecar import Mode
from pipeline.run.job import AnonymizeJob
from pipeline.run.track_records import FaceTrackRecord
from pipeline.types import Axis, Box
from train.data.pictures import MARGIN, Segments, Stills
from train.evaluation.conditions import LONGEST, Scene, travel

RATE = 25
"""Frames per second"""
ZOOM_OUT = 1.3
"""How much smaller stills are shown, mirrored at their borders: a mask of 1.3 x the face has room then"""
CELL = 0.2 / ZOOM_OUT
"""A sixth of a face, which is about 0.6 of the picture wide, in half pictures; ``travel`` counts in it"""


@dataclass(frozen=True)
class FaceClip:
    """A clip on disk whose truth is known."""

    index: int
    """place in its source"""
    path: Path
    frames: Tensor
    """(T, 3, H, W) RGB in [0, 1], as decoded"""
    placement: Tensor | None
    """(T, 2, 3): where the frame's pixels lie in the still, both in [-1, 1]; None for clips"""


@dataclass(frozen=True)
class Settings:
    """What a face is pixelized with."""

    mode: Mode
    blocks: int = 6
    perturb: str = "none"
    values: str = "measured"
    """of mode protect, see ``pipeline.config.ProtectConfig``"""
    network: Path | None = None
    """engine file of the perturbation"""


def face_clips(source: Stills | Segments, count: int, folder: Path, seed: int) -> Iterator[FaceClip]:
    """Clips without repetition: stills under a moving camera, or the clips' own frames."""
    folder.mkdir(parents=True, exist_ok=True)
    total = len(source.pictures if isinstance(source, Stills) else source.frames)
    for place in np.random.default_rng(seed).permutation(total)[:count]:
        index = int(place)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        placement = None
        if isinstance(source, Stills):
            still = source.pictures[index].float() / 255
            side = round(still.shape[-1] * ZOOM_OUT / 2) * 2
            placement = travel(LONGEST, LONGEST // 2, (CELL, CELL), generator) * ZOOM_OUT
            grid = F.affine_grid(placement, [LONGEST, 3, side, side], align_corners=False)
            clean = F.grid_sample(
                still.expand(LONGEST, -1, -1, -1), grid, "bilinear", "reflection", align_corners=False
            )
        else:
            clean = torch.from_numpy(np.array(source.frames[index])).permute(0, 3, 1, 2).float() / 255
        path = folder / f"{index}.mp4"
        write_clip(path, clean)
        yield FaceClip(index, path, read_clip(path), placement)


def write_clip(path: Path, frames: Tensor, rate: Fraction = Fraction(RATE)) -> None:
    """(T, 3, H, W) RGB in [0, 1] -> H.264 without loss in 4:2:0, ``rate`` frames per second."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate, options={"crf": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[-2:], "yuv420p"
        for picture in (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode())


def read_clip(path: Path) -> Tensor:
    """All frames of a file: (T, 3, H, W) RGB in [0, 1]."""
    out = []
    with open_decoder(path) as decoder:
        for frame in decoder.frames():
            height, width = frame.planes[0].shape
            convert = conversion(frame.pix_fmt, frame.colour, width, height)
            out.append(convert.to_rgb(frame.planes).clamp(0, 1))
    return torch.stack(out)


def find_track(clip: FaceClip) -> FaceTrackRecord:
    """The track of the clip's face, found as a run finds it. Raises InputError unless one goes through."""
    report = _run(
        clip.path, Settings("pixelize"), 0, None, {"faces.fill_before_s": 1, "faces.fill_after_s": 1}
    )
    whole = [
        t
        for t in report.tracks
        if len(t.boxes) == len(clip.frames) and t.kind == "face" and None not in t.boxes
    ]
    if not whole:
        raise InputError(f"{clip.path.name}: no face is found on all {len(clip.frames)} frames")
    return max(whole, key=lambda t: t.frames_seen)


def pixelized_frames(clip: FaceClip, track: FaceTrackRecord, settings: Settings, crf: int) -> Tensor:
    """The frames of the file that a run writes: (T, 3, H, W). ``crf`` 0 is without loss."""
    return read_clip(_run(clip.path, settings, crf, track).path)


@dataclass(frozen=True)
class _Made:
    path: Path
    tracks: list[FaceTrackRecord]


def _run(
    source: Path,
    settings: Settings,
    crf: int,
    track: FaceTrackRecord | None,
    more: dict[str, object] | None = None,
) -> _Made:
    settings_of_run = {
        "mask.blocks": settings.blocks,
        "mask.shape": "box",
        "encode.codec": "libx264",
        "encode.crf": crf,
        "gate.scan": False,
        "protect.perturb": settings.perturb,
        "protect.values": settings.values,
        **(more or {}),
    }
    target = source.with_name(f"{source.stem}-{settings.mode}-{settings.values}-{settings.perturb}-{crf}.mp4")
    tracks = None if track is None else (track,)
    job = AnonymizeJob(
        source, target, overwrite=True, mode=settings.mode, tracks=tracks, perturber=settings.network
    )
    report = anonymize(
        job, resolve({k: Given(v, "table") for k, v in settings_of_run.items()}), lambda _: None
    )
    return _Made(target, report.tracks)


@dataclass(frozen=True)
class MosaicPlace:
    """Where the mosaic lies on every frame of a clip, and the crops that show it."""

    views: tuple[View, ...]
    weight: Tensor
    """(T, 1, S, S)"""
    rows: Tensor
    """(T, N, S)"""
    cols: Tensor

    @staticmethod
    def of(
        track: FaceTrackRecord, blocks: int, scale: float, size_px: int, size: tuple[int, int]
    ) -> MosaicPlace:
        """The mosaic of a run's track, with the run's grid: as many cells on all frames. ``size`` (H, W) of
        the picture: beyond it there is no mosaic."""
        faces = [Box(*row[:4]) for row in track.boxes if row is not None]
        first = Box(*track.reference_box) if track.reference_box else faces[0]
        cells = cells_across(first, blocks, scale, least_px=least_cell_px(size[0]))
        side = MARGIN * max(max(b.width, b.height) for b in faces) * scale
        views, weights, rows, cols = [], [], [], []
        for face in faces:
            box = face.scaled(scale)
            view = view_around(box, side, Fraction(1), 0)
            row = _member(box.y0, box.y1, cells[0], view.y0, view.height, size_px, size[0])
            col = _member(box.x0, box.x1, cells[1], view.x0, view.width, size_px, size[1])
            views.append(view)
            rows.append(row)
            cols.append(col)
            weights.append(row.sum(0).unsqueeze(1) * col.sum(0))
        return MosaicPlace(
            tuple(views), torch.stack(weights).unsqueeze(1), torch.stack(rows), torch.stack(cols)
        )

    def crop(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) -> (T, 3, S, S); beyond the picture its edge is repeated."""
        size_px = self.weight.shape[-1]
        return torch.cat([_cut(f, v, size_px) for f, v in zip(frames, self.views, strict=True)])

    def placements(self, placement: Tensor, size: tuple[int, int]) -> Tensor:
        """Of frames of (H, W) px -> of their crops, both (T, 2, 3) into the still."""
        out = []
        H, W = size
        for theta, view in zip(placement, self.views, strict=True):
            # Crop in [-1, 1] -> px of the frame -> [-1, 1] of the frame.
            scale = torch.tensor([view.width / W, view.height / H])
            shift = torch.tensor([(2 * view.x0 + view.width) / W - 1, (2 * view.y0 + view.height) / H - 1])
            linear = theta[:, :2] * scale
            out.append(torch.cat([linear, (theta[:, :2] @ shift + theta[:, 2]).unsqueeze(1)], 1))
        return torch.stack(out)


def _member(low: float, high: float, cells: int, start: int, length: int, size_px: int, size: int) -> Tensor:
    """(N, S), as ``pipeline.picture.grid_paint`` paints: pixels that the box only touches belong to its
    outer cells."""
    first, last = max(int(np.floor(low)), 0), min(int(np.ceil(high)), size)
    at = pixels_under(start, length, size_px)
    index = index_from(Axis((high - low) / cells, low), start, length)[at - start].clamp(0, cells - 1)
    return membership(torch.where((at >= first) & (at < last), index, -1), CELLS)


def _cut(frame: Tensor, view: View, size_px: int) -> Tensor:
    H, W = frame.shape[-2:]
    x0, y0, x1, y1 = (
        max(view.x0, 0),
        max(view.y0, 0),
        min(view.x0 + view.width, W),
        min(view.y0 + view.height, H),
    )
    outside = (x0 - view.x0, view.x0 + view.width - x1, y0 - view.y0, view.y0 + view.height - y1)
    part = F.pad(frame[None, :, y0:y1, x0:x1], outside, mode="replicate")
    small = F.interpolate(part, (size_px, size_px), mode="bilinear", antialias=True, align_corners=False)
    return small.clamp(0, 1)


def scene_of(clip: FaceClip, pixelized: Tensor, place: MosaicPlace, judged: int) -> Scene:
    """What an attacker has of a pixelized clip, ``pixelized`` (T, 3, H, W), and the truth under it."""
    placement = None
    if clip.placement is not None:
        placement = place.placements(clip.placement, (clip.frames.shape[-2], clip.frames.shape[-1]))
    return Scene(
        clip.index,
        place.crop(clip.frames),
        place.crop(pixelized),
        1 - place.weight,
        place.rows,
        place.cols,
        (judged,),
        torch.ones(len(pixelized)),
        placement,
    )
