"""The papers' equations on cases that can be done by hand."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nets import losses
from nets.mobilefacenet import FaceEmbedding, chips
from nets.vgg import VGG16, LossNetworkError


def test_l1_terms_split_the_picture_by_the_mask() -> None:
    pred, truth = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    mask = (torch.rand(2, 1, 8, 8) > 0.5).float()
    both = losses.pixelized(pred, truth, mask) + losses.non_pixelized(pred, truth, mask)
    torch.testing.assert_close(both, (pred - truth).abs().mean())


def test_total_variation_of_a_ramp_is_its_slope() -> None:
    ramp = torch.arange(8.0).expand(1, 3, 8, 8)
    torch.testing.assert_close(losses.total_variation(ramp), torch.tensor(1.0))


def test_style_has_both_normalisations_of_eq_8() -> None:
    x = torch.rand(1, 4, 5, 6)
    flat = x.flatten(2)[0]
    wanted = flat @ flat.T / (4 * 5 * 6)
    torch.testing.assert_close(losses._gram(x)[0], wanted)


def test_hinge_losses_are_zero_and_bounded_where_they_should_be() -> None:
    real, fake = torch.full((4,), 2.0), torch.full((4,), -2.0)
    assert float(losses.adversary_hinge(real, fake)) == 0
    assert float(losses.adversary_hinge(fake, real)) == 6
    assert float(losses.generator_hinge(fake)) == 2


def test_vgg16_gives_three_pools_and_is_frozen(tmp_path: Path) -> None:
    layers = {
        0: (3, 64),
        2: (64, 64),
        5: (64, 128),
        7: (128, 128),
        10: (128, 256),
        12: (256, 256),
        14: (256, 256),
    }
    weights = {}
    for n, (i, o) in layers.items():
        weights[f"features.{n}.weight"] = torch.randn(o, i, 3, 3) * 0.05
        weights[f"features.{n}.bias"] = torch.zeros(o)
    save_file(weights, tmp_path / "vgg.safetensors")
    vgg = VGG16(tmp_path / "vgg.safetensors")
    assert [tuple(f.shape[1:]) for f in vgg(torch.rand(1, 3, 32, 32))] == [
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
    ]
    assert not any(p.requires_grad for p in vgg.parameters())
    x = torch.rand(1, 3, 32, 32)
    same = losses.perceptual_and_style(vgg, x, x)
    assert float(same[0]) == 0 and float(same[1]) == 0


def test_vgg16_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(3, 3, 3, 3)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 40)
    for name in ("none", "other", "broken"):
        with pytest.raises(LossNetworkError, match="train without"):
            VGG16(tmp_path / f"{name}.safetensors")
        with pytest.raises(LossNetworkError, match="train without"):
            FaceEmbedding.load(tmp_path / f"{name}.safetensors")


def test_an_embedding_reads_its_weights_and_looks_where_the_face_is(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = FaceEmbedding()
    save_file(
        {k: v for k, v in net.state_dict().items() if "tracked" not in k}, tmp_path / "face.safetensors"
    )
    again = FaceEmbedding.load(tmp_path / "face.safetensors")
    crop = torch.zeros(1, 3, 128, 128)
    crop[..., 57:64, 45:52] = 1  # about an eye, see nets.mobilefacenet
    still = torch.eye(3)[None, :2]
    chip = chips(crop, still)
    assert chip.shape == (1, 3, 112, 96)
    bright = (chip[0, 0] > 0.5).nonzero().float().mean(0)
    torch.testing.assert_close(bright, torch.tensor([51.7, 30.3]), atol=5.0, rtol=0)
    # A mirrored crop whose placement says so is the same face again.
    mirror = still * torch.tensor([[-1.0], [1.0]])
    torch.testing.assert_close(chips(crop.flip(-1), mirror), chip, atol=1e-4, rtol=0)
    assert torch.equal(again(chip), net(chip)) and float(net(chip).norm()) == pytest.approx(1, abs=1e-5)
    crop.requires_grad_()
    net(chips(crop, still)).sum().backward()
    assert crop.grad is not None and float(crop.grad.abs().sum()) > 0
