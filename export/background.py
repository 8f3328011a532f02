"""An engine that is built in a process of its own, at a lower priority, while a run waits or goes on.

``building-KEY.log`` in the cache is locked by the builder as long as it lives, whoever began it, and holds
what it said if it failed; ``building-KEY.progress`` says how far it is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep, time
from typing import IO, cast

from export.calibration import faces
from export.convert import export
from export.spec import Request, Target
from pipeline.engines import Precision
from pipeline.engines.engine_file import folder
from pipeline.errors import VidpipeError

log = logging.getLogger(__name__)

COMMAND = [sys.executable, "-m", f"{__package__}.background"]
_ROOT = Path(__file__).resolve().parents[__package__.count(".") + 1]
"""The folder that this package is imported from."""
TELL_S = 5.0
"""Between two lines of a run that waits."""
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Building:
    """A build that goes on."""

    net: str
    note: Path
    process: subprocess.Popen[bytes] | None = None
    """None: another run has begun it."""

    def wait(self, limit_s: float) -> None:
        """Until it ends, or has gone on for so long; how far it is is logged."""
        end = perf_counter() + limit_s - self._age_s()
        told = perf_counter()
        while perf_counter() < end and self.goes_on():
            if perf_counter() - told >= TELL_S:
                told = perf_counter()
                log.warning("%s: %s", self.net, self.progress())
            sleep(_LOOK_S)

    def goes_on(self) -> bool:
        if self.process is not None:
            return self.process.poll() is None
        with _opened(self.note) as file:
            return not _locked(file.fileno())

    def progress(self) -> str:
        """For people: how far it is, or how it ended."""
        if self.goes_on():
            share = self._told().get("share", 0.0)
            return f"it is being built in the background, {share:.0%} after {self._age_s():.0f} s"
        return _failure(self.note) or "building it ended without a word; the next run tries again"

    def _age_s(self) -> float:
        return max(time() - self._told().get("begun", time()), 0.0)

    def _told(self) -> dict[str, float]:
        """What the builder has written last; empty before its first word."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(_progress(self.note).read_text(encoding="utf-8"))
            return {name: float(told[name]) for name in ("share", "begun")}
        return {}


def begin(net: str, target: Target, precision: Precision, key: str) -> Building | str:
    """Starts the build of the engine with this key of the cache, or joins the one that goes on. A text: why
    there is none, as after one that failed."""
    try:
        import fcntl  # noqa: F401, PLC0415  not on Windows
    except ImportError:
        return f"build one with: vidpipe export {net} --to {target} --precision {precision}"
    note = folder() / f"building-{key}.log"
    note.parent.mkdir(parents=True, exist_ok=True)
    # The builder inherits the open file and with it the lock, which ends with it however it ends.
    with _opened(note) as file:
        if not _locked(file.fileno()):
            return Building(net, note)
        if failure := _failure(note):
            return failure
        _progress(note).unlink(missing_ok=True)
        process = subprocess.Popen(
            [*COMMAND, net, target, precision, str(_progress(note))],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            pass_fds=(file.fileno(),),
            start_new_session=True,
        )
    return Building(net, note, process)


def _failure(note: Path) -> str:
    """The last line of a builder that said something; they say nothing else."""
    lines = note.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"building it failed: {lines[-1]} (to try again, delete {note})" if lines else ""


def _opened(note: Path) -> contextlib.AbstractContextManager[IO[bytes]]:
    return os.fdopen(os.open(note, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def _locked(file: int) -> bool:
    """Takes the lock, unless a builder has it."""
    import fcntl  # noqa: PLC0415

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _progress(note: Path) -> Path:
    return note.with_suffix(".progress")


def _teller(path: Path) -> Callable[[str, float], None]:
    begun = time()

    def tell(what: str, share: float) -> None:
        part = path.with_suffix(".part")
        with contextlib.suppress(OSError):  # nobody needs it
            part.write_text(json.dumps({"what": what, "share": share, "begun": begun}), encoding="utf-8")
            part.replace(path)

    return tell


def main() -> None:
    """The builder: NET TARGET PRECISION PROGRESS."""
    net, target, precision, progress = sys.argv[1:]
    os.nice(10)
    tell = _teller(Path(progress))
    tell("begin", 0.0)
    try:
        export(Request(net, cast("Target", target), cast("Precision", precision)), faces, tell)
    except VidpipeError as error:
        sys.exit(f"vidpipe: {error}")
    finally:
        Path(progress).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
