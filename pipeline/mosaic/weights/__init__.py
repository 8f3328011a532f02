"""Fitted weights of the finder, one JSON file per model, each with its provenance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def load_weights(name: str) -> NDArray[np.float64]:
    """(n + 1,): a weight for each of n features and, last, the constant, of log odds."""
    record = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return np.array([*record["weights"].values(), record["constant"]], dtype=np.float64)
