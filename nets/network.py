"""The classes that the networks of the registry derive from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from nets.observation import compose, observe


class Network(nn.Module, ABC):
    """A network that can be kept in a file and run by an engine, as far as its ``body`` goes."""

    config: Any
    """A frozen dataclass of the sizes, kept with the weights (``nets.checkpoint``). For a network of windows
    it has ``core``, ``context`` and ``window``."""

    @abstractmethod
    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The learned part, the one that engines run, at any precision.

        features (B, channels, S, S) of ``nets.observation.observe``, mask (B, 1, S, S), 1 clean -> residual
        (B, 3, S, S) over the interpolated cells and trust (B,) in [0, 1]. A network of windows has an axis of
        frames after the batch, see ``pipeline.engines.EngineSpec``.
        """


class FrameNetwork(Network):
    """A network that restores one frame from this frame alone."""

    def forward(
        self, image: Tensor, mask: Tensor, rows: Tensor, cols: Tensor, means: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The whole map, observation and projection in float32.

        image (B, 3, S, S) RGB in [0, 1], mask (B, 1, S, S), rows and cols (B, N, S), ``means`` (B,) as in
        ``nets.observation.observe`` -> restored (B, 3, S, S), trust (B,).
        """
        obs = observe(image, mask, rows, cols, means)
        residual, trust = self.body(obs.features, mask)
        return compose(obs, image, residual.float(), trust.float()), trust.float()
