"""Table 5 of the IDN paper and more: what attackers recover of faces that ``vidpipe run`` has pixelized.

Compared are defences x what happened to the file x attackers, on the same faces, paired. Every defence is
the run that users start (``train.evaluation.pixelized_faces``); the attacker knows where the mosaic lies, how
many cells it has and how the face moves.

One frame of each clip is judged: the one on which the colours that ``protect`` holds come nearest to what
they would be if measured there, which is its worst. On other frames the mask, which moves smoothly, lies up
to half a block beside the place where the face was measured, which misleads attackers who do not allow for
it.

Each face's values are kept in a file, every row with a hash of the weights, blocks and condition that it was
made from: a table that was cut goes on with the same command, and only what has changed is measured again.
Code is not hashed. The page that is made of the values is ``train.evaluation.defence_tables``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nets.checkpoint import sha256
from pipeline.errors import InputError
from pipeline.run.track_records import FaceTrackRecord
from train.data.pictures import Segments, Stills
from train.data.pixelize import averaged_cells
from train.data.transmission import blur
from train.evaluation.conditions import Scene
from train.evaluation.evaluate import Judges
from train.evaluation.inversion import Inversion
from train.evaluation.methods import BICUBIC, NEAREST, Method, Network
from train.evaluation.metric_nets import Identity
from train.evaluation.pixelized_faces import (
    FaceClip,
    MosaicPlace,
    Settings,
    face_clips,
    find_track,
    pixelized_frames,
    scene_of,
)
from train.metrics import psnr

log = logging.getLogger(__name__)

CRFS = (18, 23, 28)
CHANNELS = ("raw", *(f"x264 crf {c}" for c in CRFS), "JPEG 75", "blur", "averaged on the grid")
"""raw: x264 without loss, as all that follow; blur: Gaussian of BLUR_PX; averaged: each cell at its mean"""
BLUR_PX = 2.0
SCALE = 1.3
"""Size of the mask over that of the face, the command's default"""
SIZE_PX = 128
LONGEST = 16
"""Frames that an attacker looks at"""


COVERED = "covered"
"""The pixelized picture itself, which is no attack"""
RETRAINED = "IDN, retrained on such mosaics"
LEFT_OUT = "left out"
"""The one row of a clip that cannot be measured"""
SHEETS = 3
"""Faces of which a sheet of pictures is drawn; all their rows are made anew where one is missing"""
ONE = Inversion(1, "known")
UNIDENTIFIED = (BICUBIC.name, ONE.name)
"""Attackers whose identity is not measured, to save time"""
Values = dict[str, dict[str, object]]
"""Of a face: ``defence / channel / attacker`` -> metric -> value"""


@dataclass(frozen=True)
class Defence:
    name: str
    settings: Settings
    adapted: str = ""
    """which retrained attacker has seen it in training"""
    weights: Path | None = None
    """of its perturbation; the engine in ``settings`` was made of them"""


@dataclass(frozen=True)
class Plan:
    """What is compared, all with as many blocks. ``retrained``: by ``Defence.adapted``."""

    defences: Sequence[Defence]
    channels: Sequence[str]
    networks: Sequence[Network]
    retrained: Mapping[str, Network]
    judges: Judges
    count: int
    seed: int = 0
    people: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """by source: who is in each picture or clip; a source that is not here does not know"""

    def attackers(self, defence: Defence) -> dict[str, Method]:
        """By name, in the tables' order. Retrained ones have one name, whatever they have seen."""
        out: dict[str, Method] = {COVERED: NEAREST, BICUBIC.name: BICUBIC}
        out |= {n.name: n for n in self.networks}
        if defence.adapted in self.retrained:
            out[RETRAINED] = self.retrained[defence.adapted]
        return out | {i.name: i for i in (ONE, Inversion(LONGEST, "known"))}

    def weights(self) -> dict[str, str]:
        """Every network of the table, attackers and perturbations, and the SHA-256 of its file."""
        files = {n.name: n.path for n in self.networks}
        files |= {n.name: n.path for n in self.retrained.values()}
        files |= {f"perturbation of {d.name}": d.weights for d in self.defences if d.weights}
        return {name: sha256(path) for name, path in files.items()}

    def rows(self) -> dict[str, str]:
        """All rows of a face's values, and a hash of what decides each but the face: 16 digits."""
        weights, out = self.weights(), {}
        measures = [self.judges.lpips is not None, self.judges.identity is not None]
        for defence in self.defences:
            s = defence.settings
            changed = weights[f"perturbation of {defence.name}"] if defence.weights else ""
            for channel in self.channels:
                for name, attacker in self.attackers(defence).items():
                    own = weights[attacker.name] if isinstance(attacker, Network) else ""
                    decides = [s.mode, s.values, s.blocks, s.perturb, changed, channel, name, own, measures]
                    digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
                    out[f"{defence.name} / {channel} / {name}"] = digest
        return out


