"""Which field of an interlaced frame is shown first: read from decoded frames, written to frames.

PyAV has no attribute for it, so FFmpeg's filters ``select`` and ``setfield`` do it; they pass frames on and
copy no sample.
"""

from __future__ import annotations

from fractions import Fraction

from av.error import BlockingIOError as NothingYetError
from av.filter import Graph
from av.video.frame import VideoFrame

INTERLACED_ORDERS = (2, 3, 4, 5)
"""FFmpeg's AVFieldOrder of interlaced streams: top or bottom field first, coded in either order"""
TOP_FIRST = (2, 5)
"""AV_FIELD_TT, AV_FIELD_BT: the top field is shown first."""
_SAYING = {
    "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "dvvideo", "prores", "ffv1", "dnxhd",
    "h261", "cavs",
}  # fmt: skip
"""Codecs whose pictures say which field comes first; in others the container alone says it."""


class FieldFilter:
    """One of FFmpeg's filters for frames of one size and format."""

    def __init__(self, name: str, arguments: str, frame: VideoFrame) -> None:
        self._graph = Graph()
        entry = self._graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, 25),
        )
        self._graph.link_nodes(entry, self._graph.add(name, arguments), self._graph.add("buffersink"))
        self._graph.configure()

    def __call__(self, frame: VideoFrame) -> VideoFrame | None:
        """The frame that the filter gives, None where it lets none pass."""
        self._graph.vpush(frame)
        try:
            return self._graph.vpull()
        except NothingYetError:
            return None


def is_top_first(frame: VideoFrame) -> bool:
    """True where a decoded frame says that its top field is shown first."""
    return FieldFilter("select", r"eq(interlace_type\,TOPFIRST)", frame)(frame) is not None


def order_shown(frame: VideoFrame, codec: str, stated: int) -> int:
    """AVFieldOrder of a stream by its first frame, and by what its container states.

    The frame is believed, as players do; 0 where neither says it.
    """
    if not frame.interlaced_frame:
        return stated
    top = is_top_first(frame)
    if not top and codec not in _SAYING:
        return stated if stated in INTERLACED_ORDERS else 0
    if stated in INTERLACED_ORDERS and (stated in TOP_FIRST) == top:
        return stated
    return 2 if top else 3


def field_marker(order: int, frame: VideoFrame) -> FieldFilter:
    """Marks frames of this one's size and format as interlaced with the field order, for the encoder."""
    return FieldFilter("setfield", "tff" if order in TOP_FIRST else "bff", frame)
