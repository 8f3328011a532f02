"""Exported networks in the user's cache, under the hash of what they were made from."""

from __future__ import annotations

import hashlib
import logging
import os
from importlib.metadata import version
from pathlib import Path

from export.onnx import OPSET, export_onnx, spec_of
from nets.checkpoint import WEIGHTS, CheckpointError, load, sha256
from pipeline.errors import InputError, MissingError, OutputError

log = logging.getLogger(__name__)

GRAPH = 1
"""Raise when the code of a network changes what the same weights compute."""


def folder() -> Path:
    """``VIDPIPE_CACHE``, else ``vidpipe`` in the user's cache folder."""
    if named := os.environ.get("VIDPIPE_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vidpipe"


def engine_file(net: str, weights: Path | None = None) -> Path:
    """ONNX file of a network, exported now if the cache has none for these weights.

    ``net``: idn or nar, the shipped weights unless ``weights`` names others. Raises MissingError,
    InputError (weights that cannot be read) and OutputError (a cache that cannot be written).
    """
    path = weights or WEIGHTS / f"{net}.safetensors"
    if not path.exists():
        raise MissingError(f"{path} does not exist; train it with: vidpipe train {net}")
    digest = sha256(path)
    key = hashlib.sha256(f"{digest} {OPSET} {GRAPH} {version('torch')}".encode()).hexdigest()[:16]
    target = folder() / f"{net}-{key}.onnx"
    if target.exists():
        return target
    log.info("exporting %s to ONNX, once (about 10 s): %s", net, target)
    try:
        loaded = load(path)
    except CheckpointError as error:
        raise InputError(str(error)) from error
    try:
        export_onnx(loaded, spec_of(loaded, digest, version("vidpipe")), target)
    except OSError as error:
        raise OutputError(
            f"cannot write the exported network to {target.parent}: {error.strerror}; set VIDPIPE_CACHE"
        ) from error
    return target
