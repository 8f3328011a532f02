"""Table 5: what is measured of a pixelized clip is what a file of the command shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch

from nets.checkpoint import save
from nets.idn import IDN, IDNConfig
from train.data.pictures import Stills
from train.data.pixelize import averaged_cells
from train.evaluation.defence import CHANNELS, RETRAINED, Defence, Plan, RunOutputs, measure, worst_frame
from train.evaluation.defence_tables import BEST, best, differences, page, strangers, summary
from train.evaluation.evaluate import Judges, Metric
from train.evaluation.methods import read_networks
from train.evaluation.pixelized_faces import (
    FaceClip,
    MosaicPlace,
    Settings,
    face_clips,
    find_track,
    pixelized_frames,
    scene_of,
)
from train.metrics import psnr

pytestmark = pytest.mark.slow

SCALE, SIZE_PX = 1.3, 96
SEED = 5
"""Of a camera that the finder follows over all frames"""


@pytest.fixture(scope="module")
def portrait() -> Stills:
    """NASA's portrait of Eileen Collins, as scikit-image ships it, cut as the face crops are."""
    cut = np.ascontiguousarray(skimage.data.astronaut()[20:240, 110:330])
    whole = torch.from_numpy(cut).permute(2, 0, 1)[None].float()
    return Stills(torch.nn.functional.interpolate(whole, (256, 256), mode="area").byte())


@pytest.fixture(scope="module")
def clip(portrait: Stills, tmp_path_factory: pytest.TempPathFactory) -> FaceClip:
    (made,) = face_clips(portrait, 1, tmp_path_factory.mktemp("clip"), SEED)
    return made


def test_a_scene_is_the_mosaic_that_the_file_shows(clip: FaceClip) -> None:
    track = find_track(clip)
    H, W = clip.frames.shape[-2:]
    place = MosaicPlace.of(track, 6, SCALE, SIZE_PX, (H, W))
    plain, held = (
        scene_of(clip, pixelized_frames(clip, track, Settings(mode), 0), place, 4)
        for mode in ("pixelize", "protect")
    )
    for one in (plain, held):
        cells = averaged_cells(one.image, one.mask, one.rows, one.cols)
        assert float((cells - one.image).abs().mean()) * 255 < 1.5, "cells are flat where the lattice says"
        outside = ((one.image - one.truth).abs() * one.mask).mean() / one.mask.mean()
        assert float(outside) * 255 < 2
        assert float(psnr(one.image, one.truth, one.weight).mean()) < 30
    colours = [s.image[[2, 12]] * s.weight[[2, 12]] for s in (plain, held)]
    moved = [float((c[0] - c[1]).abs().mean()) for c in colours]
    assert moved[1] < 0.6 * moved[0], "held colours do not change while the face moves over its cells"


def test_the_judged_frame_is_the_worst_of_protect(clip: FaceClip) -> None:
    track = find_track(clip)
    H, W = clip.frames.shape[-2:]
    place = MosaicPlace.of(track, 6, 1.3, 128, (H, W))
    plain, held = (place.crop(pixelized_frames(clip, track, Settings(m), 0)) for m in ("pixelize", "protect"))
    errors = [float(((a - b) ** 2 * w).mean()) for a, b, w in zip(plain, held, place.weight, strict=True)]
    judged = worst_frame(RunOutputs(clip, track), place, 6)
    assert errors[judged] == min(errors) and errors[judged] < 0.3 * max(errors)


def test_placements_of_crops_lead_into_the_still(clip: FaceClip, portrait: Stills) -> None:
    track = find_track(clip)
    H, W = clip.frames.shape[-2:]
    place = MosaicPlace.of(track, 6, SCALE, SIZE_PX, (H, W))
    one = scene_of(clip, clip.frames, place, 0)
    assert one.placement is not None
    grid = torch.nn.functional.affine_grid(
        one.placement, [len(one.truth), 3, SIZE_PX, SIZE_PX], align_corners=False
    )
    still = (portrait.pictures.float() / 255).expand(len(one.truth), -1, -1, -1)
    seen = torch.nn.functional.grid_sample(still, grid, padding_mode="reflection", align_corners=False)
    inside = one.weight
    assert float(psnr(seen, one.truth, inside).min()) > 28


