"""``vidpipe run --mode pixelize`` and ``protect``, end to end, on a portrait under a moving camera."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.select import engine_for
from pipeline.decode import open_decoder
from pipeline.faces import Face
from pipeline.faces.centerface_cuda import FETCHED_CELLS
from pipeline.picture.grid_paint import cells_across
from pipeline.run.anonymize_sidecar import AnonymizeReport, read_report
from pipeline.stages.paint import paint
from pipeline.types import Box, Frame, Masked
from tests.support.fixtures import MOSAIC_BOX
from tests.support.portrait import FRAMES, SIZE, face_box, read_clip
from tests.support.pretend import PRETENDED, pretended_device
from tests.vidpipe.conftest import Cli

pytestmark = pytest.mark.slow


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _change(clip: Path, output: Path, index: int) -> tuple[float, float]:
    """Mean absolute difference in grey levels on the face, and far from it."""
    ((before,), (after,)) = read_clip(clip, [index]), read_clip(output, [index])
    difference = np.abs(before.astype(float) - after)
    x0, y0, x1, y1 = face_box(index)
    return float(difference[y0:y1, x0:x1].mean()), float(difference[y1 + 60 :, 200:].mean())


def _report(output: Path) -> AnonymizeReport:
    return read_report(Path(f"{output}.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mode", "pixelize"],
        ["--mode", "pixelize", "--look", "blur", "--mask", "box"],
        ["--mode", "pixelize", "--look", "solid"],
        ["--mode", "protect", "--blocks", "5"],
        ["--mode", "protect", "--epsilon", "5"],
    ],
)
def test_every_frame_is_covered_and_told_of(
    cli: Cli, portrait_clip: Path, tmp_path: Path, arguments: list[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("run", portrait_clip, "-o", output, *arguments) == 0
    report = _report(output)
    assert (report.frames, report.frames_covered) == (FRAMES, FRAMES)
    assert report.gate is not None
    assert report.gate.passed
    assert report.gate.frames_decoded == FRAMES
    assert report.gate.frames_examined >= FRAMES // 3
    (track,) = report.tracks
    assert (track.first_frame, len(track.boxes), track.decision) == (0, FRAMES, "covered")
    for index in (0, 25, 49):
        face, far = _change(portrait_clip, output, index)
        assert face > 6
        assert far < 3
    assert _left(tmp_path) == ["out.mp4", "out.mp4.json"]
    with av.open(output) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert "covered" in container.metadata["comment"]


def test_protect_shows_the_same_colours_on_all_frames(cli: Cli, portrait_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    assert cli("run", portrait_clip, "-o", output, "--mode", "protect", "--crf", "10") == 0
    (release,) = _report(output).releases
    assert release.values == "nobody" and release.measurements == 1
    assert release.bits[0].bits == 1.0
    means = []
    for index, picture in zip((0, 16, 33, 49), read_clip(output, [0, 16, 33, 49]), strict=True):
        x0, y0, x1, y1 = face_box(index)
        means.append(picture[y0:y1, x0:x1].reshape(-1, 3).mean(0))
    # Where the box is 1 % off, the same colours lie elsewhere under the rectangle.
    assert np.ptp(np.array(means), axis=0).max() < 6


def test_a_perturbation_is_the_same_on_all_frames_and_told_of(
    cli: Cli, portrait_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.select.engine_for", engine_for)  # the shipped network's
    plain, changed = tmp_path / "plain.mp4", tmp_path / "changed.mp4"
    held = ("--mode", "protect", "--values", "measured", "--crf", "10", "--gate", "off")
    assert cli("run", portrait_clip, "-o", plain, *held) == 0
    assert cli("run", portrait_clip, "-o", changed, *held, "--perturb", "block") == 0
    (release,) = _report(changed).releases
    assert release.perturbed_levels is not None and 1 < release.perturbed_levels < 30
    assert _report(plain).releases[0].perturbed_levels is None
    differences = []
    for index in (0, 49):
        ((before,), (after,)) = read_clip(plain, [index]), read_clip(changed, [index])
        x0, y0, x1, y1 = face_box(index)
        differences.append((after.astype(float) - before)[y0:y1, x0:x1].mean((0, 1)))
    assert np.abs(differences[0] - differences[1]).max() < 1.5
    assert np.abs(differences[0]).max() > 0.5


def test_what_is_pixelated_already_gets_fewer_cells_that_hold(
    cli: Cli, mosaic_clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    held = ("--mode", "protect", "--values", "measured", "--crf", "10", "--mask", "box")
    assert cli("run", mosaic_clip, "-o", output, *held) == 0
    report = _report(output)
    (track,) = [t for t in report.tracks if t.kind == "mosaic"]
    assert track.decision == "covered"
    (release,) = [r for r in report.releases if r.track == track.track]
    assert release.measurements == 1
    assert release.smallest_cell_px is not None
    assert release.smallest_cell_px > 1.8 * (MOSAIC_BOX[2] - MOSAIC_BOX[0]) / 8, (
        "of 8 cells at most 4 are left"
    )
    x0, y0, x1, y1 = MOSAIC_BOX
    first, last = (p[y0:y1, x0:x1, 0].astype(float) for p in read_clip(output, [8, 29]))
    assert np.abs(first - last).mean() < 4, "colours hold"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--blocks", "40", "--gate", "off"], ["12"]),
        (["--blocks", "40", "--look", "solid"], []),
        ([], ["6"]),
    ],
)
def test_blocks_through_which_faces_may_be_recognised_are_told(
    portrait_clip: Path, tmp_path: Path, cli: Cli, more: list[str], told: list[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("run", portrait_clip, "-o", output, "--mode", "pixelize", *more) == 0
    warnings = " ".join(_report(output).warnings)
    assert re.findall(r"with (\d+) blocks across a face, \d+ of 100", warnings) == told


def test_who_is_left_by_choice_is_told_beside_what_the_gate_found(
    portrait_clip: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("run", portrait_clip, "-o", tmp_path / "out.mp4", "--mode", "pixelize")
    assert cli(*arguments, "--exclude-region", "0,0,9999,9999") == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "nothing was covered" in said
    assert "but those that were left by choice" in said


def test_a_preview_that_cannot_be_written_ends_with_1(
    portrait_clip: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        cli("run", portrait_clip, "-o", tmp_path / "no" / "out.mp4", "--mode", "pixelize", "--preview") == 1
    )

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pipeline.run.preview.ContactSheet.save", read_only)
    assert cli("run", portrait_clip, "-o", tmp_path / "out.mp4", "--mode", "pixelize", "--preview") == 1
    assert _left(tmp_path) == []


def test_a_preview_numbers_the_tracks_and_a_run_from_it_detects_nothing(
    cli: Cli, portrait_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("run", portrait_clip, "-o", output, "--mode", "pixelize", "--preview") == 0
    assert _left(tmp_path) == ["out.preview.json", "out.preview.png"]
    tracks = tmp_path / "out.preview.json"
    monkeypatch.setattr("pipeline.run.anonymize.FaceDetection", None)
    assert cli("run", portrait_clip, "-o", output, "--mode", "pixelize", "--from", tracks) == 0
    assert _report(output).tracks[0].boxes == read_report(tracks).tracks[0].boxes
    assert _report(output).finder is None
    kept = tmp_path / "kept.mp4"
    assert cli("run", portrait_clip, "-o", kept, "--mode", "pixelize", "--from", tracks, "--keep", "1") == 0
    assert _report(kept).tracks[0].decision == "left"
    assert _change(portrait_clip, kept, 25)[0] < 3
    assert (
        cli("run", portrait_clip, "-o", kept, "-y", "--mode", "pixelize", "--from", tracks, "--keep", "9")
        == 2
    )


def test_a_face_that_the_gate_finds_leaves_no_output_and_a_report_to_go_on_from(
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out.mp4"
    blind = ("--mode", "pixelize", "--det-threshold", "1")  # nothing is that sure
    assert cli("run", portrait_clip, "-o", output, *blind) == 4
    told = capsys.readouterr().err
    assert "frame 0 at 0.000 s" in told
    assert len(told.strip().splitlines()) == 1
    assert _left(tmp_path) == ["out.mp4.gate.json"]
    gate_report = tmp_path / "out.mp4.gate.json"
    report = read_report(gate_report)
    assert report.output is None
    assert report.gate is not None
    assert {u.frame for u in report.gate.uncovered} == set(range(FRAMES))
    by_hand = "0,0,384,288"
    again = ("run", portrait_clip, "-o", output, "--mode", "pixelize", "--from", gate_report)
    assert cli(*again, "--region", by_hand) == 0
    assert _left(tmp_path) == ["out.mp4", "out.mp4.json"]
    assert [t.track for t in _report(output).tracks] == [-1]
    assert cli("run", portrait_clip, "-o", output, "-y", *blind, "--gate", "off") == 0
    assert _report(output).gate is None


@pytest.mark.parametrize("strength", [["--blocks", "16"], ["--look", "blur", "--blocks", "40"]])
def test_a_face_that_its_mask_shows_is_not_released(
    cli: Cli, portrait_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], strength: list[str]
) -> None:
    output = tmp_path / "out.mp4"
    arguments = ("run", portrait_clip, "-o", output, "--mode", "pixelize", "--end", "0.4", *strength)
    assert cli(*arguments) == 4
    told = capsys.readouterr().err
    assert "through the masks of one track" in told
    assert _left(tmp_path) == ["out.mp4.gate.json"]
    gate = read_report(tmp_path / "out.mp4.gate.json").gate
    assert gate is not None and not gate.passed and not gate.uncovered
    assert [sight.track for sight in gate.seen_through] == [1]
    assert gate.seen_through[0].score > 0.5


def _show_more(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Masks of these numbers of blocks have 16 instead, through which the face is seen."""

    def across(box: Box, blocks: int, *more: float) -> tuple[int, int]:
        return cells_across(box, 16 if blocks in numbers else blocks, *more)

    monkeypatch.setattr("pipeline.stages.lattices.cells_across", across)