def measure(
    plan: Plan, source: Stills | Segments, kind: str, folder: Path, say: Callable[[str], None] = log.info
) -> list[Values]:
    """Values of every face, kept in ``folder``; ``say`` gets a line for each face that is measured."""
    kept = folder / f"values-{kind}"
    kept.mkdir(parents=True, exist_ok=True)
    rows = plan.rows()
    out: list[Values] = []
    # Some are left out, as the camera moves faster than the finder follows: the next ones take their places.
    for n, clip in enumerate(face_clips(source, 2 * plan.count, folder / f"footage-{kind}", plan.seed)):
        shown = hashlib.sha256(clip.frames.numpy().tobytes()).hexdigest()[:8]
        path = kept / f"{clip.index}-{shown}.json"
        known: Values = json.loads(path.read_text()) if path.exists() else {}
        missing = {r for r, digest in rows.items() if known.get(r, {}).get("made_of") != digest}
        if LEFT_OUT not in known and missing:
            started = time.monotonic()
            sheet = folder / f"sheet-{kind}-{n}.png" if n < SHEETS else None
            try:
                made = measure_one(plan, clip, set(rows) if sheet else missing, sheet)
                known |= {r: row | {"made_of": rows[r]} for r, row in made.items()}
            except InputError as error:
                log.warning("left out: %s", error)
                known = {LEFT_OUT: {"why": str(error)}}
            path.write_text(json.dumps(known))
            say(f"{kind}, {len(out) + 1} of {plan.count}: {time.monotonic() - started:.0f} s")
        if LEFT_OUT not in known:
            person = plan.people[kind][clip.index] if kind in plan.people else None
            out.append(_finished({r: known[r] for r in rows}, plan.defences[0].name, person))
        if len(out) == plan.count:
            break
    return out


def _finished(values: Values, plain: str, person: int | None) -> Values:
    """With what a row says beside others: the gain over bicubic interpolation of the plain mosaic; and who it
    is."""
    out: Values = {}
    for name, row in values.items():
        channel = name.split(" / ")[1]
        base = values[f"{plain} / {channel} / {BICUBIC.name}"]["psnr"]
        out[name] = row | {"gain": float(row["psnr"]) - float(base)}  # type: ignore[arg-type]
        if person is not None:
            out[name]["person"] = person
    return out


@torch.no_grad()
def measure_one(plan: Plan, clip: FaceClip, wanted: Container[str], sheet: Path | None = None) -> Values:
    """The ``wanted`` rows of one face."""
    track = find_track(clip)
    plain = plan.defences[0].settings
    size = (clip.frames.shape[-2], clip.frames.shape[-1])
    place = MosaicPlace.of(track, plain.blocks, SCALE, SIZE_PX, size)
    files = RunOutputs(clip, track)
    judged = worst_frame(files, place, plain.blocks)
    judge = _Judge.of(plan.judges, scene_of(clip, files.frames(plain), place, judged))
    values: Values = {}
    shown: list[Tensor] = []
    for defence in plan.defences:
        for channel in plan.channels:
            rows = {n: f"{defence.name} / {channel} / {n}" for n in plan.attackers(defence)}
            attackers = {n: a for n, a in plan.attackers(defence).items() if rows[n] in wanted}
            if not attackers:
                continue
            one = scene_of(clip, files.received(defence.settings, channel), place, judged)
            if channel == CHANNELS[-1]:
                image = averaged_cells(one.image, one.mask, one.rows, one.cols)
                one = replace(one, image=image)
            pictures = {n: a(one).clamp(0, 1) for n, a in attackers.items()}
            values |= {rows[n]: judge.scores(p, n not in UNIDENTIFIED) for n, p in pictures.items()}
            if channel in ("raw", "x264 crf 23"):
                shown.append(torch.cat([one.truth[judged], *(p[0] for p in pictures.values())], -1))
    if sheet is not None:
        widest = max(r.shape[-1] for r in shown)
        padded = [torch.nn.functional.pad(r, (0, widest - r.shape[-1])) for r in shown]
        bytes_ = (torch.cat(padded, -2).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).flip(-1)
        cv2.imwrite(str(sheet), np.ascontiguousarray(bytes_.numpy()))
    return values


