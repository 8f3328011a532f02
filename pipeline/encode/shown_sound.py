"""Decoded sound as a player gives it: in the order of its edits (ISO/IEC 14496-12, 8.6.6), on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from pipeline.decode.clock import Clock, Piece
from pipeline.decode.edit_lists import Edit
from pipeline.decode.open import open_input
from pipeline.encode.cut import Cut
from pipeline.encode.hidden import Hidden
from pipeline.encode.sound import Continuous, part, silence

_PREROLL_S = Fraction(1, 10)
"""Decoded before an edit begins: what codecs need to give the first sample whole."""


def edited_frames(path: Path, index: int, edits: Sequence[Edit]) -> Iterator[AudioFrame]:
    """Decoded sound of the stream ``index`` in the order of its edits, without gaps from the first edit on.

    What an edit shows that is not in the file is silent, unless nothing follows. Raises InputError.
    """
    with open_input(path, edits=False) as container:
        stream = container.streams[index]
        assert isinstance(stream, AudioStream)
        like: AudioFrame | None = None
        for edit, following in pairwise([*edits, None]):
            assert edit is not None
            at = first = None
            for frame in _of_edit(container, stream, edit):
                rate = like.sample_rate if like is not None else frame.sample_rate
                if like is None:
                    like = part(frame, 0, frame.samples, 0)
                first = round(edit.begin_s * rate)
                at = first if at is None else at
                begin = _sample(frame) - round((edit.media_s or 0) * rate) + first
                end = min(begin + frame.samples, round(edit.end_s * rate))
                if (shown := max(begin, at)) < end:
                    yield from silence(frame, at, shown)
                    yield part(frame, shown - begin, end - begin, shown)
                    at = end
            if like is not None and following is not None:
                rate = like.sample_rate
                at = round(edit.begin_s * rate) if at is None else at
                yield from silence(like, at, round(edit.end_s * rate))


def shown_sound(
    path: Path,
    index: int,
    edits: Sequence[Edit] = (),
    pieces: Sequence[Piece] = (),
    hidden: Hidden | None = None,
) -> Iterator[AudioFrame]:
    """Decoded sound of the stream ``index``, without the packets that are ``hidden``.

    A packet that cannot be decoded is left out. Raises InputError.
    """
    if edits:
        yield from edited_frames(path, index, edits)
        return
    clock = Clock(pieces)
    with open_input(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, AudioStream)
        for packet in container.demux(stream):
            clock.move(packet)
            if hidden is None or not packet.size or packet not in hidden:
                with suppress(FFmpegError):
                    yield from stream.codec_context.decode(packet if packet.size else None)


def continuous(frames: Iterable[AudioFrame], cut: Cut) -> Iterator[AudioFrame]:
    """The part of a sound that is kept, without gaps, in times of the output."""
    placed = Continuous(cut)
    for frame in frames:
        yield from placed(frame)


def _sample(frame: AudioFrame) -> int:
    """Number of a frame's first sample in its track."""
    assert frame.pts is not None and frame.time_base is not None
    return round(frame.pts * frame.time_base * frame.sample_rate)


def _of_edit(container: InputContainer, stream: AudioStream, edit: Edit) -> Iterator[AudioFrame]:
    """Frames that hold what the edit shows, and some before; up to the first that is damaged."""
    if edit.media_s is None or stream.time_base is None:
        return
    end_s = edit.media_s + edit.end_s - edit.begin_s
    start = int(max(edit.media_s - _PREROLL_S, Fraction(0)) / stream.time_base)
    try:
        container.seek(start, stream=stream)
        for frame in container.decode(stream):
            assert isinstance(frame, AudioFrame)
            if frame.pts is None or frame.time_base is None:
                continue
            if frame.pts * frame.time_base >= end_s:
                return
            yield frame
    except FFmpegError:
        return
