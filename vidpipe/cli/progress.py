"""Progress bars on stderr: frames, frames per second, time left, people being restored; steps of a job."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.text import printable


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} fps" if task.speed else "- fps", style="progress.data.speed")


class Bar:
    """Shows nothing where ``shown`` is False or ``console`` is no terminal."""

    def __init__(self, label: str, console: Console, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("frames"),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[people]}"),
            console=console,
            disable=not (shown and console.is_terminal),
            transient=True,
        )
        self._label, self._stage = escape(printable(label)), ""
        self._task = self._progress.add_task(self._label, total=None, people="")

    def show(self, done: int, total: int, people: int, stage: str = "") -> None:
        """``done`` of ``total`` frames are through this ``stage``; ``people`` are being restored."""
        noun = "face" if people == 1 else "faces"
        if stage != self._stage:  # its frames are counted, and timed, from the first one
            self._stage = stage
            self._progress.reset(self._task, description=f"{stage} {self._label}".strip())
        self._progress.update(self._task, completed=done, total=total, people=f"{people} {noun}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class Steps:
    """A bar for a job of named steps. Shows nothing if not ``shown`` or if ``console`` is no terminal."""

    def __init__(self, label: str, console: Console, shown: bool) -> None:
        self._progress = Progress(
            TextColumn(label),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not (shown and console.is_terminal),
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0)

    def show(self, what: str, share: float) -> None:
        """``what`` is being done; ``share`` of everything is, 0 to 1."""
        self._progress.update(self._task, completed=share, description=what)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
