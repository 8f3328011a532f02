"""CenterFace on a device: what it sees there is what it sees on the CPU, or the run does not begin."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import onnx
import pytest
import skimage
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.cuda import CPU, memory_errors
from pipeline.engines.detector_runtime import compile_on_cpu
from pipeline.engines.onnx_graph import Graph
from pipeline.errors import CheckError, InputError, MissingError, UsageError
from pipeline.faces import Face, centerface_cuda, open_detector
from pipeline.faces.centerface import CenterFace, network
from pipeline.faces.centerface_cuda import DeviceCenterFace, drawn, open_on_device
from tests.pipeline.run.test_device import entered

pytestmark = pytest.mark.slow

SIZE = (416, 256)
SCORE = 0.15
HALF = (0.005, 0.01, 0.005, 0.005)
"""Most that maps of score, log size, offset and landmarks may differ in half precision, where faces are; the
bfloat16 of a CPU differs by 0.007, 0.016, 0.006 and 0.007 there."""


def photographs(size_px: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A portrait in three sizes, one of them mirrored, beside a cat and a motorcycle."""
    width, height = size_px
    face = skimage.data.astronaut()[:300, 80:380]
    picture = np.asarray(cv2.resize(skimage.data.chelsea(), (width, height)), np.uint8)
    for x, y, side in ((8, 8, 150), (180, 20, 90), (300, 150, 60)):
        part = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        picture[y : y + side, x : x + side] = part[:, ::-1] if side == 90 else part
    return picture


def as_tensor(picture: NDArray[np.uint8], device: torch.device = CPU) -> torch.Tensor:
    return torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float()


def maps_of(picture: NDArray[np.uint8], dtype: torch.dtype, device: torch.device = CPU) -> list[torch.Tensor]:
    with torch.no_grad():
        return [x.cpu() for x in Graph(network(), device, dtype)(as_tensor(picture, device))]


@pytest.fixture(scope="module")
def reference() -> list[NDArray[np.float32]]:
    return compile_on_cpu(network(), SIZE[::-1], "onnxruntime", 1)(photographs())


def test_pytorch_computes_what_onnxruntime_computes(reference: list[NDArray[np.float32]]) -> None:
    maps = maps_of(photographs(), torch.float32)
    assert [tuple(x.shape) for x in maps] == [x.shape for x in reference]
    for ours, theirs in zip(maps, reference, strict=True):
        assert np.abs(ours.numpy() - theirs).max() < 1e-4
    assert int((reference[0] > 0.5).sum()) >= 3


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_half_precision_is_enough(device: str, reference: list[NDArray[np.float32]]) -> None:
    at = reference[0][0, 0] > SCORE
    maps = maps_of(photographs(), torch.float16, torch.device(device))
    for ours, theirs, most in zip(maps, reference, HALF, strict=True):
        assert np.abs(ours.numpy() - theirs)[:, :, at].max() < most
    assert np.abs(maps[0].numpy() - reference[0]).max() < HALF[0]


def assert_same(here: list[Face], there: list[Face], px: float, score: float) -> None:
    assert len(here) == len(there)
    for a, b in zip(here, there, strict=True):
        assert a.score == pytest.approx(b.score, abs=score)
        one, two = ((f.box.x0, f.box.y0, f.box.x1, f.box.y1) for f in (a, b))
        assert one == pytest.approx(two, abs=px)
        assert a.landmarks is not None and b.landmarks is not None
        assert np.abs(a.landmarks - b.landmarks).max() < px


@pytest.mark.parametrize("most", [4, centerface_cuda.FETCHED_CELLS])
@pytest.mark.parametrize(
    ("device", "library"),
    [
        ("pretended", "torch"),
        ("cpu", "onnxruntime"),  # bound to addresses there, as on a GPU
        pytest.param("cuda", "torch", marks=pytest.mark.gpu),
        pytest.param("cuda", "onnxruntime", marks=pytest.mark.gpu),
    ],
)
def test_it_finds_the_faces_that_the_cpu_finds(
    device: str, library: Literal["torch", "onnxruntime"], most: int
) -> None:
    """Also where more cells are faces than it is opened for."""
    here = CenterFace(SIZE, "onnxruntime", 1)(photographs(), SCORE)
    assert len(here) >= 3
    with entered(device) as (place, counted):
        finder = DeviceCenterFace(SIZE, place, library, most)
        picture = as_tensor(photographs(), place)
        if counted is not None:
            counted.to_host.clear()
        there = finder(picture, SCORE)
        if counted is not None:
            assert set(counted.to_host) <= {4 * 16 * rows for rows in (4, 16, 64, 256, 512)}
            assert len(counted.to_host) == (1 if most == centerface_cuda.FETCHED_CELLS else 3)
        assert finder(picture, 0.999) == []
        assert finder.device == place
    on_gpu = device == "cuda"
    assert_same(here, there, 1.0 if on_gpu else 0.05, 0.01 if on_gpu else 1e-4)


