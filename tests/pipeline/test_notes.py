"""Notes belong to the run in whose context they were made, whichever thread makes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest

from pipeline.flow import prefetch, spread
from pipeline.notes import Notes, collecting, decided, silent, warned

log = logging.getLogger(__name__)
ITEMS = 20


def warning_items(name: str) -> Iterator[int]:
    for item in range(ITEMS):
        warned(log, "%s: item %d", name, item)
        yield item


def warned_item(name: str, item: int) -> int:
    warned(log, "%s: job %d", name, item)
    return item


def test_two_runs_at_once_do_not_see_each_others_notes() -> None:
    """Each warns in its own thread, in a prefetch worker, and in jobs of ``spread`` on two workers."""
    together = Barrier(2)

    def run(name: str) -> Notes:
        with collecting() as notes:
            together.wait()
            decided(log, "%s begins", name)
            fetched = prefetch(warning_items(name), 2, "notes")
            jobs = ((item, partial(warned_item, name, item)) for item in fetched)
            assert [result for _, result in spread(jobs, 2, "notes")] == list(range(ITEMS))
            together.wait()
        return notes

    with ThreadPoolExecutor(2) as pool:
        for name, notes in zip("ab", pool.map(run, "ab"), strict=True):
            wanted = {f"{name}: {kind} {item}" for kind in ("item", "job") for item in range(ITEMS)}
            assert set(notes.warnings) == wanted
            assert len(notes.warnings) == len(wanted)
            assert notes.all[0] == f"{name} begins"
            assert len(notes.all) == len(wanted) + 1


def test_a_run_within_a_run_keeps_its_notes_to_itself() -> None:
    with collecting() as outer:
        warned(log, "before")
        with collecting() as inner:
            warned(log, "100 %")
        decided(log, "after %s", "it")
    assert inner.warnings == ["100 %"]
    assert (outer.warnings, outer.all) == (["before"], ["before", "after it"])


def test_in_silence_nothing_is_noted_nor_shown(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), collecting() as notes:
        with silent():
            warned(log, "unheard")
        warned(log, "heard")
    assert notes.all == caplog.messages == ["heard"]
