"""Opening a file as PyAV's input: the checks that every reader wants first, and the choice of stream."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline.decode.box_counts import check_counts
from pipeline.errors import CheckError, InputError
from pipeline.files import check_source
from pipeline.machine import require
from pipeline.notes import decided, warned

log = logging.getLogger(__name__)

MAX_SIDE_PX = 32_768
MAX_AREA_PX = 1 << 28
"""16,384 x 16,384 px; a frame of it in 4:2:0 has 400 MB. Headers beyond it are broken or hostile."""
_FIRST_PICTURES = 8
"""Pictures that FFmpeg holds at least while it decodes the first one: references and reordered ones."""

FORMATS = (
    *(
        "mov",
        "matroska",
        "webm",
        "avi",
        "flv",
        "live_flv",
        "kux",
        "asf",
        "nut",
        "ogg",
        "rm",
        "wtv",
        "nsv",
        "ivf",
    ),
    *(
        "mpegts",
        "mpeg",
        "mpegvideo",
        "m4v",
        "h261",
        "h263",
        "h264",
        "hevc",
        "vvc",
        "av1",
        "obu",
        "vc1",
        "dirac",
    ),
    *("cavsvideo", "avs2", "avs3", "evc", "mxf", "gxf", "lxf", "dv", "mjpeg", "dnxhd", "yuv4mpegpipe", "gif"),
    *(
        "r3d",
        "cine",
        "dhav",
        "amv",
        "3g2",
        "3gp",
        "mp4",
        "ty",
        "pva",
        "apv",
        "smjpeg",
        "mpjpeg",
        "swf",
    ),
)
"""FFmpeg's names of the formats that are read: footage in one file. Not those that read other files (lists
to play or to join, DASH, SDP, series of pictures), devices, games and single pictures."""
MAX_STREAMS = 256
"""FFmpeg drops what is beyond its own bound without a word; one more is let in, to be seen."""
_GUARD = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "file",
    "max_streams": str(MAX_STREAMS + 1),
}
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
"""First bytes of PNG, JPEG, BMP and TIFF."""
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails


def open_input(path: Path, *, edits: bool = True, hwaccel: HWAccel | None = None) -> InputContainer:
    """Open a local file: the only place where a source is opened. No other file is read and no host asked.

    Without ``edits`` the edit lists of an MP4 or MOV are ignored: all packets in it are given. ``hwaccel``:
    what its video is decoded on.

    Raises InputError, in one line, for whatever a user may hand in instead, MissingError where this machine
    has too little memory for the file's index.
    """
    head = check_source(path)
    check_counts(path)
    try:
        # An absolute path, so that a name with a colon is no protocol.
        container = av.open(
            str(path.absolute()),
            "r",
            metadata_errors="replace",
            container_options=_GUARD if edits else {**_GUARD, "ignore_editlist": "1"},
            hwaccel=hwaccel,
        )
    except (FFmpegError, ValueError) as error:
        if _is_text(head):
            raise InputError(
                f"{path} is a text, such as a playlist that names other files; name a video file itself"
            ) from error
        if head.startswith(_PICTURES) or head[8:12] == b"WEBP":
            raise InputError(f"{path} is a picture; name a video file") from error
        if head[4:8] == b"ftyp":
            raise InputError(
                f"{path} is an MP4 or MOV whose index is missing or damaged, as in a recording that was cut "
                f"off ({_reason(error)}); repair it or record it again"
            ) from error
        raise InputError(f"{path} is not a video that FFmpeg can read ({_reason(error)})") from error
    if len(container.streams) > MAX_STREAMS:
        container.close()
        raise InputError(f"{path} has more than {MAX_STREAMS} streams; remux it with those that are wanted")
    return container


def _is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a text."""
    return not any(byte < 9 or 13 < byte < 27 for byte in head)


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it ends before its first frame"
    return str(getattr(error, "strerror", None) or error)


def is_cover(stream: VideoStream) -> bool:
    """True for an attached picture or a track of thumbnails, which are carried and not processed."""
    return bool(stream.disposition & _COVER)


def stream_index(path: Path, video: int) -> int:
    """Index over streams of all kinds of the ``video``-th video stream that is no attached picture.

    Raises CheckError where the file has no such stream.
    """
    with open_input(path) as container:
        indices = [stream.index for stream in container.streams.video if not is_cover(stream)]
    if video >= len(indices):
        raise CheckError(
            f"the output has {len(indices)} video streams, and number {video + 1} was written; "
            "please report this clip"
        )
    return indices[video]


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of a stream's codec; PyAV raises for a codec that FFmpeg does not know."""
    return str(getattr(stream, "name", None) or "unknown codec")


def choose_stream(container: InputContainer, path: Path, index: int | None) -> VideoStream:
    """The video stream to process: ``index`` of the container, else the default one, else the largest.

    Raises InputError where there is none, it has no decoder or states an impossible size.
    """
    videos = [stream for stream in container.streams.video if not is_cover(stream)]
    kinds = ", ".join(f"{s.index}: {s.type}" for s in container.streams) or "none"
    if index is not None:
        videos = [stream for stream in videos if stream.index == index]
        if not videos:
            raise InputError(f"{path} has no video stream {index}; its streams are {kinds}")
    if not videos:
        raise InputError(f"{path} has no video stream, only {kinds}; name a file with a picture")
    stream = max(videos, key=lambda s: (bool(s.disposition & Disposition.default), _area(s), -s.index))
    if len(videos) > 1:
        warned(
            log,
            "%s has %d video streams; stream %d is processed",
            path.name,
            len(videos),
            stream.index,
        )
    _check_stream(stream, path)
    return stream


def _area(stream: VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0


def _check_stream(stream: VideoStream, path: Path) -> None:
    context = stream.codec_context
    if context is None:
        raise InputError(f"{path}: there is no decoder for the codec of stream {stream.index} in this FFmpeg")
    if context.codec_tag == "encv":
        raise InputError(f"{path}: stream {stream.index} is encrypted; decrypt it first")
    width, height = context.width, context.height
    if width <= 0 or height <= 0:
        raise InputError(f"{path}: stream {stream.index} has no readable picture (its size is not known)")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_AREA_PX:
        raise InputError(
            f"{path}: {width}x{height} px is beyond what can be processed "
            f"(at most {MAX_SIDE_PX} px a side and {MAX_AREA_PX:,} px in all)"
        )
    require(width * height * 3 // 2 * _FIRST_PICTURES, f"{path}: to decode {width}x{height} px")


def open_decoder_context(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder; libvpx where VP8 or VP9 carry alpha, which FFmpeg's own decoders leave out."""
    context = stream.codec_context
    has_alpha = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    if has_alpha and context.name in {"vp8", "vp9"}:
        name = "libvpx-vp9" if context.name == "vp9" else "libvpx"
        alpha = av.CodecContext.create(name, "r")
        assert isinstance(alpha, VideoCodecContext)
        alpha.extradata = context.extradata
        decided(log, "stream %d carries alpha: decoding with %s", stream.index, name)
        return alpha
    context.thread_type = "AUTO"
    return context


@contextlib.contextmanager
def parked(context: VideoCodecContext) -> Iterator[VideoCodecContext]:
    """The same decoder, whose threads are idle at the end.

    PyAV frees a decoder while it holds Python's lock. A thread of FFmpeg that is still at work then, and logs
    a fault through Python (see ``side_data.description``), would wait for that lock, and PyAV for the thread.
    """
    try:
        yield context
    finally:
        context.flush_buffers()
