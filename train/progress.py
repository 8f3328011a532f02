"""What a run says of itself: lines of the log, ``log.csv``, sample sheets, TensorBoard."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor

from pipeline.errors import MissingError
from train.task import Comparison

log = logging.getLogger(__name__)

LINE_EVERY = 50
"""Steps between two lines"""
SHEET_EVERY = 500
"""Steps between two sample sheets"""
SHEET_ROWS = 6
"""Most rows of a sample sheet"""


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
    """steps that were done before this process"""
    board: Any = None
    _rows: list[dict[str, float]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Removes the lines of log.csv after ``first``: of a run that was cut, or that is begun anew."""
        path = self.out / "log.csv"
        if path.exists():
            head, *lines = path.read_text().splitlines()
            kept = [line for line in lines if int(line.split(",")[0]) <= self.first]
            path.write_text("\n".join([head, *kept]) + "\n")
            if not kept:
                path.unlink()

    def minutes(self) -> float:
        """Time since this process started."""
        return (time.monotonic() - self._started) / 60

    def add(self, step: int, compared: Comparison) -> None:
        """What step ``step`` gave. The first one of this process is logged at once."""
        losses = {name: float(loss.detach()) for name, loss in compared.losses.items()}
        self._rows.append(losses | compared.measures())
        if step % LINE_EVERY == 0:
            self._write(step, self._log(step))
            self._rows.clear()
        elif step == self.first + 1:
            self._log(step)
        if step % SHEET_EVERY == 0:
            picture = sheet(compared.pictures())
            write_picture(self.out / f"strip_{step:06d}.png", picture)
            if self.board is not None:
                self.board.add_image("strip", picture, step)

    def close(self) -> None:
        """Nothing comes after it."""
        if self.board is not None:
            self.board.close()

    def _log(self, step: int) -> dict[str, float]:
        """Means over the last steps, and the seconds that a step takes."""
        means = {name: sum(row[name] for row in self._rows) / len(self._rows) for name in self._rows[-1]}
        seconds = self.minutes() * 60 / (step - self.first)
        values = " ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        left = (self.steps - step) * seconds / 60
        log.info("step %d/%d %s eta %.0f min", step, self.steps, values, left)
        return means | {"seconds_per_step": seconds}

    def _write(self, step: int, means: dict[str, float]) -> None:
        """A line of log.csv, and the same for TensorBoard."""
        *names, last = means
        path = self.out / "log.csv"
        if not path.exists():
            path.write_text(",".join(["step", *means]) + "\n")
        values = [f"{means[name]:.5f}" for name in names]
        with path.open("a") as file:
            file.write(",".join([str(step), *values, f"{means[last]:.3f}"]) + "\n")
        if self.board is not None:
            for name in names:
                self.board.add_scalar(name, means[name], step)
            self.board.flush()


def sheet(columns: Sequence[Tensor]) -> Tensor:
    """Sample sheet: (3, H, W) of pictures (M, 3, S, S) side by side, SHEET_ROWS of each."""
    rows = torch.cat([x[:SHEET_ROWS] for x in columns], dim=-1)
    return torch.cat(list(rows.clamp(0, 1)), dim=-2)


def write_picture(path: Path, picture: Tensor) -> None:
    """(3, H, W) RGB in [0, 1] as a PNG."""
    cv2.imwrite(str(path), (picture.permute(1, 2, 0).flip(-1).cpu().numpy() * 255).round().astype("uint8"))
