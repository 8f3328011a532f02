"""From a name or a path to a network with its weights, and to what its exported file will say of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from nets.checkpoint import NAMES, WEIGHTS, CheckpointError, Runnable, load, sha256
from nets.idn import IDN
from nets.nar import NAR
from nets.pixelizer import Pixelizer
from nets.reference.nar_seed import SeedNAR
from pipeline.engines import EngineSpec
from pipeline.errors import InputError, MissingError, UsageError

CELLS = 64
"""Most cells per axis that the membership matrices hold."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights. Reading it into a network waits until somebody needs the network."""

    name: str
    path: Path

    @cached_property
    def sha256(self) -> str:
        return sha256(self.path)

    @cached_property
    def net(self) -> Runnable:
        """Raises InputError for a file that is no network of ours."""
        try:
            net = load(self.path).eval().float()
        except CheckpointError as error:
            raise InputError(str(error)) from error
        if not isinstance(net, Runnable):
            raise InputError(
                f"{self.path} holds a network to compare with; the pipeline runs idn, nar, nar-seed and "
                "pixelizers"
            )
        return net


def shipped() -> list[str]:
    """Names of the networks whose weights are here."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def find(network: str) -> Checkpoint:
    """The checkpoint of a shipped network, or of a path. Raises MissingError where there is none."""
    path = Path(network)
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        if path.is_dir():
            raise InputError(f"{path} is a folder; wanted a .safetensors file of vidpipe train")
        if not path.is_file():
            raise MissingError(f"{path} does not exist; wanted a .safetensors file of vidpipe train")
        return Checkpoint(path.stem, path)
    weights = WEIGHTS / f"{network}.safetensors"
    if not weights.is_file():
        raise MissingError(
            f"no network {network!r} is here; there are {', '.join(shipped())}, or the path of a "
            f".safetensors file, made with: vidpipe train {network}"
        )
    return Checkpoint(network, weights)


def with_window(net: Runnable, window: int | None) -> Runnable:
    """The same weights for windows of other length. Raises UsageError where the network cannot."""
    if window is None or window == (1 if isinstance(net, IDN | Pixelizer) else net.config.window):
        return net
    if isinstance(net, IDN | Pixelizer):
        raise UsageError(f"--window is {window}; {NAMES[type(net)]} looks at one frame at a time")
    core = window - 2 * net.config.context
    if core < 1:
        raise UsageError(
            f"--window is {window}; nar looks at {net.config.context} frames on either side of those that it "
            f"restores, so wanted at least {2 * net.config.context + 1}"
        )
    other: NAR | SeedNAR
    if isinstance(net, NAR):
        other = NAR(replace(net.config, core=core))
    else:
        other = SeedNAR(replace(net.config, core=core))
    other.load_state_dict(net.state_dict())
    return other.eval()


def spec_of(
    net: Runnable,
    weights_sha256: str,
    size_px: int = 128,
    precision: str = "fp32",
    batch: tuple[int, int] = (1, 1024),
) -> EngineSpec:
    """What the exported file will say of itself. A pixelizer's lattice has a size of its own, whatever
    ``size_px`` is."""
    name = NAMES[type(net)]
    if isinstance(net, Pixelizer):
        name, size_px = f"{name}-{net.config.perturb}", net.config.size_px
    window, context = (1, 0) if isinstance(net, IDN | Pixelizer) else (net.config.window, net.config.context)
    return EngineSpec(
        net=name,
        version=version("vidpipe"),
        weights_sha256=weights_sha256,
        window=window,
        context=context,
        size_px=size_px,
        cells=CELLS,
        fused=isinstance(net, NAR),
        precision=precision,
        batch_min=batch[0],
        batch_max=batch[1],
    )
