"""Windows -> patches: a mosaic is observed, an engine runs the network, its answer is held to the mosaic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

import torch
from torch import Tensor

from nets.grid import Observation, compose, observe
from pipeline.engines import Engine
from pipeline.errors import GateError, InputError
from pipeline.types import Batch, Crop, Patch, Window


def restore(batches: Iterable[Batch[Window]], *, engine: Engine, batch_size: int) -> Iterator[Batch[Patch]]:
    """Restores the core of every window; frames go on with the patches that belong to them.

    At most ``batch_size`` windows go into one call of the engine. Windows must be of the engine's T, S
    and N, else ValueError. Raises InputError where the network does not give what its metadata promise,
    GateError where it gives NaN or infinity.
    """
    for batch in batches:
        items = batch.items
        parts = [items[i : i + batch_size] for i in range(0, len(items), batch_size)]
        yield Batch(batch.frames, tuple(patch for part in parts for patch in _restore(part, engine)))
        del batch, items, parts  # else their frames and crops stay alive while the next batch is made


def _restore(windows: tuple[Window, ...], engine: Engine) -> list[Patch]:
    spec = engine.spec
    for window in windows:
        first = window.crops[0]
        came = len(window.crops), first.image.shape[-1], first.rows.shape[0]
        wanted = spec.window, spec.size_px, spec.cells
        if came != wanted:
            raise ValueError(f"window of (T, S, N) = {came}; {spec.net} {spec.version} takes {wanted}")
    crops = list({id(c): c for w in windows for c in w.crops}.values())  # windows share crops, edges repeat
    place = {id(c): i for i, c in enumerate(crops)}
    observation = _observe(crops)
    taken = torch.tensor([[place[id(c)] for c in w.crops] for w in windows])
    mask = 1 - observation.weight
    outputs = engine.infer({"features": observation.features[taken], "mask": mask[taken]})
    size, count = spec.size_px, len(windows)
    residual = _checked(outputs, "residual", (count, spec.core, 3, size, size), engine)
    trust = _checked(outputs, "trust", (count, spec.core), engine).clamp(0, 1)

    owned = [(w, at) for w, window in enumerate(windows) for at in window.core]
    w, at = torch.tensor(owned).unbind(1)
    core, answer = taken[w, at], (w, at - spec.context)
    of_core = Observation(**{f.name: getattr(observation, f.name)[core] for f in fields(Observation)})
    images = torch.stack([crops[i].image for i in core.tolist()])
    pixels = compose(of_core, images, residual[answer], trust[answer]).clamp(0, 1)
    return [
        Patch(crops[i], one, float(how_far))
        for i, one, how_far in zip(core.tolist(), pixels.unbind(0), trust[answer], strict=True)
    ]


def _observe(crops: list[Crop]) -> Observation:
    """What networks read from K crops: (K, ...)."""
    return observe(
        torch.stack([c.image for c in crops]),
        torch.stack([c.mask for c in crops]),
        torch.stack([c.rows for c in crops]),
        torch.stack([c.cols for c in crops]),
    )


def _checked(outputs: dict[str, Tensor], name: str, shape: tuple[int, ...], engine: Engine) -> Tensor:
    which = f"{engine.spec.net} {engine.spec.version} on {engine.name}"
    if name not in outputs:
        raise InputError(
            f"{which}: no output {name!r}, only {sorted(outputs)}; delete its file, it is made anew"
        )
    value = outputs[name]
    if tuple(value.shape) != shape:
        raise InputError(
            f"{which}: {name} is {tuple(value.shape)}, its metadata promise {shape}; "
            "delete its file, it is made anew"
        )
    if not bool(torch.isfinite(value).all()):
        raise GateError(f"{which}: {name} holds NaN or infinity; try --engine onnxruntime (float32)")
    return value
