"""What a container says of a stream beside its codec: FFmpeg's coded side data, by name.

PyAV gives no access to it. FFmpeg's own description of a file lists it where its log is verbose.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping

import av.logging
from av.container import InputContainer

DISPLAY_MATRIX = "Display Matrix"
CROPPING = "Frame Cropping"
DOLBY_VISION = "DOVI configuration record"
MASTERING = "Mastering Display Metadata"
LIGHT = "Content Light Level Metadata"
_levels = threading.Lock()
_OF_ENCODERS = ("CPB properties",)


def description(container: InputContainer) -> str:
    """FFmpeg's description of the file.

    The levels of its log are put back (INFO is FFmpeg's, which cannot be asked). One thread at a time: one
    that took the level of another for its own would leave PyAV's callback in place for ever. That callback
    waits for Python's lock, so a decoder that is freed under the lock while its threads have something to log
    never ends; see ``parked``.
    """
    with _levels:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)  # what is logged: the description, and of other threads little
        av.logging.set_libav_level(av.logging.VERBOSE)  # what the description says
        try:
            text: str = container.dumps_format()  # type: ignore[attr-defined]  # missing in the stub
        finally:
            av.logging.set_libav_level(av.logging.INFO)
            av.logging.set_level(level)
    return text


def side_data(text: str, stream_index: int) -> Mapping[str, str]:
    """Name and value of a stream's side data, from ``description``."""
    found: dict[str, str] = {}
    here = listed = False
    for line in text.splitlines():
        if match := re.match(r"  Stream #\d+:(\d+)", line):
            here, listed = int(match.group(1)) == stream_index, False
        elif here and re.match(r"    \S", line):
            listed = line.strip() == "Side data:"
        elif here and listed and (match := re.match(r"      (\S[^:]*?)\s*:\s*(.*)", line)):
            name, value = match.group(1), match.group(2).strip()
            if name not in _OF_ENCODERS:
                found[name] = value
    return found


def codec_tag(container: InputContainer, stream_index: int) -> str | None:
    """The four letters by which the container names a stream's codec, where it has such."""
    found = re.search(
        rf"  Stream #0:{stream_index}\b[^\n]*?\((.{{4}}) / 0x[0-9A-F]+\)", description(container)
    )
    return found.group(1) if found else None


def hidden_edges(data: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    """Pixels that the container hides at the top, bottom, left and right of the picture."""
    if (text := data.get(CROPPING)) is None:
        return None
    left, right, top, bottom = (int(part) for part in text.split("/"))  # as FFmpeg lists them
    return (top, bottom, left, right) if any((top, bottom, left, right)) else None
