"""What a batch does with files that are new, done, changed, broken or killed."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import OutputError, UsageError
from tests.support.clips import write_clip
from vidpipe.batches.driver import BEFORE, NEW, Plan, Result, plan_only, run
from vidpipe.batches.ledger import NAME, Ledger, State, entries
from vidpipe.batches.pool import DIED
from vidpipe.batches.report import Tally, again
from vidpipe.batches.worker import Limits, Outcome, Task, do


class InlinePool:
    """Does a task when it is asked for outcomes, in this process."""

    workers = 1

    def __init__(self, before: Callable[[Task], Outcome | None] = lambda task: None) -> None:
        self.tasks: list[Task] = []
        self._before = before
        self._next: list[Task] = []

    def submit(self, task: Task) -> None:
        self.tasks.append(task)
        self._next.append(task)

    def ended(self, patience_s: float) -> list[Outcome]:
        del patience_s
        task = self._next.pop()
        return [self._before(task) or do(task, lambda *told: None)]

    def progress(self) -> Iterator[tuple[str, int, int]]:
        return iter(())

    def close(self) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two clips and a file that is none, last written a while ago."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        write_clip(folder / f"{name}.mp4", frames=3, width=96, height=64)
    (folder / "broken.mp4").write_bytes(b"none")
    _age(folder)
    return folder


def _age(folder: Path) -> None:
    for number, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (1e9 + number, 1e9 + number))


def _plan(archive: Path, **changes: object) -> Plan:
    plan = Plan([str(archive)], archive.parent / "out", "pixelize", {"gate.scan": False})
    return replace(plan, **changes)  # type: ignore[arg-type]


def _run(plan: Plan, pool: InlinePool | None = None) -> dict[str, Result]:
    chosen = pool or InlinePool()
    return {Path(result.source).name: result for result in run(plan, lambda: chosen)}


def test_each_input_is_done_or_failed_once(archive: Path) -> None:
    results = _run(_plan(archive))
    assert {name: result.state for name, result in results.items()} == {
        "a.mp4": State.DONE,
        "b.mp4": State.DONE,
        "broken.mp4": State.FAILED,
    }
    assert results["a.mp4"].frames == 3
    assert Path(results["a.mp4"].target).is_file()
    second = InlinePool()
    again = _run(_plan(archive), second)
    assert second.tasks == []
    assert [again[name].reason for name in ("a.mp4", "b.mp4")] == [BEFORE, BEFORE]
    assert again["broken.mp4"].reason == results["broken.mp4"].reason


def test_what_changed_is_done_again_and_nothing_else(archive: Path) -> None:
    _run(_plan(archive))
    write_clip(archive / "a.mp4", frames=4, width=96, height=64)
    (archive / "b.mp4").touch()  # another time, the same content
    _age(archive)
    os.utime(archive / "b.mp4", (1.1e9, 1.1e9))
    pool = InlinePool()
    results = _run(_plan(archive), pool)
    assert [Path(task.source).name for task in pool.tasks] == ["a.mp4"]
    assert (results["a.mp4"].frames, results["a.mp4"].why) == (4, "the input changed")
    other = _run(_plan(archive, values={"gate.scan": False, "mask.blocks": 4}))
    assert {result.why for result in other.values()} == {"settings, weights or version changed"}


def test_other_settings_and_lost_outputs_are_noticed(archive: Path) -> None:
    _run(_plan(archive))
    (archive.parent / "out" / "a.pixelize.mp4").unlink()
    planned = {Path(r.source).name: r for r in plan_only(_plan(archive))}
    assert [planned[n].state for n in ("a.mp4", "b.mp4")] == [State.RUNNING, State.DONE]
    assert "gone" in planned["a.mp4"].reason
    os.truncate(archive.parent / "out" / "b.pixelize.mp4", 100)
    assert State.DONE not in {r.state for r in plan_only(_plan(archive))}, "half of an output is none"
    other = {Path(r.source).name: r.reason for r in plan_only(_plan(archive, values={"mask.blocks": 4}))}
    assert "settings" in other["b.mp4"]


def test_failed_files_are_tried_again_when_asked(archive: Path) -> None:
    _run(_plan(archive))
    pool = InlinePool()
    results = _run(_plan(archive, retry_failed=True), pool)
    assert [Path(task.source).name for task in pool.tasks] == ["broken.mp4"]
    assert results["broken.mp4"].why == "it failed before"
    attempts = {Path(entry.source).name: entry.attempts for entry in entries(archive.parent / "out")}
    assert attempts == {"a.mp4": 1, "b.mp4": 1, "broken.mp4": 2}


def test_what_is_no_file_is_counted_and_waited_for_by_nobody(archive: Path) -> None:
    """Opening a named pipe would wait for a writer for ever."""
    os.mkfifo(archive / "pipe.mp4")
    (archive / "lost.mp4").symlink_to(archive / "nowhere.mp4")
    (archive / "empty.mp4").touch()
    os.utime(archive / "empty.mp4", (1e9, 1e9))
    planned = {Path(r.source).name: r for r in plan_only(_plan(archive))}
    results = _run(_plan(archive))
    for name, words in {
        "pipe.mp4": "not a regular file",
        "lost.mp4": "does not exist",
        "empty.mp4": "empty",
    }.items():
        assert (planned[name].state, results[name].state) == (State.FAILED, State.FAILED)
        assert words in results[name].reason
    named = _run(_plan(archive, inputs=[str(archive / "pipe.mp4")]))
    assert named["pipe.mp4"].state is State.FAILED


def test_what_is_kept_for_the_page_is_bounded_and_counts_all() -> None:
    tally = Tally()
    for number in range(100):
        reason = BEFORE if number < 60 else ""
        why = "" if number < 60 else "the input changed" if number < 70 else NEW
        done = Result(f"{number}", f"{number}.mp4", State.DONE, reason, 10, float(number), why=why)
        tally.add(done)
    assert (tally.totals.done, tally.totals.before, tally.frames) == (100, 60, 400)
    assert sorted(seconds for seconds, _, _ in tally.slowest) == [*range(90, 100)]
    assert {one.reason for one in tally.shown} == {""}, "pictures of this batch go first"
    assert again(tally) == ["10 files done again: the input changed"]


def test_what_was_begun_is_not_believed(archive: Path) -> None:
    """The driver is gone after the output stood and before the ledger knew."""

    def gone(task: Task) -> Outcome:
        assert do(task, lambda *told: None).ok
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(_plan(archive), InlinePool(gone))
    states = {Path(e.source).name: e.state for e in entries(archive.parent / "out")}
    assert states == {"a.mp4": State.RUNNING}
    assert _run(_plan(archive))["a.mp4"].state is State.DONE


def test_a_worker_that_dies_costs_an_attempt(archive: Path) -> None:
    died = InlinePool(lambda task: Outcome(task.source, False, f"{DIED}: killed"))
    results = _run(_plan(archive, attempts=2), died)
    assert {result.state for result in results.values()} == {State.FAILED}
    assert [Path(task.source).name for task in died.tasks].count("a.mp4") == 2


def test_foreign_files_under_an_outputs_name_stay(archive: Path) -> None:
    out = archive.parent / "out"
    out.mkdir()
    (out / "a.pixelize.mp4").write_text("mine")
    assert _run(_plan(archive))["a.mp4"].state is State.FAILED
    assert (out / "a.pixelize.mp4").read_text() == "mine"


def test_foreign_files_stay_where_an_earlier_batch_has_begun_or_done_something_else(archive: Path) -> None:
    out = archive.parent / "out"
    _run(_plan(archive))
    mine = {name: (out / name) for name in ("a.protect.mp4", "b.protect.mp4")}
    for path in mine.values():
        path.write_text("mine")
    planned = {Path(r.source).name: r for r in plan_only(_plan(archive, mode="protect"))}
    results = _run(_plan(archive, mode="protect"))
    for told in (planned, results):
        assert "no batch made it" in told["a.mp4"].reason
    assert [path.read_text() for path in mine.values()] == ["mine", "mine"]
    mine["a.protect.mp4"].unlink()
    assert _run(_plan(archive, mode="protect"))["a.mp4"].state is State.DONE
    assert _run(_plan(archive))["a.mp4"].reason == BEFORE, "each output has its own entry"


def test_an_output_of_ours_is_replaced_after_its_input_was_broken_for_a_while(archive: Path) -> None:
    whole = (archive / "a.mp4").read_bytes()
    _run(_plan(archive))
    (archive / "a.mp4").write_bytes(b"none")
    _age(archive)
    assert _run(_plan(archive))["a.mp4"].state is State.FAILED
    (archive / "a.mp4").write_bytes(whole + b"\0\0\0\x08free")
    _age(archive)
    assert _run(_plan(archive))["a.mp4"].state is State.DONE


def test_a_folder_of_outputs_may_move_or_be_named_in_another_way(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    _run(_plan(archive, out=Path("out")))
    moved = archive.parent / "moved"
    (archive.parent / "out").rename(moved)
    monkeypatch.chdir(archive)
    for out in (moved, Path("../moved")):
        results = _run(_plan(archive, out=out))
        assert results["a.mp4"].reason == BEFORE
        assert results["a.mp4"].target == str(moved / "a.pixelize.mp4") or out != moved


def test_settings_of_the_drivers_environment_reach_its_workers(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of a cluster has another environment."""
    monkeypatch.setenv("VIDPIPE_MASK__BLOCKS", "3")

    def elsewhere(task: Task) -> None:
        monkeypatch.delenv("VIDPIPE_MASK__BLOCKS", raising=False)
        assert pickle.loads(pickle.dumps(task)) == task

    _run(_plan(archive), InlinePool(elsewhere))
    report = json.loads((archive.parent / "out" / "a.pixelize.mp4.json").read_text())
    assert [s["value"] for s in report["settings"] if s["name"] == "mask.blocks"] == [3]


