"""Metadata of network files: an ``EngineSpec`` as JSON under the key ``vidpipe``.

In an ONNX file it is an entry of ``metadata_props``, in a ``torch.export`` archive (.pt2) an extra file, in
OpenVINO's IR (.xml) an entry of its runtime information, in a TensorRT engine file (``engine_file``) a part
of the header.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args

import onnx

from pipeline.engines import CONTRACT, EngineSpec, Precision
from pipeline.errors import InputError

KEY = "vidpipe"
INPUTS = ("features", "mask")
OUTPUTS = ("residual", "trust")


def to_json(spec: EngineSpec) -> str:
    """The text that an exporter writes under ``KEY``."""
    return json.dumps(asdict(spec), sort_keys=True)


def from_json(text: str, path: Path) -> EngineSpec:
    """Reads ``to_json`` back. Raises InputError naming ``path`` for anything else."""
    wanted = {f.name: {"int": int, "str": str, "bool": bool}[str(f.type)] for f in fields(EngineSpec)}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{path}: its {KEY!r} metadata are no JSON ({error}); delete it, the next run makes it anew"
        ) from error
    came = {k: type(v) for k, v in values.items()} if isinstance(values, dict) else type(values).__name__
    if came != wanted:
        raise InputError(
            f"{path}: its {KEY!r} metadata hold {_names(came)}, wanted {_names(wanted)}; "
            "it stems from another version, delete it, the next run makes it anew"
        )
    spec = EngineSpec(**values)
    if spec.contract != CONTRACT:
        raise InputError(
            f"{path}: made for other inputs and outputs ({spec.contract}), this version has {CONTRACT}; "
            "delete it, the next run makes it anew"
        )
    if (
        min(spec.core, spec.size_px, spec.cells, spec.batch_min) < 1
        or spec.context < 0
        or spec.batch_max < spec.batch_min
        or spec.precision not in get_args(Precision)
    ):
        raise InputError(
            f"{path}: its {KEY!r} metadata make no sense: {spec}; delete it, the next run makes it anew"
        )
    return spec


def read_onnx(path: Path) -> EngineSpec:
    """The spec of an ONNX file whose inputs and outputs bear the names that ``EngineSpec`` lists.

    Raises InputError for a file that is no ONNX or not one of ours.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own classes
        raise InputError(
            f"{path}: not a readable ONNX file ({error}); delete it, the next run makes it anew"
        ) from error
    texts = [entry.value for entry in model.metadata_props if entry.key == KEY]
    if not texts:
        raise InputError(f"{path}: no {KEY!r} metadata, so not a network of vidpipe")
    names = [{v.name for v in values} for values in (model.graph.input, model.graph.output)]
    for came, wanted in zip(names, (INPUTS, OUTPUTS), strict=True):
        if not came >= set(wanted):
            raise InputError(
                f"{path}: has {sorted(came)}, wanted {sorted(wanted)}; delete it, the next run makes it anew"
            )
    return from_json(texts[0], path)


def input_shapes(spec: EngineSpec, batch: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs for ``batch`` windows."""
    frames, size = (batch, spec.frames), (spec.size_px, spec.size_px)
    return {"features": (*frames, spec.channels, *size), "mask": (*frames, 1, *size)}


def _names(types: dict[str, type] | str) -> str:
    if isinstance(types, str):
        return types
    return ", ".join(f"{name}: {kind.__name__}" for name, kind in sorted(types.items()))
