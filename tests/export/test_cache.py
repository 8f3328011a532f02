"""The cache opens what this user has made, whole and unchanged, and names everything else."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from export import cache
from export.cache import Entry
from export.calibration import Faces
from export.convert import export, identity_now
from export.spec import Request
from nets.digest import sha256
from pipeline.engines import engine_file
from pipeline.errors import InputError, OutputError
from vidpipe.exports import kept, pruned

pytestmark = pytest.mark.slow


@pytest.fixture
def entry(tiny: Path, noise: Faces, cache_folder: Path) -> Entry:
    return export(Request(str(tiny), "onnx"), lambda: noise)


def identity(entry: Entry) -> dict[str, str]:
    return entry.report.identity


def test_an_entry_comes_back(entry: Entry) -> None:
    assert cache.find(identity(entry)) == entry
    assert [line.state for line in kept()] == ["current"]
    assert identity_now(entry.report) == identity(entry)


@pytest.mark.parametrize(
    "damage", ["flipped", "cut", "gone", "report", "unsigned", "foreign", "writable", "link"]
)
def test_what_may_not_be_opened_is_named_and_made_anew(
    entry: Entry, damage: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file, report = entry.file, entry.folder / cache.REPORT
    says = "corrupted"
    match damage:
        case "flipped":
            content = bytearray(file.read_bytes())
            content[1000] ^= 1
            file.write_bytes(content)
        case "cut":
            file.write_bytes(file.read_bytes()[:-1])
        case "gone":
            file.unlink()
            says = "is missing"
        case "report":
            report.write_text("{")
            says = "no entry of this version"
        case "unsigned":  # a file put in place of ours, and its hash into the report
            file.write_bytes(b"other")
            said = json.loads(report.read_text())
            said["files"] = {file.name: sha256(file)}
            report.write_text(json.dumps(said))
            says = "not made by you"
        case "foreign":  # a folder of another user's cache, whole and consistent
            (engine_file.folder() / "key").unlink()
            says = "not made by you"
        case "writable":
            file.chmod(0o666)
            says = "others may write to it"
        case "link":
            shutil.move(entry.folder, tmp_path / "elsewhere")
            entry.folder.symlink_to(tmp_path / "elsewhere")
            says = "not opened through links"
    with caplog.at_level(logging.WARNING):
        assert cache.find(identity(entry)) is None
    assert says in caplog.text
    assert "made anew" in caplog.text
    assert [line.state for line in kept()] == ["broken"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users are not told apart here")
def test_an_engine_of_another_user_is_not_opened(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(InputError, match="belongs to another user"):
        engine_file.check_owner(entry.file)


def test_an_outdated_one_is_named(entry: Entry, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert cache.find(identity(entry) | {"torch": "9.9"}) is None
    assert "is outdated (torch" in caplog.text
    assert "now 9.9)" in caplog.text


def test_prune_deletes_what_is_outdated_or_broken_and_nothing_else(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cache.place(identity(entry) | {"torch": "1.0"})
    shutil.copytree(entry.folder, old)
    report = entry.report.model_copy(update={"identity": identity(entry) | {"torch": "1.0"}})
    report = report.model_copy(update={"signature": engine_file.sign(report.signed_content())})
    (old / cache.REPORT).write_text(report.model_dump_json())
    part = entry.folder.parent / f"{cache.PART}x"
    part.mkdir()
    os.utime(part, (0, 0))
    states = {line.path: line.state for line in kept()}
    assert states == {str(entry.file): "current", str(old): "outdated"}
    assert {line.path for line in pruned()} == {str(old), str(part)}
    assert cache.find(identity(entry)) == entry
    assert [line.state for line in kept()] == ["current"]


def test_an_interrupted_export_leaves_nothing(entry: Entry) -> None:
    def interrupted(folder: Path) -> object:
        (folder / "half.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.store(identity(entry) | {"torch": "2"}, interrupted)  # type: ignore[arg-type]
    assert list(entry.folder.parent.iterdir()) == [entry.folder]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDPIPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="set VIDPIPE_CACHE"):
        engine_file.sign(b"x")


def test_a_key_of_the_wrong_size(cache_folder: Path) -> None:
    (cache_folder / "key").write_bytes(b"short")
    with pytest.raises(InputError, match="delete it"):
        engine_file.sign(b"x")
