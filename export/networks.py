"""From a name or a path to a network with its weights, and to what its exported file says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from nets.checkpoint import UNVERSIONED, CheckpointError, kind_of, load, sha256, version_of
from nets.network import Network
from nets.observation import CELLS
from nets.registry import REGISTRY, WEIGHTS, Architecture, architecture_of
from pipeline.engines import EngineSpec
from pipeline.errors import InputError, MissingError, UsageError


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights. Reading it into a network waits until somebody needs the network."""

    name: str
    path: Path

    @cached_property
    def sha256(self) -> str:
        return sha256(self.path)

    @cached_property
    def version(self) -> str:
        """Of the weights, by their model card."""
        return version_of(self.path)

    @cached_property
    def architecture(self) -> Architecture:
        """Raises InputError for a file that holds no network that the pipeline runs."""
        try:
            architecture = kind_of(self.path)
        except CheckpointError as error:
            raise InputError(str(error)) from error
        if not architecture.runnable:
            known = ", ".join(a.name for a in REGISTRY.values() if a.runnable)
            raise InputError(f"{self.path} holds a network to compare with; the pipeline runs {known}")
        return architecture

    @cached_property
    def net(self) -> Network:
        """In float32 and eval mode. Raises InputError as ``architecture`` does."""
        _ = self.architecture
        try:
            return load(self.path)
        except CheckpointError as error:
            raise InputError(str(error)) from error


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


def with_window(net: Network, window: int | None) -> Network:
    """The same weights for windows of another length. Raises UsageError where the network cannot."""
    architecture = architecture_of(net)
    if window is None or window == (net.config.window if architecture.windowed else 1):
        return net
    if not architecture.windowed:
        raise UsageError(f"--window is {window}; {architecture.name} looks at one frame at a time")
    core = window - 2 * net.config.context
    if core < 1:
        raise UsageError(
            f"--window is {window}; {architecture.name} looks at {net.config.context} frames on either side "
            f"of those that it restores, so wanted at least {2 * net.config.context + 1}"
        )
    other = architecture.net_class(replace(net.config, core=core))
    other.load_state_dict(net.state_dict())
    return other.eval()


def spec_of(
    net: Network,
    weights_sha256: str,
    size_px: int = 128,
    precision: str = "fp32",
    batch: tuple[int, int] = (1, 1024),
    version: str = UNVERSIONED,
) -> EngineSpec:
    """What the exported file says of itself. A pixelizer's grid of cells has a size of its own, whatever
    ``size_px`` is."""
    architecture = architecture_of(net)
    name = architecture.name
    if architecture.role == "perturb":
        name, size_px = f"{name}-{net.config.perturb}", net.config.size_px
    windowed = architecture.windowed
    return EngineSpec(
        net=name,
        version=version,
        weights_sha256=weights_sha256,
        window=net.config.window if windowed else 1,
        context=net.config.context if windowed else 0,
        size_px=size_px,
        cells=CELLS,
        fused=architecture.fused,
        precision=precision,
        batch_min=batch[0],
        batch_max=batch[1],
    )
