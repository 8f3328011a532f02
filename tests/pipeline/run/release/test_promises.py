"""Settings that are weaker than the defaults are named wherever they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Given, Resolved, resolve
from pipeline.run.job import Selection
from pipeline.run.release.promises import WEAKER, notice, told, weakened


def _resolved(**values: object) -> Resolved:
    return resolve({name.replace("__", "."): Given(value, "--flag") for name, value in values.items()})


def test_the_defaults_promise_what_they_say() -> None:
    assert weakened(resolve(), "protect") == []
    said = notice(resolve(), "protect", Selection())
    assert "covered those that it found." in said
    assert "eaker" not in said


@pytest.mark.parametrize(
    ("name", "weaker", "stronger"),
    [
        ("gate.scan", False, True),
        ("gate.min_score", 0.6, 0.4),
        ("gate.every_s", 1, 0),
        ("gate.every_frames", 9, 2),
        ("faces.birth_score", 0.5, 0.15),
        ("faces.every_s", 0.2, 0.0),
        ("faces.fine_every_s", 0.4, 0.1),
        ("faces.fill_before_s", 0.0, 2.0),
        ("faces.fill_after_s", 0.1, 1.0),
        ("mask.scale", 1.0, 2.0),
        ("mask.blocks", 7, 3),
        ("faces.min_face_px", 100, None),
        ("people.sure", 0.44, 0.2),
    ],
)
def test_only_the_weaker_side_is_named(name: str, weaker: object, stronger: object) -> None:
    weak, strong = (resolve({name: Given(value, "--flag")}) for value in (weaker, stronger))
    assert [(r.name, r.value, r.origin) for r in weakened(weak, "pixelize")] == [(name, weaker, "--flag")]
    assert weakened(strong, "pixelize") == []


NEUTRAL = {
    "mask.look",
    "mask.shape",
    "protect.nobody",
    "protect.epsilon",
    "protect.perturb",
    "people.recognise",
    "people.min_px",
}
"""Of which no value covers, hides or checks less than another."""


def test_every_setting_of_what_is_covered_has_a_weaker_side_or_none() -> None:
    sections = ("find.", "track.", "faces.", "people.", "mask.", "protect.", "gate.")
    names = {name for name, _, _ in resolve().rows() if name.startswith(sections)}
    assert names - set(WEAKER) == NEUTRAL
    weak = resolve({"find.min_score": Given(0.6, "--flag"), "track.min_hits": Given(8, "--flag")})
    assert [r.name for r in weakened(weak, "protect")] == ["find.min_score", "track.min_hits"]
    assert weakened(weak, "pixelize") == []


def test_the_environment_and_a_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mask: {scale: 1.0}\n", encoding="utf-8")
    monkeypatch.setenv("VIDPIPE_GATE__SCAN", "false")
    found = weakened(resolve(file=file), "pixelize")
    assert [record.origin for record in found] == [str(file), "VIDPIPE_GATE__SCAN"]
    said = told(found)
    assert "gate.scan false instead of true (from VIDPIPE_GATE__SCAN)" in said
    assert "gate.scan false" in notice(resolve(file=file), "pixelize", Selection())


def test_a_notice_does_not_say_that_faces_were_looked_for_where_they_were_not() -> None:
    said = notice(resolve(), "pixelize", Selection(only_regions=True))
    assert "has not looked for faces" in said


def test_what_has_no_effect_is_not_named() -> None:
    assert weakened(_resolved(mask__blocks=30, mask__look="solid"), "pixelize") == []
    held = _resolved(protect__hold_s=2.0)
    assert weakened(held, "pixelize") == []
    assert [r.name for r in weakened(held, "protect")] == ["protect.values", "protect.hold_s"]


def test_the_notice_tells_that_somebody_was_left_by_choice() -> None:
    assert "by choice" in notice(resolve(), "pixelize", Selection(keep=(1,)))
    assert "by choice" in notice(resolve(), "pixelize", Selection(only=()))
