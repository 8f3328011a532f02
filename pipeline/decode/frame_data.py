"""What FFmpeg's decoders hang on a picture, by kind, also of kinds that PyAV has no name for."""

from __future__ import annotations

from typing import Any, cast

from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame

EXIF = "EXIF"
"""Tags of a camera in a JPEG or TIFF picture; they may say where, when and by what it was taken."""
_NEWER = {28: "LCEVC", 29: "VIEW_ID", 30: "THREE_D_REFERENCE_DISPLAYS", 31: EXIF}
"""AVFrameSideDataType of FFmpeg 8"""


def held_data(picture: VideoFrame) -> SideDataContainer:
    """In the order in which the decoder gave it."""
    return cast(SideDataContainer, picture.side_data)  # the stub says TypedDict, it is a Mapping


def _newer(kind: type[Any], value: object) -> Any:
    """A member for a number that PyAV's list lacks: it would refuse all of the picture's data for one."""
    if not isinstance(value, int):
        return None
    member = object.__new__(kind)
    member._name_, member._value_ = _NEWER.get(value, f"KIND_{value}"), value
    return kind._value2member_map_.setdefault(value, member)


if Type._missing_.__func__ is not _newer:  # type: ignore[attr-defined]
    Type._missing_ = classmethod(_newer)  # type: ignore[assignment]
