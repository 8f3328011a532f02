"""Opening a file as PyAV's input: the checks that every reader wants first, and the choice of stream."""

from __future__ import annotations

import logging
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline.errors import InputError
from pipeline.notes import decided, warned

log = logging.getLogger(__name__)

MAX_SIDE_PX = 32_768
MAX_AREA_PX = 1 << 28
"""16,384 x 16,384 px; a frame of it in 4:2:0 has 400 MB. Headers beyond it are broken or hostile."""

# Demuxers that turn pictures and text into "video".
_NOT_VIDEO = ("image2", "tty", "_pipe")
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails


def open_input(path: Path) -> InputContainer:
    """Open a local file. Raises InputError, in one line, for whatever a user may hand in instead."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a video file in it")
        if not path.exists():
            raise InputError(f"{path} does not exist; check the name")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file; name a video file on disk")
        with path.open("rb") as file:
            head = file.read(12)
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: no permission; change its mode or owner") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes); copy it again from where it came")
    try:
        # An absolute path, so that a name with a colon is no protocol; no network behind a playlist.
        return av.open(
            str(path.absolute()),
            "r",
            metadata_errors="replace",
            container_options={"protocol_whitelist": "file,crypto,data"},
        )
    except (FFmpegError, ValueError) as error:
        if head[4:8] == b"ftyp":
            raise InputError(
                f"{path} is an MP4 or MOV whose index is missing or damaged, as in a recording that was cut "
                f"off ({_reason(error)}); repair it or record it again"
            ) from error
        raise InputError(f"{path} is not a video that FFmpeg can read ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it ends before its first frame"
    return str(getattr(error, "strerror", None) or error)


def is_cover(stream: VideoStream) -> bool:
    """True for an attached picture or a track of thumbnails, which are carried and not processed."""
    return bool(stream.disposition & _COVER)


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of a stream's codec; PyAV raises for a codec that FFmpeg does not know."""
    return str(getattr(stream, "name", None) or "unknown codec")


def choose_stream(container: InputContainer, path: Path, index: int | None) -> VideoStream:
    """The video stream to process: ``index`` of the container, else the default one, else the largest.

    Raises InputError where there is none, it has no decoder or states an impossible size.
    """
    if any(part in container.format.name for part in _NOT_VIDEO):
        raise InputError(f"{path} is a picture or a text ({container.format.name}), not a video")
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
