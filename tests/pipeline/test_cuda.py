"""The one file that knows streams: that it is the one, and that what it orders is in order.

Streams are pretended here. Each has a clock and knows how far the others had come when it last waited for
them; a tensor knows which stream wrote it and when. Who reads it without having waited reads too early.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import cuda
from pipeline.errors import MissingError
from pipeline.types import Frame
from tests.support.faces_scene import noise_frame

ROOT = Path(__file__).resolve().parents[2]
OF_STREAMS = {
    "Stream", "Event", "CUDAGraph", "graph", "stream", "synchronize", "current_stream", "default_stream",
    "set_stream", "ExternalStream", "make_graphed_callables",
}  # fmt: skip
"""What only one file may take of ``torch.cuda``."""
OF_TENSORS = {"record_stream", "wait_stream", "wait_event", "pin_memory", "is_pinned", "cuda_stream"}


ASKED = {"is_available", "device_count", "get_device_name", "get_device_properties", "OutOfMemoryError"}
"""What any file may import from it: questions and errors."""


def uses(source: str) -> set[str]:
    """Names of streams, events, graphs and pinned memory in a file, whatever it imports them as."""
    tree = ast.parse(source)
    known, found = dict[str, str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {name.asname: name.name for name in node.names if name.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
            if node.module.startswith("torch.cuda"):
                found |= {name.name for name in node.names} - ASKED
            if node.module == "torch":
                found |= {name.name for name in node.names} & {"Stream", "Event"}

    def path(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{path(node.value)}.{node.attr}"
        return known.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    walked = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in OF_TENSORS:
            found.add(node.arg)
        if isinstance(node, ast.Attribute):
            whole = path(node)
            of_torch = whole.startswith("torch.cuda.") or whole in ("torch.Stream", "torch.Event")
            if node.attr in OF_TENSORS or (of_torch and node.attr in OF_STREAMS):
                found.add(node.attr)
            if whole == "torch.cuda" and id(node) not in walked:
                found.add("torch.cuda")  # kept under another name
    return {name for name in found if name is not None}


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.cuda.Stream()",
        "import torch as t\nt.cuda.Stream()",
        "import torch.cuda as x\nx.Stream()",
        "from torch import cuda\ncuda.Stream()",
        "from torch import cuda as x\nx.streams.Stream()",
        "from torch.cuda import Stream",
        "from torch.cuda import *",
        "from torch.cuda.graphs import CUDAGraph as G",
        "from torch import Stream as S",
        "import torch\ntorch.Event()",
        "import torch\nx = torch.cuda",
        "def f(x): return x.pin_memory()",
        "def f(x): return x.new_empty(1, pin_memory=True)",
    ],
)
def test_streams_are_seen_whatever_they_are_called(source: str) -> None:
    assert uses(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.cuda.is_available()",
        "from torch.cuda import is_available, OutOfMemoryError",
        "from pipeline import cuda\ncuda.Stream",
    ],
)
def test_questions_are_no_streams(source: str) -> None:
    assert not uses(source)


@pytest.mark.slow
def test_one_file_knows_streams_and_pinned_memory() -> None:
    known = {
        str(path.relative_to(ROOT)): uses(path.read_text(encoding="utf-8"))
        for package in ("nets", "pipeline", "export", "vidpipe")
        for path in (ROOT / package).rglob("*.py")
    }
    assert known.pop("pipeline/cuda.py") >= {"Stream", "Event", "CUDAGraph", "record_stream", "pin_memory"}
    assert {name: found for name, found in known.items() if found} == {}


Moment = tuple[str, int]


@dataclass
class Streams:
    """Who has come how far, and knows of whom."""

    clock: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    knows: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    now: str = "default"

    def written(self) -> Moment:
        self.clock[self.now] += 1
        return self.now, self.clock[self.now]

    def check(self, who: str, moment: Moment) -> None:
        stream, when = moment
        assert stream in (who, "host") or self.knows[who][stream] >= when, (
            f"{who} reads too early of {stream}"
        )

    def learn(self, who: str, told: dict[str, int]) -> None:
        for stream, when in told.items():
            self.knows[who][stream] = max(self.knows[who][stream], when)

    def told_by(self, stream: str) -> dict[str, int]:
        return {**self.knows[stream], stream: self.clock[stream]}


class Plane:
    """A tensor as far as copies go. Its memory may be given away once nobody holds it, unless who reads it is
    recorded."""

    shape, dtype = (4, 4), torch.uint8

    def __init__(self, streams: Streams, device: str, moment: Moment, pinned: bool = False) -> None:
        self.streams, self.device, self.moment, self.pinned = streams, torch.device(device), moment, pinned
        self.home, self.recorded, self.readers = streams.now, set[str](), set[str]()

    def contiguous(self) -> Plane:
        return self

    def is_pinned(self) -> bool:
        return self.pinned

    def pin_memory(self) -> Plane:
        return Plane(self.streams, "cpu", ("host", 0), pinned=True)

    def to(self, device: torch.device, non_blocking: bool = False) -> Plane:
        assert self.pinned and non_blocking, "a copy that stops the host"
        self.read()
        return Plane(self.streams, str(device), self.streams.written())

    def copy_(self, other: Plane, non_blocking: bool = False) -> None:
        assert non_blocking and (self.pinned or other.pinned), "a copy that stops the host"
        other.read()
        self.moment = self.streams.written()

    def read(self) -> None:
        self.streams.check(self.streams.now, self.moment)
        self.readers.add(self.streams.now)

    def record_stream(self, stream: Stream) -> None:
        self.recorded.add(stream.name)

    def let_go(self) -> None:
        others = self.readers - {self.home}
        assert others <= self.recorded, f"memory is given away while {others - self.recorded} read it"


class Stream:
    made = 0

    def __init__(self, streams: Streams, name: str) -> None:
        self.streams, self.name = streams, name
        self.cuda_stream = 7

    def wait_stream(self, other: Stream) -> None:
        self.streams.learn(self.name, self.streams.told_by(other.name))

    def synchronize(self) -> None:
        self.streams.learn("host", self.streams.told_by(self.name))


class Event:
    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.told: dict[str, int] = {}

    def record(self, stream: Stream) -> None:
        self.told = self.streams.told_by(stream.name)

    def synchronize(self) -> None:
        self.streams.learn("host", self.told)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """``pipeline.cuda`` with pretended streams in place of PyTorch's."""
    streams = Streams()
    default = Stream(streams, "default")
    count = iter(range(100))

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        before, streams.now = streams.now, stream.name
        yield
        streams.now = before

    @contextmanager
    def device(_: Any) -> Iterator[None]:
        yield

    def empty(*_: Any, dtype: Any, pin_memory: bool) -> Plane:
        return Plane(streams, "cpu", ("host", 0), pinned=pin_memory)

    fake = SimpleNamespace(
        Stream=lambda _: Stream(streams, f"side {next(count)}"),
        Event=lambda: Event(streams),
        stream=on,
        device=device,
        default_stream=lambda _: default,
        current_stream=lambda _: default,
    )
    named = SimpleNamespace(cuda=fake, empty=empty, device=torch.device)
    monkeypatch.setattr(cuda, "torch", named)
    return streams


