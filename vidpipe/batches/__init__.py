"""Many files: what ``vidpipe batch`` and ``vidpipe.batch`` do.

inputs      folders, patterns and manifests -> pairs of input and output
recipe      the hash of all that decides an output beside its input
ledger      what has been done, in one SQLite file beside the outputs
pool        workers: processes of this machine; ``ray_pool``: tasks on a Ray cluster
room        how many workers, on which GPUs
worker      one file in a worker
driver      the loop; yields a result per input
report      one HTML page of a batch
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import UsageError
from pipeline.flow import cores
from vidpipe.batches.driver import Plan, Result, run
from vidpipe.batches.inputs import PATTERN
from vidpipe.batches.pool import LocalPool, Pool
from vidpipe.batches.recipe import resolved
from vidpipe.batches.room import room_for
from vidpipe.batches.worker import Limits

ENGINES = ("local", "ray")
__all__ = ["Limits", "Result", "batch", "device_of", "make_pool"]


def batch(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    mode: Literal["reconstruct", "pixelize", "protect"],
    settings: Mapping[str, Any] | None = None,
    pattern: str = PATTERN,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    limits: Limits | None = None,
    attempts: int = 3,
    retry_failed: bool = False,
    overwrite: bool = False,
    upload: str | None = None,
) -> Generator[Result]:
    """Does a mode to many files, and what is done already not again.

    Args: inputs: folders (searched to the bottom), files, glob patterns, manifests (``.txt``, ``.csv`` with a
        column ``path``, ``.jsonl`` with a field ``path``) and URLs that fsspec knows. out: folder of the
        outputs and of the ledger; it mirrors the folders of the inputs. settings: by dotted name, as in
        pipeline.yaml, for all files. pattern: of an output's name below ``out``. workers: processes; None:
        up to four per GPU, else one per core and 2 GB of memory (``vidpipe.batches.room``). engine: ``ray``
        takes the cluster at ``ray_address``, or starts one on this machine. limits: files beyond them are
        skipped. attempts: for a file whose worker dies. retry_failed: files that failed before are tried
        again. overwrite: outputs that no batch has made are replaced. upload: URL of a folder of an object
        store that the outputs are moved to.

    Yields a result per input as it ends. Closing the generator ends what is under way; the same call goes on
    later. Raises UsageError, InputError, OutputError and MissingError before the first file.
    """
    plan = Plan(
        [os.fspath(given) for given in inputs],
        Path(out),
        mode,
        dict(settings or {}),
        pattern=pattern,
        limits=limits or Limits(),
        attempts=attempts,
        retry_failed=retry_failed,
        overwrite=overwrite,
        upload=upload,
    )
    return run(plan, lambda: make_pool(engine, workers, ray_address, device_of(plan)))


def device_of(plan: Plan) -> str:
    """What the settings of a batch's files say: auto, cpu, cuda or cuda:N. Raises as they do."""
    return resolved(plan.values, plan.config).config.device


def make_pool(engine: str, workers: int | None, ray_address: str | None = None, device: str = "auto") -> Pool:
    """The workers of a batch, for runs on a ``device`` of the settings. Raises UsageError for an engine that
    is not known."""
    if engine not in ENGINES:
        raise UsageError(f"engine is {engine!r}; wanted {' or '.join(ENGINES)}")
    here = room_for(device, workers)
    if engine == "ray":
        from vidpipe.batches.ray_pool import RayPool

        return RayPool(ray_address, cpus=1, gpus=1 / here.per_gpu if here.per_gpu else 0, workers=workers)
    return LocalPool(here.workers, max(1, cores() // here.workers), here.gpus)
