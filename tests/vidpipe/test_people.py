"""People of a clip, from the preview to the finished file: by number, by hand, by photo."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vidpipe
from pipeline.run.anonymize_sidecar import AnonymizeReport, read_report
from pipeline.run.contact_sheet import ContactSheet
from pipeline.run.job import AnonymizeJob
from pipeline.run.names import PER_PAGE, pages
from pipeline.run.people_records import PersonRecord
from tests.support.faces_scene import stream_info
from tests.support.people import SHOT, boxes, needs_dlib, write_photo, write_two_people
from tests.support.portrait import read_clip
from tests.vidpipe.conftest import Cli

FAST = ("--preset", "ultrafast", "--gate", "off")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait, then a drawn face, then both."""
    return write_two_people(tmp_path_factory.mktemp("people") / "in.mp4")


def _change(clip: Path, output: Path, index: int, name: str) -> float:
    """Mean absolute difference in grey levels on a face."""
    ((before,), (after,)) = read_clip(clip, [index]), read_clip(output, [index])
    x0, y0, x1, y1 = boxes(index)[name].pixels(10_000, 10_000)
    return float(np.abs(before.astype(float) - after)[y0:y1, x0:x1].mean())


def _decisions(report: AnonymizeReport) -> dict[int, str]:
    return {person.person: person.decision for person in report.people}


@needs_dlib
def test_a_person_of_the_preview_is_left_in_every_shot(cli: Cli, clip: Path, tmp_path: Path) -> None:
    output, preview = tmp_path / "out.mp4", tmp_path / "out.preview.json"
    assert cli("pixelize", clip, "-o", output, "--preview") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.preview.json", "out.preview.png"]
    told = read_report(preview)
    assert len(told.tracks) == 4
    assert {tuple(person.tracks) for person in told.people} == {(1, 3), (2, 4)}
    assert [person.appearances for person in told.people] == [2, 2]
    (portrait,) = (person.person for person in told.people if 1 in person.tracks)
    chosen = ("--from", preview, "--keep", portrait, *FAST)
    assert cli("pixelize", clip, "-o", output, *chosen) == 0
    report = read_report(Path(f"{output}.json"))
    assert _decisions(report) == {portrait: "left", 3 - portrait: "covered"}
    for index in (2, 2 * SHOT + 2):
        assert _change(clip, output, index, "portrait") < 4
    for index in (SHOT + 2, 2 * SHOT + 2):
        assert _change(clip, output, index, "drawn") > 8


@needs_dlib
def test_who_is_on_a_photo_is_left_and_the_report_tells_how_near(clip: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "she.png")
    selection = vidpipe.Selection(keep_faces=(photo,))
    report = vidpipe.pixelize(
        clip, tmp_path / "out.mp4", selection=selection, release_check=False, preset="ultrafast"
    )
    (left,) = (person for person in report.people if person.photo == "she.png")
    assert (left.tracks, left.decision) == ([1, 3], "left")
    assert left.distance is not None and 0 < left.distance < 0.35
    assert [person.decision for person in report.people if person is not left] == ["covered"]
    assert report.choice.keep_faces == ["she.png"]


def test_without_joining_people_are_tracks_and_are_put_together_by_hand(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    stale, other = tmp_path / "out.preview-02.png", tmp_path / "out.preview-07.png"
    for path in (stale, other):
        path.touch()
    earlier = tmp_path / "out.preview.json"
    earlier.write_text(json.dumps({"people": [{}] * 13}))
    with pytest.raises(vidpipe.OutputError, match=r"preview\.json is no report"):
        vidpipe.preview(clip, target, settings={"people.recognise": "off"}, overwrite=True)
    earlier.write_text(json.dumps({"schema_version": 1, "notice": "", "people": [{}] * 13}))
    with pytest.raises(vidpipe.OutputError, match="exists"):
        vidpipe.preview(clip, target, settings={"people.recognise": "off"})
    seen = vidpipe.preview(clip, target, settings={"people.recognise": "off"}, overwrite=True)
    assert other.exists() and not stale.exists(), "a page of an earlier preview is no page of this one"
    assert seen.recognised is None
    assert sorted(track for person in seen.people for track in person.tracks) == [1, 2, 3, 4]
    number = {person.tracks[0]: person.person for person in seen.people}
    same = ((number[1], number[3]), (number[2], number[4]))
    report = vidpipe.pixelize(
        clip,
        target,
        earlier=tmp_path / "out.preview.json",
        selection=vidpipe.Selection(same=same, keep=(number[2],)),
        preset="ultrafast",
    )
    assert {tuple(p.tracks): p.decision for p in report.people} == {(1, 3): "covered", (2, 4): "left"}
    with pytest.raises(vidpipe.UsageError, match="no such person"):
        vidpipe.pixelize(
            clip, tmp_path / "b.mp4", earlier=tmp_path / "out.preview.json",
            selection=vidpipe.Selection(keep=(9,)),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--keep", "1"), 2, "--preview"),
        (("--only", "t1"), 2, "--preview"),
        (("--same", "1=2"), 2, "--preview"),
        (("--same", "1"), 2, "3=7"),
        (("--keep", "one"), 2, "--keep"),
        (("--people", "perhaps"), 2, "--people"),
    ],
)
@needs_dlib
def test_what_names_nobody_is_one_line(
    cli: Cli, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], code: int, word: str,
) -> None:  # fmt: skip
    assert cli("pixelize", clip, "-o", tmp_path / "out.mp4", *arguments) == code
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    assert word in told
    assert list(tmp_path.iterdir()) == []


def test_many_people_fill_pages_of_a_size_that_can_be_looked_at(tmp_path: Path) -> None:
    people = [
        PersonRecord(person=n, tracks=[n], seconds=1, appearances=1, first_s=0, last_s=1, score=0.9,
                     decision="covered")
        for n in range(1, 2 * PER_PAGE + 2)
    ]  # fmt: skip
    job = AnonymizeJob(tmp_path / "in.mp4", tmp_path / "in.pixelize.mp4")
    assert [path.name for path in job.sheets(pages(PER_PAGE))] == ["in.pixelize.preview.png"]
    names = job.sheets(pages(len(people)))
    assert [path.name for path in names] == [f"in.pixelize.preview-0{n}.png" for n in (1, 2, 3)]
    ContactSheet(stream_info(10)).save(names, people)
    sizes = [Image.open(path).size for path in names]
    assert sizes[0][0] <= 2000 and sizes[0][1] <= 2500
    assert sizes[2][1] < sizes[0][1] == sizes[1][1]
