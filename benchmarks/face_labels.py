"""Labelled faces of a clip: boxes by hand on key frames, in between them linear. Numbers alone, no pictures.

A file is JSON: what clip it is (name, sha256 of the file, frames, size), and *spans*. A span is one person on
consecutive frames of one shot in one state; its keys are ``[frame, x0, y0, x1, y1]`` in px of the picture as
coded, from forehead to chin and from cheek to cheek, ascending, the first and the last of them its ends. A
person has as many spans as it takes; where none is, no face of that person is in the picture.

``visible`` false: the face is there, but something hides it. ``hard`` names a reason why a face may stay
uncovered without anybody being named by it, or why it is none: see ``HARD``. A hidden or hard face need not
be covered, and a mask over it is not for nothing. All other faces must be covered.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.types import Box

Hard = Literal["back", "tiny", "edge", "blurred", "fading", "mirror", "print", "drawn", "crowd"]
HARD: dict[Hard, str] = {
    "back": "turned away by more than a profile: no eye is seen",
    "tiny": "less than 16 px high",
    "edge": "less than about half of it is in the picture",
    "blurred": "out of focus or so fast that a person does not know who it is",
    "fading": "two shots are blended, and the face is the weaker one",
    "mirror": "a reflection",
    "print": "on paper, a screen, clothes",
    "drawn": "a drawing, a mask, a doll, a statue",
    "crowd": "no face but a place: people too small, dark or blurred to be labelled one by one",
}

_Key = tuple[Annotated[int, Field(ge=0)], float, float, float, float]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Span(_Record):
    person: int = Field(ge=1)
    visible: bool = True
    hard: Hard | None = None
    keys: list[_Key] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(a[0] >= b[0] for a, b in pairwise(self.keys)):
            raise ValueError("keys are not in ascending order of their frames")
        if any(x0 >= x1 or y0 >= y1 for _, x0, y0, x1, y1 in self.keys):
            raise ValueError("a box has no area")
        return self

    @property
    def required(self) -> bool:
        return self.visible and self.hard is None

    def box(self, frame: int) -> Box | None:
        """Between two keys linear; None before the first and after the last."""
        for before, after in pairwise(self.keys):
            if before[0] <= frame <= after[0]:
                part = (frame - before[0]) / (after[0] - before[0])
                x0, y0, x1, y1 = (a + part * (b - a) for a, b in zip(before[1:], after[1:], strict=True))
                return Box(x0, y0, x1, y1)
        return Box(*self.keys[0][1:]) if self.keys[0][0] == frame else None


class ClipLabels(_Record):
    """All of one file."""

    schema_version: Literal[1] = 1
    clip: str
    """File name."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the whole file."""
    frames: int = Field(ge=1)
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    spans: list[Span]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        taken: set[tuple[int, int]] = set()
        for span in self.spans:
            if span.keys[-1][0] >= self.frames:
                raise ValueError(f"person {span.person} has a key after the last frame")
            for frame in range(span.keys[0][0], span.keys[-1][0] + 1):
                if (span.person, frame) in taken:
                    raise ValueError(f"person {span.person} is twice on frame {frame}")
                taken.add((span.person, frame))
            for _, x0, y0, x1, y1 in span.keys:
                if x1 <= 0 or y1 <= 0 or x0 >= self.width or y0 >= self.height:
                    raise ValueError(f"person {span.person} has a box outside of the picture")
        return self

    def on_frame(self, frame: int) -> list[LabelledFace]:
        found = []
        for span in self.spans:
            box = span.box(frame)
            if box is not None:
                found.append(LabelledFace(span.person, box, span.required, span.hard == "crowd"))
        return found

    @property
    def people(self) -> int:
        """With a face that must be covered."""
        return len({span.person for span in self.spans if span.required})


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """One face on one frame."""

    person: int
    box: Box
    required: bool
    """It must be covered; else it may."""
    crowd: bool = False
    """It is a place where masks do not count."""


def sha256_of(clip: Path) -> str:
    with clip.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_labels(path: Path) -> ClipLabels:
    """Raises OSError and pydantic's ValidationError."""
    return ClipLabels.model_validate_json(path.read_text(encoding="utf-8"))


def labels_for(clip: Path, folder: Path) -> ClipLabels:
    """The labels of a clip. Raises ValueError where there are none, or those of another file."""
    path = folder / f"{clip.stem}.json"
    if not path.is_file():
        raise ValueError(f"{clip.name} has no labels in {folder}")
    labels = read_labels(path)
    if labels.sha256 != sha256_of(clip):
        raise ValueError(f"{clip.name} is not the file that {path.name} was made for; label it anew")
    return labels


def as_text(labels: ClipLabels) -> str:
    """JSON with one span a line."""
    content = labels.model_dump(exclude={"spans"}, exclude_defaults=False)
    head = json.dumps(content)[:-1]
    rows = [
        json.dumps(span.model_dump(exclude_defaults=True), separators=(",", ":")) for span in labels.spans
    ]
    return head + ', "spans": [\n' + ",\n".join(rows) + "\n]}\n"
