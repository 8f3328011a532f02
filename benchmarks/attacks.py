"""Attacks on the command line, with fixed seeds and a bound on each: what hangs, breaks, leaks, is half done?

    python -m benchmarks.attacks --results attacks.json      # all of it: 600 fuzzed runs, 60 kills, ...
    python -m benchmarks.attacks --fuzz 20 --kills 6         # a sample

Kills, limits of memory and every tenth of the other attacks are processes of their own, the others go one
after the other into a process for many (``benchmarks.attack_process``): a hang, a crash and what is left are
seen from outside either way. First each kind is tried without harm, which must be done, so that nothing is
refused for another reason. Linux. Exit code 1 if a figure that must be 0 is not. The table is in
docs/security.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save as to_bytes

from benchmarks.attack_inputs import GOOD_CONFIG, REPORTS, SECRET, SETTINGS, WEIGHTS, harmed, seed_clips
from benchmarks.attack_process import End, Warm, ended, forked, said
from nets.checkpoint import save
from nets.idn import IDN, IDNConfig
from pipeline import leftovers
from pipeline.decode.source import probe
from pipeline.errors import VidpipeError
from tests.support.hostile import PLAYLISTS, listener

_ONE_LINE_CODES = {1, 2, 4, 5}
_MEMORY_GIB = (1.0, 1.35, 1.45, 1.55, 1.95, 2.05, 2.15, 2.3, 2.5, 3.0, 4.0, 6.0)
"""Limits of the address space, from where nothing can be opened to where a run nearly works."""
MODES = ("pixelize", "reconstruct")
FAST = ("--no-progress", "--preset", "ultrafast")


@dataclass(slots=True)
class Row:
    """The figures of one kind of attack."""

    tried: int = 0
    done: int = 0
    """Ended with an output that is whole."""
    refused: int = 0
    """Ended with one line and no output."""
    hangs: int = 0
    crashes: int = 0
    tracebacks: int = 0
    half_outputs: int = 0
    requests: int = 0
    leaked_bytes: int = 0
    """Of a file that an input names and no run may read, in an output, its report or on the screen."""
    most_mib: float = 0.0
    """Memory of the process that took most."""
    examples: list[str] = field(default_factory=list)

    @property
    def broken(self) -> int:
        """What must be 0."""
        found = self.hangs + self.crashes + self.tracebacks + self.half_outputs
        return found + self.requests + self.leaked_bytes

    def note(self, name: str, what: str) -> None:
        if len(self.examples) < 5:
            self.examples.append(f"{name}: {what}"[:300])


def judge(row: Row, name: str, end: End, output: Path) -> None:
    """Counts how an attack has ended, and what it left in the output's folder."""
    row.tried += 1
    row.most_mib = max(row.most_mib, end.memory_mib)
    hidden = [path.name for path in output.parent.iterdir() if path.name.startswith(".")]
    standing = output.exists()
    whole = standing and _is_whole(output)
    if end.code is None:
        row.hangs += 1
    elif end.code < 0:
        row.crashes += 1
    elif "Traceback" in end.errors or end.code == 99:
        row.tracebacks += 1
    elif hidden or standing != (end.code == 0) or (standing and not whole):
        row.half_outputs += 1
    elif end.code == 0:
        row.done += 1
        return
    elif end.code in _ONE_LINE_CODES and len(end.errors.strip().splitlines()) >= 1:
        row.refused += 1
        return
    else:
        row.tracebacks += 1
    last = (end.errors.strip().splitlines() or [""])[-1]
    row.note(name, f"code {end.code}, left {hidden or ''} {'output' if standing else ''}, {last}")


def _is_whole(output: Path) -> bool:
    try:
        return len(probe(output).pts) > 0 and output.with_name(f"{output.name}.json").exists()
    except VidpipeError:
        return False


def leaked(path: Path) -> int:
    """Bytes in a file of what no run may read."""
    return path.read_bytes().count(SECRET) * len(SECRET)


def emptied(folder: Path) -> None:
    """Removes the files of a folder."""
    for path in folder.iterdir():
        path.unlink()


