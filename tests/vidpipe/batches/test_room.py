"""How many files at a time, and that each worker sees its own GPU."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline.notes import collecting
from vidpipe.batches import make_pool, pool
from vidpipe.batches.ray_pool import RayPool
from vidpipe.batches.room import Machine, Room, room_for, room_on
from vidpipe.cli.main import Interrupts, run_command

GIB = 1 << 30


@pytest.mark.parametrize(
    ("machine", "workers", "per_gpu"),
    [
        (Machine(16, 128 * GIB, (139 * GIB,)), 4, 4),  # one H200
        (Machine(8, 32 * GIB, (24 * GIB,)), 2, 2),  # by cores
        (Machine(2, 8 * GIB, (24 * GIB,)), 1, 1),
        (Machine(64, 256 * GIB, (8 * GIB,)), 2, 2),  # by the GPU's memory
        (Machine(64, 256 * GIB, (80 * GIB, 8 * GIB)), 4, 2),  # by the smaller one's
        (Machine(64, 6 * GIB, (80 * GIB,)), 3, 3),  # by the machine's memory
        (Machine(8, 32 * GIB, (24 * GIB,) * 4), 4, 1),
        (Machine(16, 64 * GIB), 16, 0),
        (Machine(16, 8 * GIB), 4, 0),
        (Machine(16, 1 * GIB), 1, 0),
    ],
)
def test_workers_follow_the_machine(machine: Machine, workers: int, per_gpu: int) -> None:
    found = room_on(machine)
    assert (found.workers, found.per_gpu, found.gpus) == (workers, per_gpu, len(machine.gpus_bytes))


def test_what_is_asked_for_is_spread_over_all_gpus() -> None:
    machine = Machine(8, 32 * GIB, (24 * GIB,) * 2)
    assert room_on(machine, 5) == Room(5, 3, 2, "as asked")
    assert room_on(Machine(8, 32 * GIB), 3) == Room(3, why="as asked")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sizes = (80 * GIB, 8 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(total_memory=sizes[i]))
    monkeypatch.setattr("vidpipe.batches.room.cores", lambda: 64)
    monkeypatch.setattr("vidpipe.batches.room.memory_bytes", lambda: 256 * GIB)


@pytest.mark.usefixtures("two_gpus")
def test_the_settings_say_which_gpus_there_are() -> None:
    with collecting() as notes:
        assert room_for("auto") == room_for("cuda")
    assert (room_for("auto").workers, room_for("auto").gpus) == (4, 2)
    assert any("workers: 4, 2 per GPU" in note for note in notes.all)
    named = room_for("cuda:0")  # has this number only where a worker sees them all
    assert (named.workers, named.per_gpu, named.gpus) == (4, 4, 0)
    assert (room_for("cpu").workers, room_for("cpu").per_gpu) == (64, 0)


@pytest.mark.usefixtures("two_gpus")
def test_a_task_of_ray_takes_its_part_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(RayPool, "__init__", lambda self, address, **given: asked.update(given))
    make_pool("ray", None)
    assert asked == {"cpus": 1, "gpus": 0.5, "workers": None}
    make_pool("ray", None, device="cpu")
    assert asked["gpus"] == 0


@pytest.mark.parametrize(("named", "seen"), [(None, "1"), ("2,3", "3"), ("GPU-a,GPU-b", "GPU-b")])
def test_a_worker_sees_its_gpu_among_those_of_the_user(
    named: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_end_with", lambda driver: None)
    monkeypatch.setattr(pool, "prepare", lambda threads: None)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    monkeypatch.setattr(pool, "_tell", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named or "")
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    pool._begin(None, 0, 1, gpu=1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_a_dry_run_says_how_many_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/clip.mp4").write_bytes(b"none")
    words = ["batch", f"{tmp_path}/in", "-o", f"{tmp_path}/out", "--mode", "pixelize", "--dry-run"]
    assert run_command([*words, "--workers", "3"], Interrupts()) == 0
    assert "3 at a time: as asked" in capsys.readouterr().err
