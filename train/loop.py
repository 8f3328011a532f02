"""The training loop of every network: draw, restore, compare, step, average, log, save.

What is drawn and compared is the task's (``train.task``). A batch depends on (seed, step, rank) alone and the
state that is saved is complete, so a run that is cut and resumed goes through the same losses as one that is
not.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import OutputError
from train.data.pictures import described
from train.distributed import Workers
from train.networks import take_over
from train.numerics import step_dtype
from train.progress import Progress, open_board
from train.state import STATE, State, check_recipe, write_recipe
from train.task import Task

log = logging.getLogger(__name__)

SAVE_SECONDS = 120.0
MAX_GRADIENT = 0.5
"""Longest gradient of a step; longer ones are scaled down to it"""


def train(
    task: Task[Any],
    out: Path,
    max_minutes: float = math.inf,
    resume: bool = False,
    start: Path | None = None,
    tensorboard: bool = False,
    workers: Workers | None = None,
) -> State:
    """Trains until the recipe's steps or the time end. ``out`` gets ``state.pt``, ``recipe.json``, the
    averaged weights, ``log.csv`` and sample sheets, ``strip_*.png``.

    A run that is not resumed begins with the weights of ``start``: a network of the same kind, or an IDN for
    a NAR. An interrupt between two steps loses none. Raises CheckpointError where those weights, a state to
    resume or its recipe do not fit, OutputError where no folder can be made or the disk is full, MissingError
    without TensorBoard.
    """
    workers, state = workers or Workers(), task.state
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be made a folder: {error.strerror}; give another --output"
        ) from error
    if resume and (out / STATE).exists():
        check_recipe(out, task.recipe)
        state.load(out / STATE)
    elif start is not None:
        take_over(state.net, start)
        state.average.load_state_dict(state.net.state_dict())
    board = open_board(out / "tensorboard") if tensorboard and workers.first else None
    progress = Progress(out, task.recipe.steps, state.step, board)
    if workers.first:
        progress.begin()
        write_recipe(out, task.recipe)
        log.info("%s", _described(task))
    try:
        _run(task, out, progress, max_minutes, workers)
    finally:
        progress.close()
    return state


def _described(task: Task[Any]) -> str:
    """What is about to be trained, on what and where."""
    state, recipe = task.state, task.recipe
    precision = str(step_dtype(state.device)).removeprefix("torch.")
    return (
        f"{task.name}: {described(task.sources)}; steps {state.step + 1} to {recipe.steps} in batches of "
        f"{recipe.batch}, on {state.device} in {precision}"
    )


def _run(task: Task[Any], out: Path, progress: Progress, max_minutes: float, workers: Workers) -> None:
    state, recipe, saved = task.state, task.recipe, time.monotonic()
    try:
        while state.step < recipe.steps:
            batch = task.draw(state.step, workers.rank)
            compared = task.compare(batch, workers)
            state.optimizer.zero_grad(set_to_none=True)
            torch.stack(list(compared.losses.values())).sum().backward()
            workers.average(state.net)
            nn.utils.clip_grad_norm_(state.net.parameters(), MAX_GRADIENT)
            state.update(recipe.rate_at(state.step), recipe.ema)
            if workers.first:
                progress.add(state.step, compared)
            if workers.any(progress.minutes() > max_minutes, state.device):
                break
            if workers.first and time.monotonic() - saved > SAVE_SECONDS:
                state.keep(out, task.name)
                saved = time.monotonic()
    finally:
        if workers.first and state.whole:
            state.keep(out, task.name)
