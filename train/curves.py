"""Learning curves of a run, drawn from its ``log.csv``; the command is ``vidpipe curves``.

Above, the gain over the base in dB; below, the weighted losses. Each point of ``log.csv`` is a mean over 50
steps of fresh draws and noisy; the line is its moving mean.
"""

from __future__ import annotations

import csv
from pathlib import Path

from pipeline.errors import InputError, MissingError, UsageError

NO_LOSSES = ("step", "base_db", "gain_db", "seconds_per_step")
SMOOTH = 7
"""Points of the moving mean"""


def read(folder: Path) -> dict[str, list[float]]:
    """Columns of a run's ``log.csv``. Raises InputError."""
    path = folder / "log.csv"
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; wanted a folder of vidpipe train"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is no log of vidpipe train: {error}") from error
    if not {"step", "gain_db"} <= columns.keys():
        raise InputError(f"{path} has no line yet; one is written every 50 steps")
    return columns


def smoothed(values: list[float]) -> list[float]:
    """Means over SMOOTH points about each, fewer at the ends."""
    half = SMOOTH // 2
    parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def draw(columns: dict[str, list[float]], target: Path) -> None:
    """Writes the picture. Raises MissingError without matplotlib, UsageError for an unknown format."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingError(
            f"curves need matplotlib, which is missing ({error}): pip install matplotlib"
        ) from error
    figure = Figure(figsize=(7, 5), layout="constrained")
    gain, loss = figure.subplots(2, 1, sharex=True)
    steps = columns["step"]
    gain.plot(steps, columns["gain_db"], color="0.8")
    gain.plot(steps, smoothed(columns["gain_db"]), color="C0")
    gain.set_ylabel("gain over the base, dB")
    for name, values in columns.items():
        if name not in NO_LOSSES:
            loss.plot(steps, smoothed(values), label=name)
    loss.set_ylabel("weighted loss")
    loss.set_xlabel("step")
    loss.legend(frameon=False)
    for axes in (gain, loss):
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(target, dpi=80)
    except ValueError as error:
        raise UsageError(f"{target}: {str(error).splitlines()[0]}; wanted .png or .svg") from error
