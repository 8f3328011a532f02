"""Tables as data: their variants can be made, train alike, resume, and stand together on a page."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from nets.checkpoint import load
from pipeline.errors import InputError, UsageError
from tests.train.evaluation.test_evaluate import SMALL, stills
from train.data import pack
from train.data.pictures import Segments
from train.evaluation.conditions import Condition
from train.evaluation.evaluate import METRICS, Judges
from train.evaluation.methods import read_networks
from train.evaluation.suite import Suite, sources
from train.evaluation.tables import TABLES, Table, Variant
from train.evaluation.variants import page, recipe_of, slug, train_variants

CPU = torch.device("cpu")
TINY = Table(
    "a test",
    (
        Variant("IDN", "idn", SMALL, recipe={"batch": 1}),
        Variant("1 stage", "idn", {**SMALL, "recurrences": 1}, recipe={"batch": 1}),
    ),
    ("clean-8",),
    ("psnr", "ssim"),
)


@pytest.mark.parametrize("name", list(TABLES))
def test_every_variant_of_every_table_can_be_made(name: str) -> None:
    table = TABLES[name]
    for variant in table.variants:
        recipe_of(variant, 10, 1)
        assert recipe_of(variant, 10, 1).warmup == 1 and recipe_of(variant, 5000, 1).warmup == 100
    assert len({slug(v.name) for v in table.variants}) == len(table.variants)
    assert all(Condition.parse(c).name == c for c in table.conditions)
    assert set(table.metrics) <= {m.key for m in METRICS}


@pytest.mark.slow
def test_variants_train_alike_and_resume(tmp_path: Path) -> None:
    files = train_variants(TINY, (stills(), None), 0.0, tmp_path, CPU)
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["steps"] == 10 and set(plan["seconds_per_step"]) == {"IDN", "1 stage"}
    states = [torch.load(f.with_name("state.pt"), weights_only=True) for f in files]
    assert [s["step"] for s in states] == [10, 10]
    before = load(files[0]).state_dict()
    files[1].unlink()
    # A second call goes by the plan, whatever time it is given, and makes only what is missing.
    assert train_variants(TINY, (stills(), None), 99.0, tmp_path, CPU) == files
    after = load(files[0]).state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items()) and files[1].exists()
    with pytest.raises(InputError, match="another"):
        train_variants(TINY, (stills(), None), 0.0, tmp_path, CPU, seed=2)

    networks = read_networks([str(f) for f in files], [1], CPU, [v.name for v in TINY.variants])
    suite = Suite({"faces": stills()}, [Condition.parse("clean-8")], networks, Judges(), count=1)
    text = page("Table 0", TINY, list(suite.outcomes()), plan)
    assert "trained for 10 steps" in text and text.count("| 1 stage |") == 2
    assert "| PSNR in the mosaic, dB | faces, clean-8 |" in text


def test_a_variant_that_cannot_be_made_is_refused_before_the_first_step(tmp_path: Path) -> None:
    for wrong in (
        Variant("no such net", "unet"),
        Variant("no such size", "idn", {"depth": 3}),
        Variant("no such range", "idn", SMALL, {"blur": 3}),
        Variant("no such loss", "idn", SMALL, recipe={"magic": 1}),
    ):
        with pytest.raises(UsageError, match=wrong.name):
            train_variants(Table("", (*TINY.variants, wrong), ()), (stills(), None), 0.0, tmp_path, CPU)
    assert not list(tmp_path.iterdir())


def test_it_is_known_who_is_in_a_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {"a.mp4": 2, "b.mp4": 0, "c.mp4": 1}
    picture = np.zeros((pack.LENGTH, pack.SIZE_PX, pack.SIZE_PX, 3), np.uint8)
    monkeypatch.setitem(sys.modules, "decord", ModuleType("decord"))  # nothing is read here
    monkeypatch.setattr(pack, "open_detector", lambda *_, **__: None)
    monkeypatch.setattr(pack, "segments", lambda path, _: [picture] * runs[path.name])
    for name in runs:
        (tmp_path / name).touch()
    packed = tmp_path / "out" / "segments.npy"
    packed.parent.mkdir()
    assert pack.pack(tmp_path, packed) == [0, 0, 2]
    for path in (tmp_path, packed):
        segments, people = sources(None, path)["clips"]
        assert isinstance(segments, Segments) and len(segments.frames) == 3 and people == [0, 0, 2]
    packed.with_suffix(".json").unlink()
    assert sources(None, packed)["clips"][1] is None
