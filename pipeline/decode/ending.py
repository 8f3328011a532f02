"""Where a recording breaks off: its last picture is often there in part."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.decode.clock import Clock
from pipeline.decode.open import open_decoder_context, open_input, parked
from pipeline.decode.packet_index import PacketIndex
from pipeline.decode.pictures import Pictures, first_damaged

_UNBOUNDED = ("mpegts", "mpeg")
"""FFmpeg's names of formats that do not state how long a packet is: decoding tells whether it is whole."""
_MOST_FRAMES = 300
"""Of a last group of pictures that is decoded for it."""
_UNTIMED, _LAST = "mpeg", 3
"""The format whose pictures may lack a time, so that the last few of a file may have got each other's."""


def may_break_off(container: InputContainer, index: PacketIndex) -> bool:
    """True where the file does not say that its last picture is whole."""
    return index.breaks_off is not None or container.format.name in _UNBOUNDED


def whole_until(path: Path, stream: int, index: PacketIndex) -> int | None:
    """Time from which on frames are left out, because the last picture in the file is cut off; None where it
    is whole, where damage lies elsewhere, and where that is not known.

    Decodes the last group of pictures. Where the file says that it breaks off, its last picture is left out
    whatever the decoder makes of it. Where it tells when pictures are decoded and nothing else, as AVI does,
    pictures are left out that would be shown from then on: those between them may be missing, too.
    """
    if index.by_decoding and index.breaks_off is not None and index.last_dts is not None:
        return index.last_dts
    if index.derived or index.pieces or not len(index.keys):
        return None
    # Pictures may be shown before a key frame and decoded after it: of the last few the one before counts.
    begins = index.keys[index.keys[:, 0] <= index.pts[-_LAST - 1 :][0]]
    key_pts, key_dts = (int(value) for value in (begins if len(begins) else index.keys[:1])[-1])
    expected = index.pts[index.pts >= key_pts].tolist()
    if not len(index.pts) > 1 or len(expected) > _MOST_FRAMES:
        return None
    last = index.ends_with if index.breaks_off is not None else None
    with open_input(path) as container:
        video = container.streams[stream]
        assert isinstance(video, VideoStream)
        if len(begins) > 1:
            container.seek(key_dts, stream=video)
        with parked(open_decoder_context(video)) as context:
            context.thread_count = 1  # threads report damage late, and of the last pictures never
            pictures = Pictures(container, context, video, 1, Clock(()), index.lacking, last)
            damaged = first_damaged(expected, _told(pictures, expected))
            untimed = container.format.name == _UNTIMED
    # Elsewhere than in the last picture, it is damage, and no end; so is a group that is damaged as a whole.
    last_ones = expected[-_LAST:] if untimed and len(expected) > _LAST else [index.ends_with]
    return damaged if damaged in last_ones else None


def _told(pictures: Pictures, expected: Sequence[int]) -> Iterator[tuple[int, bool, bool]]:
    """Those from the first of the ``expected`` times on, which is a key frame's whatever the decoder says
    after a seek. A picture without a time follows the one before."""
    at = -1
    for picture in pictures:
        if at < 0:
            at += bool(picture.key_frame)
        elif picture.pts is None:
            at += 1
        elif picture.pts >= expected[0]:
            at = bisect_left(expected, picture.pts)
        if 0 <= at < len(expected):
            time = expected[at] if picture.pts is None or at == 0 else picture.pts
            yield time, pictures.is_damaged(picture), bool(picture.key_frame)
