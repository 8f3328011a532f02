"""The recipe of a batch: the hash of all that decides an output beside its input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Given, Resolved, resolve

_NO_MATTER = ("prefetch_frames", "threads", "batch_frames")
"""Last parts of settings that decide how fast a run is and nothing of its output."""


def resolved(values: Mapping[str, Any], config: Path | None) -> Resolved:
    """The settings of all files of a batch. Raises as ``pipeline.config.resolve``."""
    return resolve({name: Given(value, "batch") for name, value in values.items()}, config)


def recipe(mode: str, settings: Resolved) -> str:
    """SHA-256, hexadecimal, of the mode, the settings, the networks' weights and the version.

    Raises the errors of ``vidpipe.jobs.restorer_for``.
    """
    import vidpipe

    rows = {name: value for name, value, _ in settings.rows() if name.rpartition(".")[2] not in _NO_MATTER}
    decided = {
        "mode": mode,
        "settings": rows,
        "version": vidpipe.__version__,
        "weights": _weights(mode, settings),
    }
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


def _weights(mode: str, settings: Resolved) -> str:
    from export.networks import find
    from export.select import ENGINE_FILES
    from vidpipe.jobs import restorer_for

    config = settings.config
    if mode == "reconstruct":
        net = restorer_for(settings)
        if net.endswith(ENGINE_FILES):
            with Path(net).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return find(net).sha256
    if mode == "protect" and config.protect.perturb != "none":
        return find(f"pixelizer-{config.protect.perturb}").sha256
    return ""
