"""The training loop of all networks: draw, degrade, restore, compare, step.

A batch depends on (seed, step, rank) alone and the state that is saved is complete, so a run that is cut
and resumed goes through the same losses as one that is not.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import torch
from torch import nn

from nets.observation import CELLS
from nets.reference.nar_seed import SeedNARConfig
from pipeline.errors import OutputError
from train import run_identity
from train.data.degrade import degrade
from train.data.pictures import Segments, Stills, check_sizes, draw_clips, jitter
from train.distributed import Workers
from train.progress import Progress, open_board
from train.recipe import Recipe
from train.restore_task import Batch, Frozen, compare, gain_db, restore
from train.state import STATE, State, follow, set_rate, take_over

log = logging.getLogger(__name__)

SAVE_MINUTES = 2.0


def train(
    recipe: Recipe,
    sources: tuple[Stills, Segments | None],
    out: Path,
    device: torch.device,
    max_minutes: float = math.inf,
    resume: bool = False,
    frozen: Frozen | None = None,
    start: Path | None = None,
    tensorboard: bool = False,
    workers: Workers | None = None,
) -> State:
    """Trains into ``out``: ``state.pt``, ``{net}.safetensors``, ``log.csv``, ``strip_*.png``.

    A fresh run takes over the weights of ``start``: a network of the same kind, or an IDN for a NAR. An
    interrupt between two steps loses none. Raises CheckpointError where those weights, or a state to resume
    or its recipe, do not fit, InputError for segments of another size than the stills, OutputError where no
    folder can be made, MissingError without TensorBoard, ValueError for losses without their networks; all
    before the first step.
    """
    frozen, workers = frozen or Frozen(), workers or Workers()
    frozen.check(recipe)
    check_sizes(sources)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be made a folder: {error.strerror}; give another --output"
        ) from error
    state = State.fresh(recipe, device)
    if resume and (out / STATE).exists():
        run_identity.check(out, recipe)
        state.load(out / STATE)
        log.info("resumed at step %d", state.step)
    elif start is not None:
        take_over(state, start)
    board = open_board(out / "tensorboard") if tensorboard and workers.first else None
    progress = Progress(out, recipe.steps, state.step, board)
    if workers.first:
        progress.begin()
        run_identity.write(out, recipe)
    try:
        _run(state, recipe, sources, out, max_minutes, frozen, workers, progress)
    finally:
        if board is not None:
            board.close()
    return state


def _run(
    state: State,
    recipe: Recipe,
    sources: tuple[Stills, Segments | None],
    out: Path,
    max_minutes: float,
    frozen: Frozen,
    workers: Workers,
    progress: Progress,
) -> None:
    """Steps until the schedule or the time ends, kept every two minutes."""
    device, saved, whole = state.device, time.monotonic(), True
    try:
        while state.step < recipe.steps:
            batch = draw(recipe, sources, state.step, workers.rank, device)
            set_rate(state.optimizer, recipe, state.step)
            made = restore(state, recipe, batch)
            whole = state.adversary is None  # which makes its own step
            terms = compare(state, recipe, made, batch, frozen, workers)
            state.optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            workers.average(state.net)
            nn.utils.clip_grad_norm_(state.net.parameters(), 0.5)
            whole = False
            state.optimizer.step()
            follow(state.average, state.net, min(recipe.ema, (1 + state.step) / (10 + state.step)))
            state.step += 1
            whole = True
            if workers.first:
                values = {n: float(t.detach()) for n, t in terms.items()}
                progress.add(state.step, {**values, **gain_db(made)})
                progress.show(state.step, made.example, made.obs.base, made.frames.detach())
            if workers.any(progress.minutes() > max_minutes, device):
                break
            if workers.first and time.monotonic() - saved > SAVE_MINUTES * 60:
                state.keep(out, recipe.net)
                saved = time.monotonic()
    finally:
        if workers.first and whole:
            state.keep(out, recipe.net)


def draw(
    recipe: Recipe, sources: tuple[Stills, Segments | None], step: int, rank: int, device: torch.device
) -> Batch:
    """The batch of a step in one of several processes; all of them draw windows of one length."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    window = draw_window(recipe, generator)
    if rank:  # PyTorch's CPU generator takes the lowest 32 bits: ranks must differ in those
        generator.manual_seed(recipe.seed * 1_000_003 + step + rank * 0x9E3779B1)
    # A step restores as many frames whatever their windows, else single frames would count for little.
    count = recipe.batch * (recipe.restored if recipe.net == "nar" and window == 1 else 1)
    clips = draw_clips(sources, count, window, recipe.real_share, generator)
    truth = jitter(clips.frames, generator)
    example = degrade(truth, recipe.size_px, CELLS, recipe.degradation, generator)
    return Batch(example.to(device), clips.still.to(device), clips.placement.to(device))


def draw_window(recipe: Recipe, generator: torch.Generator) -> int:
    """Frames per clip of the next batch."""
    if recipe.net == "nar":
        return recipe.windows[int(torch.randint(len(recipe.windows), (1,), generator=generator))]
    if recipe.net == "nar-seed":
        return SeedNARConfig(**recipe.config).window  # type: ignore[arg-type]
    return 1
