"""Fitted weights that lie beside the code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.mosaic import weights
from pipeline.mosaic.sampling import features
from pipeline.mosaic.weights import load_weights

FILES = sorted(Path(weights.__file__).parent.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_file_says_where_its_weights_come_from(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    assert {"command", "data", "date", "score"} <= record["provenance"].keys()
    loaded = load_weights(path.stem)
    assert loaded.shape == (len(record["weights"]) + 1,)
    assert loaded[-1] == record["constant"]


def test_there_is_a_weight_for_each_feature() -> None:
    assert [p.stem for p in FILES] == ["cell_strips", "sampling"]
    values = np.random.default_rng(0).uniform(0, 255, (6, 6))
    assert (
        len(features(values, 10.0)) + 1 == len(load_weights("sampling")) == len(load_weights("cell_strips"))
    )
