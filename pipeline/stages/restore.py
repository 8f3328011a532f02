"""Windows -> patches, through an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from pipeline.engines import Engine, EngineSpec
from pipeline.errors import GateError, InputError
from pipeline.types import Batch, Crop, Patch, Window


def restore(batches: Iterable[Batch[Window]], *, engine: Engine, batch_size: int) -> Iterator[Batch[Patch]]:
    """Restores the core of every window; frames go on with the patches that belong to them.

    At most ``batch_size`` windows go into one call of the engine. Windows must be of the engine's T, S
    and N (ValueError: ``crop`` and ``window`` were set up for another network). Raises InputError where
    the network does not give what its metadata promises, GateError where it gives NaN or infinity.
    """
    for batch in batches:
        patches: list[Patch] = []
        for first in range(0, len(batch.items), batch_size):
            patches += _restore(batch.items[first : first + batch_size], engine)
        yield Batch(batch.frames, tuple(patches))


def _restore(windows: tuple[Window, ...], engine: Engine) -> list[Patch]:
    spec = engine.spec
    outputs = engine.infer(engine_inputs(windows, spec))
    size, count = spec.size_px, len(windows)
    restored = _checked(outputs, "restored", (count, spec.core, 3, size, size), engine)
    trust = _checked(outputs, "trust", (count, spec.core), engine)
    return [
        Patch(
            crop=window.crops[at],
            pixels=restored[w, at - spec.context].clamp(0, 1),
            trust=min(max(float(trust[w, at - spec.context]), 0.0), 1.0),
        )
        for w, window in enumerate(windows)
        for at in window.core
    ]


def engine_inputs(windows: tuple[Window, ...], spec: EngineSpec) -> dict[str, Tensor]:
    """Stacks windows into the inputs that ``EngineSpec`` describes, batch = number of windows."""
    for window in windows:
        crop = window.crops[0]
        came = len(window.crops), crop.image.shape[-1], crop.rows.shape[0]
        if came != (spec.window, spec.size_px, spec.cells):
            wanted = spec.window, spec.size_px, spec.cells
            raise ValueError(f"window of (T, S, N) = {came}; {spec.net} {spec.version} takes {wanted}")

    def stack(field: Callable[[Crop], Tensor]) -> Tensor:
        return torch.stack([torch.stack([field(c) for c in w.crops]) for w in windows])

    return {
        "image": stack(lambda c: c.image),
        "mask": stack(lambda c: c.mask),
        "rows": stack(lambda c: c.rows),
        "cols": stack(lambda c: c.cols),
    }


def _checked(outputs: dict[str, Tensor], name: str, shape: tuple[int, ...], engine: Engine) -> Tensor:
    which = f"{engine.spec.net} {engine.spec.version} on {engine.name}"
    if name not in outputs:
        raise InputError(f"{which}: no output {name!r}, only {sorted(outputs)}; export the network again")
    value = outputs[name]
    if tuple(value.shape) != shape:
        raise InputError(
            f"{which}: {name} is {tuple(value.shape)}, its metadata promise {shape}; export the network again"
        )
    if not bool(torch.isfinite(value).all()):
        raise GateError(f"{which}: {name} holds NaN or infinity; try --engine onnxruntime (float32)")
    return value
