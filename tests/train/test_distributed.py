"""torchrun with two processes on the CPU: both end with the same weights, learnt from different batches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.test_training import SMALL, stills
from train.loop import train
from train.recipe import RestoreRecipe
from train.restore_task import RestoreTask

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WANTED = RestoreRecipe("idn", config=dict(SMALL), steps=2, batch=1, warmup=1, size_px=64, adversarial=0.01)
SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.train.test_distributed import WANTED, stills
from train.distributed import join
from train.loop import train
from train.restore_task import RestoreTask

with join(torch.device("cpu")) as (workers, device):
    assert workers.size == 2
    task = RestoreTask(WANTED, (stills(), None), device)
    state = train(task, Path(sys.argv[1]) / "run", workers=workers)
    assert state.adversary is not None
    torch.save([state.net.state_dict(), state.adversary.net.state_dict()], f"{sys.argv[1]}/{workers.rank}.pt")
"""


def test_two_processes_keep_the_same_weights(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    nets = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for one, other in zip(*nets, strict=True):
        assert all(torch.equal(a, other[name]) for name, a in one.items())
    # Not what one process alone would have learnt: the second one's batch counts.
    alone = train(RestoreTask(WANTED, (stills(), None), torch.device("cpu")), tmp_path / "alone")
    assert any(not torch.equal(a, nets[0][0][name]) for name, a in alone.net.state_dict().items())
    assert (tmp_path / "run" / "idn.safetensors").exists()


def test_a_batch_depends_on_seed_step_and_rank() -> None:
    recipe = RestoreRecipe("nar", config=dict(SMALL), batch=1, windows=(1, 2, 3), size_px=64)
    task = RestoreTask(recipe, (stills(), None), torch.device("cpu"))

    def pictures(step: int, rank: int) -> torch.Tensor:
        return task.draw(step, rank).example.image

    for step in range(6):
        first, second = pictures(step, 0), pictures(step, 1)
        assert first.shape == second.shape and not torch.equal(first, second)
        assert torch.equal(second, pictures(step, 1))
