"""Markers that skip where something is missing, unless ``VIDPIPE_REQUIRE=gpu,dali,trt,shared`` names it.

What is named may not be skipped at all: a test that skips itself fails then, too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.support import SHARED
from tests.support.fixtures import mosaic_clip, network, plain_clip
from tests.support.needs import NEEDS
from vidpipe.cli.log import OURS

hypothesis.settings.register_profile("any load", deadline=None)  # no test asserts a wall-clock time
hypothesis.settings.load_profile("any load")

__all__ = ["mosaic_clip", "network", "plain_clip"]

WORKER = "PYTEST_XDIST_WORKER" in os.environ
TORCH_THREADS = int(os.environ.get("OMP_NUM_THREADS", "1" if WORKER else "2"))
"""Two at most by default, one in each of several processes: more threads than idle cores make PyTorch's small
operations many times slower."""


_EXCUSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    unknown = _required() - NEEDS.keys()
    if unknown:
        raise pytest.UsageError(f"VIDPIPE_REQUIRE names {sorted(unknown)}; there are {sorted(NEEDS)}")
    torch.set_num_threads(TORCH_THREADS)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, (available, reason) in NEEDS.items():
        if item.get_closest_marker(name) is None or available():
            continue
        if name in _required():
            pytest.fail(f"VIDPIPE_REQUIRE={name}, but {reason}")
        item.stash[_EXCUSED] = True
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip of what is required is a failure, whoever skipped it."""
    report = yield
    required = [name for name in NEEDS.keys() & _required() if item.get_closest_marker(name) is not None]
    excused = item.stash.get(_EXCUSED, False)  # for want of something else, which nobody promised
    if report.skipped and not hasattr(report, "wasxfail") and required and not excused:
        report.outcome = "failed"
        report.longrepr = f"VIDPIPE_REQUIRE={','.join(sorted(required))}, but skipped: {report.longrepr}"
    return report


def _required() -> set[str]:
    return set(filter(None, os.environ.get("VIDPIPE_REQUIRE", "").split(",")))


@pytest.fixture(autouse=True)
def own_logs() -> Generator[None]:
    """A command that runs in this process sets up its logs: no later test may find them so."""
    loggers = [logging.getLogger(name) for name in OURS]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def shared() -> Path:
    """The folder of private clips; tests that use it carry the ``shared`` marker."""
    return SHARED
