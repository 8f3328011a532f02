"""The adversary of adversarial training: the discriminator and its optimizer as one object."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nets import losses
from nets.discriminator import Discriminator
from train.distributed import Workers


class Adversary:
    """``step`` trains the discriminator; ``generator_loss`` is what the network is to lower. The
    discriminator is read-only during the latter."""

    def __init__(self, device: torch.device, rate: float = 1e-4) -> None:
        self.net = Discriminator().to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), rate, betas=(0.5, 0.999))

    def step(self, real: Tensor, fake: Tensor, workers: Workers) -> float:
        """One step on pictures (B, 3, S, S); ``fake`` is detached here. Returns the hinge loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = losses.adversary_hinge(self.net(real), self.net(fake.detach()))
        loss.backward()
        workers.average(self.net)
        self.optimizer.step()
        return float(loss.detach())

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Scalar; its gradient reaches ``fake``, not the discriminator."""
        self.net.requires_grad_(False)
        loss = losses.generator_hinge(self.net(fake))
        self.net.requires_grad_(True)
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
