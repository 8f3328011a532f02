"""A file decoded, encoded and compared, and files put together from packets of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from pipeline.decode import open_decoder
from pipeline.encode import EncodeSettings
from pipeline.encode.pyav import PyAVEncoder
from pipeline.encode.verify import Verification, compare
from pipeline.types import Frame

FAST = EncodeSettings(preset="ultrafast")


def through(
    source: Path, output: Path, settings: EncodeSettings = FAST, **cut: int | None
) -> tuple[list[Frame], PyAVEncoder, Verification]:
    """Decodes and encodes a file. The frames, the encoder that has finished, and the comparison."""
    with open_decoder(source) as decoder, PyAVEncoder(decoder.source, output, settings, **cut) as encoder:  # type: ignore[arg-type]
        frames = list(decoder.frames(cut.get("start_pts"), cut.get("end_pts")))
        for frame in frames:
            encoder.write(frame)
        encoder.finish()
        return frames, encoder, compare(decoder.source, output, settings, video=encoder.video, **cut)


def remuxed(
    source: Path,
    output: Path,
    change: Callable[[int, Packet[Any]], Iterable[Packet[Any]]] = lambda _, packet: (packet,),
) -> Path:
    """The video's packets in another file; ``change`` gives what is written for the ``n``-th of them."""
    with av.open(str(source)) as before, av.open(str(output), "w") as out:
        video = before.streams.video[0]
        stream = out.add_stream_from_template(video, opaque=True)
        for number, packet in enumerate(p for p in before.demux(video) if p.size):
            for made in change(number, packet):
                made.stream = stream
                out.mux(made)
    return output


def changed(packet: Packet[Any], data: bytes) -> Packet[Any]:
    """The packet with other bytes."""
    made: Packet[Any] = Packet(data)
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.time_base, made.is_keyframe = packet.time_base, packet.is_keyframe
    return made


def states(result: Verification, *, but_kept: bool = True) -> dict[str, str]:
    """Item -> kept, changed, lost or removed; without those that were kept."""
    return {i.name: str(i.state) for i in result.items if not (but_kept and i.state == "kept")}
