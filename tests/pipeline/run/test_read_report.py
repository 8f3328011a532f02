"""Sidecars that are read back: whatever is in them, one line or tracks that can be drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.run import anonymize_sidecar
from pipeline.run.anonymize_sidecar import read_report

TRACK: dict[str, Any] = {
    "track": 1,
    "kind": "face",
    "first_s": 0.0,
    "last_s": 0.04,
    "frames_seen": 2,
    "frames_filled": 0,
    "frames_covered": 2,
    "decision": "covered",
    "grid": None,
    "reference_frame": 0,
    "reference_box": [1, 2, 30, 40],
    "first_frame": 0,
    "boxes": [[1, 2, 30, 40, 1], None],
}
GRID = {"x": {"pitch_px": 8, "origin_px": 0}, "y": {"pitch_px": 8, "origin_px": 0}, "operator": "area"}


def _report(**track: Any) -> str:
    nothing: dict[str, Any] = {
        name: [] for name in ("settings", "releases", "stages", "conservation", "lost", "warnings")
    }
    choice: dict[str, Any] = {name: [] for name in ("keep", "regions", "excluded", "during")}
    return json.dumps(
        {
            **nothing,
            "mode": "pixelize",
            "versions": {},
            "input": {"name": "in.mp4", "size_bytes": 1, "sha256": ""},
            "output": None,
            "finder": None,
            "min_face_px": 20,
            "choice": {**choice, "only": None, "tracks_from": None},
            "frames": 2,
            "frames_covered": 2,
            "tracks": [{**TRACK, **track}],
            "gate": None,
            "waits_s": {},
            "bottleneck": "find",
            "streaming_s": 1,
            "elapsed_s": 1,
        }
    )


def test_a_report_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text(_report(grid={**GRID, "confidence": 1}))
    assert read_report(path).tracks[0].boxes == [(1, 2, 30, 40, 1), None]


@pytest.mark.parametrize(
    "text",
    [
        _report(boxes=[[float("nan"), 2, 30, 40, 1]]),
        _report(boxes=[[1, 2, float("inf"), 40, 1]]),
        _report(boxes=[[30, 2, 1, 40, 1]]),
        _report(boxes=[[1, 2, 1e300, 40, 1]]),
        _report(boxes=[[1, 2, 3]]),
        _report(first_frame=-5),
        _report(reference_frame=-1),
        _report(reference_box=[9, 9, 1, 1]),
        _report(track=1.5),
        _report(grid={**GRID, "confidence": 1, "operator": "none such"}),
        _report(grid={**GRID, "confidence": 1, "x": {"pitch_px": 0, "origin_px": 0}}),
        _report(grid={**GRID, "confidence": float("nan")}),
        "[" * 100_000,
        '{"a":' * 100_000,
        "null",
        "",
        "\ud800",
        '{"schema_version": 1e999}',
    ],
)
def test_hostile_reports_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as caught:
        read_report(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_report_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anonymize_sidecar, "MAX_BYTES", 100)
    path = tmp_path / "out.json"
    path.write_text(_report())
    with pytest.raises(InputError, match="more than 100 bytes"):
        read_report(path)
