"""What a file whose faces are covered does not take along, unless its owner says so.

Pictures beside the processed one may show the same faces; tags and data tracks of cameras and phones tell
where a film was made, with which device, and by whom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from av.container import InputContainer
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from pipeline.decode.open import codec_name, is_cover
from pipeline.encode import EncodeSettings

_PLACES = "location gps latitude longitude altitude coordinates iso6709 xyz geo place city country"
_DEVICES = (
    "make model manufacturer device serial serialnumber camera lens firmware software hostcomputer host "
    "product company umid uid identifier reel"
)
_PEOPLE = (
    "artist author owner creator copyright user username contact email phone people person performer actor "
    "actors cast director producer by presenter speaker face"
)
_TELLING = frozenset(f"{_PLACES} {_DEVICES} {_PEOPLE} xmp exif picture thumbnail".split())
"""Words of a tag's name that say what its value tells of."""
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_HANDLER = "handler_name"
"""Of a video or sound track: cameras write their names there."""
_DATA = re.compile(r"[A-Za-z0-9+/=_-]{400}")
"""In a tag's value: data as text (base64), such as a picture. No language has such a word."""
_FONTS = (b"\0\1\0\0", b"OTTO", b"true", b"ttcf", b"wOFF", b"wOF2")
"""First bytes of TrueType, OpenType, collections and the web's fonts."""
_OF_NOBODY = frozenset(
    [
        "encoder",
        "major_brand",
        "minor_version",
        "compatible_brands",
        "creation_time",
        "duration",
        "language",
        "vendor_id",
        "bps",
        "handler_name",
        "alpha_mode",
        "stereo_mode",
        "timecode",
        "rotate",
        "number_of_frames",
        "number_of_bytes",
        "variant_bitrate",
    ]
)
"""Tags that name nobody."""
_USUAL_HANDLERS = ("VideoHandler", "SoundHandler")
"""What FFmpeg's muxer writes of itself."""


def tells(name: str) -> bool:
    """True for a tag of a place, a device or a person, by the words of its name."""
    return any(word.lower() in _TELLING for word in _WORD.findall(name.replace("\xa9", " ")))


def released_tags(tags: Mapping[str, str], settings: EncodeSettings, kind: str = "") -> dict[str, str]:
    """The tags that an output takes along; ``kind`` of the stream that they belong to, empty for the file."""
    if settings.keep_metadata:
        return dict(tags)
    return {
        name: value
        for name, value in tags.items()
        if not tells(name)
        and not (kind in {"video", "audio"} and _names_device(name, value))
        and not _DATA.search(value)
    }


def _names_device(name: str, value: str) -> bool:
    return name.lower() == _HANDLER and value not in _USUAL_HANDLERS


def withheld(stream: Stream, settings: EncodeSettings) -> str | None:
    """Why a stream beside the processed one is not taken along; None where it is."""
    if isinstance(stream, VideoStream):
        if settings.keep_streams:
            return None
        cover = "a cover or thumbnail" if is_cover(stream) else "another picture"
        return f"{cover}, in which faces are not covered"
    if isinstance(stream, AttachmentStream):
        return (
            None if settings.keep_streams or _is_font(stream) else "an attached file, which nobody looked at"
        )
    if stream.type not in {"audio", "subtitle"} and not settings.keep_metadata:
        return "data of a camera or a device, which may tell of places and people"
    return None


def to_look_at(source: InputContainer, made: InputContainer) -> list[str]:
    """What a file that was made of ``source`` holds of it and may name or show people: sentences for a
    report."""
    had, has = _all_tags(source), _all_tags(made)
    kept = sorted({name for name, _ in had & has} - _OF_NOBODY)
    found = [f"tags are as they were: {', '.join(kept)}"] if kept else []
    if any(isinstance(s, VideoStream) and not is_cover(s) and _has_alpha(s) for s in made.streams):
        found.append("an alpha plane is as it was: nobody looked at it")
    for stream in made.streams:
        language = f", {stream.language}" if stream.language else ""
        if stream.type == "audio":
            found.append(
                f"sound (stream {stream.index}, {codec_name(stream)}{language}): voices are as they were"
            )
        elif stream.type == "subtitle":
            found.append(
                f"subtitles (stream {stream.index}, {codec_name(stream)}{language}) are as they were"
            )
    if count := len(made.chapters()):
        found.append(f"titles of {count} chapters are as they were")
    return found


def _all_tags(container: InputContainer) -> set[tuple[str, str]]:
    """Name and value of all tags but those that count a file's packets."""
    of = [container.metadata, *(stream.metadata for stream in container.streams)]
    tags = {(name.lower(), value) for tags in of for name, value in tags.items()}
    return {tag for tag in tags if not tag[0].startswith(("_statistics", "bps-"))}


def stream_name(stream: Stream) -> str:
    """For people: kind, index, codec and what it is for."""
    what = [codec_name(stream)]
    if isinstance(stream, VideoStream) and stream.disposition & Disposition.attached_pic:
        what.append("attached picture")
    return f"{stream.type} stream {stream.index} ({', '.join(what)})"


def _has_alpha(stream: VideoStream) -> bool:
    form = stream.codec_context.format if stream.codec_context is not None else None
    has_alpha = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    return has_alpha or (form is not None and any(c.is_alpha for c in form.components))


def _is_font(stream: AttachmentStream) -> bool:
    if not stream.data.startswith(_FONTS):
        return False
    kind, name = (stream.mimetype or "").lower(), (stream.name or "").lower()
    return "font" in kind or "opentype" in kind or name.endswith((".ttf", ".otf", ".ttc", ".woff", ".woff2"))
