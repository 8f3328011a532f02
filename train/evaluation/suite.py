"""A whole evaluation: every method under every condition on every source, one outcome after the other; what
it reads and the files that it writes."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from train.data.pack import SUFFIXES, pack
from train.data.pictures import Segments, Stills
from train.evaluation import report
from train.evaluation.conditions import Condition
from train.evaluation.evaluate import Judges, Outcome, evaluate
from train.evaluation.inversion import invert
from train.evaluation.methods import TRIVIAL, Fused, Method, Network, fuses

log = logging.getLogger(__name__)

JUDGED = 2
"""Successive frames of a moving scene that are compared: two, for the warping error"""


@dataclass(frozen=True)
class Suite:
    """What is measured on what."""

    sources: Mapping[str, Stills | Segments]
    """``faces``, ``clips``"""
    conditions: Sequence[Condition]
    networks: Sequence[Network]
    judges: Judges
    windows: Sequence[int] = (1, 5, 16)
    """numbers of frames for methods that take several"""
    inversion: bool = False
    count: int = 60
    seed: int = 0

    def outcomes(self) -> Iterator[tuple[str, Outcome]]:
        """(source, outcome)."""
        for kind, source in self.sources.items():
            for condition in self.conditions:
                moves = condition.moving or kind == "clips"
                started = time.monotonic()
                yield (
                    kind,
                    evaluate(
                        source,
                        condition,
                        self._methods(moves),
                        self.judges,
                        self.count,
                        judged=JUDGED if moves else 1,
                        seed=self.seed,
                    ),
                )
                log.info("%s, %s: %.0f s", kind, condition.name, time.monotonic() - started)

    def _methods(self, moves: bool) -> list[Method]:
        # A still holds one frame, however many a method may look at.
        windows = self.windows if moves else [1]
        networks = [n for n in self.networks if moves or n.frames == (min(self.windows) if n.windowed else 1)]
        fused = [Fused(n) for n in windows if n > 1] if any(fuses(n.net) for n in networks) else ()
        return [*TRIVIAL, *fused, *(invert(windows) if self.inversion else ()), *networks]


def write(
    outcomes: Sequence[tuple[str, Outcome]], facts: Mapping[str, object], folder: Path
) -> dict[str, object]:
    """``eval.md``, ``eval.json`` and a sheet for each outcome into ``folder``; what the JSON holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("faces", "clips"):
        for old in folder.glob(f"sheet-{kind}-*.png"):  # of conditions that an earlier test had
            old.unlink()
    results = [{"data": kind, **report.to_json(outcome)} for kind, outcome in outcomes]
    everything = {**facts, "results": results}
    (folder / "eval.md").write_text("\n".join(section(kind, outcome) for kind, outcome in outcomes))
    (folder / "eval.json").write_text(json.dumps(everything, indent=1) + "\n")
    for kind, outcome in outcomes:
        report.sheet(outcome, folder / f"sheet-{kind}-{outcome.condition.name}.png")
    return everything


def section(kind: str, outcome: Outcome) -> str:
    """A heading and a table."""
    return f"### {kind}, {outcome.condition.name}, {outcome.count} scenes\n\n{report.markdown(outcome)}\n"


def sources(
    faces: Path | None, clips: Path | None
) -> dict[str, tuple[Stills | Segments, Sequence[int] | None]]:
    """The sources ``faces`` and ``clips``, and for each picture or segment the number of the person in it,
    None where that is not known. Every picture is of somebody else; all segments of a clip are of one person,
    and ``vidpipe pack`` keeps beside its file which clip they are of."""
    out: dict[str, tuple[Stills | Segments, Sequence[int] | None]] = {}
    if faces is not None:
        stills = Stills.load(faces, 256)
        out["faces"] = stills, range(len(stills.pictures))
    if clips is not None:
        origin = clips.with_suffix(".json")
        known = _people(origin) if not clips.is_dir() and origin.exists() else None
        out["clips"] = segments_of(clips) if clips.is_dir() else (Segments.load(clips), known)
    return out


def _people(origin: Path) -> list[int]:
    """Which clip each segment is of. Raises InputError."""
    try:
        known = json.loads(origin.read_text())
    except ValueError as error:
        raise InputError(f"{origin} cannot be read ({error}); vidpipe pack writes it") from error
    if not isinstance(known, list):
        raise InputError(f"{origin} holds no list; vidpipe pack writes it")
    return known


def segments_of(folder: Path) -> tuple[Segments, list[int]]:
    """Segments of the clips in a folder, as ``vidpipe pack`` cuts them, in memory, and the clip of each.
    Raises InputError, or MissingError without decord."""
    if not any(p.suffix.lower() in SUFFIXES for p in folder.iterdir()):
        raise InputError(f"no clip in {folder}; wanted {', '.join(SUFFIXES)}, or a file of vidpipe pack")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "segments.npy"
        clips = pack(folder, target)
        return Segments(np.load(target)), clips
