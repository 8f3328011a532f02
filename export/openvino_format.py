"""ONNX -> OpenVINO's IR: an .xml file with the weights beside it in a .bin."""

from __future__ import annotations

from pathlib import Path

import openvino as ov

from pipeline.engines import EngineSpec
from pipeline.engines.spec import KEY, to_json
from pipeline.errors import InputError


def to_ir(graph: Path, spec: EngineSpec, target: Path) -> None:
    """Converts an ONNX file of ours as it is: its precision is the graph's. Raises InputError."""
    try:
        model = ov.Core().read_model(str(graph))
    except RuntimeError as error:
        raise InputError(
            f"OpenVINO cannot convert {spec.net}: {' '.join(str(error).split())[:300]}"
        ) from error
    model.set_rt_info(to_json(spec), [KEY])
    ov.save_model(model, str(target), compress_to_fp16=False)
