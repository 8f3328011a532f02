"""What a person or a program sees of a run: the bar, the summary, the JSON."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.text import printable, printable_lines

if TYPE_CHECKING:
    from pipeline.run.lifecycle import Progress
    from vidpipe.cli.progress import Bar
    from vidpipe.explanation import Explanation


_STAGES = {"write": "", "check": "checking"}
"""What the bar says before the file's name."""


@dataclass(frozen=True, slots=True)
class Display:
    """How a run is shown."""

    context: typer.Context
    bar: Bar
    as_json: bool
    quiet: bool

    def on_frame(self, progress: Progress) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if progress.frames_kept is not None:
            self.context.obj.kept = progress.frames_kept, progress.frames_total
        if progress.stage == "publish":
            self.context.obj.decide()
            return
        self.context.obj.check()
        self.bar.show(progress.frames_written, progress.frames_total, progress.faces, _STAGES[progress.stage])

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While the run lasts; libraries that print to stdout do not spoil the JSON."""
        with self.bar, contextlib.redirect_stdout(sys.stderr):
            yield
            self.context.obj.decide()  # what is written stays, and the exit code says so

    def explained(self, explanation: Explanation) -> None:
        """JSON for programs, else text, on stdout."""
        typer.echo(
            explanation.model_dump_json(indent=2) if self.as_json else printable_lines(explanation.as_text())
        )

    def done(self, report: str, summary: str, *files: Path) -> None:
        """JSON for programs, else the summary on stderr and the files on stdout."""
        if self.as_json:
            typer.echo(report)
        elif not self.quiet:
            typer.echo(summary, err=True)
            for file in files:
                _tell(file)


def _tell(file: Path) -> None:
    """A name on stdout: bytes as they are for programs, printable for a terminal."""
    if sys.stdout is None or sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        typer.echo(printable(str(file)))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(file) + b"\n")
    sys.stdout.buffer.flush()
