"""What containers take, tried on files in memory, and where sound can go that a container does not take."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.decode.edit_lists import several_edits
from pipeline.decode.open import codec_name, open_input
from pipeline.encode.container_name import BLURAY_SUFFIXES, container_format
from pipeline.encode.encoder_names import encoders_named
from pipeline.encode.release import stream_name
from pipeline.encode.sound import ASKED, OPUS_ONLY, canonical_name, encoder_of
from pipeline.errors import InputError, OutputError

PROGRAM_STREAMS = {"mpeg", "vob", "svcd", "dvd", "vcd"}
"""MPEG-PS. Its players know MPEG video, and hardly one knows more."""
MPEG_SYSTEMS = {"mpegts", *PROGRAM_STREAMS}
_IN_MPEG = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}
"""FFmpeg writes anything into MPEG systems; what the standard has no number for nobody can read back."""
_MPEGTS_SOUND = {
    "mp1", "mp2", "mp3", "mp3float", "aac", "aac_latm", "ac3", "eac3", "dts", "dca", "truehd", "opus",
    "s302m", "pcm_bluray",
}  # fmt: skip
_MPEGTS_SUBTITLES = {"dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"}
_ELSEWHERE = (".mkv", ".mov", ".mp4", ".avi", ".m2ts", ".mpg")
"""Containers that are named to users, in this order."""


def refusal(stream: Stream, container: str, suffix: str) -> str | None:
    """Why a container does not take a stream, in a file of this suffix: tried on a file in memory that holds
    nothing else."""
    if codec_name(stream) == "pcm_bluray" and suffix.lower() not in BLURAY_SUFFIXES:
        return "it is for Blu-ray's .m2ts alone"
    known = {"audio": _MPEGTS_SOUND, "subtitle": _MPEGTS_SUBTITLES}.get(stream.type)
    if container == "mpegts" and known is not None and codec_name(stream) not in known:
        return "no reader would know what it is"  # FFmpeg writes it as private data
    with contextlib.suppress(FFmpegError), av.open(io.BytesIO(), "w", format=container) as trial:
        try:
            if container == "dv" and stream.type != "video":
                _add_dv(trial)
            target = trial.add_stream_from_template(stream, opaque=True)
            target.disposition = stream.disposition & ~Disposition.default
            trial.start_encoding()
        except FFmpegError:
            return "it has no place for it"
        except ValueError as error:
            return str(error).replace("'", "")
    return None


def _add_dv(trial: OutputContainer) -> None:
    """Raw DV has sound in the packets of its pictures, and is nothing without these."""
    picture = trial.add_stream("dvvideo", rate=25)
    assert isinstance(picture, VideoStream)
    picture.width, picture.height, picture.pix_fmt = 720, 576, "yuv420p"


def takes_anew(codec: str, container: str) -> bool:
    """Whether a container takes sound in one of the codecs that users ask for."""
    trying = contextlib.suppress(FFmpegError, ValueError)
    with trying, av.open(io.BytesIO(), "w", format=container) as trial:
        trial.add_stream(ASKED[codec], rate=48_000)
        trial.start_encoding()
        return True
    return False


def takes_pictures(encoder: str, container: str) -> bool:
    """True where the container takes the encoder's codec, or leaves it open."""
    if container in MPEG_SYSTEMS and av.Codec(encoder, "w").canonical_name not in _IN_MPEG:
        return False
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream(encoder)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=16)
def keeps_raw(pix_fmt: str, width: int, height: int, container: str) -> bool:
    """Whether raw video comes back as it was, tried with one picture: the container alone says what its
    samples are, and has words for few formats."""
    picture = VideoFrame(width, height, pix_fmt)
    for plane in picture.planes:
        plane.update(bytes(k % 251 for k in range(plane.buffer_size)))
    picture.pts = 0
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder, "one")
            with av.open(str(path), "w", format=container) as trial:
                stream = trial.add_stream("rawvideo", rate=25)
                assert isinstance(stream, VideoStream)
                stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
                trial.mux([*stream.encode(picture), *stream.encode(None)])
            with open_input(path) as made:
                back = next(made.decode(video=0))
    except (FFmpegError, ValueError, StopIteration, InputError):
        return False
    size = 1 + (picture.format.components[0].bits > 8)
    return back.format.name == pix_fmt and all(
        np.array_equal(_samples(one, size), _samples(other, size))
        for one, other in zip(picture.planes, back.planes, strict=True)
    )


def _samples(plane: VideoPlane, size: int) -> NDArray[np.uint8]:
    """Of a plane whose samples have ``size`` bytes, without what pads its lines."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width * size]


def encoders_for(codec: str, container: str) -> tuple[str, ...]:
    """Encoders for what a user wrote. Raises OutputError where there are none or none fits the container."""
    names = encoders_named(codec)
    if any(takes_pictures(name, container) for name in names):
        return names
    fit = [s for s in _ELSEWHERE if any(takes_pictures(n, container_format(Path(f"x{s}"))) for n in names)]
    told = f"write to {fit[0]} or " if fit else ""
    raise OutputError(f"{container} cannot hold {codec}; {told}choose another --codec")


def lost_sound(source: InputContainer, target: Path, audio: str) -> Iterator[str]:
    """A sentence for each sound of a file that an output would lose, whatever else it is.

    ``audio`` as in ``EncodeSettings``. Sound that edits join may be encoded in a codec that fits.
    """
    container = container_format(target)
    for stream in source.streams.audio if audio != "drop" else ():
        name = codec_name(stream)
        if audio in ASKED and name != "unknown codec" and audio != canonical_name(stream):
            if not takes_anew(audio, container):
                yield f"{container} takes no {audio}"
            continue
        reason = refusal(stream, container, target.suffix)
        may_fit = name != "unknown codec" and (container in OPUS_ONLY or _may_be_joined(source, stream))
        if reason is not None and not may_fit:
            yield f"{container} cannot carry {stream_name(stream)}: {reason}"


def ways_out(source: InputContainer, target: Path) -> str:
    """What to do where an output would lose sound: settings that help, and a container that takes it."""
    container = container_format(target)
    words = [*(codec for codec in ASKED if takes_anew(codec, container)), "drop"]
    told = f"add --audio {' or '.join(filter(None, (', '.join(words[:-1]), words[-1])))}"
    elsewhere = _elsewhere(source, target)
    return f"{told}, or write to {elsewhere}" if elsewhere else told


def _elsewhere(source: InputContainer, target: Path) -> str | None:
    """The first container that takes sound and subtitles as they are, else the sound alone."""
    sound, asked = list(source.streams.audio), target.suffix.lower()
    for streams in ([*sound, *source.streams.subtitles], sound):
        for suffix in _ELSEWHERE:
            other = container_format(Path(f"x{suffix}"))
            if suffix != asked and not any(refusal(stream, other, suffix) for stream in streams):
                return suffix
    return None


def _may_be_joined(source: InputContainer, stream: AudioStream) -> bool:
    return encoder_of(canonical_name(stream)) is None and bool(several_edits(Path(source.name)))
