"""What a run says of itself: lines of the log, log.csv, sample strips, TensorBoard."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.errors import MissingError
from train.data.degrade import Example
from train.sample_sheet import columns_of, sheet, write_pictures

log = logging.getLogger(__name__)

EVERY = 50
"""Steps between two lines"""
STRIPS_EVERY = 500


def open_board(folder: Path) -> Any:
    """TensorBoard's writer into ``folder``. Raises MissingError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingError(
            f"--tensorboard needs tensorboard, which is missing ({error}): pip install tensorboard"
        ) from error
    return SummaryWriter(str(folder))


@dataclass
class Progress:
    """Means over the steps since the last line. ``board`` is ``open_board``'s, or None."""

    out: Path
    steps: int
    first: int
    """step at which this process began"""
    board: Any = None
    _rows: list[dict[str, float]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Lines of log.csv after the first step, of a run that was cut or is begun anew, go."""
        path = self.out / "log.csv"
        if path.exists():
            head, *lines = path.read_text().splitlines()
            kept = [line for line in lines if int(line.split(",")[0]) <= self.first]
            path.write_text("\n".join([head, *kept]) + "\n")
            if not kept:
                path.unlink()

    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self._began) / 60

    def add(self, step: int, values: dict[str, float]) -> None:
        """What step ``step`` gave."""
        self._rows.append(values)
        if step % EVERY == 0:
            self._report(step)
            self._rows.clear()

    def _report(self, step: int) -> None:
        names = list(self._rows[-1])
        rows = [[row[name] for name in names] for row in self._rows]
        means = report(self.out, step, self.steps, names, rows, self.minutes() * 60, self.first)
        if self.board is not None:
            for name, mean in zip(names, means, strict=True):
                self.board.add_scalar(name, mean, step)
            self.board.flush()

    def show(self, step: int, example: Example, base: Tensor, restored: Tensor) -> None:
        """A strip, now and then."""
        if step % STRIPS_EVERY:
            return
        columns = columns_of(example, base, restored)
        write_pictures(self.out / f"strip_{step:06d}.png", columns)
        if self.board is not None:
            self.board.add_image("strip", sheet(columns), step)


def report(
    out: Path, step: int, steps: int, names: list[str], rows: list[list[float]], seconds: float, first: int
) -> list[float]:
    """One line of the log and of log.csv: means over the last steps, speed and time to go."""
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    per_step = seconds / (step - first)
    path = out / "log.csv"
    if not path.exists():
        path.write_text(",".join(["step", *names, "seconds_per_step"]) + "\n")
    with path.open("a") as file:
        file.write(",".join([str(step), *(f"{m:.5f}" for m in means), f"{per_step:.3f}"]) + "\n")
    terms = " ".join(f"{name} {mean:.4f}" for name, mean in zip(names, means, strict=True))
    log.info("step %d/%d %s eta %.0f min", step, steps, terms, (steps - step) * per_step / 60)
    return means