def test_an_output_that_nobody_sees_here_is_not_done(archive: Path) -> None:
    """A node that has not the same folder."""
    lost = InlinePool(lambda task: Outcome(task.source, ok=True))
    assert "do all nodes see this folder" in _run(_plan(archive), lost)["a.mp4"].reason


@pytest.mark.parametrize("changes", [{"mode": "blur"}, {"attempts": 0}])
def test_a_plan_that_cannot_be_is_refused(archive: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        _run(_plan(archive, **changes))


def test_files_beyond_a_limit_are_skipped(archive: Path) -> None:
    planned = {Path(r.source).name: r for r in plan_only(_plan(archive, limits=Limits(pixels=10)))}
    assert planned["a.mp4"].state is State.SKIPPED
    results = _run(_plan(archive, limits=Limits(pixels=10)))
    assert results["a.mp4"].state is State.SKIPPED
    assert "--max-pixels" in results["a.mp4"].reason
    results = _run(_plan(archive, limits=Limits(memory_bytes=1 << 20)))
    assert results["a.mp4"].state is State.SKIPPED
    assert "more than the limit of 0.0 GiB" in results["a.mp4"].reason


def test_a_file_that_grows_is_put_off(archive: Path) -> None:
    begun = time.time()
    os.utime(archive / "a.mp4", (begun, begun))
    pool = InlinePool()
    _run(_plan(archive), pool)
    assert [Path(task.source).name for task in pool.tasks][-1] == "a.mp4"
    assert time.time() - begun >= 2.0


def test_an_input_that_changes_while_it_is_read_fails(archive: Path) -> None:
    def grows(task: Task) -> Outcome | None:
        if task.source.endswith("a.mp4"):
            os.utime(task.source, (1.2e9, 1.2e9))
        return None

    result = _run(_plan(archive), InlinePool(grows))["a.mp4"]
    assert (result.state, result.reason) == (State.FAILED, "the input changed while it was read")


def test_a_second_batch_on_one_folder_stops(archive: Path) -> None:
    out = archive.parent / "out"
    out.mkdir()
    with Ledger(out), pytest.raises(OutputError, match="another batch"):
        _run(_plan(archive))


def test_a_ledger_of_another_version_is_refused(archive: Path) -> None:
    out = archive.parent / "out"
    out.mkdir()
    with sqlite3.connect(out / NAME) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(OutputError, match="schema 99"):
        _run(_plan(archive))
