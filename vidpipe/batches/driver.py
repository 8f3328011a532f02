"""The loop of a batch: which files are due, who does them, what the ledger says of them."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.config import Resolved
from pipeline.errors import InputError, OutputError, UsageError
from pipeline.files import check_source
from vidpipe.batches.inputs import PATTERN, Item, Refused, collect, is_remote
from vidpipe.batches.ledger import Entry, Ledger, Seen, State, content_hash
from vidpipe.batches.pool import DIED, Pool
from vidpipe.batches.recipe import recipe, resolved
from vidpipe.batches.worker import BeyondLimitError, Limits, Outcome, Task, check_limits


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is, beside the results that it has given."""

    inputs: int
    """In all."""
    running: Mapping[str, tuple[int, int]]
    """(frames done, frames in all) by file."""


MODES = ("reconstruct", "pixelize", "protect")
NEW = "new"
"""Why a file is due that no earlier batch has begun."""
BEFORE = "done before"
"""The reason of a result whose output an earlier batch has made."""
_WAIT_S = 0.2
"""Between two looks at the workers."""
_BACK_OFF_S = 1.0
"""After which a file is tried again whose worker died; each further time it is twice as long."""
_ASKED_AT_ONCE = 500
"""Inputs that the ledger is asked for at a time."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one input."""

    source: str
    target: str
    """Path of its output; empty where there is none."""
    state: State
    reason: str = ""
    """Why it failed or was skipped; for one that was done before, "done before"."""
    frames: int = 0
    seconds: float = 0.0
    report: str = ""
    """JSON of the sidecar, of a file that was done in this batch."""
    why: str = ""
    """Why it was begun in this batch: ``new``, ``the input changed``, ..."""


@dataclass(slots=True)
class Totals:
    """Of all inputs of a batch."""

    inputs: int = 0
    done: int = 0
    before: int = 0
    """Of ``done``: by an earlier batch."""
    failed: int = 0
    skipped: int = 0

    def add(self, result: Result) -> None:
        self.inputs += 1
        self.done += result.state is State.DONE
        self.before += result.state is State.DONE and result.reason == BEFORE
        self.failed += result.state is State.FAILED
        self.skipped += result.state is State.SKIPPED


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch as it is asked for."""

    inputs: Sequence[str]
    out: Path
    mode: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Settings by dotted name."""
    config: Path | None = None
    pattern: str = PATTERN
    limits: Limits = field(default_factory=Limits)
    attempts: int = 3
    """For a file whose worker dies; a file that cannot be done is not tried again by itself."""
    retry_failed: bool = False
    overwrite: bool = False
    """Outputs that no batch has made are replaced."""
    upload: str | None = None
    """URL of a folder of an object store that outputs are moved to; ``out`` keeps the ledger."""
    resume_from_s: float | None = 60.0
    """Files that last so many seconds or more are gone on with inside; None: none."""


def run(
    plan: Plan,
    make_pool: Callable[[], Pool],
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Generator[Result]:
    """Results as files end, those that are done already among them. Closing it ends what is under way.

    ``on_progress`` is called some times a second; what it raises ends the batch. Raises UsageError,
    InputError and OutputError before the first file is begun.
    """
    _check(plan)
    settings = resolved(plan.values, plan.config)
    made_by = recipe(plan.mode, settings)
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{plan.out} cannot be made: {error.strerror}") from error
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(plan.out))
        batch = _Batch(plan, settings, made_by, ledger)
        # The workers start while the first files are looked for.
        pool = stack.enter_context(closing(make_pool()))
        yield from batch.results(pool, on_progress)


def _check(plan: Plan) -> None:
    """Raises UsageError."""
    if plan.mode not in MODES:
        raise UsageError(f"mode is {plan.mode!r}; wanted {', '.join(MODES)}")
    if plan.attempts < 1:
        raise UsageError(f"attempts is {plan.attempts}; wanted 1 or more")


