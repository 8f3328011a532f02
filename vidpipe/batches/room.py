"""How many files a batch does at a time on this machine, and on which GPUs.

One reader of DALI keeps one of a GPU's NVDEC units busy, and a run is bound by its thread that finds mosaics
or faces (docs/roofline.md). So several workers share a GPU: as many as processor and memory carry,
MOST_PER_GPU at most. How many units a GPU has, PyTorch and DALI do not tell; ``--workers`` says otherwise.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pipeline.flow import cores
from pipeline.machine import memory_bytes
from pipeline.notes import decided

log = logging.getLogger(__name__)

MOST_PER_GPU = 4
"""Published: two units gave 1.8 times one reader's frames with two and 2.0 times with four (jasna, RTX 5090);
seven units 1.9 and 3.7 times (NVIDIA/DALI issue 6387, GH200)."""
CORES_PER_RUN = 4
"""On a GPU: threads that decode, find, paint and encode."""
GPU_BYTES_PER_RUN = 4 << 30
"""Of the GPU's memory; a run of 1080p is meant to take 3.3 GiB at most."""
BYTES_PER_RUN = 2 << 30
"""Of the machine's."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What workers share."""

    cores: int
    memory_bytes: int
    gpus_bytes: tuple[int, ...] = ()
    """Memory of each GPU that is to be used."""


@dataclass(frozen=True, slots=True)
class Room:
    """Files at a time."""

    workers: int
    per_gpu: int = 0
    """Of them; 0 without a GPU."""
    gpus: int = 0
    """That workers are spread over, each seeing one; 0: they see all, and their settings name one or none."""
    why: str = ""


def room_for(device: str, asked: int | None = None) -> Room:
    """For runs on a ``device`` of the settings (auto, cpu, cuda, cuda:N); ``asked``: of the user."""
    found = room_on(machine(device), asked)
    if ":" in device:  # the settings name it, and it has this number only among all
        found = Room(found.workers, found.per_gpu, 0, found.why)
    decided(log, "workers: %d, %s", found.workers, found.why)
    return found


def machine(device: str = "auto") -> Machine:
    """This one, with the GPUs that runs on ``device`` would take."""
    import torch

    gpus: tuple[int, ...] = ()
    if device != "cpu" and torch.cuda.is_available():
        every = range(torch.cuda.device_count())
        named = [int(device.partition(":")[2])] if ":" in device else every
        gpus = tuple(torch.cuda.get_device_properties(i).total_memory for i in named if i in every)
    return Machine(cores(), memory_bytes() or BYTES_PER_RUN, gpus)


def room_on(machine: Machine, asked: int | None = None) -> Room:
    """The same for a machine that is given."""
    gpus = len(machine.gpus_bytes)
    carried = max(machine.memory_bytes // BYTES_PER_RUN, 1)
    if not gpus:
        if asked is not None:
            return Room(asked, why="as asked")
        return Room(min(machine.cores, carried), why="one per core and 2 GB of memory")
    each = min(
        MOST_PER_GPU,
        machine.cores // (CORES_PER_RUN * gpus),
        min(machine.gpus_bytes) // GPU_BYTES_PER_RUN,
        carried // gpus,
    )
    per_gpu = max(each, 1) if asked is None else -(-asked // gpus)
    why = (
        f"{per_gpu} per GPU, so that each has an NVDEC unit where there are several: {MOST_PER_GPU} at most, "
        f"one per {CORES_PER_RUN} cores and {GPU_BYTES_PER_RUN >> 30} GiB of the GPU"
    )
    return Room(asked or per_gpu * gpus, per_gpu, gpus, why if asked is None else "as asked")
