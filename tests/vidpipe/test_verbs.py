"""``vidpipe reconstruct|pixelize|protect`` beside ``vidpipe run --mode``: the same options, the same runs."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from pipeline.run.anonymize_sidecar import read_report
from tests.support.portrait import read_clip
from tests.vidpipe.conftest import Cli
from vidpipe.cli.flags import BY_MODE, AllFlags


def test_run_without_a_mode_explains_the_modes_and_does_nothing(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("run", tmp_path / "in.mp4", "--json") == 2
    captured = capsys.readouterr()
    *told, error = captured.err.strip().splitlines()
    assert all(any(line.strip().startswith(mode) for line in told) for mode in BY_MODE)
    assert len(told) <= 6
    assert "--mode" in error
    assert json.loads(captured.out)["exit_code"] == 2


def test_each_verb_has_its_own_options_and_run_has_all(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    helps = {}
    for name in ("reconstruct", "pixelize", "protect", "run"):
        assert cli(name, "--help") == 0
        helps[name] = capsys.readouterr().out
    has = {
        name: {o for o in ("--net", "--look", "--epsilon", "--mode") if o in t} for name, t in helps.items()
    }
    assert has == {
        "reconstruct": {"--net"},
        "pixelize": {"--look"},
        "protect": {"--look", "--epsilon"},
        "run": {"--net", "--look", "--epsilon", "--mode"},
    }
    assert helps["pixelize"].index("What is found") < helps["pixelize"].index("--min-face")
    every = {field.name for kind in BY_MODE.values() for field in fields(kind)}
    assert {field.name for field in fields(AllFlags)} == every | {"mode"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("pixelize", "--net", "nar"), "--net"),
        (("reconstruct", "--look", "blur"), "--look"),
        (("pixelize", "--nobody", "1"), "--nobody is an option of --mode protect, not of pixelize"),
        (("run", "--mode", "reconstruct", "--preview"), "pixelize and protect"),
        (("run", "--mode", "pixelize", "--hold", "1"), "--mode protect"),
        (("run", "--mode", "reconstruct", "--from", "x.json"), "--from is"),
        (("run", "--mode", "pixel"), "pixelize"),
        (("pixelize", "--only-regions"), "--region"),
        (("pixelize", "--only-regions", "--region", "1,2,9,9", "--during", "0-1"), "--during"),
        (("pixelize", "--only-regions", "--region", "1,2,9,9", "--gate", "on"), "--gate"),
    ],
)
def test_a_flag_of_no_use_is_refused(
    cli: Cli, plain_clip: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], word: str
) -> None:
    command, *more = arguments
    assert cli(command, plain_clip, *more) == 2
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    assert word in told


def test_the_verb_and_run_do_the_same(cli: Cli, plain_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explained = []
    for command in (("protect",), ("run", "--mode", "protect")):
        assert cli(command[0], plain_clip, *command[1:], "--blocks", "5", "--explain", "--json") == 0
        explained.append(json.loads(capsys.readouterr().out))
    assert explained[0] == explained[1]
    assert explained[0]["output"].endswith(".protect.mp4")


def test_only_regions_covers_them_and_looks_for_no_face(
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_detector(*_: object) -> None:
        raise AssertionError("a detector was opened")

    monkeypatch.setattr("pipeline.run.anonymize.open_detector", no_detector)
    output, place = tmp_path / "out.mp4", "8,200,64,64"
    given = ("--region", place, "--only-regions", "--end", "0.4", "--preset", "ultrafast")
    assert cli("pixelize", portrait_clip, "-o", output, *given) == 0
    report = read_report(Path(f"{output}.json"))
    assert [track.track for track in report.tracks] == [-1]
    assert report.choice.only_regions
    assert (report.finder, report.gate) == (None, None)
    assert "no face was looked for" in capsys.readouterr().err
    ((before,), (after,)) = read_clip(portrait_clip, [5]), read_clip(output, [5])
    change = np.abs(before.astype(float) - after).mean(2)
    assert change[210:250, 20:60].mean() > 3 * change[40:120, 150:250].mean(), "the face stays"
