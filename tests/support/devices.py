"""Devices that a test runs on: one that pretends, and a GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.support.pretend import PRETENDED, Counted, pretended_device

DEVICES = ["pretended", pytest.param("cuda", marks=pytest.mark.gpu)]


@contextmanager
def entered(device: str) -> Iterator[tuple[torch.device, Counted | None]]:
    """One of DEVICES, and what it did if it pretends."""
    if device != "pretended":
        yield torch.device("cuda:0" if device == "cuda" else device), None
        return
    with pretended_device() as counted:
        yield PRETENDED, counted
