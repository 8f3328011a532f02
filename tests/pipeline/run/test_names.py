"""The names of a run's files, against each other and against what stands there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InputError, OutputError, VidpipeError
from pipeline.run import names

REPORT = '{"schema_version":1,"notice":"Faces in this file were covered by vidpipe.","mode":"pixelize"}'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    path.write_text("footage")
    return path


def _check(source: Path, target: Path, overwrite: bool = True) -> None:
    names.check_run(source, target, overwrite=overwrite, covers=True)


def test_names_that_work(source: Path, tmp_path: Path) -> None:
    for name in ("out.mp4", "12:30:45.mp4", "a\nb.mp4", os.fsdecode(b"na\xffme.mp4"), "http:x.mp4", "-o.mp4"):
        _check(source, tmp_path / name, overwrite=False)


@pytest.mark.parametrize("own", [names.sidecar, names.gate_report])
def test_the_source_is_none_of_the_reports(source: Path, tmp_path: Path, own: Callable[[Path], Path]) -> None:
    target = tmp_path / "out.mp4"
    report = own(target)
    for make in (source.rename, report.hardlink_to, report.symlink_to):
        if make == source.rename:
            footage = source.rename(report)
        else:
            make(source)
            footage = source
        with pytest.raises(OutputError, match="is the input itself"):
            _check(footage, target)
        if make == source.rename:
            report.rename(source)
        else:
            report.unlink()
    assert source.read_text() == "footage"


@pytest.mark.parametrize("own", [names.sidecar, names.gate_report])
def test_what_is_no_report_of_ours_is_not_replaced(
    source: Path, tmp_path: Path, own: Callable[[Path], Path]
) -> None:
    target = tmp_path / "out.mp4"
    own(target).write_text(REPORT)
    _check(source, target)
    own(target).write_text('{"title": "taken in 2019"}')
    with pytest.raises(OutputError, match="is no report of vidpipe"):
        _check(source, target)
    own(target).unlink()
    own(target).mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        _check(source, target)


@pytest.mark.parametrize("name", ["", ".", "..", "folder", "folder/", "no/out.mp4", "in.mp4", "a" * 300])
def test_an_output_that_cannot_be_is_one_line(source: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError) as caught:
        _check(source, tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "folder", "missing.mp4", "empty.mp4", "pipe"])
def test_a_source_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError):
        _check(tmp_path / name, tmp_path / "out.mp4")


def test_an_output_in_the_current_folder_without_a_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for target in ("", "."):
        with pytest.raises(VidpipeError, match="is a folder"):
            _check(source, Path(target))
    with pytest.raises(InputError, match="is a folder"):
        names.default_output(Path(), "pixelize")


def test_a_preview_replaces_only_what_it_may(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    names.sheets(target, 1)[0].write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        names.check_preview(source, target, overwrite=False)
    names.check_preview(source, target, overwrite=True)
    with pytest.raises(OutputError, match="is the input itself"):
        names.check_preview(names.sheets(target, 1)[0], target, overwrite=True)
