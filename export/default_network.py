"""Which shipped network ``--net auto`` means."""

from __future__ import annotations

import json
import logging
from typing import Literal, cast, get_args

from nets.checkpoint import WEIGHTS
from pipeline.errors import MissingError
from pipeline.notes import decided

log = logging.getLogger(__name__)

Net = Literal["nar", "idn"]
CHOICE = WEIGHTS / "default.json"
"""``{"net": "nar", "why": "..."}``, written by who trains and compares the shipped weights."""


def default_net() -> Net:
    """The network that did better, as the weights' own comparison says; logs why. Raises MissingError."""
    try:
        choice = json.loads(CHOICE.read_text(encoding="utf-8"))
        net, why = choice["net"], choice["why"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(f"{CHOICE} names no default network ({error}); choose one with --net") from error
    if net not in get_args(Net):
        raise MissingError(f"{CHOICE} names the network {net!r}; wanted {' or '.join(get_args(Net))}")
    decided(log, "--net auto is %s: %s", net, why)
    return cast("Net", net)
