"""Networks of others that are shipped; ``README.md`` beside this file says whose they are."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import MissingError


def shipped(name: str) -> bytes:
    """The content of a file of this folder. Raises MissingError where the installation lacks it."""
    try:
        return Path(__file__).with_name(name).read_bytes()
    except OSError as error:
        raise MissingError(
            f"the installation lacks {name} of pipeline/faces/weights ({error.strerror or error}); "
            "install vidpipe again"
        ) from error
