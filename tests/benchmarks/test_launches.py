"""What a frame of 1080p with one mosaic asks of a device that pretends: launches, waits and copies."""

from __future__ import annotations

import tempfile

import pytest
import torch

from benchmarks import gpu_profile
from pipeline import cuda
from tests.support.launches import counted_per_frame
from tests.support.pretend import PRETENDED, pretended_device

pytestmark = pytest.mark.slow

MOST_LAUNCHES, MOST_WAITS = 170, 5
"""Per frame, the network itself one launch."""
WITHOUT_WAITING = ("upload", "track", "crop", "window", "paste")
FRAMES, WINDOWS = 16, 2


def test_reconstructing_stays_within_its_launches_and_waits(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("clip")))
    asked = counted_per_frame(gpu_profile.make_clip(), "nar", frames=FRAMES)["per_frame"]
    launches, waits = (sum(stage[what] for stage in asked.values()) for what in ("launches", "waits"))
    assert launches <= MOST_LAUNCHES, asked
    assert waits <= MOST_WAITS, asked
    for name in WITHOUT_WAITING:
        assert asked[name]["waits"] == 0, name
    assert asked["restore"]["waits"] == WINDOWS / FRAMES  # a word at the end of each batch
    assert asked["download"]["waits"] == 1


def test_a_graph_forbids_what_a_gpu_would_wait_for() -> None:
    with pretended_device() as counted:
        x = torch.ones(4, device=PRETENDED)
        doubled = cuda.captured(lambda: x * 2 + 1, PRETENDED, "doubled")
        first, before = doubled(), counted.launches
        x.add_(1)
        again = doubled()
        assert again is first
        assert counted.launches == before + 2  # the sum, and the graph
        assert torch.equal(again.cpu(), torch.full((4,), 5.0))
        for asks in (x.cpu, lambda: x * float(x.sum()), lambda: x + torch.ones(4).to(PRETENDED)):
            with pytest.raises(RuntimeError, match="copies nothing"):
                cuda.captured(asks, PRETENDED, "asking")
