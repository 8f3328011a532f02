"""Tracks beside the processed video, compared by their packets and, where those differ, by their samples."""

from __future__ import annotations

import contextlib
import hashlib
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import AttachmentStream, Stream

from pipeline.decode.clock import Clock, Piece
from pipeline.decode.edit_lists import Edit, several_edits
from pipeline.decode.open import codec_name, open_input
from pipeline.encode import EncodeSettings
from pipeline.encode.container import with_title
from pipeline.encode.cut import WHOLE, Cut
from pipeline.encode.hidden import FILLER_BYTES, Hidden, hidden_packets, withheld_packets
from pipeline.encode.items import Item, State, item
from pipeline.encode.passthrough import Shown, begin_of, is_rewritten_by_muxer
from pipeline.encode.release import released_tags, stream_name, withheld
from pipeline.encode.shown_sound import continuous, shown_sound
from pipeline.encode.sound import canonical_name, codec_anew, is_lossless, named_layout
from pipeline.encode.waveform import compare_heard, digest_of_samples

_SAME_TIME_S = 1e-3
"""Two packets belong together within the coarsest clock among containers (Matroska's millisecond)."""


@dataclass(slots=True)
class _Track:
    """Packets of one stream that is not the processed video."""

    stream: Stream
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))
    times_s: array[float] = field(default_factory=lambda: array("d"))
    size: int = 0
    """Bytes."""

    @property
    def is_pcm(self) -> bool:
        """Samples that containers part into packets as they like."""
        return codec_name(self.stream).startswith(("pcm", "adpcm"))

    @property
    def label(self) -> str:
        what = f"{self.size} bytes" if self.is_pcm else f"{len(self.times_s)} packets"
        return f"{what}, {self.digest.hexdigest()}"


