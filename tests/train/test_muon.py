"""Muon: what it does to matrices, what it leaves to Adam, and that it resumes."""

from __future__ import annotations

import copy

import torch
from torch import nn

from train.muon import Muon, orthogonal


def test_singular_values_become_about_one() -> None:
    generator = torch.Generator().manual_seed(3)
    for shape in ((24, 90), (90, 24), (40, 40)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=generator)))
        assert values.max() < 1.35
        assert values.median() > 0.6


def test_step_of_a_matrix_is_as_large_as_the_rate_says_whatever_the_gradient() -> None:
    for scale in (1e-6, 1.0, 1e6):
        layer = nn.Conv2d(32, 16, 3, bias=False)
        before = layer.weight.detach().clone()
        layer.weight.grad = (
            torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1)) * scale
        )
        Muon(layer.parameters(), lr=0.01).step()
        rms = (layer.weight - before).square().mean().sqrt()
        assert 0.5 * 0.2 * 0.01 < rms < 1.5 * 0.2 * 0.01


def test_vectors_and_small_kernels_move_as_with_adam() -> None:
    ours = nn.Conv2d(16, 3, 3)
    theirs = copy.deepcopy(ours)
    mine = Muon(ours.parameters(), lr=0.01, betas=(0.9, 0.99))
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.9, 0.99))
    for seed in range(4):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(seed))
            b.grad = a.grad.clone()
        mine.step()
        adam.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_saved_state_goes_on_as_if_it_had_not_been_saved() -> None:
    def gradients(layer: nn.Module, seed: int) -> None:
        for p in layer.parameters():
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))

    one = nn.Conv2d(32, 32, 3)
    first = Muon(one.parameters(), lr=0.01)
    gradients(one, 0)
    first.step()
    two = copy.deepcopy(one)
    second = Muon(two.parameters(), lr=0.01)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for layer, optimizer in ((one, first), (two, second)):
        gradients(layer, 1)
        optimizer.step()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)