@pytest.mark.parametrize(("shown", "steps"), [((6,), [(6, 4)]), ((6, 4), [(6, 4), (4, 3)])])
def test_a_track_that_is_seen_through_gets_fewer_blocks_by_itself(
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shown: tuple[int, ...],
    steps: list[tuple[int, int]],
) -> None:
    _show_more(monkeypatch, *shown)
    output, times = tmp_path / "out.mp4", ("--end", "0.8", "--during", "0.2-")
    corner = ("--region", "0,200,64,64")
    assert cli("run", portrait_clip, "-o", output, "--mode", "pixelize", *times, *corner) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "covered again" in line]
    assert len(told) == len(steps)
    assert "through 6 blocks (track 1, frame " in told[0] and told[0].endswith(
        "one track covered again with 4"
    )
    report = _report(output)
    assert [(r.track, r.before, r.blocks) for r in report.fewer_blocks] == [(1, *step) for step in steps]
    assert report.gate is not None and report.gate.passed and report.gate.masks_examined == 1
    assert report.looks is not None and report.finder is not None
    assert (report.frames, report.frames_covered) == (20, 20)
    by_hand, track = report.tracks
    assert (by_hand.track, by_hand.decision) == (-1, "covered")
    assert (track.track, track.decision, track.frames_covered) == (1, "covered in part", 15)
    assert _left(tmp_path) == ["out.mp4", "out.mp4.json"]
    assert _change(portrait_clip, output, 2)[0] < 3, "what was left by choice still is"
    assert _change(portrait_clip, output, 10)[0] > 6
    ((picture,), (before,)) = read_clip(output, [10]), read_clip(portrait_clip, [10])
    assert np.abs(picture[204:260, 4:60].astype(float) - before[204:260, 4:60]).mean() > 3
    stages = [stage.stage for stage in report.stages]
    assert "find" in stages and "replay" in stages and len(stages) == len(set(stages))


