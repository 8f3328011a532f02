"""All other streams of the source, copied packet by packet, bit for bit."""

from __future__ import annotations

import contextlib
import io
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Disposition, Stream
from av.video.stream import VideoStream

from pipeline.decode.open import codec_name, is_cover, open_input
from pipeline.notes import warned
from pipeline.types import StreamInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of the source that is kept, and how far its times move."""

    start_s: Fraction | None
    end_s: Fraction | None
    shift_s: Fraction
    """Subtracted from every time of every stream."""

    def holds(self, time_s: Fraction) -> bool:
        return (self.start_s is None or time_s >= self.start_s) and (
            self.end_s is None or time_s < self.end_s
        )


def cut_of(info: StreamInfo, start_pts: int | None, end_pts: int | None, shift_pts: int) -> Cut:
    """The cut of frames ``start_pts <= pts < end_pts``: other streams begin with the first of them."""
    pts = info.pts
    start = None if start_pts is None else pts[min(bisect_left(pts, start_pts), len(pts) - 1)]
    return Cut(
        start_s=None if start is None else start * info.time_base,
        end_s=None if end_pts is None else end_pts * info.time_base,
        shift_s=shift_pts * info.time_base,
    )


def is_rewritten_by_muxer(stream: Stream, source: InputContainer) -> bool:
    """True for MP4's chapter and time code tracks: a muxer makes its own from chapters and tags."""
    chapters = stream.type == "data" and codec_name(stream) == "bin_data" and bool(source.chapters())
    return chapters or (stream.type == "data" and "timecode" in stream.metadata)


def early_sound(path: Path) -> dict[int, str]:
    """Audio streams whose first packet has a negative time, as AAC's priming in MP4: index -> codec."""
    early: dict[int, str] = {}
    with open_input(path) as container:
        for stream in container.streams.audio:
            with contextlib.suppress(FFmpegError):
                first = next(container.demux(stream), None)
                if first is not None and first.pts is not None and first.pts < 0:
                    early[stream.index] = codec_name(stream)
                container.seek(0)
    return early


