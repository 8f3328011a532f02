"""The task of networks that restore faces: draw clips, pixelate, restore, compare with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nets import losses
from nets.checkpoint import build
from nets.mobilefacenet import FaceEmbedding, chips
from nets.observation import CELLS, compose, observe
from nets.vgg import VGG16
from train.adversary import Adversary
from train.data.degrade import degrade
from train.data.pictures import Sources, check_sizes, draw_clips, jitter
from train.distributed import Workers
from train.muon import Muon
from train.networks import Batch, network_of
from train.numerics import autocast
from train.recipe import RestoreRecipe
from train.state import State
from train.task import Restored, draw_generator


@dataclass(frozen=True)
class LossNetworks:
    """Frozen networks that losses are computed with."""

    vgg: VGG16 | None = None
    face: FaceEmbedding | None = None

    def check(self, recipe: RestoreRecipe) -> None:
        """Raises ValueError where a loss of the recipe has no network."""
        for weight, network, name in (
            (recipe.perceptual or recipe.style, self.vgg, "perceptual and style loss need VGG16's"),
            (recipe.identity, self.face, "identity loss needs MobileFaceNet's"),
        ):
            if weight and network is None:
                raise ValueError(f"{name} weights; give them or set the loss's weight to 0")


class RestoreTask:
    """Implements ``train.task.Task`` for the networks of ``RestoreRecipe.net``."""

    def __init__(
        self,
        recipe: RestoreRecipe,
        sources: Sources,
        device: torch.device,
        loss_networks: LossNetworks | None = None,
    ) -> None:
        """Raises ValueError for losses without their networks, InputError for segments of another size than
        the stills, CheckpointError for a network that does not exist."""
        self.loss_networks = loss_networks or LossNetworks()
        self.loss_networks.check(recipe)
        check_sizes(sources)
        self.recipe, self.sources, self.device = recipe, sources, device
        torch.manual_seed(recipe.seed)
        net, average = (build(recipe.net, recipe.config).to(device) for _ in range(2))
        # Half the time of a step on a CPU with bf16; a net's own ``to`` has no type for it.
        nn.Module.to(net, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average.load_state_dict(net.state_dict())
        optimizer = Muon(net.parameters(), recipe.rate, betas=(0.9, recipe.beta2))
        adversary = Adversary(device) if recipe.adversarial > 0 else None
        self.state = State(net, average.requires_grad_(False), optimizer, adversary)
        self.network = network_of(net, recipe)

    @property
    def name(self) -> str:
        return self.recipe.net

    def draw(self, step: int, rank: int) -> Batch:
        """All processes draw windows of one length."""
        recipe = self.recipe
        generator = draw_generator(recipe.seed, step)
        window = self.network.window(generator)
        if rank:
            generator = draw_generator(recipe.seed, step, rank)
        clips = draw_clips(self.sources, self.network.clips(window), window, recipe.real_share, generator)
        truth = jitter(clips.frames, generator)
        example = degrade(truth, recipe.size_px, CELLS, recipe.degradation, generator)
        return Batch(example.to(self.device), clips.still.to(self.device), clips.placement.to(self.device))

    def compare(self, batch: Batch, workers: Workers) -> Restored:
        kept = self.network.kept(batch.example.image.shape[1], self.state.step)
        restored = self._restore(batch, kept)
        placement = batch.placement[:, kept].flatten(0, 1)
        further = self._perceptual(restored) | self._identity(restored, placement)
        further |= self._adversarial(restored, workers)
        return replace(restored, losses=restored.losses | further)

    def _restore(self, batch: Batch, kept: list[int]) -> Restored:
        """The ``kept`` frames of each clip, with the losses that need no other network."""
        recipe, example = self.recipe, batch.example
        obs = observe(*example.flat(), example.means.repeat_interleave(example.image.shape[1]))
        with autocast(self.device):
            answer = self.network.answer(obs, batch, kept)
        obs, terms = answer.obs, dict(answer.losses)
        picked = example.frames(kept)
        image, mask, *_ = picked.flat()
        truth = picked.truth.flatten(0, 1)
        restored = compose(obs, image, answer.residual.float(), answer.trust.float())
        restored = restored * (1 - mask) + truth * mask
        given = [obs.base] if answer.common is None else [obs.base, answer.common]
        weight = given_weight(given, truth, mask) if recipe.relative else 1.0
        terms["pixelized"] = recipe.pixelized * losses.pixelized(restored, truth, mask, weight)
        if recipe.tv:
            terms["tv"] = recipe.tv * losses.total_variation(restored)
        return Restored(terms, image, obs.base, restored, truth, obs.weight, len(kept))

    def _perceptual(self, restored: Restored) -> dict[str, Tensor]:
        recipe, vgg = self.recipe, self.loss_networks.vgg
        if vgg is None or not (recipe.perceptual or recipe.style):
            return {}
        with autocast(self.device):
            perceptual, style = losses.perceptual_and_style(vgg, restored.frames, restored.truth)
        return {"perceptual": recipe.perceptual * perceptual, "style": recipe.style * style}

    def _identity(self, restored: Restored, placement: Tensor) -> dict[str, Tensor]:
        """``placement`` (M, 2, 3) of the restored frames, as in train.data.pictures.Clips."""
        face = self.loss_networks.face
        if face is None or not self.recipe.identity:
            return {}
        with torch.no_grad():
            wanted = face(chips(restored.truth, placement))
        cosine = (face(chips(restored.frames, placement)) * wanted).sum(-1)
        return {"identity": self.recipe.identity * (1 - cosine).mean()}

    def _adversarial(self, restored: Restored, workers: Workers) -> dict[str, Tensor]:
        """Trains the adversary, too: from here to the end of the step the state is not whole."""
        state, recipe = self.state, self.recipe
        if state.adversary is None:
            return {}
        loss = torch.zeros((), device=self.device)
        if state.step >= recipe.adversarial_from:
            state.whole = False
            state.adversary.step(restored.truth, restored.frames, workers)
            loss = recipe.adversarial * state.adversary.generator_loss(restored.frames)
        return {"adversarial": loss}


@torch.no_grad()
def given_weight(given: Sequence[Tensor], truth: Tensor, mask: Tensor) -> Tensor:
    """(B, 1, 1, 1), mean about 1: the inverse of the L1 error in the mosaic of what the network was given, of
    several pictures the best one's.

    given, truth (B, 3, S, S), mask (B, 1, S, S), 1 clean. A picture weighs at most three times the mean and
    at least a third of it.
    """
    hidden = 1 - mask
    area = hidden.sum((1, 2, 3)).clamp_min(1)
    errors = [((x.clamp(0, 1) - truth).abs() * hidden).sum((1, 2, 3)) / area for x in given]
    error = torch.stack(errors).amin(0)
    weight = error.mean() / error.clamp_min(1e-3)
    return weight.clamp(1 / 3, 3)[:, None, None, None]