def test_a_table_resumes_and_names_who_attacked(
    portrait: Stills, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defences = [Defence("pixelize", Settings("pixelize")), Defence("protect", Settings("protect"))]
    plan = Plan(defences, ("raw", "JPEG 75", CHANNELS[-1]), [], {}, Judges(), 1, SEED)
    told: list[str] = []
    faces = measure(plan, portrait, "faces", tmp_path, told.append)
    assert len(faces) == 1 and len(told) == 1
    assert measure(plan, portrait, "faces", tmp_path, told.append) == faces and len(told) == 1
    assert measure(replace(plan, channels=("raw",)), portrait, "faces", tmp_path, told.append)[0] == {
        name: row for name, row in faces[0].items() if " / raw / " in name
    }
    assert len(told) == 1, "what is known is not measured again"
    (file,) = (tmp_path / "values-faces").glob("*.json")
    known = json.loads(file.read_text())
    known["protect / raw / bicubic"] |= {"psnr": 1.0}
    known["pixelize / raw / bicubic"] |= {"psnr": 2.0, "made_of": "other weights"}
    file.write_text(json.dumps(known))
    monkeypatch.setattr("train.evaluation.defence.SHEETS", 0)
    again = measure(plan, portrait, "faces", tmp_path, told.append)[0]
    assert len(told) == 2
    assert again["pixelize / raw / bicubic"] == faces[0]["pixelize / raw / bicubic"], "measured anew"
    assert again["protect / raw / bicubic"]["psnr"] == 1.0, "kept"
    text = page(plan, {"faces": faces})
    assert "inversion, 16 frames, known motion" in text and "cannot be undone" not in text
    values = summary(faces)
    assert values["pixelize / raw / bicubic"]["gain"].mean == pytest.approx(0, abs=1e-6)
    assert values["pixelize / raw / covered"]["to_mosaic"].mean == pytest.approx(100)


def test_kept_values_are_of_these_weights_conditions_and_blocks(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.safetensors" for n in range(2)]
    for n, file in enumerate(files):
        torch.manual_seed(n)
        save(file, IDN(IDNConfig(width=8, widths=(16, 24), tail=8)))

    def plan(
        attacker: int = 0, adapted: int = 0, changed: int = 0, blocks: int = 6, channel: str = "raw"
    ) -> Plan:
        a, b = (
            read_networks([str(files[n])], [1], torch.device("cpu"), ["idn"])[0] for n in (attacker, adapted)
        )
        defence = Defence("protect", Settings("protect", blocks), "none", files[changed])
        return Plan([defence], (channel,), [a], {"none": replace(b, name="adapted")}, Judges(), 1)

    others = [plan(attacker=1), plan(adapted=1), plan(changed=1), plan(blocks=5), plan(channel="blur")]
    name = "protect / raw / idn"
    digests = [p.rows().get(name) for p in (plan(), *others)]
    assert digests[2] == digests[0], "another attacker's weights do not decide it"
    assert digests[5] is None and len({digests[n] for n in (0, 1, 3, 4)}) == 4
    adapted = [p.rows()[f"protect / raw / {RETRAINED}"] for p in others[:2]]
    assert adapted[0] == plan().rows()[f"protect / raw / {RETRAINED}"] != adapted[1]
    text = page(plan(), {"faces": [{"protect / raw / idn": {"gain": 1.0}}]})
    assert all(digest[:16] in text for digest in plan().weights().values())
    assert len(set(plan(attacker=1).weights().values())) == 2


def test_the_level_of_strangers_leaves_the_same_person_out() -> None:
    truths = [[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]]
    faces: list[dict[str, dict[str, object]]] = [
        {"a / raw / one": {"true": truth, "embedding": [0.0, 2.0], "identity": 0.0, "person": person}}
        for truth, person in zip(truths, (0, 0, 1), strict=True)
    ]
    level = strangers(faces)
    assert level is not None and level.mean == pytest.approx(0.6)
    row = summary(faces)["a / raw / one"]
    assert row["others"].mean == pytest.approx((0.8 + 0.8 + 0.0) / 3)
    assert row["rank1"].mean == pytest.approx(1 / 3)
    unknown = [{k: {m: v for m, v in row.items() if m != "person"} for k, row in f.items()} for f in faces]
    assert strangers(unknown) is None and "others" not in summary(unknown)["a / raw / one"]


def test_the_best_attacker_is_taken_face_by_face() -> None:
    gain, distance = Metric("gain", "gain", True, 2), Metric("distance", "distance", False, 3)
    faces: list[dict[str, dict[str, object]]] = [
        {
            "a / x / one": {"gain": 1.0, "distance": 0.4},
            "a / x / two": {"gain": 3.0},
            "a / x / covered": {"gain": 9.0},
            "b / x / one": {"gain": 0.5, "distance": 0.6},
            "b / x / two": {"gain": 0.0},
            "b / x / covered": {"gain": 9.0},
        }
    ]
    assert best(faces[0], "a / x", gain) == 3.0
    assert best(faces[0], "a / x", distance) == 0.4
    assert f"| {BEST} | -2.50" in differences(faces, ["a", "b"], "x", gain)
