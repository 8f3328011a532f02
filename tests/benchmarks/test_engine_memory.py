"""Memory of a TensorRT engine goes with its largest batch, as the page of engines says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import engine_memory
from export import tensorrt_worker
from export.spec import TENSORRT_BATCH, Batch
from nets.checkpoint import save
from tests.export.conftest import shaken

pytestmark = [pytest.mark.trt, pytest.mark.slow]


def test_a_small_batch_takes_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tensorrt_worker, "say", lambda **what: None)
    weights = tmp_path / "tiny.safetensors"
    save(weights, shaken("nar"))
    usual, larger = (
        engine_memory.measured(str(weights), 128, batch, ("8.9",))[0]
        for batch in (TENSORRT_BATCH, Batch(1, 4, 16))
    )
    assert 0 < 2 * usual < larger
