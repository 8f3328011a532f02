"""The errors that a user can cause or meet. Each is one line: what came, what was wanted, what to do.

    VidpipeError                exit  what
    +-- UsageError                 2  options or configuration that cannot work
    +-- InputError                 1  a file that cannot be read as asked
    +-- OutputError                1  a file that cannot be written
    +-- CheckError                 4  a promise was checked and does not hold
    |   +-- ReleaseCheckError      4  a face is still seen in an output (pipeline.run.release)
    +-- MissingError               5  this machine lacks a library, device or file

Anything else that is raised is a bug of ours and keeps its traceback. An interrupted run ends with 130.
"""

from __future__ import annotations


class VidpipeError(Exception):
    """Base of all errors with a one-line text. ``exit_code`` is what the command line returns."""

    exit_code = 1


class UsageError(VidpipeError):
    """Options or configuration that cannot work together."""

    exit_code = 2


class InputError(VidpipeError):
    """The input is missing, broken, or not what the command works on."""


class OutputError(VidpipeError):
    """The output cannot be written: folder, space, encoder or container."""


class CheckError(VidpipeError):
    """A promise was checked and does not hold: parity with PyTorch, what an output keeps of its source."""

    exit_code = 4


class MissingError(VidpipeError):
    """A library, a device or a weights file is not on this machine."""

    exit_code = 5