class _Batch:
    def __init__(self, plan: Plan, settings: Resolved, recipe: str, ledger: Ledger) -> None:
        self._plan = plan
        self._settings = settings
        self._recipe = recipe
        self._ledger = ledger
        self._under_way: dict[str, Entry] = {}
        self._growing: deque[Item] = deque()
        """Put off until they have stopped growing."""
        self._again: deque[tuple[float, Item]] = deque()
        """When files are due again whose worker died, by the monotonic clock."""
        self._deaths: Counter[str] = Counter()
        self._why: dict[str, str] = {}
        """By file, from its first attempt to its end."""

    def results(self, pool: Pool, on_progress: Callable[[Progress], None]) -> Iterator[Result]:
        plan = self._plan
        found = list(collect(plan.inputs, plan.out, plan.mode, plan.pattern))
        known = self._ledger.sources()
        found.sort(key=lambda item: item.source in known)  # new ones begin before old ones are looked at
        waiting = self._with_entries(found)
        running: dict[str, tuple[int, int]] = {}
        while True:
            while len(self._under_way) < pool.workers:
                due = next(waiting, None) or self._next_put_off()
                if due is None:
                    break
                result = self._begin(*due, pool)
                if result is not None:
                    yield result
            if not self._under_way and not self._growing and not self._again:
                return
            for outcome in pool.ended(_WAIT_S) if self._under_way else _pause():
                running.pop(outcome.source, None)
                result = self._end(outcome)
                if result is not None:
                    yield result
            for source, done, total in pool.progress():
                if source in self._under_way:
                    running[source] = (done, total)
            on_progress(Progress(len(found), running))

    def _with_entries(self, found: Sequence[Item | Refused]) -> Iterator[tuple[Item | Refused, Entry | None]]:
        """Each with what the ledger says of it, which is asked for many at a time."""
        for begin in range(0, len(found), _ASKED_AT_ONCE):
            items = found[begin : begin + _ASKED_AT_ONCE]
            known = self._ledger.entries([item.source for item in items])
            yield from ((item, known.get((item.source, _target(item)))) for item in items)

    def _next_put_off(self) -> tuple[Item | Refused, Entry | None] | None:
        """A file whose worker died, after a pause; or one that grew, once it is still."""
        if self._again and self._again[0][0] <= time.monotonic():
            _, item = self._again.popleft()
            return next(self._with_entries([item]))
        for _ in range(len(self._growing)):
            item = self._growing.popleft()
            if not _grows(item.source):
                return next(self._with_entries([item]))
            self._growing.append(item)
        return None

    def _begin(self, item: Item | Refused, earlier: Entry | None, pool: Pool) -> Result | None:
        """Hands a file to a worker, or says why not. None: it is under way, or put off."""
        if isinstance(item, Refused):
            return self._written(item.source, "", State.FAILED, item.reason)
        try:
            seen = None if is_remote(item.source) else Seen.of(item.source)
            if seen is not None and seen.is_fresh():
                self._growing.append(item)
                return None
            content = self._content(item.source, seen, earlier)
        except OSError as error:
            return self._written(item.source, item.target, State.FAILED, _unreadable(item.source, error))
        changed = earlier is not None and earlier.content not in {None, content}
        result = _before(item, earlier, self._recipe, self._plan, changed=changed)
        if earlier is not None and result is not None:
            if result.state is State.DONE and seen != earlier.seen:
                self._ledger.put(replace(earlier, seen=seen))
            return result
        if reason := _foreign(item, earlier, self._plan):
            return self._written(item.source, item.target, State.FAILED, reason)
        attempts, made = (0, None) if earlier is None else (earlier.attempts, earlier.made_bytes)
        entry = Entry(item.source, item.target, seen, content, self._recipe, State.RUNNING)
        entry = replace(entry, attempts=1 + (0 if changed else attempts), made_bytes=made)
        self._why.setdefault(item.source, _why(earlier, self._recipe, changed=changed))
        self._ledger.put(entry)
        self._under_way[item.source] = entry
        pool.submit(self._task(item, overwrite=earlier is not None or self._plan.overwrite))
        return None

    def _content(self, source: str, seen: Seen | None, earlier: Entry | None) -> str | None:
        if seen is None:
            from vidpipe.batches import remote

            return remote.version(source)
        if earlier is not None and earlier.seen == seen and earlier.content is not None:
            return earlier.content
        return content_hash(source)

    def _task(self, item: Item, *, overwrite: bool) -> Task:
        plan = self._plan
        place = None
        if plan.upload is not None:
            place = f"{plan.upload.rstrip('/')}/{os.path.relpath(item.target, plan.out)}"
        return Task(
            *(item.source, item.target, plan.mode, self._settings, overwrite, plan.limits),
            resume_from_s=plan.resume_from_s,
            remote=place,
        )

    def _end(self, outcome: Outcome) -> Result | None:
        """None: it is tried again, after a pause."""
        entry = self._under_way.pop(outcome.source)
        target = entry.target
        if outcome.ok and entry.seen is not None and _differs(outcome.source, entry.seen):
            outcome = replace(outcome, ok=False, reason="the input changed while it was read")
        made = _size(target) if outcome.ok and self._plan.upload is None else entry.made_bytes
        if outcome.ok and made is None and self._plan.upload is None:
            why = f"{target} is not there, though its worker has made it: do all nodes see this folder?"
            outcome = replace(outcome, ok=False, reason=why)
        if not outcome.ok and outcome.reason.startswith(DIED):
            self._deaths[outcome.source] += 1
            deaths = self._deaths[outcome.source]
            if deaths < self._plan.attempts:
                due_s = time.monotonic() + _BACK_OFF_S * 2 ** (deaths - 1)
                self._again.append((due_s, Item(outcome.source, target)))
                return None
        state = State.DONE if outcome.ok else State.SKIPPED if outcome.by_rule else State.FAILED
        entry = replace(entry, state=state, reason=outcome.reason, frames=outcome.frames, made_bytes=made)
        self._ledger.put(replace(entry, seconds=outcome.seconds))
        return Result(
            *(outcome.source, target, state, outcome.reason, outcome.frames, outcome.seconds),
            report=outcome.report,
            why=self._why.pop(outcome.source, ""),
        )

    def _written(self, source: str, target: str, state: State, reason: str) -> Result:
        self._ledger.put(Entry(source, target, None, None, self._recipe, state, reason))
        return Result(source, target, state, reason)