def test_every_cell_may_be_a_face() -> None:
    """A score that all cells have asks for as many as there are, and no more."""
    finder = DeviceCenterFace((64, 32), CPU, cells=4)
    picture = np.zeros((32, 64, 3), np.uint8)
    everywhere = finder(as_tensor(picture), 0.0)
    assert finder.fetched_cells == 16 * 8
    assert len(everywhere) == len(CenterFace((64, 32), "onnxruntime", 1)(picture, 0.0))


@pytest.mark.parametrize("size", [(64, 64), (416, 256), (512, 288)])
def test_drawn_faces_are_seen(size: tuple[int, int]) -> None:
    """What the finder is proven with is a proof."""
    faces = CenterFace(size, "onnxruntime", 1)(drawn(size), 0.5)
    assert len(faces) >= (1 if size[0] < 96 else 4)
    open_on_device(size, CPU, "torch")


@pytest.mark.parametrize("fault", ["blind", "moved", "seeing", "nan"])
def test_a_finder_that_sees_other_faces_is_refused(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have faces released, and the gate looks with another of its kind."""
    right = Graph.__call__

    def wrong(self: Graph, picture: torch.Tensor) -> list[torch.Tensor]:
        heat, size, offset, marks = right(self, picture)
        match fault:
            case "blind":
                heat = heat * 0.1
            case "moved":
                offset = offset + 1.0
            case "seeing":
                heat = heat.clone()
                heat[..., 30, 30] = 0.9
            case _:
                heat = torch.where(heat > 0.5, float("nan"), heat)
        return [heat, size, offset, marks]

    monkeypatch.setattr(Graph, "__call__", wrong)
    with pytest.raises(CheckError, match="--device cpu") as caught:
        open_on_device(SIZE, CPU)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_a_full_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Graph, "__call__", full)
    with (
        pytest.raises(MissingError, match="its memory is full") as caught,
        memory_errors(torch.device("cuda:0")),
    ):
        open_on_device(SIZE, CPU)
    assert caught.value.exit_code == 5


def test_what_cannot_be() -> None:
    with pytest.raises(UsageError, match="runs on the CPU"):
        open_detector("centerface", SIZE, "openvino", device=torch.device("cuda:0"))
    with pytest.raises(ValueError, match="multiples of 32"):
        DeviceCenterFace((100, 64), CPU)
    with pytest.raises(ValueError, match="takes"):
        DeviceCenterFace((64, 64), CPU)(torch.zeros(1, 3, 32, 64), 0.5)
    if not torch.cuda.is_available():
        with pytest.raises(MissingError, match="onnxruntime has no CUDA"):
            open_detector("centerface", SIZE, "onnxruntime", device=torch.device("cuda:0"))


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (("Softmax", {}), "operator Softmax: wanted one of Conv"),
        (("Relu", {"slope": 1.0}), "operator Relu with slope: not known"),
        (("Conv", {"pads": [1, 0, 0, 0]}), "wanted as much on both sides"),
        (("Conv", {"auto_pad": "SAME_UPPER"}), "operator Conv with auto_pad: not known"),
    ],
)
def test_an_operator_that_is_not_known_is_named(node: tuple[str, dict[str, object]], said: str) -> None:
    kind, given = node
    made = helper.make_node(kind, ["x"], ["y"], **given)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy"]
    model: onnx.ModelProto = helper.make_model(helper.make_graph([made], "one", value[:1], value[1:]))
    with pytest.raises(InputError, match=said):
        Graph(model.SerializeToString(), CPU)
