"""Weights in and out: safetensors files whose metadata name the network and its sizes, so that no
configuration has to travel beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from nets.digest import sha256
from nets.network import Network as Net
from nets.registry import REGISTRY, WEIGHTS, Architecture, architecture_of

__all__ = [
    "UNVERSIONED",
    "WEIGHTS",
    "CheckpointError",
    "Net",
    "build",
    "kind_of",
    "load",
    "save",
    "sha256",
    "version_of",
]

UNVERSIONED = "unversioned"
"""The version of weights without a model card."""
MAX_BYTES = 1 << 30
"""Of a file of weights; the largest of ours has 12 MB."""
MAX_SIZE = 1024
MAX_COUNT = 64
"""Largest numbers in a config: of channels and pixels, and of layers."""
_COUNTS = ("blocks", "middle", "recurrences", "downs", "kernel", "dilation", "stride", "shrink")
_POSITIVE = (
    "channels",
    "width",
    "widths",
    "tail",
    "size_px",
    "core",
    "kernel",
    "dilation",
    "stride",
    "shrink",
)


class CheckpointError(ValueError):
    """A file that holds no network of ours, or one of other sizes. The text says what to do."""


def build(net: str, config: dict[str, object]) -> Net:
    """A network with fresh weights. ``net`` is a name of ``nets.registry``, ``config`` its fields.

    Raises CheckpointError.
    """
    architecture = _known(net)
    # JSON has no tuples.
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    for name, value in fields.items():
        _check_field(net, name, value)
    try:
        return architecture.net_class(architecture.config_class(**fields))
    except (TypeError, ValueError, KeyError, ArithmeticError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"these weights are of another version of {net}: {reason[:200]}") from error


def _check_field(net: str, name: str, value: object) -> None:
    """A network is built from numbers that stand in a file: none may ask for more than a network has."""
    values = value if isinstance(value, tuple) else (value,)
    most = MAX_COUNT if name in _COUNTS else MAX_SIZE
    for one in values:
        known = isinstance(one, str | bool) or (isinstance(one, int | float) and 0 <= one <= most)
        if len(values) > MAX_COUNT or not known or (one == 0 and name in _POSITIVE):
            raise CheckpointError(f"{net}: its {name} is {str(value)[:40]}; wanted at most {most}")


def save(path: Path, net: Net, half: bool = True) -> None:
    """Writes the weights, as float16 unless told otherwise; replaces the file in one step."""
    state = {
        name: tensor.detach().to("cpu", torch.float16 if half else torch.float32).contiguous()
        for name, tensor in net.state_dict().items()
    }
    metadata = {"net": architecture_of(net).name, "config": json.dumps(asdict(net.config))}
    part = path.with_suffix(".part")
    part.write_bytes(to_bytes(state, metadata=metadata))
    part.replace(path)


def load(path: Path) -> Net:
    """The network of a file in float32 and eval mode. Raises CheckpointError."""
    with _opened(path) as file:
        metadata = _metadata(file, path)
        with torch.device("meta"):  # sizes without memory
            wanted = build(metadata["net"], _config(metadata, path)).state_dict()
        names = set(file.keys())
        wrong = [n for n in wanted if n not in names or file.get_slice(n).get_shape() != [*wanted[n].shape]]
        if wrong or len(names) != len(wanted):
            raise CheckpointError(
                f"{path}: {len(wrong)} tensors do not fit its own config, first {wrong[:1]}"
            )
        state = {name: file.get_tensor(name).float() for name in wanted}
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"{path}: {len(broken)} tensors hold NaN or infinity, first {broken[:1]}")
    net = build(metadata["net"], _config(metadata, path))
    net.load_state_dict(state)
    return net.eval()


def kind_of(path: Path) -> Architecture:
    """Which network a file holds, without reading its weights. Raises CheckpointError."""
    with _opened(path) as file:
        return _known(_metadata(file, path)["net"])


def version_of(path: Path) -> str:
    """The version of weights by the model card beside them, ``{net}.json``; UNVERSIONED where there is none
    or it is the card of other weights."""
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if card["sha256"] == sha256(path):
            return str(card["version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # no model card
    return UNVERSIONED


def _known(net: str) -> Architecture:
    if net not in REGISTRY:
        raise CheckpointError(f"network is {net!r}; known are {', '.join(REGISTRY)}")
    return REGISTRY[net]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path} has more than {MAX_BYTES:,} bytes; no network of ours is so large")
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}") from error


def _metadata(file: Any, path: Path) -> dict[str, str]:
    metadata: dict[str, str] = file.metadata() or {}
    if "net" not in metadata or "config" not in metadata:
        raise CheckpointError(f"{path} does not say what network it holds; wanted a file of vidpipe train")
    return metadata


def _config(metadata: dict[str, str], path: Path) -> dict[str, object]:
    """The fields of the network's config. Raises CheckpointError."""
    try:
        config = json.loads(metadata["config"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its config cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: its config is no object but {type(config).__name__}")
    return config
