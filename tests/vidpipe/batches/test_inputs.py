"""Which files a batch takes, and where their outputs go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import InputError, UsageError
from vidpipe.batches.inputs import Item, Refused, collect


def _make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def _targets(found: list[Item | Refused], out: Path) -> list[str]:
    return [os.path.relpath(one.target, out) for one in found if isinstance(one, Item)]


def _collect(
    inputs: list[Path | str], out: Path, pattern: str = "{parent}/{stem}.{mode}{suffix}"
) -> list[Item | Refused]:
    return list(collect([str(given) for given in inputs], out, "pixelize", pattern))


def test_outputs_mirror_the_folders(tmp_path: Path) -> None:
    _make(tmp_path / "in", "a.mp4", "b/c d.MKV", "b/e/f'\"\n.mov", "b/notes.txt", ".hidden.mp4")
    out = tmp_path / "out"
    found = _collect([tmp_path / "in"], out)
    assert _targets(found, out) == ["a.pixelize.mp4", "b/c d.pixelize.MKV", "b/e/f'\"\n.pixelize.mov"]


def test_two_folders_keep_apart(tmp_path: Path) -> None:
    _make(tmp_path, "x/a.mp4", "y/a.mp4")
    found = _collect([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert _targets(found, tmp_path / "out") == ["x/a.pixelize.mp4", "y/a.pixelize.mp4"]


@pytest.mark.parametrize(
    "names", [("A.mp4", "a.mp4"), ("caf\u00e9.mp4", "cafe\u0301.mp4"), ("a.mp4", "b/../a.MP4")]
)
def test_no_two_inputs_onto_one_output(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "b").mkdir()
    _make(tmp_path, *names)
    found = _collect([tmp_path / name for name in names], tmp_path / "out", "{stem}.mp4")
    assert [type(one) for one in found] == [Item, Refused]


def test_an_input_that_is_named_twice_is_done_once(tmp_path: Path) -> None:
    _make(tmp_path, "in/a.mp4")
    assert len(_collect([tmp_path / "in", tmp_path / "in" / "a.mp4"], tmp_path / "out")) == 1


def test_links_in_a_circle_end_and_outputs_are_no_inputs(tmp_path: Path) -> None:
    _make(tmp_path, "in/a.mp4", "in/out/a.pixelize.mp4", "beside/secret.mp4", "linked/b.mp4")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "above").symlink_to("..")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "linked")
    out = tmp_path / "in" / "out"
    assert _targets(_collect([tmp_path / "in"], out), out) == ["a.pixelize.mp4", "more/b.pixelize.mp4"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# clips\nb/a.mp4\n../../up.mp4\n\n"),
        ("list.csv", "path,who\nb/a.mp4,x\n../../up.mp4,y\n"),
        ("list.jsonl", '{"path": "b/a.mp4"}\n{"path": "../../up.mp4"}\n'),
    ],
)
def test_nothing_in_a_manifest_leads_outside(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    out = tmp_path / "out"
    assert _targets(_collect([tmp_path / name], out), out) == ["b/a.pixelize.mp4", "up.pixelize.mp4"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "file\nx.mp4\n"), ("a.csv", 'path\n"x.mp4\n'), ("a.jsonl", "{"), ("a.jsonl", "[]")],
)
def test_a_manifest_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="manifest"):
        _collect([tmp_path / name], tmp_path / "out")


def test_one_bad_name_in_a_manifest_costs_itself_alone(tmp_path: Path) -> None:
    lines = ['{"path": "a\\u0000b.mp4"}', '{"path": "c\\ud800.mp4"}', '{"path": "d.mp4"}']
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    found = _collect([tmp_path / "list.jsonl"], tmp_path / "out")
    assert [type(one) for one in found] == [Refused, Refused, Item]
    (tmp_path / "list.txt").write_text("d.mp4\n", encoding="utf-16")
    with pytest.raises(InputError, match="UTF-16"):
        _collect([tmp_path / "list.txt"], tmp_path / "out")


def test_a_folder_in_a_manifest_is_searched(tmp_path: Path) -> None:
    _make(tmp_path, "f/x/a.mp4", "f/notes.md")
    (tmp_path / "list.txt").write_text("f\n")
    out = tmp_path / "out"
    assert _targets(_collect([tmp_path / "list.txt"], out), out) == ["f/x/a.pixelize.mp4"]


def test_a_pattern_mirrors_folders_and_leaves_the_outputs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path, "x/c.mp4", "y/c.mp4", "out/x/c.pixelize.mp4")
    monkeypatch.chdir(tmp_path)
    out, wanted = Path("out"), ["x/c.pixelize.mp4", "y/c.pixelize.mp4"]
    for pattern in ("**/*.mp4", f"{tmp_path}/**/*.mp4"):
        found = _collect([Path(pattern)], out)
        assert [Path(one.target).relative_to(tmp_path / "out").as_posix() for one in found] == wanted
    with pytest.raises(InputError, match="in the folder of the outputs"):
        _collect([Path("**/*.mp4")], Path())


def test_where_there_is_no_video_it_is_said(tmp_path: Path) -> None:
    _make(tmp_path, "in/notes.md")
    with pytest.raises(InputError, match="no video is there"):
        _collect([tmp_path / "in"], tmp_path / "out")


def test_a_name_of_255_bytes_leaves_room_for_the_report(tmp_path: Path) -> None:
    _make(tmp_path, "in/" + "é" * 125 + ".mp4", "in/" + "é" * 124 + "e.mp4")
    found = _collect([tmp_path / "in"], tmp_path / "out")
    names = [Path(one.target).name for one in found if isinstance(one, Item)]
    assert len(set(names)) == 2
    assert all(len(os.fsencode(name)) <= 220 and name.endswith(".mp4") for name in names)


def test_names_that_are_no_utf8_are_taken(tmp_path: Path) -> None:
    _make(tmp_path / "in", os.fsdecode(b"\xff.mp4"))
    (item,) = _collect([tmp_path / "in"], tmp_path / "out")
    assert isinstance(item, Item)
    assert os.fsencode(Path(item.target).name) == b"\xff.pixelize.mp4"


@pytest.mark.parametrize(
    "pattern",
    [
        "{name}.mp4",
        "all.mp4",
        "{stem",
        "../{stem}{suffix}",
        "{stem}.txt",
        "{stem!z}{suffix}",
        "{stem:>99}{suffix}",
    ],
)
def test_a_pattern_that_cannot_work_is_refused(tmp_path: Path, pattern: str) -> None:
    _make(tmp_path, "in/a.mp4")
    with pytest.raises(UsageError):
        _collect([tmp_path / "in"], tmp_path / "out", pattern)


def test_an_input_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        _collect([tmp_path / "none"], tmp_path / "out")


def test_a_manifest_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    for name, text in (
        ("list.txt", "a.mp4\n"),
        ("list.csv", "path\na.mp4\n"),
        ("list.jsonl", '{"path": "a.mp4"}\n'),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        (item,) = collect([str(tmp_path / name)], tmp_path / "out", "pixelize")
        assert item.source == str(tmp_path / "a.mp4")


def test_a_bad_line_of_a_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"path": "a.mp4"}\nnone\n')
    with pytest.raises(InputError, match="line 2"):
        list(collect([str(tmp_path / "list.jsonl")], tmp_path / "out", "pixelize"))


def test_the_folder_of_the_outputs_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder of the outputs"):
        list(collect([str(tmp_path)], tmp_path, "pixelize"))
