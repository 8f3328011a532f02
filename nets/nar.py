"""NAR: Neural Alignment for Face De-pixelization, a window of frames in, its core out.

Paper: Shuvi, Fish, Aberman, Shamir, Cohen-Or, "Neural Alignment for Face De-pixelization",
arXiv 2009.13856. It keeps the abstract's order: the motion between the pixelated frames is found, then each
frame, supported by its aligned neighbours, is encoded, then decoded.

Differences from the paper:
- The motion is measured (nets.registration), not predicted by a learned spatial transformer as in
  nets.reference.nar_seed: registration needs no training.
- What the aligned frames say together is worked out by least squares (nets.fusion): the measurement
  is linear and known, so no weight has to learn it. It runs in float32 outside of the engine.
- The encoder and decoder are those of nets.idn, over more features: how the common picture differs from the
  interpolation of one frame, what the samples still contradict, where samples lie. A gate, pixel by pixel,
  says how much of that difference is taken. So a NAR starts from an IDN and, of one frame, makes the same.
- Hence any number of frames: ``core`` and ``context`` are what training and runtime use, no weight
  depends on them. The paper's own sizes are in nets.reference.nar_seed.

Shapes: image (B, T, 3, S, S) RGB in [0, 1], mask (B, T, 1, S, S), rows and cols (B, T, N, S) ->
restored (B, C, 3, S, S), trust (B, C); T = core + 2 * context, C = core.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nets.fusion import SUPPORT, support
from nets.idn import IDN, IDNConfig
from nets.network import Network
from nets.observation import CHANNELS, compose, observe


@dataclass(frozen=True)
class NARConfig:
    """Sizes of a NAR. The defaults are the shipped network."""

    core: int = 8
    """frames that a window restores"""
    context: int = 4
    """further frames on either side"""
    width: int = IDNConfig.width
    widths: tuple[int, ...] = IDNConfig.widths
    kernel: int = IDNConfig.kernel
    dilation: int = IDNConfig.dilation
    recurrences: int = IDNConfig.recurrences
    middle: int = IDNConfig.middle
    tail: int = IDNConfig.tail

    @property
    def window(self) -> int:
        return self.core + 2 * self.context

    def restorer(self) -> IDNConfig:
        """Sizes of the encoder and decoder."""
        return IDNConfig(
            channels=CHANNELS + SUPPORT,
            width=self.width,
            widths=self.widths,
            kernel=self.kernel,
            dilation=self.dilation,
            recurrences=self.recurrences,
            middle=self.middle,
            tail=self.tail,
            lead=True,
        )


class NAR(Network):
    """The network; shapes in the module's head."""

    config: NARConfig

    def __init__(self, config: NARConfig | None = None) -> None:
        super().__init__()
        self.config = config or NARConfig()
        self.restorer = IDN(self.config.restorer())

    def forward(
        self, image: Tensor, mask: Tensor, rows: Tensor, cols: Tensor, means: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The whole map; everything but the body in float32. Shapes in the module's head; ``means``
        (B, T) as in nets.observation.observe. T may be any: the frames in the middle are restored, all but
        ``context`` on either side."""
        B, T = image.shape[:2]
        means = torch.ones(B, T, device=image.device) if means is None else means
        obs = observe(*(x.flatten(0, 1) for x in (image, mask, rows, cols, means)))
        core = list(range(self.config.context, T - self.config.context))
        of_core = support(obs, T, core)
        residual, trust = self.restorer.body(of_core.features, 1 - of_core.weight)
        out = compose(of_core, image[:, core].flatten(0, 1), residual.float(), trust.float())
        return out.unflatten(0, (B, -1)), trust.float().unflatten(0, (B, -1))

    def body(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The learned part, the one that engines run, at any precision.

        features (B, C, CHANNELS + SUPPORT, S, S) of ``nets.fusion.support``, mask (B, C, 1, S, S) ->
        residual (B, C, 3, S, S), trust (B, C) in [0, 1].
        """
        B, C = features.shape[:2]
        residual, trust = self.restorer.body(features.flatten(0, 1), mask.flatten(0, 1))
        return residual.unflatten(0, (B, C)), trust.reshape(B, C)

    @torch.no_grad()
    def start_from(self, idn: IDN) -> None:
        """Takes over an IDN's weights; what reads the further features starts at 0, the gate half open."""
        given = idn.state_dict()
        for name, tensor in self.restorer.state_dict().items():
            # Further features come last in every layer that reads features, the gate last in what is put out.
            tensor.zero_()[tuple(slice(n) for n in given[name].shape)] = given[name]
