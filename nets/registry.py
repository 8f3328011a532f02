"""The table of networks: what the rest of the program has to know of each of them.

A new network is a file with its class and its config, and one row below; a network that lives elsewhere calls
``register``. Classes are imported when they are needed, so that a command line can list the networks without
loading PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from nets.network import Network

WEIGHTS = Path(__file__).parent / "weights"
"""Shipped networks: ``{net}.safetensors`` and its model card ``{net}.json``."""

Role = Literal["restore", "perturb", "compare"]
"""restore: restores faces in the pipeline; perturb: changes the colours of a mosaic that covers a face;
compare: stands in tables only, no engine runs it."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network, whatever its weights are."""

    name: str
    """What commands and files call it."""
    module: str
    """Where its classes are; a leading dot means this package."""
    net: str
    """Name of the class, a ``nets.network.Network`` whose only argument is a config."""
    config: str
    """Name of the frozen dataclass of its sizes."""
    role: Role = "restore"
    windowed: bool = False
    """It reads windows of frames: ``body`` has an axis of frames and the config core, context and window."""
    fused: bool = False
    """Of a window, it reads its core frames alone, with what the whole window shows of each
    (``nets.fusion.support``)."""
    trainable: bool = False
    """``vidpipe train`` knows it."""

    @property
    def net_class(self) -> type[Network]:
        """The class of the network, imported now."""
        return cast("type[Network]", getattr(self._module(), self.net))

    @property
    def config_class(self) -> type[Any]:
        """The class of its config, imported now."""
        return cast("type[Any]", getattr(self._module(), self.config))

    @property
    def runnable(self) -> bool:
        """Whether it is exported, and run by the pipeline."""
        return self.role != "compare"

    @property
    def source(self) -> Path:
        """The file of its module."""
        return Path(str(self._module().__file__))

    def _module(self) -> Any:
        return import_module(self.module, __package__)


REGISTRY: dict[str, Architecture] = {}
"""Every architecture by its name, in the order of their registration."""


def register(architecture: Architecture) -> None:
    """Makes a network known to checkpoints, exports and runs. Raises ValueError for a name that is taken."""
    if REGISTRY.setdefault(architecture.name, architecture) != architecture:
        raise ValueError(f"there is another network called {architecture.name!r}; choose another name")


for _row in (
    Architecture("idn", ".idn", "IDN", "IDNConfig", trainable=True),
    Architecture("nar", ".nar", "NAR", "NARConfig", windowed=True, fused=True, trainable=True),
    Architecture(
        "nar-seed", ".reference.nar_seed", "SeedNAR", "SeedNARConfig", windowed=True, trainable=True
    ),
    Architecture("inpainter", ".reference.baselines", "Inpainter", "InpainterConfig", role="compare"),
    Architecture("srresnet", ".reference.baselines", "SRResNet", "SRResNetConfig", role="compare"),
    Architecture("pixelizer", ".pixelizer", "Pixelizer", "PixelizerConfig", role="perturb", trainable=True),
):
    register(_row)


def architecture_of(net: Network) -> Architecture:
    """The row of a network. Raises KeyError for one that is not registered."""
    kind = type(net)
    for architecture in REGISTRY.values():
        if architecture.net == kind.__name__ and architecture.net_class is kind:
            return architecture
    raise KeyError(f"{kind.__name__} is not registered; see nets.registry")


def shipped_restorers() -> list[str]:
    """Names of the restoring networks whose weights are here: of each, what is faithful and what looks
    natural."""
    restorers = (a.name for a in REGISTRY.values() if a.role == "restore")
    names = (name for restorer in restorers for name in (restorer, natural(restorer)))
    return [name for name in names if (WEIGHTS / f"{name}.safetensors").is_file()]


def natural(name: str) -> str:
    """Name of the weights of a network that were trained for how faces look."""
    return f"{name}-natural"