@dataclass(frozen=True)
class RunOutputs:
    """The frames that runs write of a clip, each made once."""

    clip: FaceClip
    track: FaceTrackRecord
    made: dict[tuple[Settings, int], Tensor] = field(default_factory=dict)

    def frames(self, settings: Settings, crf: int = 0) -> Tensor:
        """(T, 3, H, W), as ``train.evaluation.pixelized_faces.pixelized_frames``."""
        if (settings, crf) not in self.made:
            self.made[settings, crf] = pixelized_frames(self.clip, self.track, settings, crf)
        return self.made[settings, crf]

    def received(self, settings: Settings, channel: str) -> Tensor:
        """The frames as an attacker has them."""
        if channel.startswith("x264"):
            return self.frames(settings, int(channel.rpartition(" ")[2]))
        written = self.frames(settings)
        if channel == "JPEG 75":
            return torch.stack([_jpeg(frame) for frame in written])
        return blur(written, BLUR_PX) if channel == "blur" else written


def worst_frame(files: RunOutputs, place: MosaicPlace, blocks: int) -> int:
    """Where ``protect``, unchanged, differs least from ``pixelize``."""
    plain, held = (place.crop(files.frames(Settings(m, blocks))) for m in ("pixelize", "protect"))
    return int(psnr(held, plain, place.weight).argmax())


def _jpeg(frame: Tensor) -> Tensor:
    """(3, H, W) in [0, 1] through libjpeg."""
    bgr = np.ascontiguousarray((frame * 255).round().byte().permute(1, 2, 0).flip(-1).numpy())
    coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    back = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return torch.from_numpy(back).flip(-1).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class _Judge:
    """Compares pictures with the truth of one face."""

    judges: Judges
    true: Tensor
    """(1, 3, S, S)"""
    weight: Tensor
    mosaic: Tensor
    """the plain one, of a file without loss"""
    deep: list[Tensor]
    """LPIPS's features of the truth"""
    wanted: NDArray[np.float64] | None
    """the truth's embedding"""

    @staticmethod
    def of(judges: Judges, plain: Scene) -> _Judge:
        at = list(plain.judged)
        true = plain.truth[at]
        deep = judges.lpips.features(true) if judges.lpips else []
        wanted = judges.identity.embed(_inner(true), _inner(true)[0])[0] if judges.identity else None
        return _Judge(judges, true, plain.weight[at], plain.image[at], deep, wanted)

    def scores(self, picture: Tensor, identified: bool) -> dict[str, object]:
        """Of (1, 3, S, S); identity, which costs most, where it is to be ``identified``."""
        out: dict[str, object] = {
            "psnr": float(psnr(picture, self.true, self.weight)),
            "to_mosaic": float(psnr(picture, self.mosaic, self.weight)),
        }
        if self.judges.lpips is not None:
            _, within = self.judges.lpips(self.judges.lpips.features(picture), self.deep, self.weight)
            out["lpips"] = float(within)
        if identified and self.judges.identity is not None and self.wanted is not None:
            (own,) = self.judges.identity.embed(_inner(picture), _inner(self.true)[0])
            distance = float(np.linalg.norm(own - self.wanted))
            cosine = float(own @ self.wanted / np.linalg.norm(own) / np.linalg.norm(self.wanted))
            out |= {"identity": cosine, "distance": distance, "same": float(distance < Identity.SAME)}
            out |= {"embedding": own.round(4).tolist(), "true": self.wanted.round(4).tolist()}
        return out


def _inner(pictures: Tensor) -> Tensor:
    """The identity network wants crops of 1.6 x the face; these show SCALE x as much."""
    edge = round(SIZE_PX * (1 - 1 / SCALE) / 2)
    return pictures[..., edge:-edge, edge:-edge]
