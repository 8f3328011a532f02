"""The journal of a run: a hidden folder beside the output, from which a run that was stopped goes on.

It holds what networks answered (``pipeline.answers``) and the packets of the segments that have ended
(``pipeline.encode.segments``). A run that goes on reads the source from its beginning: trackers, windows,
colours and reports come to the same state without asking a network, and pictures that are coded are not made
again. A journal counts for one input, one job, one set of settings and one version; any other begins anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from nets.digest import sha256
from pipeline import leftovers
from pipeline.answers import Answers
from pipeline.config import Resolved
from pipeline.encode.atomic_file import output_error, write_whole
from pipeline.encode.segments import Segments
from pipeline.errors import CheckError, InputError, OutputError
from pipeline.notes import warned
from pipeline.run.job import Job
from pipeline.run.plan import Plan
from pipeline.run.sidecar import versions
from pipeline.types import StreamInfo

log = logging.getLogger(__name__)

_HEAD = "journal.json"
_NO_MATTER = ("prefetch_frames", "threads")
"""Last parts of settings that decide how fast a run is and nothing of its output."""


class Journal:
    """Of one run; ``frames_kept`` may be read at any time."""

    def __init__(self, answers: Answers, segments: Segments, first: int) -> None:
        self.answers = answers
        self.segments = segments
        self._first = first

    @property
    def frames_kept(self) -> int:
        """Frames that need not be made again."""
        return self.segments.frames_kept

    @property
    def kept(self) -> int:
        """The index in the source that the first frame has that is to be made."""
        return self._first + self.frames_kept


@contextmanager
def journal(
    job: Job, settings: Resolved, device: str, info: StreamInfo, plan: Plan
) -> Iterator[Journal | None]:
    """The journal of a job; None where it asks for none. It is removed when what it serves ends well, or
    ends with an output that does not keep what it must, and stays otherwise.

    Raises OutputError where it cannot be written, or another run uses it.
    """
    if job.resume_from_s is None or info.duration_s < job.resume_from_s:
        yield None
        return
    folder = leftovers.journal_name(job.target)
    with ExitStack() as stack:
        try:
            lock = leftovers.open_journal(folder)
            stack.callback(os.close, lock)
            opened = _opened(folder, _identity(job, settings, device), job, info, plan, settings)
        except BlockingIOError as error:
            raise OutputError(f"another run is making {job.target}; wait for it or stop it") from error
        except OSError as error:
            raise output_error(job.target, error) from error
        stack.callback(opened.answers.close)
        try:
            yield opened
        except CheckError:
            leftovers.remove_journal(folder)
            raise
        leftovers.remove_journal(folder)


def _opened(
    folder: Path, identity: Mapping[str, str], job: Job, info: StreamInfo, plan: Plan, settings: Resolved
) -> Journal:
    """Raises OSError."""
    head = folder / _HEAD
    earlier = _read(head)
    if earlier != identity:
        changed = [what for what, of in identity.items() if earlier.get(what) != of]
        if earlier:
            warned(
                log,
                "%s: %s changed since the run that was stopped; it begins anew",
                *(job.target.name, " and ".join(changed)),
            )
        leftovers.empty_journal(folder)
        write_whole(head, json.dumps(identity))
        head.chmod(0o600)
    pts = info.pts
    first = 0 if plan.start_pts is None else bisect_left(pts, plan.start_pts)
    end = len(pts) if plan.end_pts is None else bisect_left(pts, plan.end_pts)
    answers = Answers(folder / "answers")
    length = round(settings.config.encode.segment_s * info.rate)
    return Journal(answers, Segments(folder, pts[first:end], length, answers), first)


def _read(head: Path) -> dict[str, str]:
    """Empty where there is none, or a half-written one."""
    try:
        found = json.loads(head.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _identity(job: Job, settings: Resolved, device: str) -> dict[str, str]:
    """Hashes of all that decides the output, by what it is. Raises InputError."""
    rows = [(n, v) for n, v, _ in settings.rows() if n.rpartition(".")[2] not in _NO_MATTER]
    asked = replace(job, source=Path("-"), target=Path("-"), overwrite=False, resume_from_s=None)
    try:
        return {
            "the input": sha256(job.source),
            "the settings": _hash([rows, device]),
            "what is asked for": _hash([repr(asked), [sha256(path) for path in job.files]]),
            "the version": _hash(versions()),
        }
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
