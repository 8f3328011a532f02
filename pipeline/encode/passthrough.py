"""All other streams of the source, copied packet by packet, bit for bit."""

from __future__ import annotations

import contextlib
import heapq
import logging
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Stream
from av.video.stream import VideoStream

from pipeline.decode.clock import Clock
from pipeline.decode.edit_lists import Edit, several_edits
from pipeline.decode.open import codec_name, is_cover, open_input
from pipeline.decode.side_data import codec_tag
from pipeline.decode.source import Source
from pipeline.encode import EncodeSettings
from pipeline.encode.cut import Cut
from pipeline.encode.hidden import FILLER_BYTES, Hidden, hidden_packets, withheld_packets
from pipeline.encode.release import stream_name, withheld
from pipeline.encode.shown_sound import edited_frames
from pipeline.encode.sound import (
    OPUS_ONLY,
    SoundEncoder,
    canonical_name,
    codec_anew,
    is_lossless,
    named_layout,
)
from pipeline.encode.takes import refusal
from pipeline.notes import warned

log = logging.getLogger(__name__)

_EQUAL_TIMES = 0x20000
"""AVFMT_TS_NONSTRICT: a container that takes packets of one time."""
_NAMELESS = {"matroska", "nut"}
"""Say how many channels PCM has, and not which."""
_IN_BLOCKS = ("pcm", "adpcm", "wma")
"""Sound whose decoder has to be told the size of its blocks."""
_OGG = {"ogg", "ogv", "oga", "opus"}
_HIDE_PADDING = {"matroska", "webm", "nut", *_OGG}
_NOTABLE_S = Fraction(1, 1000)
"""The coarsest clock among containers."""
_PREROLL_S = 1
"""Read before the part that is kept: sound that is cut within a packet may lie before the pictures, and
after a jump FFmpeg does not know the first packets' times where the container's hold several (MPEG-PS)."""
_SUBTITLE_S = 15
"""Read before that part for a line of text that is still on the screen when it begins."""
_TEXT = {"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text"}
"""Subtitles each of which is whole in one packet and lasts as long as that says."""


def is_rewritten_by_muxer(stream: Stream, source: InputContainer) -> bool:
    """True for MP4's chapter and time code tracks: a muxer makes its own from chapters and tags.

    To be asked before anything is read: FFmpeg marks the track of a chapter's titles as not to be read.
    """
    if stream.type != "data":
        return False
    titles = stream.discard == Discard.all and codec_name(stream) == "bin_data" and bool(source.chapters())
    return titles or ("timecode" in stream.metadata and codec_tag(source, stream.index) == "tmcd")


def begin_of(packet: Packet[Any], time: int, cut: Cut) -> Fraction | None:
    """When a packet of ``time`` begins in the part of a source that is kept, in s; None where it is not in
    it. A line of text that is on the screen when the part begins is shown from there on."""
    lasts = packet.duration or 0 if codec_name(packet.stream) in _TEXT else 0
    return cut.begin_of(time * packet.time_base, lasts * packet.time_base)


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


class Shown:
    """Which packets of a file's streams its edit lists show.

    Those before the first one that is shown stay, since a decoder needs them for it, but for those that are
    ``hidden``, by index of the stream; those that a later edit leaves out do not.
    """

    def __init__(self, hidden: Mapping[int, Hidden] | None = None) -> None:
        self._begun: set[int] = set()
        self._hidden = hidden or {}

    def hides(self, packet: Packet[Any]) -> bool:
        """Nothing of the packet may be in the output, decoded or not."""
        hidden = self._hidden.get(packet.stream_index)
        return hidden is not None and packet in hidden

    def __call__(self, packet: Packet[Any]) -> bool:
        if self.hides(packet):
            return False
        if not packet.is_discard:
            self._begun.add(packet.stream_index)
            return True
        return packet.stream_index not in self._begun


