"""What the command line does with exports once they are made: outputs, the cache listed and pruned."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel

from export import cache
from export.cache import Entry
from export.convert import identity_now
from export.spec import SUFFIX, Request
from pipeline.engines.engine_file import folder
from pipeline.errors import OutputError, UsageError


class Kept(BaseModel):
    """A line of ``vidpipe export --list``."""

    path: str
    state: str
    """current, outdated or broken"""
    why: str
    """it is outdated or broken"""
    net: str
    version: str
    """of the weights"""
    target: str
    precision: str
    batch: str
    bytes: int
    made_at: str
    psnr_db: float | None
    """against PyTorch, the lowest that was measured"""

    def as_text(self) -> str:
        if not self.net:
            return f"{self.state:<8}  {self.path}: {self.why}"
        parity = "not run" if self.psnr_db is None else f"{self.psnr_db:.1f} dB"
        why = f"  ({self.why})" if self.why else ""
        return (
            f"{self.state:<8}  {self.net:<4} {self.version:<6} {self.target:<12} {self.precision:<4} "
            f"{self.batch:<8} {self.bytes / 1e6:7.1f} MB  {parity:<8}  {self.made_at}  {self.path}{why}"
        )


def kept() -> list[Kept]:
    """Everything in the cache."""
    return [_line(entry) for entry in cache.entries()]


def pruned() -> list[Kept]:
    """Deletes what is outdated or broken, and what killed processes have left; returns it."""
    gone = [line for line in kept() if line.state != "current"]
    for line in gone:
        cache.remove(Path(line.path))
    for part in cache.forgotten():
        gone.append(_broken(part, "left by a process that was killed"))
        cache.remove(part)
    return gone


def check_output(request: Request, output: Path, overwrite: bool) -> None:
    """Raises UsageError or OutputError before an hour of building, not after it."""
    suffix = SUFFIX[request.target]
    if output.suffix != suffix:
        raise UsageError(f"--output is {output}; --to {request.target} makes {suffix} files")
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent} is no folder; make it or choose another --output")
    taken = [p for p in (output, _report_of(output)) if p.exists()]
    if taken and not overwrite:
        raise OutputError(f"{taken[0]} exists; choose another --output or add --overwrite")


def put(entry: Entry, output: Path) -> Path:
    """Copies the engine's files to ``output`` and the report beside it. Raises OutputError."""
    named = {output.with_suffix(Path(name).suffix): entry.folder / name for name in entry.report.files}
    named[_report_of(output)] = entry.folder / cache.REPORT
    parts = []
    try:
        for target, source in named.items():
            part = target.with_name(f".{target.name}.part")
            parts.append(part)
            shutil.copy(source, part)
        for target, part in zip(named, parts, strict=True):
            part.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {output}: {error.strerror}; it is in the cache: {entry.file}"
        ) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return output


def _report_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.json")


def _line(entry: Entry | tuple[Path, str]) -> Kept:
    if not isinstance(entry, Entry):
        return _broken(*entry)
    report = entry.report
    why = cache.outdated(entry, identity_now(report))
    return Kept(
        path=str(entry.file if not why else entry.folder),
        state="outdated" if why else "current",
        why=why,
        net=report.net,
        version=report.version,
        target=report.target,
        precision=report.precision,
        batch=report.batch,
        bytes=report.size_bytes,
        made_at=report.made_at,
        psnr_db=min((p.psnr_db for p in report.parity), default=None) if not report.not_run else None,
    )


def _broken(path: Path, why: str) -> Kept:
    size = sum(f.lstat().st_size for f in (path.rglob("*") if path.is_dir() else (path,)))
    why = why.removeprefix(str(folder()))
    return Kept(
        path=str(path),
        state="broken",
        why=why,
        net="",
        version="",
        target="",
        precision="",
        batch="",
        bytes=size,
        made_at="",
        psnr_db=None,
    )
