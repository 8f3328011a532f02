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


class CheckpointError(ValueError):
    """A file that holds no network of ours, or one of other sizes. The text says what to do."""


def build(net: str, config: dict[str, object]) -> Net:
    """A network with fresh weights. ``net`` is a name of ``nets.registry``, ``config`` its fields.

    Raises CheckpointError.
    """
    architecture = _known(net)
    # JSON has no tuples.
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    try:
        return architecture.net_class(architecture.config_class(**fields))
    except TypeError as error:
        raise CheckpointError(f"these weights are of another version of {net}: {error}") from error


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
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    net = build(metadata["net"], json.loads(metadata["config"]))
    wrong = [
        name
        for name, tensor in net.state_dict().items()
        if name not in state or state[name].shape != tensor.shape
    ]
    if wrong or len(state) != len(net.state_dict()):
        raise CheckpointError(f"{path}: {len(wrong)} tensors do not fit its own config, first {wrong[:1]}")
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
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no model card
    return UNVERSIONED


def _known(net: str) -> Architecture:
    if net not in REGISTRY:
        raise CheckpointError(f"network is {net!r}; known are {', '.join(REGISTRY)}")
    return REGISTRY[net]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}") from error


def _metadata(file: Any, path: Path) -> dict[str, str]:
    metadata: dict[str, str] = file.metadata() or {}
    if "net" not in metadata or "config" not in metadata:
        raise CheckpointError(f"{path} does not say what network it holds; wanted a file of vidpipe train")
    return metadata
