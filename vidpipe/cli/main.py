"""Entry point of ``vidpipe``: signals, exit codes and one-line errors, whatever the command.

Next to nothing is imported before signals are handled, so that Ctrl-C during the first second ends as
quietly as later; what comes while Python itself starts is Python's. Exit codes are in
``pipeline/errors.py``; an interrupted run ends with 128 + the signal's number.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

_TYPERS_INTERRUPTED = 130
"""What typer makes of a KeyboardInterrupt that passes it."""


# Windows has no SIGHUP.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt, and remembers it.

    A library may swallow the exception (Python drops those raised in callbacks) or turn it into its own; the
    memory is what makes the run stop, and end with the right code, all the same. Later signals change
    nothing (``timeout`` sends two, and so do impatient people): one that broke into the closing would leave a
    thread in a library's C++ code, and the process would abort.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._installed = False

    def install(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._receive)
        self._installed = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal_number is None:
            self.signal_number = number
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """From now on signals change nothing, to the very end of the process: the exit code is decided."""
        for number in _SIGNALS if self._installed else ():
            signal.signal(number, signal.SIG_IGN)

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self.signal_number is not None:
            raise KeyboardInterrupt


def main() -> None:
    """What the ``vidpipe`` script calls."""
    interrupts = Interrupts()
    try:
        interrupts.install()
        code = run_command(sys.argv[1:], interrupts)
    except KeyboardInterrupt:
        code = _interrupted(interrupts)
    interrupts.ignore()
    sys.exit(code)


def run_command(arguments: Sequence[str], interrupts: Interrupts) -> int:
    """Runs one command line and returns its exit code. Errors that are not a user's keep their traceback."""
    try:
        return _run(arguments, interrupts)
    except KeyboardInterrupt:
        return _interrupted(interrupts)
    except BrokenPipeError:
        # The reader of our output went away, e.g. `vidpipe doctor | head`; Python would complain at exit.
        sys.stderr.close()
        return 1
    except Exception:
        # An interrupt during an import may surface as an ImportError, and so on.
        if interrupts.signal_number is not None:
            return _interrupted(interrupts)
        raise


def _run(arguments: Sequence[str], interrupts: Interrupts) -> int:
    from typer.exceptions import TyperException

    from pipeline.errors import VidpipeError
    from vidpipe.cli.app import app

    try:
        code = app(
            args=list(arguments) or ["--help"], prog_name="vidpipe", standalone_mode=False, obj=interrupts
        )
    except TyperException as error:
        return _failed(error.format_message(), error.exit_code, arguments)
    except VidpipeError as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        return _failed(str(error), error.exit_code, arguments)
    if code == _TYPERS_INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _failed(message: str, exit_code: int, arguments: Sequence[str]) -> int:
    if message:
        print(f"vidpipe: {' '.join(message.split())}", file=sys.stderr)
    if "--json" in arguments:
        import json

        print(json.dumps({"error": message, "exit_code": exit_code}))
    return exit_code


def _interrupted(interrupts: Interrupts) -> int:
    print("vidpipe: interrupted", file=sys.stderr)
    return 128 + (interrupts.signal_number or signal.SIGINT)