class OtherStreams:
    """A second reader of the source, which feeds the output with all other streams' packets.

    Streams are declared with `add` before the header is written. Packets come in the order of the file,
    one held at most, whatever the source's interleaving. Raises InputError on opening.
    """

    def __init__(self, source: Source, cut: Cut, settings: EncodeSettings) -> None:
        info = source.info
        self.source: InputContainer = open_input(info.path)
        self._clock = Clock(source.packets.pieces)
        self._in_pieces = source.packets.edited or bool(source.packets.pieces)
        self._hidden = hidden_packets(info.path)
        self._withheld = withheld_packets(self._hidden, self.source, settings)
        self._shown = Shown(self._withheld)
        self._last: dict[int, int] = {}
        """Decoding time of the last packet of each stream, in the output's units."""
        self._strict = True
        self._hides_padding = False
        self.lost: list[str] = []
        self.removed: list[str] = []
        self._info = info
        self._cut = cut
        self._settings = settings
        self.lost_sound: list[str] = []
        """Those of ``lost`` that are of audio streams."""
        self._targets: dict[int, Stream] = {}
        self._encoders: dict[int, SoundEncoder] = {}
        self._edits = several_edits(info.path)
        self._ends: dict[int, int] = {}
        self._filler_bytes: dict[int, int] = {}
        self._packets: Iterator[Packet[Any]] | None = None
        self._held: Packet[Any] | None = None

    def add(self, stream: Stream, tags: Mapping[str, str], out: OutputContainer, suffix: str) -> None:
        """Declare ``stream`` of the source in the output with ``tags``, or note why it cannot be carried;
        ``suffix`` of the output's name."""
        name = stream_name(stream)
        self._strict = not out.format.flags & _EQUAL_TIMES
        self._hides_padding = out.format.name in _HIDE_PADDING
        if stream.type == "audio" and self._settings.audio == "drop":
            self.removed.append(f"{name}, as asked")
            return
        if is_rewritten_by_muxer(stream, self.source):
            return
        if (reason := withheld(stream, self._settings)) is not None:
            self.removed.append(f"{name}: {reason}")
            return
        if (hidden := self._withheld.get(stream.index)) is not None:
            self.removed.append(f"{name}: {hidden.seconds:.3f} s that the file's edit list hides")
        matroska = out.format.name == "matroska"
        if matroska and isinstance(stream, VideoStream) and is_cover(stream):
            self._add_cover(stream, out)
            return
        reason = refusal(stream, out.format.name, suffix)
        if isinstance(stream, AudioStream) and (codec := self._sound_codec(stream, out, reason)):
            made = SoundEncoder(stream, out, codec, self._cut)
            made.stream.disposition = stream.disposition
            made.stream.metadata.update(tags)
            self._encoders[stream.index], self._targets[stream.index] = made, made.stream
            return
        if reason is not None:
            self.lost.append(f"{out.format.name} cannot carry {name}: {reason}")
            if stream.type == "audio":
                self.lost_sound.append(self.lost[-1])
            return
        target = out.add_stream_from_template(stream, opaque=True)
        target.disposition = stream.disposition
        target.metadata.update(tags)
        if isinstance(stream, AudioStream) and isinstance(target, AudioStream):
            self._suit(stream, target, out)
        if not isinstance(stream, AttachmentStream):  # attachments lie in the header
            self._targets[stream.index] = target
        if (
            codec_name(stream) == "mov_text"
        ):  # MP4's muxer fills gaps between subtitles with empty ones itself
            self._filler_bytes[stream.index] = FILLER_BYTES

    def _suit(self, stream: AudioStream, target: AudioStream, out: OutputContainer) -> None:
        """Describes copied sound as the container wants it."""
        # MP4 and MOV refuse channels without names.
        layout = stream.codec_context.layout
        target.codec_context.layout = named_layout(layout)
        is_named = layout.nb_channels > 2 and not layout.name.endswith("channels")
        if is_named and out.format.name in _NAMELESS and codec_name(stream).startswith("pcm"):
            self.lost.append(f"{stream_name(stream)}: {out.format.name} has no names for {layout.name}")
        if out.format.name == "avi" and not stream.codec_context.name.startswith(_IN_BLOCKS):
            # AVI would take the block size of an AVI source for a constant rate, and time sound by bytes.
            target.codec_context.options = {"block_align": "0"}
            target.codec_context.open()
        if self._cut.is_part and out.format.name in _OGG and codec_name(stream) == "vorbis":
            said = "Ogg tells times of its pages alone, so it may be some ms off"
            self.lost.append(f"{stream_name(stream)}: {said}")

    def _sound_codec(self, stream: AudioStream, out: OutputContainer, reason: str | None) -> str | None:
        """The codec that a sound is encoded in anew; None where it is copied, or cannot be carried."""
        if codec_name(stream) == "unknown codec":
            return None
        name, joined = canonical_name(stream), bool(self._edits_of(stream.index))
        codec = codec_anew(name, self._settings.audio, joined=joined, is_cut=self._cut.is_part)
        wanted = codec or name
        if out.format.name in OPUS_ONLY and wanted != "opus" and (reason is not None or wanted == "aac"):
            self.lost.append(f"{out.format.name} takes no {wanted}: audio stream {stream.index} becomes opus")
            return "opus"
        if reason is not None and codec == name:
            return None
        if joined and codec is not None and not is_lossless(codec) and self._settings.audio == "copy":
            said = f"audio stream {stream.index} is encoded anew ({codec})"
            self.lost.append(f"edits join within packets, which cannot be parted: {said}")
        return codec

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
        copied = self._targets.keys() - self._encoders.keys() - self._withheld.keys()
        early = [codec for index, codec in early_sound(self._info.path).items() if index in copied]
        if container in {"matroska", "webm"}:
            marked = "matroska" in self.source.format.name
            early = [codec for codec in early if not marked and codec != "opus"]
        coded = any(encoder.is_primed for encoder in self._encoders.values())
        return bool(early) or (coded and container not in {"matroska", "webm"})

    def close(self) -> None:
        self._packets = None
        self.source.close()

    def _next(self) -> Packet[Any] | None:
        if self._packets is None:
            joined = [self._joined(index) for index in self._encoders if self._edits_of(index)]
            self._packets = heapq.merge(self._demux(), *joined, key=_seconds)
        if self._held is None:
            self._held = next(self._packets, None)
        return self._held

    def _edits_of(self, index: int) -> Sequence[Edit]:
        """Of a stream of sound with several of them."""
        stream = self.source.streams[index]
        return self._edits.get(stream.id, ()) if stream.type == "audio" else ()

    def _joined(self, index: int) -> Iterator[Packet[Any]]:
        """The sound of several edits, encoded anew."""
        encoder = self._encoders[index]
        for frame in edited_frames(self._info.path, index, self._edits_of(index)):
            yield from encoder.encode([frame])
        yield from encoder.flush()

    def _demux(self) -> Iterator[Packet[Any]]:
        read = [index for index in self._targets if not (index in self._encoders and self._edits_of(index))]
        if not read:
            return
        for stream in self.source.streams:
            if stream.index not in read:
                stream.discard = Discard.all
        if self._cut.start_s and not self._in_pieces:
            has_text = any(codec_name(self.source.streams[index]) in _TEXT for index in read)
            early_s = _SUBTITLE_S if has_text else _PREROLL_S
            self.source.seek(int(max(self._cut.start_s - early_s, Fraction(0)) * av.time_base))
            self._say_coarse(read)
        self._say_hidden()
        packets = _dated(self.source.demux([self.source.streams[index] for index in sorted(read)]))
        count: Counter[int] = Counter()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                for index in self._encoders.keys() & set(read):
                    yield from self._encoders[index].packets(None)
                self._check_counts({index: count[index] for index in read})
                return
            except FFmpegError as error:
                self.lost.append(f"the other streams cannot be read to their end: {error.strerror}")
                warned(log, "%s: %s", self._info.path.name, self.lost[-1])
                return
            count[packet.stream_index] += packet.size > 0
            if packet.is_corrupt:
                self._say_cut_off(packet.stream)
            self._clock.move(packet)
            if packet.stream_index in self._encoders:
                if packet.size and not self._shown.hides(packet):
                    yield from self._encoders[packet.stream_index].packets(packet)
                continue
            filler = packet.size <= self._filler_bytes.get(packet.stream_index, 0)
            if not filler and self._shown(packet) and self._placed(packet):
                self._say_padding(packet)
                yield packet

    def _say_coarse(self, read: Sequence[int]) -> None:
        """AVI may part sound anywhere: after a jump FFmpeg knows its times to a packet."""
        sound = [s for s in self.source.streams.audio if s.index in read and s.index not in self._encoders]
        for stream in sound if self.source.format.name == "avi" else ():
            if not codec_name(stream).startswith("pcm"):
                self.lost.append(f"{stream_name(stream)}: times of a part of an AVI are known to a packet")

    def _say_padding(self, packet: Packet[Any]) -> None:
        """What a decoder is told to leave off at the end of sound, where the container cannot tell it."""
        stream = packet.stream
        if stream.type != "audio" or self._hides_padding or not packet.has_sidedata("skip_samples"):
            return
        _, at_end = struct.unpack("<II", bytes(packet.get_sidedata("skip_samples"))[:8])
        if at_end and isinstance(stream, AudioStream):
            said = f"{1000 * at_end / (stream.rate or 48_000):.1f} ms at its end that were hidden are heard"
            self.lost.append(f"audio stream {stream.index}: {said}")

    def _check_counts(self, count: Mapping[int, int]) -> None:
        """MP4's index says how many packets there should be."""
        whole = self._cut.start_s is None and self._cut.end_s is None
        for stream in self.source.streams if whole and "mp4" in self.source.format.name else ():
            if stream.index in count and count[stream.index] < len(stream.index_entries):
                self._say_cut_off(stream)

    def leave_out(self, index: int) -> None:
        """Says that a packet of the output's stream ``index`` was left out: the container cannot take it."""
        for source, target in self._targets.items():
            if target.index == index:
                self._say_cut_off(self.source.streams[source])

    def _say_cut_off(self, stream: Stream) -> None:
        """Once for each stream."""
        said = (
            f"{stream.type} stream {stream.index} is damaged or cut off in the source; what is there is kept"
        )
        if said not in self.lost:
            self.lost.append(said)
            warned(log, "%s: %s", self._info.path.name, said)

    def _say_hidden(self) -> None:
        """What is copied although no player shows it."""
        copied = self._hidden.keys() & self._targets.keys() - self._encoders.keys() - self._withheld.keys()
        for index in sorted(copied):
            if early_s := self._hidden[index].early_s:
                name = stream_name(self.source.streams[index])
                said = f"{early_s:.3f} s that the file's edit list hides are in the output, too"
                warned(log, "%s: %s: %s", self._info.path.name, name, said)

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
            begin_s = begin_of(packet, time, self._cut)
            if begin_s is None:
                return False
            if begin_s != time * base:
                early = round(begin_s / base) - time
                packet.pts = packet.dts = time = time + early
                packet.duration = (packet.duration or 0) - early
            shift = round(self._cut.shift_s / base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            self._ends[stream.index] = time + (packet.duration or 0)
            self._after_last(packet)
        packet.stream = self._targets[stream.index]
        return True

    def _after_last(self, packet: Packet[Any]) -> None:
        """Where one edit or piece ends and the next begins, packets may begin before the last one's time; in
        a file that begins within a packet of sound, and where a clock is coarser than its packets, several
        have one time."""
        assert packet.dts is not None
        unit = self._targets[packet.stream.index].time_base or packet.time_base
        begin, ratio = packet.dts * packet.time_base, packet.time_base / unit
        tick, last = floor(packet.dts * ratio + Fraction(1, 2)), self._last.get(packet.stream.index)
        if last is not None and tick < last + self._strict:
            tick = last + self._strict
            if tick * unit - begin > _NOTABLE_S:
                self._note_overlap()
            packet.pts = max(tick, ceil((packet.pts or 0) * ratio))
            packet.duration = round((packet.duration or 0) * ratio)
            packet.dts, packet.time_base = tick, unit
        self._last[packet.stream.index] = tick

    def _note_overlap(self) -> None:
        pieces = "overlap where the file's pieces meet" if self._in_pieces else "have times that go back"
        sentence = f"other streams {pieces}: some of their packets are later"
        if sentence not in self.lost:
            self.lost.append(sentence)

    def _add_cover(self, stream: VideoStream, out: OutputContainer) -> None:
        """Matroska keeps covers as attached files."""
        with open_input(self._info.path) as container:
            packet = next(container.demux(container.streams[stream.index]))
        kind = "jpeg" if stream.codec_context.name == "mjpeg" else stream.codec_context.name
        name = stream.metadata.get("filename", "cover.jpg" if kind == "jpeg" else f"cover.{kind}")
        out.add_attachment(name, stream.metadata.get("mimetype", f"image/{kind}"), bytes(packet))


def _seconds(packet: Packet[Any]) -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    assert time is not None
    return Fraction(time * packet.time_base)


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
