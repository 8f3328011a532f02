"""Runs an ONNX file of few operators in PyTorch: face detectors, on devices that PyTorch knows.

Our own networks come as programs of ``torch.export``; a detector's file does not. CenterFace consists of six
operators, so its file is interpreted here rather than the network written once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from pipeline.errors import InputError

Step = tuple[Callable[..., Tensor], tuple[str, ...], str]
"""A function, the names of the values that it takes, and the name of its result."""


class Graph:
    """A graph with its weights on a device: its one input, (1, C, H, W) -> its outputs, in float32.

    ``dtype`` is what weights and layers are in. On a GPU weights and pictures are in channels-last order.
    Raises InputError for an operator or an attribute that is not known here.
    """

    def __init__(self, model: bytes, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        graph = onnx.load_from_string(model).graph
        self._dtype = dtype
        self._order = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self._weights = {w.name: self._placed(w, device) for w in graph.initializer}
        inputs = [value.name for value in graph.input if value.name not in self._weights]
        if len(inputs) != 1:
            raise InputError(f"a graph with the inputs {', '.join(inputs)}; wanted one")
        self._input = inputs[0]
        self._outputs = [value.name for value in graph.output]
        self._steps = [_step(node) for node in graph.node]
        self._last_use = {name: i for i, (_, names, _) in enumerate(self._steps) for name in names}

    def __call__(self, picture: Tensor) -> list[Tensor]:
        values = {self._input: picture.to(self._dtype, memory_format=self._order)}
        for i, (compute, names, result) in enumerate(self._steps):
            read = [self._weights[n] if n in self._weights else values[n] for n in names]
            values[result] = compute(*read)
            for name in names:  # what nobody reads again is let go of, else all layers stay in memory
                if self._last_use[name] == i and name not in self._outputs:
                    values.pop(name, None)
        return [values[name].to(torch.float32) for name in self._outputs]

    def _placed(self, weight: onnx.TensorProto, device: torch.device) -> Tensor:
        value = torch.from_numpy(numpy_helper.to_array(weight).copy())
        order = self._order if value.dim() == 4 else torch.contiguous_format
        return value.to(self._dtype).to(device).contiguous(memory_format=order)


def _step(node: onnx.NodeProto) -> Step:
    if node.op_type not in _OPERATORS:
        raise InputError(f"operator {node.op_type}: wanted one of {', '.join(_OPERATORS)}")
    make, known = _OPERATORS[node.op_type]
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    unknown = sorted(given.keys() - known)
    if unknown or len(node.output) != 1:
        raise InputError(f"operator {node.op_type} with {', '.join(unknown) or 'several results'}: not known")
    return make(given), tuple(node.input), node.output[0]


def _padding(given: dict[str, Any]) -> tuple[int, int]:
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise InputError(f"padding {(top, left, bottom, right)}: wanted as much on both sides")
    return top, left


def _conv(given: dict[str, Any]) -> Callable[..., Tensor]:
    stride, dilation = tuple(given.get("strides", (1, 1))), tuple(given.get("dilations", (1, 1)))
    padding, groups = _padding(given), given.get("group", 1)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    return compute


def _conv_transpose(given: dict[str, Any]) -> Callable[..., Tensor]:
    stride, dilation = tuple(given.get("strides", (1, 1))), tuple(given.get("dilations", (1, 1)))
    padding, groups = _padding(given), given.get("group", 1)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv_transpose2d(x, weight, bias, stride, padding, 0, groups, dilation)

    return compute


def _batch_norm(given: dict[str, Any]) -> Callable[..., Tensor]:
    epsilon = given.get("epsilon", 1e-5)

    def compute(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, weight, bias, eps=epsilon)

    return compute


def _plain(compute: Callable[..., Tensor]) -> Callable[[dict[str, Any]], Callable[..., Tensor]]:
    return lambda _: compute


def _sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x.to(torch.float32))  # half has three digits of a score


_CONV = {"dilations", "group", "kernel_shape", "pads", "strides"}
_OPERATORS: dict[str, tuple[Callable[[dict[str, Any]], Callable[..., Tensor]], set[str]]] = {
    "Conv": (_conv, _CONV),
    "ConvTranspose": (_conv_transpose, _CONV),
    "BatchNormalization": (_batch_norm, {"epsilon", "momentum"}),
    "Relu": (_plain(cast("Callable[..., Tensor]", F.relu)), set()),
    "Sigmoid": (_plain(_sigmoid), set()),
    "Add": (_plain(torch.add), set()),
}
"""How each is made of its attributes, and which attributes those may be (ONNX operators, opset 9)."""