def _target(item: Item | Refused) -> str:
    return item.target if isinstance(item, Item) else ""


def _before(item: Item, entry: Entry | None, made_by: str, plan: Plan, *, changed: bool) -> Result | None:
    """The result of an input of which an earlier batch's counts. None: it is due."""
    if entry is None or entry.recipe != made_by or entry.content is None or changed:
        return None
    if entry.state is State.DONE and (plan.upload is not None or _is_as_made(entry)):
        return Result(item.source, item.target, State.DONE, BEFORE, entry.frames, entry.seconds)
    if entry.state is State.FAILED and not plan.retry_failed:
        return Result(item.source, item.target, State.FAILED, entry.reason, seconds=entry.seconds)
    return None


def _foreign(item: Item, entry: Entry | None, plan: Plan) -> str:
    """Why an output may not be put where something lies; empty where nothing does, or a batch put it there.

    What is *running* in the ledger was begun when nothing lay there.
    """
    if plan.overwrite or plan.upload is not None or not os.path.lexists(item.target):
        return ""
    ours = entry is not None and (
        entry.state in {State.RUNNING, State.DONE} or entry.made_bytes == (_size(item.target) or -1)
    )
    return "" if ours else f"{item.target} exists, and no batch made it; move it away, or give --overwrite"


def _unreadable(source: str, error: OSError) -> str:
    """Why, as for a single file."""
    try:
        check_source(Path(source))
    except InputError as known:
        return str(known).removeprefix(f"{source} ")
    return f"cannot be read: {error.strerror}"


def _is_as_made(entry: Entry) -> bool:
    """Whether the output stands under its name, in its size."""
    size = _size(entry.target)
    return size is not None and size == (entry.made_bytes or size)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116  speed
    except OSError:
        return None


def _differs(source: str, seen: Seen) -> bool:
    """Whether a file is not what it was, or gone."""
    try:
        return Seen.of(source) != seen
    except OSError:
        return True


def _grows(source: str) -> bool:
    """Whether a file was written to a moment ago."""
    try:
        return Seen.of(source).is_fresh()
    except OSError:
        return False


def _pause() -> tuple[Outcome, ...]:
    time.sleep(_WAIT_S)
    return ()


def plan_only(plan: Plan) -> Iterator[Result]:
    """What ``run`` would begin (as *running*), skip, fail or find done; nothing is written."""
    from vidpipe.batches.ledger import NAME, entries

    _check(plan)
    made_by = recipe(plan.mode, resolved(plan.values, plan.config))
    there = entries(plan.out) if (plan.out / NAME).is_file() else ()
    known = {(entry.source, entry.target): entry for entry in there}
    for item in collect(plan.inputs, plan.out, plan.mode, plan.pattern):
        if isinstance(item, Refused):
            yield Result(item.source, "", State.FAILED, item.reason)
        else:
            yield _planned(item, known.get((item.source, item.target)), made_by, plan)


def _planned(item: Item, entry: Entry | None, made_by: str, plan: Plan) -> Result:
    here = Path(item.source)
    try:
        seen = None if is_remote(item.source) else Seen.of(item.source)
        changed = seen is not None and entry is not None and _changed(item.source, seen, entry)
        if result := _before(item, entry, made_by, plan, changed=changed):
            return result
        if seen is not None:
            check_source(here)
            check_limits(item.source, plan.limits)
    except BeyondLimitError as error:
        return Result(item.source, item.target, State.SKIPPED, str(error))
    except InputError as error:
        text = str(error).removeprefix(f"{here} ").removeprefix(f"{here}: ")
        return Result(item.source, item.target, State.FAILED, text)
    except OSError as error:
        return Result(item.source, item.target, State.FAILED, _unreadable(item.source, error))
    if reason := _foreign(item, entry, plan):
        return Result(item.source, item.target, State.FAILED, reason)
    return Result(item.source, item.target, State.RUNNING, _why(entry, made_by, changed=changed))


def _changed(source: str, seen: Seen, entry: Entry) -> bool:
    """Whether the content is another than the one that the ledger speaks of."""
    return entry.content is not None and seen != entry.seen and content_hash(source) != entry.content


def _why(entry: Entry | None, made_by: str, *, changed: bool) -> str:
    """Why a file is due of which the ledger says ``entry``."""
    if entry is None:
        return NEW
    if changed:
        return "the input changed"
    if entry.recipe != made_by:
        return "settings, weights or version changed"
    return {
        State.RUNNING: "begun before and not ended",
        State.FAILED: "it failed before",
        State.SKIPPED: "it was skipped before",
        State.DONE: "its output is gone or changed",
    }[entry.state]
