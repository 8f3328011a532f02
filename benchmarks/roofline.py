"""The floor of every network and stage: what its arithmetic and its memory traffic cost at least.

``python -m benchmarks.roofline`` prints the tables of docs/roofline.md. Networks are run on PyTorch's meta
device, which computes shapes and nothing else: floating-point operations come from PyTorch's own counter,
bytes from the tensors. A floor is the largest of FLOP over the device's rate, bytes over its bandwidth, and
bytes that cross from or to the host over the link's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx
import onnx.shape_inference
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from export.graph_formats import Body
from export.networks import find, shipped, spec_of
from pipeline.engines.spec import input_shapes
from pipeline.faces import centerface
from pipeline.faces.centerface_cuda import FETCHED_CELLS


@dataclass(frozen=True, slots=True)
class Device:
    """Rates that its maker states."""

    name: str
    flop_s: float
    bytes_s: float
    link_s: float
    """bytes a second between host and device"""
    item: int
    """bytes of a number in the network"""


H100 = Device("H100 SXM, fp16 dense", 989e12, 3.35e12, 64e9, 2)
"""NVIDIA's data sheet; the link is PCIe 5.0 x16."""
CORES = Device("two cores, AVX-512 bf16", 2 * 3.0e9 * 128, 20e9, 20e9, 2)
"""At 3 GHz: 2 x 32 multiply-adds of bf16 a cycle and core, more than a processor holds for long; one channel
of memory."""


@dataclass(frozen=True, slots=True)
class Work:
    """Of one restored frame or one frame of video."""

    what: str
    flop: float
    numbers: float
    """read and written at least once: inputs, outputs, weights"""
    bytes_: float = 0
    """of 8-bit planes and float32 pictures, whatever the device's number"""
    crossing: float = 0
    """bytes between host and device; on a CPU a copy like any other"""

    def floor_ms(self, device: Device) -> float:
        """Milliseconds that no program goes below."""
        moved = self.numbers * device.item + self.bytes_
        return 1000 * max(self.flop / device.flop_s, moved / device.bytes_s, self.crossing / device.link_s)


def network(name: str, size_px: int, batch: int) -> Work:
    """The learned part, per restored frame in batches of ``batch`` windows, all weights read once a batch."""
    checkpoint = find(name)
    spec = spec_of(checkpoint.net, checkpoint.sha256, size_px)
    body = Body(checkpoint.net).to("meta")
    shapes = input_shapes(spec, batch)
    inputs = [torch.empty(shapes[key], device="meta") for key in ("features", "mask")]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        outputs = body(*inputs)
    frames = batch * spec.core
    numbers = sum(x.numel() for x in (*inputs, *outputs)) + parameters(body)
    what = f"{name}, {spec.size_px} px, {batch} window{'s' if batch > 1 else ''} a call"
    return Work(what, counter.get_total_flops() / frames, numbers / frames)


def finder(width: int, height: int) -> Work:
    """CenterFace on a picture of that size, counted over the nodes of its ONNX file."""
    model = onnx.load_from_string(centerface.network())
    picture = next(x for x in model.graph.input if x.name == model.graph.node[0].input[0])
    for dim, size in zip(picture.type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
        dim.dim_value = size
    inferred = onnx.shape_inference.infer_shapes(model).graph
    weights = {x.name: tuple(x.dims) for x in inferred.initializer}
    shapes = {
        x.name: [d.dim_value for d in x.type.tensor_type.shape.dim]
        for x in (picture, *inferred.value_info, *inferred.output)
    }
    flop = 0
    for node in inferred.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            # each weight meets every position of the output (of the input, where it is enlarged)
            at = node.output[0] if node.op_type == "Conv" else node.input[0]
            flop += 2 * prod(weights[node.input[1]]) * prod(shapes[at][2:])
    numbers = sum(prod(shape) for shape in weights.values()) + 3 * width * height
    return Work(f"centerface, {width}x{height}", flop, numbers + width * height // 16 * 15)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def stages(width: int, height: int, face_px: int, size_px: int, cells: int) -> list[Work]:
    """Of a yuv420p frame with one square mosaic or face; every tensor that must be is read and written once.

    Operations are counted by hand: so many a sample, as the comments say.
    """
    luma, frame = width * height, width * height * 3 // 2
    face, side, crop = face_px**2, (face_px * 8 // 5) ** 2, size_px**2
    near = (face_px + 2 * (24 + face_px // cells)) ** 2  # what ``known`` looks at around a mosaic
    return [
        Work("upload (without NVDEC)", 0, 0, 0, frame),
        Work("find: screening of every second line both ways", luma * 6, 0, luma),
        Work("find: thumbnail", frame * 2, 0, frame),
        # steps along both axes (6 each), activity (6), faint steps and those beside them (4 x 12)
        Work("find: a known mosaic examined, on the host", near * 66, 0, near * 8, near),
        # the luma of a look, and both planes of chroma, halved and interpolated (5), made RGB (15)
        Work("find faces: picture for the finder", frame * 5 + luma * 15, 0, frame + luma * 3),
        # 15 maps of a 16th of the picture; 16 float32 of each place come to the host
        Work("find faces: the likeliest places", 0, luma / 16 * 15, 0, 16 * 4 * FETCHED_CELLS),
        Work(
            "crop: surroundings, samples",
            side * 30 + 2 * 4 * face * cells,
            0,
            side * 1.5 + side * 16 + crop * 28,
        ),
        Work("restore: observation and projection", 8 * crop * cells * 3 * 2, 0, crop * 4 * 40),
        Work(
            "paste: resized, held to samples, converted", face * size_px * 6 + face * cells * 12, 0, face * 40
        ),
        Work("paste: copy of the frame", 0, 0, 2 * frame),
        Work("pixelize: colours of the cells", face * 1.5, 0, face * 1.5),
        Work("paint: cells into a copy of the frame", 0, 0, 2 * frame + face * 1.5),
        Work("download", 0, 0, 0, frame),
    ]


def table(rows: list[Work], devices: tuple[Device, ...]) -> str:
    """Markdown."""
    lines = [
        "| what | MFLOP | MB | " + " | ".join(f"floor, {d.name} (us)" for d in devices) + " |",
        "|---|---|---|" + "---|" * len(devices),
    ]
    for row in rows:
        size = (row.numbers * devices[0].item + row.bytes_ + row.crossing) / 1e6
        floors = " | ".join(f"{1000 * row.floor_ms(d):.3g}" for d in devices)
        lines.append(f"| {row.what} | {row.flop / 1e6:.4g} | {size:.3g} | {floors} |")
    return "\n".join(lines)


def main() -> None:
    rows = [network(name, size, batch) for name in shipped() for size in (128, 256) for batch in (1, 16)]
    rows = list(dict.fromkeys(rows))  # a pixelizer has one size
    rows += [finder(1792, 1024), finder(416, 256)]
    print("Networks, per restored frame, pixelizers per measured lattice, CenterFace per look\n")
    print(table(rows, (H100, CORES)))
    print("\nStages, per 1080p frame with one face of 300 px in 10 x 10 cells\n")
    print(table(stages(1920, 1080, 300, 128, 10), (H100, CORES)))


if __name__ == "__main__":
    main()
