"""Where a decoder of a GPU fails in the middle, PyAV goes on, or one line says what to do. On DALI's CPU."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from pipeline.decode import open_decoder
from pipeline.decode.dali import DaliDecoder
from pipeline.decode.relay import RelayDecoder
from pipeline.decode.source import open_source
from pipeline.errors import InputError, MissingError
from pipeline.notes import collecting
from pipeline.types import Frame
from tests.pipeline.decode.test_contract import FAST, LOSSLESS, VARIABLE
from tests.support.clips import picture, write_clip

pytestmark = pytest.mark.dali

FRAMES = len(VARIABLE)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """RGB without loss, which DALI gives exactly on the CPU; variable rate."""
    settings = {"codec": "libvpx-vp9", "pix_fmt": "gbrp", "options": LOSSLESS, "draw": picture}
    return write_clip(tmp_path / "clip.mkv", pts=VARIABLE, time_base=Fraction(1, 1000), **settings)  # type: ignore[arg-type]


class Breaking:
    """A reader of DALI that raises from its ``after``-th sequence on, as DALI does."""

    error = 'Error in MIXED operator `fn.experimental.readers.video`\n\nAssert on "x" failed: it broke.'

    def __init__(self, reader: Any, after: int) -> None:
        self._reader, self._left = reader, after

    def epoch_size(self, name: str) -> int:
        return int(self._reader.epoch_size(name))

    def run(self) -> Any:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError(self.error)
        return self._reader.run()


def breaks(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """From now on, after so many sequences of two frames."""
    reader = DaliDecoder._reader
    monkeypatch.setattr(DaliDecoder, "_reader", lambda self, *given: Breaking(reader(self, *given), after))


def same(ours: Iterator[Frame], theirs: Iterator[Frame]) -> int:
    """Frames that were compared."""
    count = 0
    for one, other in zip(ours, theirs, strict=True):
        assert (one.index, one.pts, one.key) == (other.index, other.pts, other.key)
        assert all(torch.equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))
        count += 1
    return count


@pytest.mark.parametrize("after", [0, 1, 6])
def test_pyav_goes_on_at_the_frame_where_dali_stops(
    clip: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(clip)
    with RelayDecoder(DaliDecoder(source)) as relay, open_decoder(source) as pyav, collecting() as notes:
        breaks(monkeypatch, after)
        assert same(relay.frames(), pyav.frames()) == FRAMES
        told = (
            f"{clip.name}: DALI stopped at frame {2 * after} (DALI fails at frame {2 * after} or soon after"
        )
        assert [note.startswith(told) for note in notes.warnings] == [True]
        assert notes.warnings[0].endswith("PyAV decodes from there on, every sample exact")
        assert same(relay.frames(VARIABLE[3], VARIABLE[9]), pyav.frames(VARIABLE[3], VARIABLE[9])) == 6
        assert len(notes.warnings) == 1, "once it has failed, DALI is not tried again"


def test_a_range_is_gone_on_with_to_its_end(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, span = open_source(clip), (VARIABLE[5], VARIABLE[12])
    with RelayDecoder(DaliDecoder(source)) as relay, open_decoder(source) as pyav:
        breaks(monkeypatch, 2)
        assert same(relay.frames(*span), pyav.frames(*span)) == 7


def test_where_pyav_cannot_go_on_either_its_line_names_the_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "clip.webm", frames=20, codec="libvpx-vp9", options=FAST)
    with av.open(str(clip)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][12]
    seen = []
    with RelayDecoder(DaliDecoder(open_source(clip))) as relay:
        breaks(monkeypatch, 4)
        clip.write_bytes(clip.read_bytes().replace(packet, bytes(len(packet))))
        with pytest.raises(InputError, match=r"frame 12 of 20.* cannot be decoded") as ended:
            for frame in relay.frames():
                seen.append(frame.index)
    assert seen == list(range(12)) and "\n" not in str(ended.value)


def test_dali_that_was_asked_for_by_name_ends_the_run_in_one_line(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    with open_decoder(clip, decoder="dali") as decoder:
        breaks(monkeypatch, 3)
        with pytest.raises(InputError) as ended:
            for frame in decoder.frames():
                seen.append(frame.index)
    assert seen == list(range(6))
    assert str(ended.value) == f"{clip}: DALI fails at frame 6 or soon after (it broke); use --decoder pyav"


def test_a_full_gpu_is_no_reason_to_go_on(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV's frames would go to the same GPU."""
    with RelayDecoder(DaliDecoder(open_source(clip))) as relay:
        monkeypatch.setattr(Breaking, "error", "CUDA error: out of memory")
        breaks(monkeypatch, 1)
        with pytest.raises(MissingError, match="memory is full"):
            list(relay.frames())


def test_auto_on_a_gpu_is_a_relay(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(self: DaliDecoder, source: Any, device: str) -> None:
        made(self, source, "cpu")

    made = DaliDecoder.__init__
    monkeypatch.setattr(DaliDecoder, "__init__", here)
    with open_decoder(clip, device="cuda:0") as decoder:
        assert isinstance(decoder, RelayDecoder) and decoder.name == "DALI"
