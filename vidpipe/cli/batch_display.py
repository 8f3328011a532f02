"""The live table of a batch on a terminal: counts, files under way, the last failures."""

from __future__ import annotations

from collections import deque
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from pipeline.text import printable
from vidpipe.batches.driver import BEFORE, Progress, Result, Totals
from vidpipe.batches.ledger import State

_FAILURES = 5
"""Of which the last ones are shown."""
_EVERY_S = 0.5


class Table:
    """Does nothing where it is not shown or stderr is no terminal, but for a line per file that failed or was
    skipped."""

    def __init__(self, console: Console, *, shown: bool) -> None:
        self._console = console
        self._shown = shown
        self._live = (
            Live(console=console, refresh_per_second=2, transient=True)
            if shown and console.is_terminal
            else None
        )
        self._failures: deque[Result] = deque(maxlen=_FAILURES)
        self._started = monotonic()
        self._drawn = 0.0
        self._frames = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def ended(self, result: Result) -> None:
        """A file has ended."""
        if result.reason != BEFORE:
            self._frames += result.frames
        if result.state is State.DONE or not self._shown:
            return
        if self._live is None:
            self._console.print(_told(result), markup=False, highlight=False)
        elif result.state is State.FAILED:
            self._failures.append(result)
        else:
            self._live.console.print(_told(result), markup=False, highlight=False)

    def show(self, progress: Progress, totals: Totals) -> None:
        """Draws it, some times a second at most."""
        if self._live is None or monotonic() - self._drawn < _EVERY_S:
            return
        self._drawn = monotonic()
        self._live.update(self._drawing(progress, totals))

    def _drawing(self, progress: Progress, totals: Totals) -> Group:
        passed_s = monotonic() - self._started
        under_way = sum(done for done, _ in progress.running.values())
        head = (
            f"{totals.inputs} of {progress.inputs} files, {totals.failed} failed, {totals.skipped} skipped; "
            f"{(self._frames + under_way) / passed_s:.1f} frames/s; "
            f"{_left(passed_s, totals, progress)}"
        )
        table = RichTable.grid(padding=(0, 2), expand=True)
        for source, (done, total) in progress.running.items():
            name = printable(source.rsplit("/", 1)[-1])
            table.add_row(
                Text(name, overflow="ellipsis", no_wrap=True),
                ProgressBar(total, done),
                Text(f"{done}/{total}"),
            )
        rows: list[Text | RichTable] = [Text(head), table]
        rows += [
            Text(_told(result), style="red", overflow="ellipsis", no_wrap=True) for result in self._failures
        ]
        return Group(*rows)


def _told(result: Result) -> str:
    return f"{result.state} {printable(result.source)}: {printable(result.reason)}"


def _left(passed_s: float, totals: Totals, progress: Progress) -> str:
    new = totals.done - totals.before + totals.failed
    left = progress.inputs - totals.inputs
    if not new:
        return "time left not known"
    seconds = round(passed_s / new * left)
    return f"about {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