def test_a_track_that_fewer_blocks_show_as_well_is_refused(
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _show_more(monkeypatch, 6, 4, 3)
    output = tmp_path / "out.mp4"
    arguments = ("run", portrait_clip, "-o", output, "--mode", "pixelize", "--end", "0.4")
    assert cli(*arguments, "--blocks", "6") == 4
    assert read_report(tmp_path / "out.mp4.gate.json").fewer_blocks == [], "what was asked for is not changed"
    capsys.readouterr()
    assert cli(*arguments) == 4
    assert "), with 3 blocks, too; nothing was released" in capsys.readouterr().err
    assert _left(tmp_path) == ["out.mp4.gate.json"]
    report = read_report(tmp_path / "out.mp4.gate.json")
    assert [record.blocks for record in report.fewer_blocks] == [4, 3]
    assert report.gate is not None and [sight.track for sight in report.gate.seen_through] == [1]


def test_half_a_face_beside_its_mask_is_not_released(
    cli: Cli, portrait_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_FACES__BIRTH_SCORE", "1")  # nothing is that sure
    x0, y0, x1, y1 = face_box(0)
    half = f"{x0 - 20},{y0 - 20},{20 + (x1 - x0) // 2},{y1 - y0 + 40}"
    arguments = ("run", portrait_clip, "-o", tmp_path / "out.mp4", "--mode", "pixelize", "--end", "0.2")
    assert cli(*arguments, "--region", half) == 4
    gate = read_report(tmp_path / "out.mp4.gate.json").gate
    assert gate is not None and {face.frame for face in gate.uncovered} == set(range(5))


@pytest.mark.parametrize("cover", [False, True])
def test_another_stream_with_a_face_is_left_behind(
    cli: Cli, portrait_clip: Path, tmp_path: Path, cover: bool
) -> None:
    """A second video stream, first in the file and without a flag that says which is which, or a picture."""
    clip, output = tmp_path / "two.mkv", tmp_path / "out.mkv"
    with av.open(portrait_clip) as source, av.open(clip, "w") as container:
        video = source.streams.video[0]
        targets = [container.add_stream_from_template(video) for _ in range(1 if cover else 2)]
        if cover:
            ((picture,),) = [read_clip(portrait_clip, [0])]
            ok, png = cv2.imencode(".png", picture[..., ::-1])
            assert ok
            container.add_attachment("cover.png", "image/png", png.tobytes())
        for packet in source.demux(video):
            for target in targets if packet.dts is not None else ():
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, target
                container.mux(copy)
    assert cli("run", clip, "-o", output, "--mode", "pixelize") == 0
    assert any("video" in said or "cover" in said for said in _report(output).removed)
    with av.open(output) as released:
        assert len(released.streams.video) == 1


def test_what_is_weakened_is_told_in_the_output_the_report_and_on_the_screen(
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "out.mp4"
    monkeypatch.setenv("VIDPIPE_GATE__SCAN", "false")
    monkeypatch.setenv("VIDPIPE_FACES__BIRTH_SCORE", "1")  # nothing is that sure
    assert cli("run", portrait_clip, "-o", output, "--mode", "pixelize", "--end", "0.4") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "nothing was covered" in told
    assert "gate.scan false instead of true (from VIDPIPE_GATE__SCAN)" in told
    report = _report(output)
    assert [record.name for record in report.weakened] == ["faces.birth_score", "gate.scan"]
    with av.open(output) as container:
        comment = container.metadata["comment"]
    assert comment == report.notice
    assert "gate.scan false" in comment
    assert "were covered" not in comment


def test_a_time_or_a_place_is_left_as_it_is_and_the_gate_knows(
    cli: Cli, portrait_clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("run", portrait_clip, "-o", output, "--mode", "pixelize", "--during", "0-1") == 0
    assert _change(portrait_clip, output, 10)[0] > 6
    assert _change(portrait_clip, output, 40)[0] < 3
    assert _report(output).tracks[0].decision == "covered in part"
    everywhere = ("--exclude-region", "0,0,640,480")
    assert cli("run", portrait_clip, "-o", output, "-y", "--mode", "pixelize", *everywhere) == 0
    assert _report(output).frames_covered == 0


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["pixelize", "protect"])
@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_on_a_gpu_the_same_faces_are_covered(
    cli: Cli, portrait_clip: Path, tmp_path: Path, mode: str, engine: str
) -> None:
    reports = []
    for device in ("cpu", "cuda:0"):
        output = tmp_path / f"{device[:4]}.mp4"
        arguments = ["--mode", mode, "--device", device, "--engine", engine]
        assert cli("run", portrait_clip, "-o", output, *arguments) == 0
        reports.append(_report(output))
    here, there = reports
    assert there.finder is not None and "cuda:0" in there.finder
    assert there.gate is not None and there.gate.passed and "cuda:0" in there.gate.finder
    assert (there.frames, there.frames_covered) == (FRAMES, FRAMES)
    (one,), (two,) = here.tracks, there.tracks
    for a, b in zip(one.boxes, two.boxes, strict=True):
        assert a == pytest.approx(b, abs=2)


@pytest.mark.parametrize("mode", ["pixelize", "protect"])
def test_a_whole_run_on_a_device(
    cli: Cli, portrait_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """One that pretends, in one thread: what comes to the host before the encoder, and the same mask."""
    here, there = tmp_path / "here.mp4", tmp_path / "there.mp4"
    arguments = ["--mode", mode, "--engine", "onnxruntime"]
    assert cli("run", portrait_clip, "-o", here, *arguments) == 0
    painted: list[int] = []

    def paint_watched(items: Iterator[Masked], kept: int) -> Iterator[Frame]:
        for frame in paint(items, kept):
            assert frame.device == PRETENDED
            painted.append(len(counted.to_host))
            yield frame

    monkeypatch.setattr("pipeline.run.anonymize.prefetch", lambda items, *_: (item for item in items))
    monkeypatch.setattr("pipeline.run.release.check.prefetch", lambda items, *_: (item for item in items))
    monkeypatch.setattr(
        "pipeline.run.lifecycle.open_decoder", lambda path, *_, **how: open_decoder(path, **how)
    )
    monkeypatch.setattr("pipeline.run.anonymize.device_for", lambda config: PRETENDED)
    monkeypatch.setattr("pipeline.run.anonymize.paint", paint_watched)
    with pretended_device() as counted:
        assert cli("run", portrait_clip, "-o", there, "--mode", mode) == 0
    # Each frame when it is painted; else places of faces or a thumbnail, in protect what may be a mosaic.
    whole, places = SIZE[0] * SIZE[1] * 3 // 2, 4 * 16 * FETCHED_CELLS
    thumbnail = 3 * 128 * round(128 * SIZE[1] / SIZE[0])
    most = {"pixelize": max(places, thumbnail), "protect": whole - 1}[mode]
    large = [at for at, size in enumerate(counted.to_host) if size > most]
    assert large == painted
    assert [counted.to_host[at] for at in large] == FRAMES * [whole]
    assert 0 < counted.to_host.count(places) < 2 * FRAMES
    one, two = _report(here), _report(there)
    assert two.finder is not None and f"torch {PRETENDED}" in two.finder
    assert two.gate is not None and two.gate.passed and f"torch {PRETENDED}" in two.gate.finder
    assert two.frames_covered == FRAMES
    for a, b in zip(one.tracks[0].boxes, two.tracks[0].boxes, strict=True):
        assert a == pytest.approx(b, abs=1)
    for index in (0, 25, 49):
        assert _change(portrait_clip, there, index)[0] > 6


@pytest.mark.parametrize("looks", [0, 3])
def test_a_gpu_without_room_for_the_finder_ends_with_5(
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    looks: int,
) -> None:
    """When it is opened, or in the middle of the run."""

    class Full:
        name, device, calls, looks = "full", torch.device("cpu"), 1, 0

        def __call__(self, picture: NDArray[np.uint8], min_score: float) -> list[Face]:
            self.looks += 1
            if self.looks > looks:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return []

    def open_full(*_: object) -> Full:
        if looks == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return Full()

    monkeypatch.setattr("pipeline.run.anonymize.open_detector", open_full)
    assert cli("run", portrait_clip, "-o", tmp_path / "out.mp4", "--mode", "pixelize") == 5
    told = capsys.readouterr().err
    assert "its memory is full" in told
    assert len(told.strip().splitlines()) == 1
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (
            ["--mode", "pixelize", "--device", "cuda:0", "--engine", "openvino"],
            2,
            "--engine openvino runs on",
        ),
        (["--mode", "pixelise"], 2, "pixelize"),
        (["--mode", "pixelize", "--epsilon", "1"], 2, "protect"),
        (["--mode", "pixelize", "--nobody", "2"], 2, "protect"),
        (["--mode", "protect", "--nobody", "7"], 2, "--nobody"),
        (["--mode", "protect", "--values", "nobody", "--epsilon", "1"], 2, "nothing is measured"),
        (["--mode", "pixelize", "--perturb", "block"], 2, "protect"),
        (["--mode", "protect", "--perturb", "much"], 2, "perturb"),
        (["--mode", "pixelize", "--net", "nar"], 2, "reconstruct"),
        (["--mode", "reconstruct", "--blocks", "6"], 2, "--blocks"),
        (["--mode", "pixelize", "--keep", "1"], 2, "--preview"),
        (["--mode", "pixelize", "--blocks", "0"], 2, "--blocks"),
        (["--mode", "pixelize", "--gate", "maybe"], 2, "--gate"),
        (["--mode", "pixelize", "--during", "5"], 2, "--during"),
        (["--mode", "pixelize", "--exclude-region", "1,2,3"], 2, "--exclude-region"),
        (["--mode", "pixelize", "--exclude-region", "9000,0,5,5"], 2, "--exclude-region"),
        (["--mode", "pixelize", "--from", "missing.json"], 1, "missing.json"),
        (["--mode", "protect", "--device", "cuda:99"], 5, "--device cpu"),
    ],
)
def test_what_cannot_work_is_one_line_with_the_culprit(
    cli: Cli,
    portrait_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    word: str,
) -> None:
    assert cli("run", portrait_clip, "-o", tmp_path / "out.mp4", *arguments) == code
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    assert word in told
    assert _left(tmp_path) == []


def test_tracks_of_another_file_are_refused(
    cli: Cli, portrait_clip: Path, plain_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("run", plain_clip, "-o", output, "--mode", "pixelize", "--gate", "off") == 0
    capsys.readouterr()
    sidecar = Path(f"{output}.json")
    assert cli("run", portrait_clip, "-o", tmp_path / "b.mp4", "--mode", "pixelize", "--from", sidecar) == 1
    assert "another file" in capsys.readouterr().err


def test_explain_tells_the_memory_bound_and_does_nothing(
    cli: Cli, portrait_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert cli("run", portrait_clip, "-o", output, "--mode", "protect", "--explain", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert "look-ahead" in told["memory_formula"]
    assert told["memory_bytes"] > 0
    assert cli("run", portrait_clip, "-o", output, "--mode", "pixelize", "--explain") == 0
    assert "mirrored" in capsys.readouterr().out
    assert _left(tmp_path) == []
