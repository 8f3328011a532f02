"""Hidden files of runs: the dead are cleared away, the living and the foreign are left alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import leftovers
from pipeline.encode.atomic_file import AtomicFile, write_whole
from tests.support import ROOT

_CHILD = """
import sys
import time
from pathlib import Path
from pipeline import leftovers
target = Path(sys.argv[1])
leftovers.create(leftovers.part_name(target))
leftovers.set_aside(target)
print("ready", flush=True)
sys.stdin.read()
"""


def _run_of(target: Path) -> subprocess.Popen[str]:
    """A process that has begun an output and put the older one aside."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(target)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def _killed(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_what_a_killed_run_leaves_is_removed_once_it_is_dead(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("older")
    child = _run_of(target)
    try:
        assert leftovers.clean(tmp_path) == [], "it lives"
        assert len(list(tmp_path.iterdir())) == 3
    finally:
        _killed(child)
    assert len(leftovers.clean(tmp_path)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert target.read_text() == "older"


def test_the_next_run_removes_it_by_itself(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_text("source")
    _killed(_run_of(tmp_path / "out.mp4"))
    assert len(list(tmp_path.iterdir())) == 2
    part = AtomicFile(tmp_path / "other.mp4", source, overwrite=False)
    part.create()
    part.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_an_older_output_that_was_put_aside_comes_back_where_nothing_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system without hard links, where putting aside is renaming."""
    target = tmp_path / "out.mp4"
    target.write_text("older")
    aside = leftovers.old_name(target)
    gone = aside.with_name(aside.name.replace(str(os.getpid()), str(_dead_process())))
    target.rename(gone)
    assert leftovers.clean(tmp_path) == [gone]
    assert target.read_text() == "older"


def _dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize(
    "name", [".hidden.mp4", "notes.part.mp4", ".0123456789abcdef.part.mp4", ".x.vidpipe-part.mp4"]
)
def test_what_only_looks_like_it_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / ".0123456789abcdef.vidpipe-part.mp4").mkdir()
    assert leftovers.clean(tmp_path) == []
    assert (tmp_path / name).read_text() == "mine"


def test_nobody_else_reads_a_part_and_the_file_gets_the_mode_of_new_files(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    source.write_text("source")
    part = AtomicFile(target, source, overwrite=False)
    part.create()
    assert stat.S_IMODE(part.path.stat().st_mode) == 0o600
    part.complete()
    part.commit()
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode


def test_a_file_that_is_replaced_hands_on_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("older")
    target.chmod(0o640)
    write_whole(target, "newer")
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("newer", 0o640)


def test_a_process_that_must_end_at_once_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("older")
    part = leftovers.part_name(target)
    os.close(leftovers.create(part))
    leftovers.set_aside(target)
    part.replace(target)
    assert leftovers.pending()
    leftovers.abandon()
    assert target.read_text() == "older"
    leftovers.let_go(target)
    leftovers.forget(part)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert not leftovers.pending()


def test_a_journal_stays_for_a_month_and_while_a_run_uses_it(tmp_path: Path) -> None:
    ages = {"fresh.mp4": leftovers.STALE_DAYS - 1, "stale.mp4": leftovers.STALE_DAYS + 1, "used.mp4": 99}
    journals = {name: leftovers.journal_name(tmp_path / name) for name in ages}
    locks = {name: leftovers.open_journal(journal) for name, journal in journals.items()}
    for name, days in ages.items():
        (journals[name] / "answers").touch()
        then = time.time() - days * 86_400
        os.utime(journals[name], (then, then))
        if name != "used.mp4":
            os.close(locks[name])
    assert leftovers.clean(tmp_path) == [journals["stale.mp4"]]
    assert [name for name, journal in journals.items() if journal.exists()] == ["fresh.mp4", "used.mp4"]
    assert journals["fresh.mp4"].stat().st_mode & 0o777 == 0o700
    os.close(locks["used.mp4"])


def test_a_link_in_a_journals_place_is_not_followed(tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir(0o700)
    journal = leftovers.journal_name(tmp_path / "out.mp4")
    journal.symlink_to(elsewhere)
    with pytest.raises(FileExistsError):
        leftovers.open_journal(journal)
    assert not list(elsewhere.iterdir())