class Attacks:
    """All kinds of attack, in one scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.out = scratch / "work" / "out"
        self.out.mkdir(parents=True)
        self.inputs = scratch / "inputs"
        self.inputs.mkdir()
        self.seeds = seed_clips(self.inputs)
        torch.manual_seed(1)
        self.net = self.inputs / "tiny.safetensors"
        save(self.net, IDN(IDNConfig(width=8, widths=(16,), tail=8, kernel=3, recurrences=1, middle=1)))
        self._alone(
            "export", self.net, "--to", "onnx", "-o", self.inputs / "tiny.onnx", "-q", "--no-progress"
        )
        self._warm = Warm(self.out)
        self._count = 0

    def close(self) -> None:
        self._warm.close()

    def _alone(self, *arguments: object, memory_bytes: int = 0) -> End:
        return ended(forked([*map(str, arguments)], self.out, memory_bytes=memory_bytes), self.out)

    def _run(self, *arguments: object) -> End:
        self._count += 1
        return self._alone(*arguments) if self._count % 10 == 0 else self._warm.run([*map(str, arguments)])

    def _mode(self, mode: str) -> tuple[str, ...]:
        return ("--mode", mode, *(("--net", str(self.net)) if mode == "reconstruct" else ()))

    def _unharmed(self, *arguments: object, suffix: str = ".mp4") -> None:
        """Raises RuntimeError where a run of this kind is not done even without an attack."""
        row = Row()
        self._attack(row, "without harm", *arguments, suffix=suffix)
        if row.done != 1:
            raise RuntimeError(f"{arguments} without harm: {row.examples or said(self.out)}")

    def _attack(
        self, row: Row, name: str, *arguments: object, suffix: str = ".mp4", memory_bytes: int = 0
    ) -> None:
        output = self.out / f"o{suffix}"
        command = ("run", *arguments, "-o", output, *FAST)
        there = {path: path.stat().st_mtime_ns for path in self.inputs.iterdir()}
        end = self._alone(*command, memory_bytes=memory_bytes) if memory_bytes else self._run(*command)
        judge(row, name, end, output)
        row.leaked_bytes += sum(leaked(path) for path in (*self.out.iterdir(), self.out.parent / "said2"))
        if there != {path: path.stat().st_mtime_ns for path in self.inputs.iterdir()}:
            row.half_outputs += 1
            row.note(name, "a file beside the input has changed")
        emptied(self.out)

    def fuzz(self, count: int) -> Iterator[tuple[str, Row]]:
        """Bits, lengths, blocks and sizes of whole clips."""
        for mode in MODES:
            row = Row()
            for seed in self.seeds:
                self._unharmed(seed, *self._mode(mode), suffix=seed.suffix)
            for number in range(count):
                seed = self.seeds[number % len(self.seeds)]
                path = self.inputs / f"fuzz{seed.suffix}"
                path.write_bytes(harmed(seed.read_bytes(), random.Random(number)))
                self._attack(row, f"{seed.name} {number}", path, *self._mode(mode), suffix=seed.suffix)
            yield f"fuzzed inputs, {mode}", row

    def kills(self, count: int) -> Iterator[tuple[str, Row]]:
        """A signal at a moment by chance, and the next run, which must find nothing."""
        row, chance = Row(), random.Random(7)
        output, source = self.out / "o.mp4", self.seeds[0]
        modes = [["run", str(source), *self._mode(m), "-o", str(output), *FAST] for m in MODES]
        took_s = [self._duration_s(command) for command in modes]
        while row.tried < count:
            number = row.tried
            sent = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[number % 3]
            child = forked(modes[number % 2], self.out)
            time.sleep(chance.uniform(0, took_s[number % 2]))
            if not os.waitpid(child, os.WNOHANG)[0]:
                open_parts = [p for p in self.out.glob(".*vidpipe-part*") if p.stat().st_mode & 0o077]
                os.kill(child, sent)
                end = ended(child, self.out)
                leftovers.clean(self.out)
                self._judge_kill(row, f"{number} {sent.name}", end, output, bool(open_parts))
            emptied(self.out)
        yield "kills", row

    def _duration_s(self, command: Sequence[str]) -> float:
        """Of the clock, for a run that nobody stops."""
        begun = time.monotonic()
        end = ended(forked(command, self.out), self.out)
        if end.code != 0:
            raise RuntimeError(f"{command} without harm: {end}")
        emptied(self.out)
        return time.monotonic() - begun

    def _judge_kill(self, row: Row, name: str, end: End, output: Path, readable: bool) -> None:
        standing = output.exists()
        killed = end.code == -signal.SIGKILL
        wrong = killed and standing and not _is_whole(output) and len(probe(output).pts) == 0
        if killed and not wrong and not readable and not list(self.out.glob(".*")):
            row.tried += 1
            row.done, row.refused = row.done + standing, row.refused + (not standing)
            return
        if end.code in {130, 143} and not standing:
            end = End(1, end.errors)
        row.half_outputs += readable
        judge(row, name, end, output)

    def playlists(self) -> Iterator[tuple[str, Row]]:
        """Texts and containers that name other files and hosts."""
        row = Row()
        other = self.inputs / "other.ts"
        other.write_bytes(SECRET * 100)
        with listener() as (port, asked):
            for kind, text in PLAYLISTS.items():
                for suffix in (".mp4", ".m3u8", ".sdp", ".ffconcat", ""):
                    path = self.inputs / f"list{suffix}"
                    path.write_text(text.format(other=other, url=f"http://127.0.0.1:{port}/x.ts", port=port))
                    self._attack(row, f"{kind} as {suffix}", path, *self._mode("pixelize"))
            path = self.inputs / "reference.mp4"
            whole = self.seeds[0].read_bytes()  # a track whose samples lie in another file
            path.write_bytes(whole.replace(b"url \0\0\0\1", b"url \0\0\0\0"))
            self._attack(row, "data reference", path, *self._mode("pixelize"))
            for name in ("http:x.mp4", "concat:a|b.mp4", f"tcp:127.0.0.1:{port}.mp4", "%03d.mp4"):
                path = self.inputs / name.replace("/", "_")
                path.write_bytes(whole)
                self._attack(row, name, path, *self._mode("pixelize"))
            row.requests = len(asked)
        yield "playlists, references, names", row

    def documents(self) -> Iterator[tuple[str, Row]]:
        """Weights, sidecars and settings."""
        clip, weights, chance = self.seeds[0], self.inputs / "w.safetensors", random.Random(3)
        row = Row()
        self._unharmed(clip, *self._mode("reconstruct"))
        tensors = IDN(IDNConfig(width=8, widths=(16,), tail=8)).state_dict()
        for config in WEIGHTS:
            text = config if isinstance(config, str) else json.dumps({**GOOD_CONFIG, **config})
            weights.write_bytes(to_bytes(tensors, metadata={"net": "idn", "config": text}))
            self._attack(row, text[:60], clip, "--mode", "reconstruct", "--net", weights)
        whole = self.net.read_bytes()
        headers = [struct.pack("<Q", 10**n) + whole[8:] for n in (2, 9, 18)]
        for content in (*headers, *(harmed(whole[:4000], chance) + whole[4000:] for _ in range(37))):
            weights.write_bytes(content)
            self._attack(row, "harmed weights", clip, "--mode", "reconstruct", "--net", weights)
        yield "weights", row
        yield "sidecars", self._texts(REPORTS(clip), lambda path: (*self._mode("pixelize"), "--from", path))
        yield "settings", self._texts(SETTINGS, lambda path: (*self._mode("pixelize"), "--config", path))

    def _texts(self, texts: Sequence[bytes], options: Callable[[Path], tuple[object, ...]]) -> Row:
        row, chance, path = Row(), random.Random(5), self.inputs / "text"
        path.write_bytes(texts[0])
        self._unharmed(self.seeds[0], *options(path))
        for text in (*texts, *(harmed(texts[0], chance) for _ in range(40))):
            path.write_bytes(text)
            self._attack(row, ascii(text[:60]), self.seeds[0], *options(path))
        return row

    def memory(self) -> Iterator[tuple[str, Row]]:
        """Limits of the address space."""
        row = Row()
        for gib in _MEMORY_GIB:
            for mode in MODES:
                self._attack(
                    row, f"{gib} GiB {mode}", self.seeds[0], *self._mode(mode), memory_bytes=int(gib * 2**30)
                )
        yield "limits of memory", row


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fuzz", type=int, default=300, help="inputs, each in two modes")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--results", type=Path, help="JSON of all figures")
    options = parser.parse_args()
    import vidpipe.api  # noqa: F401, PLC0415  what every fork would import

    rows: dict[str, Row] = {}
    with TemporaryDirectory(prefix="vidpipe-attacks-") as scratch:
        os.environ["VIDPIPE_CACHE"] = str(Path(scratch) / "cache")
        attacks = Attacks(Path(scratch))
        kinds = (attacks.playlists, attacks.documents, attacks.memory, lambda: attacks.kills(options.kills))
        for kind in (*kinds, lambda: attacks.fuzz(options.fuzz)):
            for name, row in kind():
                rows[name] = row
                print(f"{name}: {asdict(row)}", flush=True)
                if options.results:
                    options.results.write_text(json.dumps({n: asdict(r) for n, r in rows.items()}, indent=1))
        attacks.close()
    counted = Counter({name: row.broken for name, row in rows.items()})
    return 1 if counted.total() else 0


if __name__ == "__main__":
    raise SystemExit(main())
