"""What the edit lists of an MP4 or MOV hide: packets that are in the file and that no player shows.

Who trims a film without encoding it anew leaves what was cut off in the file, in front of what is shown and
behind it. FFmpeg gives packets before the first one that is shown, since a decoder may need them, and knows
of those behind the last one only where it is told to ignore the edit list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from pipeline.decode.open import codec_name, open_input
from pipeline.encode import EncodeSettings

_PRIMING_S = 0.1
"""Sound before the first sample that is shown, up to which it is taken for what a decoder needs: 2,112
samples of AAC, at half the rate where it has spectral band replication, and 0.08 s of Opus."""
FILLER_BYTES = 2
"""Of a packet of text in MP4 that shows nothing."""
_UNPRIMED = ("pcm", "adpcm")
"""Sound whose packets need none before them."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What is hidden of one stream."""

    seconds: float
    early_s: float
    """The part of ``seconds`` in front of what is shown."""
    positions: frozenset[int]
    """Bytes at which the packets begin that hold any of it."""
    before_zero: bool
    """Packets that begin before 0 hold any of it, too: fragmented files have no index to tell by."""

    def __contains__(self, packet: Packet[Any]) -> bool:
        early = self.before_zero and packet.pts is not None and packet.pts < 0
        return early or packet.pos in self.positions


def hidden_packets(path: Path) -> Mapping[int, Hidden]:
    """What edit lists hide of each stream, by its index, but for a decoder's priming of sound.

    Of sound, the packets at the edges count as hidden, too: they hold samples of both sides. Raises
    InputError.
    """
    with open_input(path) as shown:
        if "mp4" not in shown.format.name:
            return {}
        first = _first_times(shown)
        with open_input(path, edits=False) as whole:
            pairs = zip(shown.streams, whole.streams, strict=False)
            found = {a.index: _of_stream(a, b, first.get(a.index, Fraction(0))) for a, b in pairs}
    return {index: hidden for index, hidden in found.items() if hidden is not None}


def withheld_packets(
    hidden: Mapping[int, Hidden], container: InputContainer, settings: EncodeSettings
) -> Mapping[int, Hidden]:
    """The part of ``hidden`` that an output does not take along. Of pictures, a decoder needs what comes
    before them."""
    if settings.keep_hidden:
        return {}
    return {index: item for index, item in hidden.items() if container.streams[index].type != "video"}


def _of_stream(shown: Stream, whole: Stream, first_s: Fraction) -> Hidden | None:
    """``first_s``: time of the first packet, where the edit list begins at 0."""
    unit = shown.time_base or Fraction(1)
    visible = {entry.pos for entry in shown.index_entries if not entry.is_discard}
    least = FILLER_BYTES if shown.type == "subtitle" else -1
    entries = [(entry.pos, entry.timestamp) for entry in whole.index_entries if entry.size > least]
    hides = [pos not in visible for pos, _ in entries]
    early = next((at for at, hidden in enumerate(hides) if not hidden), 0)
    early_s = float((entries[early][1] - entries[0][1]) * unit) if entries else 0.0
    before_zero = not any(hides) and first_s < 0
    if before_zero:
        early_s = float(-first_s)
    sound = shown.type == "audio"
    if sound and early_s <= _PRIMING_S and not codec_name(shown).startswith(_UNPRIMED):
        hides[:early] = [False] * early
        early_s, before_zero = 0.0, False
    if not any(hides) and not before_zero:
        return None
    seconds = early_s if before_zero else float(sum(_lengths(entries, hides)) * unit)
    if sound:
        beside = zip([False, *hides[:-1]], hides, [*hides[1:], False], strict=True)
        hides = [any(three) for three in beside]
    held = frozenset(pos for (pos, _), hidden in zip(entries, hides, strict=True) if hidden)
    return Hidden(seconds, early_s, held, before_zero)


def _lengths(entries: Sequence[tuple[int, int]], hides: Sequence[bool]) -> Iterator[int]:
    """Lengths of the packets that are hidden; the last one's is taken to be that of the one before."""
    steps = [later - time for (_, time), (_, later) in pairwise(entries)]
    steps += steps[-1:] or [0]
    return (step for step, hidden in zip(steps, hides, strict=True) if hidden)


def _first_times(container: InputContainer) -> dict[int, Fraction]:
    """Time of the first packet of each stream of sound, in seconds."""
    found = {}
    for stream in container.streams.audio:
        try:
            packet = next(container.demux(stream), None)
            container.seek(0)
        except FFmpegError:
            continue
        if packet is not None and packet.pts is not None:
            found[stream.index] = packet.pts * packet.time_base
    return found
