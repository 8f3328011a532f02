"""``vidpipe eval --table recognition``: what is refused, and which runs its rows are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Given, resolve
from pipeline.errors import UsageError
from train.evaluation.recognise import in_mask
from vidpipe.cli.eval_recognition import _chosen, tasks
from vidpipe.cli.main import Interrupts, run_command


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--clips", "there"), 2, "wants --faces FOLDER"),
        (("idn", "--faces", "."), 2, "neither networks nor --clips"),
        (
            ("--faces", ".", "--conditions", "uncovered,velvet"),
            2,
            "'velvet'; --table recognition knows uncovered",
        ),
        (("--faces", "nowhere"), 1, "nowhere is no folder; wanted one that has a folder for each person"),
    ],
)
def test_one_line_says_what_is_wrong(
    arguments: tuple[str, ...],
    code: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    command = ["eval", "--table", "recognition", "-o", str(tmp_path / "out"), *arguments]
    assert run_command(command, Interrupts()) == code
    assert says in " ".join(capsys.readouterr().err.split())


def test_rows_are_chosen_by_name_and_in_that_order() -> None:
    assert [t.name for t in _chosen("solid, uncovered")] == ["solid", "uncovered"]
    assert len(_chosen(None)) == len(tasks()) > 12
    with pytest.raises(UsageError, match="velvet"):
        _chosen("velvet")


def test_every_row_is_a_run_of_its_own_that_the_settings_know() -> None:
    rows = [t for t in tasks() if t.look is in_mask]
    assert len({t.name for t in rows}) == len({t.covering.digest for t in rows}) == len(rows)
    for task in rows:
        config = resolve({k: Given(v, "a row") for k, v in task.covering.settings.items()}).config
        assert (config.protect.perturb != "none") == (task.covering.perturber is not None)
    measured = [t for t in rows if "measured" in t.name]
    assert measured and all(t.covering.settings["protect.values"] == "measured" for t in measured)
