"""``VIDPIPE_REQUIRE``: what a run promises to test it may not skip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.{marker}
def test_skips_itself():
    pytest.skip("not today")

@pytest.mark.{marker}
@pytest.mark.skipif(True, reason="never")
def test_skipped_by_mark(): ...

def test_of_no_marker():
    pytest.skip("allowed")
"""


@pytest.fixture
def markers(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with our conftest's rules and tests that skip."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    source = (Path(__file__).parent / "conftest.py").read_text()
    pytester.makeconftest(source + '\nNEEDS["gpu"] = (lambda: True, "")\n')  # as on a machine that has one
    pytester.makeini("[pytest]\nmarkers =\n    gpu: x\n    dali: x\n    trt: x\n    shared: x\n")
    return pytester


def outcomes(markers: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, require: str) -> dict[str, int]:
    monkeypatch.setenv("VIDPIPE_REQUIRE", require)
    markers.makepyfile(TESTS.format(marker="gpu"))
    return markers.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes()


def test_a_skip_of_what_is_required_fails(markers: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes(markers, monkeypatch, "gpu") == {"failed": 1, "errors": 1, "skipped": 1}


def test_without_it_skips_are_skips(markers: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes(markers, monkeypatch, "") == {"skipped": 3}


def test_what_also_needs_something_that_nobody_promised_may_skip(
    markers: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    conftest = markers.path / "conftest.py"
    conftest.write_text(conftest.read_text() + '\nNEEDS["trt"] = (lambda: False, "none here")\n')
    monkeypatch.setenv("VIDPIPE_REQUIRE", "gpu")
    markers.makepyfile("import pytest\n@pytest.mark.gpu\n@pytest.mark.trt\ndef test_both(): ...")
    assert markers.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes() == {"skipped": 1}


def test_an_unknown_name_is_an_error(markers: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_REQUIRE", "gqu")
    markers.makepyfile("def test_one(): ...")
    result = markers.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*gqu*"])
