"""Settings that are weaker than the defaults, and the notice in the output that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.config import FacesConfig, Resolved, RunConfig
from pipeline.run.anonymize_sidecar import NOTICE, WeakenedRecord
from pipeline.run.job import Selection


def _more(value: Any, usual: Any) -> bool:
    return value is not None and (usual is None or value > usual)


def _less(value: Any, usual: Any) -> bool:
    return bool(value < usual)


def _given(value: Any, usual: Any) -> bool:
    return value is not None


WEAKER: dict[str, Callable[[Any, Any], bool]] = {
    "find.min_cells": _more,
    "find.max_cell_px": _less,
    "find.min_score": _more,
    "track.min_iou": _more,
    "track.min_hits": _more,
    "track.birth_score": _more,
    "track.strong_score": _more,
    "track.max_gap_frames": _less,
    "track.look_ahead_frames": _less,
    "faces.finder": lambda value, usual: value == "blazeface",
    "faces.min_face_px": _given,
    "faces.every_s": _more,
    "faces.fine_every_s": _more,
    "faces.every_frames": _more,
    "faces.fine_every_frames": _more,
    "faces.care": lambda value, usual: value == "tidy",
    "faces.min_score": _more,
    "faces.birth_score": lambda value, usual: _more(value, FacesConfig().min_score),
    "faces.fill_before_s": _less,
    "faces.fill_after_s": _less,
    "people.same": _more,
    "people.sure": _more,
    "mask.blocks": _more,
    "mask.scale": _less,
    "protect.values": lambda value, usual: value == "measured",
    "protect.hold_s": _given,
    "protect.dp_pixels": _less,
    "gate.scan": _less,
    "gate.every_s": _more,
    "gate.every_frames": _more,
    "gate.min_score": _more,
    "encode.keep_streams": _more,
    "encode.keep_metadata": _more,
}
"""Whether a value covers, hides or checks less than the default does. A smallest face and a time to hold
colours are named wherever they are given: what they are by default follows from the clip."""
_SOLID = ("mask.blocks", "protect.values", "protect.hold_s")
"""Of no effect where nothing of a face is painted."""
_PROTECT = ("protect.", "find.", "track.")
"""Beginnings of names without effect in another mode: what is pixelated already is sought in this one
alone."""


def weakened(settings: Resolved, mode: str) -> list[WeakenedRecord]:
    """The settings of a run that are weaker than the defaults, in order, and where each came from."""
    usual = {name: value for name, value, _ in Resolved(RunConfig(), {}).rows()}
    solid = settings.config.mask.look == "solid"
    records = []
    for name, value, origin in settings.rows():
        weaker = WEAKER.get(name)
        if weaker is None or value == usual[name] or (solid and name in _SOLID):
            continue
        if name.startswith(_PROTECT) and mode != "protect":
            continue
        if weaker(value, usual[name]):
            records.append(WeakenedRecord(name=name, value=value, usual=usual[name], origin=origin))
    return records


def notice(settings: Resolved, mode: str, selection: Selection) -> str:
    """The comment in an output. It is written before it is known whether there is a face to cover."""
    chosen = selection.keep or selection.excluded or selection.during or selection.only is not None
    if selection.only_regions:
        return "vidpipe has covered the places of this file that it was given. It has not looked for faces."
    said = NOTICE.removesuffix(".") + (", but for those left by choice." if chosen else ".")
    weak = ", ".join(f"{record.name} {_text(record.value)}" for record in weakened(settings, mode))
    return f"{said} Weaker than by default: {weak}." if weak else said


def told(records: list[WeakenedRecord]) -> str:
    """One line for the screen."""
    return "weaker than by default: " + ", ".join(
        f"{r.name} {_text(r.value)} instead of {_text(r.usual)} (from {r.origin})" for r in records
    )


def _text(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