def compare_tracks(
    before: InputContainer,
    after: InputContainer,
    processed: tuple[int, int],
    pieces: Sequence[Piece],
    cut: Cut,
    settings: EncodeSettings,
) -> Iterator[Item]:
    """All streams and attachments but the ``processed`` ones (their indices before and after). The clock
    of the source starts again at ``pieces``."""
    left = _tracks(after, processed[1], None, (), {})
    hidden = {} if settings.keep_hidden else hidden_packets(Path(before.name))
    withheld_sound = withheld_packets(hidden, before, settings)
    edits = several_edits(Path(before.name))
    for track in _tracks(before, processed[0], cut, pieces, withheld_sound):
        name = f"{track.stream.type} stream {track.stream.index}"
        reason = withheld(track.stream, settings)
        if reason is not None or (track.stream.type == "audio" and settings.audio == "drop"):
            yield Item(name, State.REMOVED, stream_name(track.stream), reason or "as asked")
            continue
        joints = edits.get(track.stream.id, ()) if track.stream.type == "audio" else ()
        codec = _anew(track.stream, settings, cut, joined=bool(joints))
        kind = track.stream.type, codec_name(track.stream)
        twin = next((t for t in left if (t.stream.type, codec_name(t.stream)) == kind), None)
        # Containers call one codec by several names (MPEG sound in MP4).
        twin = twin or next((t for t in left if (t.stream.type, t.label) == (kind[0], track.label)), None)
        if track.stream.type == "audio" and (codec is not None or twin is None):
            codecs = {codec, "opus"}  # WebM gets Opus, whatever else is asked for
            made = next((t for t in left if t.stream.type == "audio" and _codec(t.stream) in codecs), None)
            if made is not None:
                left.remove(made)
                reading = _Reading(joints, pieces, withheld_sound.get(track.stream.index), cut)
                yield from _compare_anew(name, track, made, reading)
                continue
        if twin is None:
            yield Item(name, State.LOST, track.label, "none")
            continue
        left.remove(twin)
        yield _content(name, track, twin, whole=cut.start_s is None and cut.end_s is None)
        yield from _titles(name, track.stream, twin.stream, settings)
        yield item(f"{name} language", track.stream.language or "und", twin.stream.language or "und")
        yield item(f"{name} disposition", *(_disposition(t.stream) for t in (track, twin)))
        yield from _times(name, track, twin)
    for track in left:
        name = f"{track.stream.type} stream {track.stream.index} of the output"
        yield Item(name, State.CHANGED, "none", track.label)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How the sound of a source is read, see `shown_sound`."""

    edits: Sequence[Edit]
    pieces: Sequence[Piece]
    hidden: Hidden | None
    cut: Cut

    def of(self, stream: Stream) -> Iterator[AudioFrame]:
        path = Path(stream.container.name)
        return continuous(shown_sound(path, stream.index, self.edits, self.pieces, self.hidden), self.cut)


def _compare_anew(name: str, track: _Track, made: _Track, reading: _Reading) -> Iterator[Item]:
    """Sound that was encoded anew: its samples where the codec keeps them, else what is heard when."""
    codec = _codec(made.stream)
    yield Item(name, State.REPLACED, track.label, f"{codec}, {made.label}")
    ours, theirs = reading.of(track.stream), _Reading((), (), None, WHOLE).of(made.stream)
    try:
        if codec == _codec(track.stream) and is_lossless(codec):
            (before, count, begin_s), (after, number, start_s) = map(digest_of_samples, (ours, theirs))
            yield item(f"{name} samples", f"{count}, {before}", f"{number}, {after}")
            off_s = abs(begin_s - start_s)
            same, said = off_s < _SAME_TIME_S, f"off by up to {off_s * 1000:.3f} ms"
        else:
            heard = compare_heard(ours, theirs)
            same, said = heard.same, f"{heard.off} of {heard.blocks} quarters of a second differ"
            said += f", moved by up to {heard.shift_s * 1000:.0f} ms" if heard.shift_s else ""
    except (FFmpegError, ValueError) as error:
        same, said = False, f"not compared: {error}"
    yield Item(f"{name} times", State.KEPT if same else State.CHANGED, "as they are", said)


def _anew(stream: Stream, settings: EncodeSettings, cut: Cut, *, joined: bool) -> str | None:
    """The codec in which a sound is encoded anew, see `codec_anew`."""
    if not isinstance(stream, AudioStream) or codec_name(stream) == "unknown codec":
        return None
    return codec_anew(canonical_name(stream), settings.audio, joined=joined, is_cut=cut.is_part)


def _codec(stream: Stream) -> str:
    name = codec_name(stream)
    return canonical_name(stream) if isinstance(stream, AudioStream) and name != "unknown codec" else name


def _content(name: str, track: _Track, twin: _Track, whole: bool) -> Item:
    """Packets, or the samples where a container has packed the same sound in another way. Equal packets are
    worth nothing where what a decoder needs beside them is gone."""
    if track.stream.type != "audio" or not (whole or track.label == twin.label):
        return item(name, track.label, twin.label)
    if track.label == twin.label:
        ours, theirs = _forms(track.stream, twin.stream)
        return item(name, f"{track.label}{ours}", f"{twin.label}{theirs}")
    ours, theirs = (_samples(t.stream.container.name, t.stream.index) for t in (track, twin))
    if ours != theirs:
        return item(name, track.label, twin.label)
    return item(name, f"samples {ours}", f"samples {theirs}")


def _forms(before: Stream, after: Stream) -> Iterator[str]:
    """Rate and channels of decoded sound of both, as alike as they are; nothing where it cannot be decoded.

    One and two channels without names are mono and stereo; what more of them are the other file may say.
    """
    layouts = [_layout(stream) for stream in (before, after)]
    source = layouts[0][1]
    unnamed = source is not None and source.name.endswith("channels")
    for rate, layout in layouts:
        if layout is None:
            yield ""
        elif unnamed:
            yield f", {rate} Hz, {layout.nb_channels} channels"
        else:
            named = named_layout(layout) if layout.nb_channels <= 2 else layout
            # FLAC calls the rear channels of 5.1 that, MP4 calls them side.
            yield f", {rate} Hz, {re.sub(r'[(](side|back)[)]', '', named.name)}"


def _layout(stream: Stream) -> tuple[int, AudioLayout | None]:
    """Rate in Hz, and channels."""
    with open_input(Path(stream.container.name)) as container, contextlib.suppress(FFmpegError, ValueError):
        for frame in container.decode(container.streams[stream.index]):
            assert isinstance(frame, AudioFrame)
            return frame.sample_rate, frame.layout
    return 0, None


def _samples(path: str, index: int) -> str:
    """A digest of the decoded sound, channel by channel; of its packets where it cannot be decoded."""
    try:
        return digest_of_samples(shown_sound(Path(path), index))[0]
    except (FFmpegError, ValueError) as error:
        return f"not decoded in {path}: {error}"


def _times(name: str, track: _Track, twin: _Track) -> Iterator[Item]:
    ours, theirs = np.array(track.times_s), np.array(twin.times_s)
    if track.is_pcm:  # compared as samples, with the time of the first
        ours, theirs = ours[:1], theirs[:1]
    if len(ours) == len(theirs):
        off = np.abs(ours - theirs)
        worst = float(off.max()) if len(off) else 0.0
        state = State.KEPT if worst < _SAME_TIME_S else State.CHANGED
        yield Item(f"{name} times", state, "as they are", f"off by up to {worst * 1000:.3f} ms")


def _tracks(
    container: InputContainer,
    processed: int,
    cut: Cut | None,
    pieces: Sequence[Piece],
    hidden: Mapping[int, Hidden],
) -> list[_Track]:
    tracks = {
        stream.index: _Track(stream)
        for stream in container.streams
        if stream.index != processed and not is_rewritten_by_muxer(stream, container)
    }
    for track in tracks.values():
        if isinstance(track.stream, AttachmentStream):
            track.digest.update(track.stream.data)
    packets = container.demux([t.stream for t in tracks.values()]) if tracks else iter(())
    shown, clock = Shown(hidden), Clock(pieces)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):  # the decoder has warned of a damaged source
            return list(tracks.values())
        clock.move(packet)
        track = tracks[packet.stream.index]
        if not shown(packet) or packet.size <= (
            FILLER_BYTES if codec_name(track.stream) == "mov_text" else 0
        ):  # fillers of MP4's muxer
            continue
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            begin_s = begin_of(packet, time, cut or WHOLE)
            if begin_s is None:
                continue
            track.times_s.append(float(begin_s - (cut or WHOLE).shift_s))
        data = _without_framing(track.stream, packet)
        track.size += len(data)
        track.digest.update(data)


def _without_framing(stream: Stream, packet: Packet[Any]) -> bytes:
    """A packet's bytes; AAC without the ADTS header that MPEG-TS has and MP4 has not (13818-7, 6.2)."""
    data = bytes(packet)
    if codec_name(stream) == "aac" and len(data) > 9 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    return data


def _titles(name: str, before: Stream, after: Stream, settings: EncodeSettings) -> Iterator[Item]:
    had, has = (with_title(stream.metadata).get("title") for stream in (before, after))
    if had is None:
        return
    if has is None and "title" not in released_tags({"title": had}, settings, before.type):
        yield Item(f"{name} title", State.REMOVED, had, "none")
    else:
        yield item(f"{name} title", had, has)


def _disposition(stream: Stream) -> str:
    return str(int(stream.disposition) & ~1)  # "default" is the muxer's to give where nobody has it