def pretended_frame(streams: Streams, device: str, index: int) -> Frame:
    planes = tuple(Plane(streams, device, ("host", 0)) for _ in range(3))
    return replace(noise_frame(index), planes=planes)  # type: ignore[arg-type]


def test_frames_go_up_and_come_down_in_order(streams: Streams) -> None:
    """Nobody reads what is not there yet; no memory is given away under a copy; one frame is on its way while
    the next is computed."""
    sent: list[Frame] = []

    def computed() -> Iterator[Frame]:
        source = (pretended_frame(streams, "cpu", i) for i in range(5))
        for frame in cuda.to_device(source, torch.device("cuda:0")):
            planes = []
            for plane in frame.planes:
                plane.read()  # type: ignore[attr-defined]  # by the default stream
                planes.append(Plane(streams, "cuda:0", streams.written()))
            sent.append(frame)
            sent.append(replace(frame, planes=tuple(planes)))  # type: ignore[arg-type]
            yield sent[-1]

    ahead = []
    for place, frame in enumerate(cuda.to_host(computed())):
        assert frame.index == place
        for plane in frame.planes:
            assert plane.pinned  # type: ignore[attr-defined]
            streams.check("host", plane.moment)  # type: ignore[attr-defined]
        ahead.append(len(sent) // 2 - place - 1)
    assert ahead == [1, 1, 1, 1, 0]
    for frame in sent:
        for plane in frame.planes:
            plane.let_go()  # type: ignore[attr-defined]


def test_a_library_has_its_turn_between_what_was_and_what_comes(streams: Streams) -> None:
    own = cuda.OwnStream(torch.device("cuda:0"))
    given = Plane(streams, "cuda:0", streams.written())
    with own.turn():
        given.read()
        own.reads(given)
        made = Plane(streams, "cuda:0", streams.written())
    own.gives(made)
    made.read()
    given.let_go()
    made.let_go()
    assert own.handle == 7


def test_the_pretended_streams_see_who_is_early(streams: Streams) -> None:
    """Else the two tests above prove nothing."""
    pretended = vars(cuda)["torch"]  # the stand-in that the fixture has put in
    side = pretended.cuda.Stream(torch.device("cuda:0"))
    given = Plane(streams, "cuda:0", streams.written())
    with pretended.cuda.stream(side), pytest.raises(AssertionError, match="too early of default"):
        given.read()
    side.wait_stream(pretended.cuda.default_stream(None))
    with pretended.cuda.stream(side):
        given.read()
    with pytest.raises(AssertionError, match="given away while"):
        given.let_go()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError(
                "CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors ..."
            ),
            "busy or unavailable; use --device cpu",
        ),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device\n"), "no kernel"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."),
            "12 of 80000 MiB are free",
        ),
    ],
)
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_cannot_begin_is_one_line(
    error: Exception, said: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has it for itself, or all of its memory; it is too old or too new for this PyTorch."""

    def fails(*_: Any, **__: Any) -> None:
        raise error

    named = SimpleNamespace(name="Pretended", total_memory=1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: named)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (12 * 2**20, 80000 * 2**20))
    monkeypatch.setattr("torch.zeros", fails)
    with pytest.raises(MissingError, match=said) as caught:
        cuda.place(device)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
