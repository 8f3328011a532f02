"""Processes that ``benchmarks.attacks`` starts and watches: one for an attack, or one for many.

A process for an attack is forked from this one, which has imported everything, and compiles its networks. A
process for many keeps them, and is replaced when it hangs, ends, or has had ``ATTACKS`` of them.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 120.0
"""Of the clock, for one attack; longer is a hang."""
ATTACKS = 100
"""That a process for many has."""


@dataclass(frozen=True, slots=True)
class End:
    """How an attack ended."""

    code: int | None
    """Exit code, negative for a signal, None for a hang."""
    errors: str
    memory_mib: float = 0.0
    """Most that the process had held; 0 where it is not known."""


def forked(arguments: Sequence[str], folder: Path, *, memory_bytes: int = 0) -> int:
    """Starts ``vidpipe`` with these arguments in a fork of this process. Returns its id."""
    child = os.fork()
    if child:
        return child
    _begin(folder)
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    sys.argv = ["vidpipe", *arguments]
    from vidpipe.cli.main import main  # noqa: PLC0415  the signals of this process are its own

    os._exit(_code_of(main))


def ended(child: int, folder: Path, limit_s: float = LIMIT_S) -> End:
    """Waits for a process, and kills one that takes too long."""
    until = time.monotonic() + limit_s
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            return End(os.waitstatus_to_exitcode(status), said(folder), used.ru_maxrss / 1024)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return End(None, said(folder))
        time.sleep(0.01)


def said(folder: Path) -> str:
    """What the process that works in ``folder`` wrote to standard error."""
    return (folder.parent / "said2").read_text(encoding="utf-8", errors="replace")


class Warm:
    """A process for many attacks, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child = self._had = 0
        self._to = self._from = -1

    def run(self, arguments: Sequence[str], limit_s: float = LIMIT_S) -> End:
        """One attack."""
        if self._child and self._had >= ATTACKS:
            self.close()
        if not self._child:
            self._start()
        self._had += 1
        os.write(self._to, json.dumps([*arguments]).encode() + b"\n")
        ready, _, _ = select.select([self._from], [], [], limit_s)
        answer = os.read(self._from, 64) if ready else b""
        if answer:
            code, mib = json.loads(answer)
            return End(code, said(self._folder), mib)
        if not ready:
            os.kill(self._child, signal.SIGKILL)
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        self._forget()
        return End(os.waitstatus_to_exitcode(status) if ready else None, said(self._folder))

    def close(self) -> None:
        """Ends the process."""
        if self._child:
            self._forget()
            os.waitpid(self._child, 0)
            self._child = 0

    def _forget(self) -> None:
        os.close(self._to)
        os.close(self._from)

    def _start(self) -> None:
        commands, answers = os.pipe(), os.pipe()
        self._had = 0
        self._child = os.fork()
        if self._child:
            os.close(commands[0])
            os.close(answers[1])
            self._to, self._from = commands[1], answers[0]
            return
        os.close(commands[1])
        os.close(answers[0])
        _begin(self._folder)
        from vidpipe.cli.main import Interrupts, run_command  # noqa: PLC0415  imported by the parent

        with os.fdopen(commands[0]) as lines:
            for line in lines:
                for stream in (1, 2):
                    os.ftruncate(stream, 0)
                    os.lseek(stream, 0, os.SEEK_SET)
                code = _code_of(functools.partial(run_command, json.loads(line), Interrupts()))
                mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                os.write(answers[1], json.dumps([code, mib]).encode())
        os._exit(0)


def _begin(folder: Path) -> None:
    os.setsid()
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(os.open(folder.parent / f"said{stream}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)


def _code_of(command: Callable[[], int | None]) -> int:
    """What a command line returns or exits with; 99 for an exception, which is printed."""
    try:
        code: int | None = command()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001  what a user would see
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return code or 0