class OtherStreams:
    """A second reader of the source, which feeds the output with all other streams' packets.

    Streams are declared with `add` before the header is written. Packets come in the order of the file,
    one held at most, whatever the source's interleaving. Raises InputError on opening.
    """

    def __init__(self, info: StreamInfo, cut: Cut, audio: bool) -> None:
        self.source: InputContainer = open_input(info.path)
        self.lost: list[str] = []
        self._info = info
        self._cut = cut
        self._audio = audio
        self._targets: dict[int, Stream] = {}
        self._ends: dict[int, int] = {}
        self._filler_bytes: dict[int, int] = {}
        self._packets: Iterator[Packet[Any]] | None = None
        self._held: Packet[Any] | None = None

    def add(self, stream: Stream, tags: Mapping[str, str], out: OutputContainer) -> None:
        """Declare ``stream`` of the source in the output with ``tags``, or note why it cannot be carried."""
        name = f"{stream.type} stream {stream.index} ({codec_name(stream)})"
        if stream.type == "audio" and not self._audio:
            return
        if is_rewritten_by_muxer(stream, self.source):
            return
        matroska = out.format.name == "matroska"
        if matroska and isinstance(stream, VideoStream) and is_cover(stream):
            self._add_cover(stream, out)
            return
        if (reason := _refusal(stream, out.format.name)) is not None:
            self.lost.append(f"{out.format.name} cannot carry {name}: {reason}")
            return
        target = out.add_stream_from_template(stream, opaque=True)
        target.disposition = stream.disposition
        target.metadata.update(tags)
        if (
            stream.type == "audio"
            and out.format.name == "avi"
            and not stream.codec_context.name.startswith("pcm")
        ):
            # AVI would take the block size of an AVI source for a constant rate, and time sound by bytes.
            target.codec_context.options = {"block_align": "0"}
            target.codec_context.open()
        if not isinstance(stream, AttachmentStream):  # attachments lie in the header
            self._targets[stream.index] = target
        if (
            codec_name(stream) == "mov_text"
        ):  # MP4's muxer fills gaps between subtitles with empty ones itself
            self._filler_bytes[stream.index] = 2

    def until(self, end_s: Fraction | None) -> Iterator[Packet[Any]]:
        """Packets up to a time of the output, for the muxer; all that are left for None."""
        while (packet := self._next()) is not None:
            time = packet.dts if packet.dts is not None else packet.pts
            assert time is not None
            if end_s is not None and time * packet.time_base > end_s:
                return
            self._held = None
            yield packet

    def has_unmarked_priming(self, container: str) -> bool:
        """True where sound that is carried begins before 0 and nothing in ``container`` would say so.

        Matroska marks the priming of a stream that came marked (from Matroska) and that of Opus; what only
        an edit list told (AAC in MP4) it cannot.
        """
        early = [codec for index, codec in early_sound(self._info.path).items() if index in self._targets]
        if container in {"matroska", "webm"}:
            marked = "matroska" in self.source.format.name
            early = [codec for codec in early if not marked and codec != "opus"]
        return bool(early)

    def close(self) -> None:
        self._packets = None
        self.source.close()

    def _next(self) -> Packet[Any] | None:
        if self._packets is None:
            self._packets = self._demux()
        if self._held is None:
            self._held = next(self._packets, None)
        return self._held

    def _demux(self) -> Iterator[Packet[Any]]:
        if not self._targets:
            return
        for stream in self.source.streams:
            if stream.index not in self._targets:
                stream.discard = Discard.all
        if self._cut.start_s:
            self.source.seek(int(self._cut.start_s * av.time_base))
        packets = _dated(self.source.demux([s for s in self.source.streams if s.index in self._targets]))
        read: Counter[int] = Counter()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                self._check_counts(read)
                return
            except FFmpegError as error:
                self.lost.append(f"the other streams cannot be read to their end: {error.strerror}")
                warned(log, "%s: %s", self._info.path.name, self.lost[-1])
                return
            read[packet.stream_index] += packet.size > 0
            if packet.is_corrupt:
                self._say_cut_off(packet.stream)
            if packet.size > self._filler_bytes.get(packet.stream_index, 0) and self._placed(packet):
                yield packet

    def _check_counts(self, read: Mapping[int, int]) -> None:
        """MP4's index says how many packets there should be."""
        whole = self._cut.start_s is None and self._cut.end_s is None
        for stream in self.source.streams if whole and "mp4" in self.source.format.name else ():
            if stream.index in self._targets and read[stream.index] < len(stream.index_entries):
                self._say_cut_off(stream)

    def _say_cut_off(self, stream: Stream) -> None:
        """Once for each stream."""
        said = (
            f"{stream.type} stream {stream.index} is damaged or cut off in the source; what is there is kept"
        )
        if said not in self.lost:
            self.lost.append(said)
            warned(log, "%s: %s", self._info.path.name, said)

    def _placed(self, packet: Packet[Any]) -> bool:
        """Move a packet to its stream and time in the output; False where the cut leaves it out."""
        stream, base = packet.stream, packet.time_base
        cover = isinstance(stream, VideoStream) and is_cover(stream)
        if packet.pts is None and packet.dts is None:
            if not cover:  # a stream without times follows on from itself
                packet.dts = packet.pts = self._ends.get(stream.index, 0)
            else:
                packet.dts = packet.pts = 0
        time = packet.pts if packet.pts is not None else packet.dts
        assert time is not None
        if not cover:
            if not self._cut.holds(time * base):
                return False
            shift = round(self._cut.shift_s / base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            self._ends[stream.index] = time + (packet.duration or 0)
        packet.stream = self._targets[stream.index]
        return True

    def _add_cover(self, stream: VideoStream, out: OutputContainer) -> None:
        """Matroska keeps covers as attached files."""
        with open_input(self._info.path) as container:
            packet = next(container.demux(container.streams[stream.index]))
        kind = "jpeg" if stream.codec_context.name == "mjpeg" else stream.codec_context.name
        name = stream.metadata.get("filename", "cover.jpg" if kind == "jpeg" else f"cover.{kind}")
        out.add_attachment(name, stream.metadata.get("mimetype", f"image/{kind}"), bytes(packet))


def _dated(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """The packets, where the first of a video stream have decoding times too.

    Matroska keeps none. FFmpeg tells them of reordered frames only from the second or third on, so the
    ones before wait for it, in every stream for itself.
    """
    waiting: dict[int, list[Packet[Any]]] = {}
    settled: set[int] = set()
    for packet in packets:
        index = packet.stream.index
        if packet.size and index not in settled and isinstance(packet.stream, VideoStream):
            if packet.dts is None and packet.pts is not None:
                waiting.setdefault(index, []).append(packet)
                continue
            settled.add(index)
            yield from _backdated(waiting.pop(index, []), packet.dts)
        yield packet
    for early in waiting.values():  # streams of two or three frames
        yield from _backdated(early, None)


def _backdated(packets: list[Packet[Any]], next_dts: int | None) -> list[Packet[Any]]:
    """Packets with decoding times that ascend to ``next_dts``, none after the packet's pts."""
    if not packets:
        return packets
    times = [packet.pts for packet in packets if packet.pts is not None]
    step = max(min(packet.duration or 1 for packet in packets), 1)
    bound = next_dts if next_dts is not None else min(times) + step
    for packet, pts in zip(reversed(packets), reversed(times), strict=True):
        packet.dts = bound = min(bound - step, pts)
    return packets


def _refusal(stream: Stream, container: str) -> str | None:
    """Why a container does not take a stream: tried on a file in memory that holds nothing else."""
    with contextlib.suppress(FFmpegError), av.open(io.BytesIO(), "w", format=container) as trial:
        try:
            target = trial.add_stream_from_template(stream, opaque=True)
            target.disposition = stream.disposition & ~Disposition.default
            trial.start_encoding()
        except FFmpegError:
            return "it has no place for it"
        except ValueError as error:
            return str(error).replace("'", "")
    return None
