"""Libraries that report their use to somebody are told not to, before any of them is imported.

ONNX Runtime sends events to its maker and keeps a device id and a queue of events in the user's cache folder
(seen with 1.31); its switch is read once, when the library is loaded. OpenVINO sends an event when it is
imported and keeps a client id in the home folder; it has no switch but a file in that folder, and takes a
stand-in of its own that does nothing where the package ``openvino_telemetry`` cannot be imported.
"""

from __future__ import annotations

import os
import sys

VARIABLES = {"ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}
"""ONNX Runtime's switch, by its present and its former name. Processes that we start inherit it."""
REPORTERS = ("openvino_telemetry",)
"""Packages that do nothing but report; they are made unimportable in this process."""


def switch_off() -> None:
    """For this process and those that it starts. Importing ``pipeline`` does it."""
    os.environ.update(VARIABLES)
    for name in REPORTERS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: importing it raises ImportError
