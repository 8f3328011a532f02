"""One HTML page of a batch, which needs no network and no other file: totals, failures first, slowest files,
pictures.

Pictures are taken from the outputs. Those of an input are shown in mode ``reconstruct`` alone: in the
covering modes they would show the faces that were to be covered.
"""

from __future__ import annotations

import base64
import heapq
import html
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from pipeline.encode.atomic_file import output_error
from pipeline.errors import InputError
from pipeline.text import printable
from vidpipe.batches.driver import BEFORE, NEW, Result, Totals
from vidpipe.batches.ledger import State

NAME = "vidpipe-batch.html"
_SLOWEST = 10
_PICTURES = 24
"""Files with pictures; more would make the page slow to open."""
_PICTURE_PX = 240
"""Longer side of a picture."""
_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 18%, Canvas);
  --soft: color-mix(in srgb, CanvasText 62%, Canvas); --bad: light-dark(#a61b1b, #ff8f85); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1.5rem; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); } .bad b { color: var(--bad); }
.totals { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: 1rem 0; padding: 0; list-style: none; }
.totals b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; line-height: 1.2; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure div { display: flex; gap: 4px; }
img { max-width: 100%; min-width: 0; flex: 1; height: auto; border-radius: 3px; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
"""


@dataclass(slots=True)
class Tally:
    """What is kept of the results of a batch, of which there may be millions."""

    totals: Totals = field(default_factory=Totals)
    frames: int = 0
    """Of this batch alone."""
    failed: list[Result] = field(default_factory=list)
    skipped: list[Result] = field(default_factory=list)
    slowest: list[tuple[float, str, Result]] = field(default_factory=list)
    """A heap of those that are done, earlier batches' among them."""
    shown: list[Result] = field(default_factory=list)
    """The first ones that are done; those of this batch before others."""
    again: Counter[str] = field(default_factory=Counter)
    """Why files were done that are not new."""

    def add(self, result: Result) -> None:
        """One more."""
        self.totals.add(result)
        result = replace(result, report="")
        if result.state is State.FAILED:
            self.failed.append(result)
        elif result.state is State.SKIPPED:
            self.skipped.append(result)
        else:
            self._add_done(result)

    def _add_done(self, result: Result) -> None:
        is_new = result.reason != BEFORE
        self.frames += is_new * result.frames
        if is_new and result.why != NEW:
            self.again[result.why] += 1
        heapq.heappush(self.slowest, (result.seconds, result.source, result))
        if len(self.slowest) > _SLOWEST:
            heapq.heappop(self.slowest)
        if len(self.shown) < _PICTURES:
            self.shown.append(result)
        elif is_new:
            old = next((i for i, one in enumerate(self.shown) if one.reason == BEFORE), None)
            if old is not None:
                self.shown[old] = result


@dataclass(frozen=True, slots=True)
class Finished:
    """A batch that has ended."""

    mode: str
    out: Path
    tally: Tally
    seconds: float
    workers: int


def write(batch: Finished) -> Path:
    """The page beside the outputs. Raises OutputError."""
    path = batch.out / NAME
    try:
        path.write_text(page(batch), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise output_error(path, error) from error
    return path


def page(batch: Finished) -> str:
    """Its HTML."""
    tally, frames = batch.tally, batch.tally.frames
    slowest = [result for _, _, result in sorted(tally.slowest, reverse=True)]
    speed = f"{frames / batch.seconds:.1f} frames/s with {batch.workers} workers" if batch.seconds else ""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>vidpipe batch, {batch.mode}</title><style>{_STYLE}</style>",
        f"<h1>vidpipe batch, {batch.mode}</h1>",
        f"<p class=soft>{_text(str(batch.out))} · {batch.seconds:.0f} s · {frames} frames · {speed}</p>",
        _totals(tally.totals),
        *(f"<p class=soft>{_text(line)}</p>" for line in again(tally)),
        _table("Failed", tally.failed, batch.out),
        _table("Skipped by rule", tally.skipped, batch.out),
        _table("Slowest", slowest, batch.out),
        _pictures(batch),
    ]
    return "\n".join(part for part in parts if part) + "\n</html>\n"


def again(tally: Tally) -> list[str]:
    """A sentence per reason for which files were done that earlier batches had begun."""
    return [f"{_files(count)} done again: {why}" for why, count in tally.again.most_common()]


def _files(count: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'}"


def _totals(totals: Totals) -> str:
    rows = [
        ("inputs", totals.inputs, ""),
        ("done", totals.done, ""),
        ("of these before", totals.before, ""),
        ("failed", totals.failed, " class=bad" if totals.failed else ""),
        ("skipped", totals.skipped, ""),
    ]
    cells = "".join(f"<li{kind}><b>{count}</b>{name}</li>" for name, count, kind in rows)
    return f"<ul class=totals>{cells}</ul>"


def _table(title: str, results: Sequence[Result], out: Path) -> str:
    if not results:
        return ""
    slow = title == "Slowest"
    head = "<th>file<th class=number>frames<th class=number>seconds<th class=number>frames/s"
    rows = []
    for r in results:
        if slow:
            rate = f"{r.frames / r.seconds:.1f}" if r.seconds else ""
            numbers = f"<td class=number>{r.frames}<td class=number>{r.seconds:.1f}<td class=number>{rate}"
            rows.append(f"<tr><td>{_link(r.target, out)}{numbers}")
        else:
            rows.append(f"<tr><td>{_text(r.source)}<td>{_text(r.reason)}")
    head = head if slow else "<th>input<th>reason"
    return f"<h2>{title}</h2><div class=scroll><table><tr>{head}{''.join(rows)}</table></div>"


def _pictures(batch: Finished) -> str:
    shown, done = batch.tally.shown, batch.tally.totals.done
    if not shown:
        return ""
    figures = []
    for r in shown:
        files = [r.source, r.target] if batch.mode == "reconstruct" else [r.target]
        images = "".join(f"<img alt='' src='{uri}'>" for uri in map(_picture, files) if uri)
        caption = f"{_link(r.target, batch.out)} · {_link(f'{r.target}.json', batch.out, 'report')}"
        figures.append(f"<figure><div>{images}</div><figcaption>{caption}</figcaption></figure>")
    more = f"<p class=soft>{len(shown)} of {done}.</p>" if done > len(shown) else ""
    what = "before and after" if batch.mode == "reconstruct" else "of the outputs"
    return f"<h2>Pictures, {what}</h2>{more}<div class=pictures>{''.join(figures)}</div>"


def _picture(file: str) -> str:
    """The middle of a video as a data URI; empty where it cannot be decoded."""
    import av
    import cv2

    from pipeline.decode.open import open_input

    try:
        with open_input(Path(file)) as container:
            stream = container.streams.video[0]
            if container.duration:
                container.seek(container.duration // 2)
            frame = next(container.decode(stream))
            scale = _PICTURE_PX / max(frame.width, frame.height)
            size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
            small = frame.reformat(*size, format="bgr24").to_ndarray()
    except (InputError, av.FFmpegError, OSError, IndexError, StopIteration, ValueError):
        return ""
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _link(target: str, out: Path, text: str = "") -> str:
    below = os.path.relpath(target, out)
    return f"<a href='{quote(os.fsencode(below))}'>{_text(text or below)}</a>"


def _text(value: str) -> str:
    """Safe in HTML."""
    return html.escape(printable(value))
