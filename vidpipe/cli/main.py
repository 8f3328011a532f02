"""Entry point of ``vidpipe``: signals, exit codes and one-line errors, whatever the command.

Next to nothing is imported before signals are handled, so that Ctrl-C during the first second ends as
quietly as later; what comes while Python itself starts is Python's. Exit codes are in
``pipeline/errors.py``; an interrupted run ends with 128 + the signal's number.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from pipeline import leftovers
from pipeline.text import printable

_TYPERS_INTERRUPTED = 130
"""What typer makes of a KeyboardInterrupt that passes it."""
_IMPATIENT = 3
"""Signals after which the process ends at once, whatever a library does."""


# Windows has no SIGHUP.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt, and remembers it.

    A library may swallow the exception (Python drops those raised in callbacks) or turn it into its own; the
    memory is what makes the run stop, and end with the right code, all the same. The second signal changes
    nothing (``timeout`` sends two): one that broke into the closing would leave a thread in a library's C++
    code, and the process would abort. The third, `GRACE_S` or more after the first, ends the process at once,
    also where a library hangs, after unfinished files are removed. Signals that come together, within
    `TOGETHER_S` or while a library let no thread run, count as one.
    """

    GRACE_S = 2.0
    """For an orderly end, before a third signal counts."""
    TOGETHER_S = 0.3
    """Between the first and the last of signals that count as one."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.kept: tuple[int, int] | None = None
        """(frames that the same command will not make again, frames in all), where it keeps a journal"""
        self._installed = False
        self._decided = False

    def install(self) -> None:
        self._watch()
        for number in _SIGNALS:
            signal.signal(number, self._receive)
        self._installed = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal_number is None and not self._decided:
            self.signal_number = number
            raise KeyboardInterrupt

    def _watch(self) -> None:
        """Counts signals in a thread: Python's own handler waits until a library returns."""
        if os.name == "nt":  # where the thread would need a socket
            return
        import _thread
        import contextlib

        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        with contextlib.suppress(RuntimeError):  # no memory for a thread; `threading` would wait for it
            _thread.start_new_thread(self._count, (reader,))

    def _count(self, reader: int) -> None:
        import contextlib
        from time import monotonic

        counted_s: list[float] = []
        while numbers := os.read(reader, 4096):
            ours = [number for number in numbers if number in _SIGNALS]
            now_s = monotonic()
            if not ours or (counted_s and now_s - counted_s[-1] < self.TOGETHER_S):
                continue
            counted_s.append(now_s)
            if len(counted_s) >= _IMPATIENT and now_s - counted_s[0] >= self.GRACE_S:
                done = self._decided and not leftovers.pending()
                leftovers.abandon()
                if not done:
                    with contextlib.suppress(OSError):
                        os.write(2, b"vidpipe: interrupted, ended at once\n")
                os._exit(0 if done else 128 + ours[-1])

    def decide(self) -> None:
        """From now on no signal stops the run: what it has written stays, and its exit code says so."""
        self._decided = True

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
        code = _interrupted(interrupts, sys.argv[1:])
    interrupts.ignore()
    sys.exit(_flushed(code))


def run_command(arguments: Sequence[str], interrupts: Interrupts) -> int:
    """Runs one command line and returns its exit code. Errors that are not a user's keep their traceback."""
    try:
        return _run(arguments, interrupts)
    except KeyboardInterrupt:
        return _interrupted(interrupts, arguments)
    except BrokenPipeError:
        # The reader of our output went away, e.g. `vidpipe doctor | head`; Python would complain at exit.
        sys.stderr.close()
        return 1
    except Exception as error:
        # An interrupt during an import may surface as an ImportError, and so on.
        if interrupts.signal_number is not None:
            return _interrupted(interrupts, arguments)
        if known := _of_the_machine(error):
            return _failed(*known, arguments)
        raise


def _run(arguments: Sequence[str], interrupts: Interrupts) -> int:
    from typer.exceptions import TyperException

    from pipeline.errors import VidpipeError
    from vidpipe.cli.app import app

    try:
        asked = list(arguments) or ["--help"]
        code = app(asked)(args=asked, prog_name="vidpipe", standalone_mode=False, obj=interrupts)
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


def _of_the_machine(error: Any) -> tuple[str, int] | None:
    """Text and exit code of an error that is the machine's: no memory, or a stdout that takes nothing."""
    from errno import EAGAIN, EBADF, EDQUOT, EIO, ENOMEM, ENOSPC

    words = ("cannot allocate", "can't alloc", "bad_alloc", "not enough memory", "out of memory")
    maps = ("failed to map segment", "cannot apply additional memory protection")
    threads = ("start new thread", "resource temporarily unavailable")
    while error is not None:
        text = str(error).lower()
        full = isinstance(error, MemoryError) or getattr(error, "errno", None) in {ENOMEM, EAGAIN}
        if full or any(word in text for word in (*words, *maps, *threads)):
            return "there is not enough memory for this; close other programs, or raise the limit (ulimit)", 5
        if getattr(error, "errno", None) in {ENOSPC, EDQUOT, EIO, EBADF} and error.filename is None:
            return f"standard output, or a disk, takes nothing more: {error.strerror}", 1
        error = error.__cause__ or error.__context__
    return None


def _writes(stream: object) -> bool:
    """Whether what a stream holds back can be written; what cannot is dropped."""
    try:
        getattr(stream, "flush", lambda: None)()
    except (OSError, ValueError):
        return False
    return True


def _flushed(code: int) -> int:
    """``code``, or 1 where standard output does not take what was written to it."""
    if sys.stdout is None or _writes(sys.stdout):
        return code
    # Python would try once more at its end, fail, and print that.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if code == 0:
        _say("standard output takes nothing more; is the disk full?")
    return code or 1


def _failed(message: str, exit_code: int, arguments: Sequence[str]) -> int:
    if message:
        _say(" ".join(message.split()))
    if "--json" in arguments:
        import contextlib
        import json

        with contextlib.suppress(OSError, ValueError):  # the disk that stdout goes to may be full
            print(json.dumps({"error": message, "exit_code": exit_code}))
    return exit_code


def _interrupted(interrupts: Interrupts, arguments: Sequence[str]) -> int:
    _say("interrupted")
    if interrupts.kept is not None:
        done, total = interrupts.kept
        command = " ".join(map(_quoted, (*_program(), *arguments)))
        _say(f"kept: {done} of {total} frames; to go on: {command}")
    return 128 + (interrupts.signal_number or signal.SIGINT)


def _program() -> tuple[str, ...]:
    """As this process was started, so that a shell finds it again."""
    script = sys.argv[0]
    if script.endswith("__main__.py"):
        return sys.executable, "-m", "vidpipe"
    return (script if os.path.basename(script) == "vidpipe" else "vidpipe",)  # noqa: PTH119  no heavy import


def _quoted(argument: str) -> str:
    """As a shell reads it back, on one line: what cannot be printed as ``$'\\xff'``, which all but the oldest
    shells know."""
    from shlex import quote

    if argument.isprintable():
        return quote(argument)
    safe = (c if c.isprintable() and c not in "\\'" else _escaped(c) for c in argument)
    return f"$'{''.join(safe)}'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _say(message: str) -> None:
    import contextlib

    with contextlib.suppress(OSError, ValueError):  # stderr may be full or closed, too
        print(f"vidpipe: {printable(message)}", file=sys.stderr, flush=True)
