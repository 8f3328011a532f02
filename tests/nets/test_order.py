"""The shipped NAR on test faces under a moving camera: it loses neither to what it is given nor to IDN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train.data.pictures import Stills
from train.evaluation.conditions import Condition
from train.evaluation.evaluate import Judges, evaluate
from train.evaluation.methods import TRIVIAL, Fused, read_networks
from train.metrics import interval

pytestmark = pytest.mark.slow

FACES = Path(__file__).parents[3] / "shared" / "data" / "faces" / "test"
FRAMES, COUNT = 12, 8


@pytest.mark.parametrize("people", ["helen", "inpycon", "genfaces"])
def test_several_frames_give_no_less_than_their_fusion_and_more_than_one_frame(people: str) -> None:
    if not (FACES / people).is_dir():
        pytest.skip("needs ../shared")
    idn, nar = read_networks(["idn", "nar"], [FRAMES], torch.device("cpu"))
    fused = Fused(FRAMES)
    methods = [*TRIVIAL, fused, idn, nar]
    source = Stills.load(FACES / people, 256)
    outcome = evaluate(
        source, Condition.parse("clean-10-moving"), methods, Judges(), COUNT, judged=1, seed=11
    )
    gains = {name: scores.values["gain"] for name, scores in outcome.scores.items()}
    over_fusion, over_idn = (
        interval([a - b for a, b in zip(gains[nar.name], gains[other.name], strict=True)])
        for other in (fused, idn)
    )
    assert over_fusion.high >= 0, over_fusion
    assert over_idn.low > 0, over_idn
