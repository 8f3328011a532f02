"""``import vidpipe``: what it offers, that it costs nothing, and that two runs keep their notes apart."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import vidpipe

pytestmark = pytest.mark.slow


def test_importing_it_loads_no_library() -> None:
    program = (
        "import sys, vidpipe; print([m for m in ('torch', 'av', 'numpy', 'pydantic') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"


def test_every_name_that_it_promises_is_there() -> None:
    for name in vidpipe.__all__:
        assert getattr(vidpipe, name) is not None
    assert dir(vidpipe) == sorted(vidpipe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vidpipe.nothing


def test_errors_form_the_tree_of_the_docstring() -> None:
    assert vidpipe.__doc__ is not None
    for name in (
        "UsageError",
        "InputError",
        "OutputError",
        "CheckError",
        "ReleaseCheckError",
        "MissingError",
    ):
        assert issubclass(getattr(vidpipe, name), vidpipe.VidpipeError)
        assert name in vidpipe.__doc__
    assert issubclass(vidpipe.ReleaseCheckError, vidpipe.CheckError)


def test_keywords_are_settings_and_beat_the_others(
    portrait_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_MASK__BLOCKS", "3")
    plan = vidpipe.explain(portrait_clip, mode="pixelize", settings={"encode.crf": 20})
    values = {setting.name: (setting.value, setting.origin) for setting in plan.settings}
    assert values["mask.blocks"] == (3, "VIDPIPE_MASK__BLOCKS")
    assert values["encode.crf"] == (20, "argument")
    report = vidpipe.pixelize(
        portrait_clip, tmp_path / "out.mp4", blocks=5, settings={"mask.blocks": 4}, preset="ultrafast"
    )
    chosen = {setting.name: setting.value for setting in report.settings}
    assert (chosen["mask.blocks"], chosen["encode.preset"]) == (5, "ultrafast")
    with pytest.raises(vidpipe.UsageError, match=r"mask\.blocks"):
        vidpipe.pixelize(portrait_clip, tmp_path / "other.mp4", blocks=0)
    assert not (tmp_path / "other.mp4").exists()


def test_what_on_progress_raises_ends_the_run_and_leaves_nothing(portrait_clip: Path, tmp_path: Path) -> None:
    def stop(progress: vidpipe.Progress) -> None:
        if progress.frames_written == 3:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        vidpipe.pixelize(portrait_clip, tmp_path / "out.mp4", on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_places_and_times_of_a_selection_are_told_in_the_sidecar(portrait_clip: Path, tmp_path: Path) -> None:
    place = vidpipe.ManualRegion(vidpipe.Box(10, 20, 40, 60), end_s=1.5)
    selection = vidpipe.Selection(regions=(place,), during=((0.5, None),))
    report = vidpipe.pixelize(
        portrait_clip, tmp_path / "out.mp4", selection=selection, release_check=False, preset="ultrafast"
    )
    assert (report.choice.regions, report.choice.during) == (["10,20,30,40@-1.5"], ["0.5-"])


def test_two_runs_at_once_do_not_see_each_others_warnings(portrait_clip: Path, tmp_path: Path) -> None:
    """Each is told what a recogniser makes of its own blocks; both work at the same time."""
    reports: dict[int, vidpipe.AnonymizeReport] = {}
    meet = threading.Barrier(2, timeout=60)

    def work(blocks: int) -> None:
        def together(progress: vidpipe.Progress) -> None:
            if progress.frames_written == 1:
                meet.wait()

        reports[blocks] = vidpipe.pixelize(
            portrait_clip,
            tmp_path / f"{blocks}.mp4",
            blocks=blocks,
            release_check=False,
            preset="ultrafast",
            on_progress=together,
        )

    threads = [threading.Thread(target=work, args=(blocks,)) for blocks in (6, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ["with 6 blocks" in warning for warning in reports[6].warnings] == [True]
    assert ["with 12 blocks" in warning for warning in reports[40].warnings] == [True]


def test_the_old_names_still_work_and_say_so(portrait_clip: Path, tmp_path: Path) -> None:
    with pytest.deprecated_call():
        report = vidpipe.cover(portrait_clip, tmp_path / "out.mp4", settings={"gate.scan": False})
    assert report.mode == "pixelize"
