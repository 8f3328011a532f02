"""Weights in and out: safetensors files whose metadata name the network and its sizes, so that no
configuration has to travel beside them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from nets.idn import IDN, IDNConfig
from nets.nar import NAR, NARConfig
from nets.pixelizer import Pixelizer, PixelizerConfig
from nets.reference.baselines import Inpainter, InpainterConfig, SRResNet, SRResNetConfig
from nets.reference.nar_seed import SeedNAR, SeedNARConfig

Restorer = IDN | NAR | SeedNAR
"""Networks that restore faces in the pipeline."""

Runnable = Restorer | Pixelizer
"""Those, and the one that covers them: what is exported."""

Net = Runnable | Inpainter | SRResNet
"""Those, and what they are compared with."""

NAMES = {
    IDN: "idn",
    NAR: "nar",
    SeedNAR: "nar-seed",
    Inpainter: "inpainter",
    SRResNet: "srresnet",
    Pixelizer: "pixelizer",
}
"""What commands and files call them."""

WEIGHTS = Path(__file__).parent / "weights"
"""Shipped networks: ``{net}.safetensors`` and its model card ``{net}.json``."""


class CheckpointError(ValueError):
    """A file that holds no network of ours, or one of other sizes. The text says what to do."""


def build(net: str, config: dict[str, object]) -> Net:
    """A network with fresh weights. ``net`` is one of NAMES, ``config`` its fields."""
    # JSON has no tuples.
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    try:
        match net:
            case "idn":
                return IDN(IDNConfig(**fields))  # type: ignore[arg-type]
            case "nar":
                return NAR(NARConfig(**fields))  # type: ignore[arg-type]
            case "nar-seed":
                return SeedNAR(SeedNARConfig(**fields))  # type: ignore[arg-type]
            case "inpainter":
                return Inpainter(InpainterConfig(**fields))  # type: ignore[arg-type]
            case "pixelizer":
                return Pixelizer(PixelizerConfig(**fields))  # type: ignore[arg-type]
            case "srresnet":
                return SRResNet(SRResNetConfig(**fields))  # type: ignore[arg-type]
    except TypeError as error:
        raise CheckpointError(f"these weights are of another version of {net}: {error}") from error
    raise CheckpointError(f"network is {net!r}; known are {', '.join(NAMES.values())}")


def save(path: Path, net: Net, half: bool = True) -> None:
    """Writes the weights, as float16 unless told otherwise; replaces the file in one step."""
    state = {
        name: tensor.detach().to("cpu", torch.float16 if half else torch.float32).contiguous()
        for name, tensor in net.state_dict().items()
    }
    metadata = {"net": NAMES[type(net)], "config": json.dumps(asdict(net.config))}
    part = path.with_suffix(".part")
    part.write_bytes(to_bytes(state, metadata=metadata))
    part.replace(path)


def load(path: Path) -> Net:
    """The network of a file in float32 and eval mode. Raises CheckpointError."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is no safetensors file that can be read: {error}") from error
    if "net" not in metadata or "config" not in metadata:
        raise CheckpointError(f"{path} does not say what network it holds; wanted a file of vidpipe train")
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


def sha256(path: Path) -> str:
    """Of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
