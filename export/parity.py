"""Every export passes this check: it runs on crops of real pictures and is compared with PyTorch in
float32."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import torch

from export.calibration import Faces, make
from export.graph_formats import Body
from nets.network import Network
from pipeline.engines import Engine, EngineSpec, Library, open_engine
from pipeline.engines.parity import LIMITS, Parity, Reference, measure
from pipeline.errors import CheckError, InputError, MissingError
from pipeline.notes import decided

log = logging.getLogger(__name__)

WINDOWS = 6
SEED = 0


@torch.no_grad()
def reference_of(net: Network, spec: EngineSpec, faces: Faces, windows: int = WINDOWS) -> Reference:
    """PyTorch's answer to crops of the faces, one window at a time."""
    crops = make(faces, spec, windows, SEED)
    body, inputs = Body(net.eval()), crops.inputs(spec)
    answers = [body(inputs["features"][k : k + 1], inputs["mask"][k : k + 1]) for k in range(windows)]
    residual, trust = (torch.cat(parts) for parts in zip(*answers, strict=True))
    return Reference(crops, residual, trust)


def gate(path: Path, reference: Reference, libraries: tuple[Library, ...]) -> list[Parity]:
    """Measures the file under every library of those that is here and can run it.

    Raises CheckError where one differs by more than its precision may, and where none could run the file.
    """
    records, refusals = [], []
    for library in libraries:
        try:
            engine = open_engine(
                path, device="auto" if library in ("tensorrt", "torch") else "cpu", library=library, threads=2
            )
        except (InputError, MissingError) as error:
            refusals.append(f"{library}: {error}")
            decided(log, "%s is not compared under %s: %s", path.name, library, error)
            continue
        with closing(engine):
            parity = measure(engine, reference, _precision(engine))
        if not parity.holds:
            raise CheckError(f"the export does not answer as PyTorch does, {parity}; not kept")
        decided(log, "%s", parity)
        records.append(parity)
    if not records:
        raise CheckError(f"no library here could run the export to compare it: {'; '.join(refusals)}")
    return records


def _precision(engine: Engine) -> str:
    """The precision whose limits hold: the file's or the one that the engine computes in, whichever is
    wider."""
    computed = "bf16" if "bf16" in engine.name else "fp32"
    return min(computed, engine.spec.precision, key=lambda precision: LIMITS[precision].min_psnr_db)
