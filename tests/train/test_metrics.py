"""Metrics against references, closed forms and laws."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity

from pipeline.errors import InputError, MissingError
from pipeline.people.network import find_package_file
from train.data.pictures import Stills
from train.evaluation.metric_nets import (
    LPIPS,
    Identity,
    InceptionFeatures,
    VGGFeatures,
    find_trunk,
)
from train.metrics import frechet, interval, psnr, ssim, warping_error

HAS_LPIPS = importlib.util.find_spec("lpips") is not None
HAS_DLIB = all(importlib.util.find_spec(n) is not None for n in ("dlib", "face_recognition_models"))


def pictures(count: int = 2, size: int = 64, seed: int = 1) -> torch.Tensor:
    coarse = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)


def box(size: int = 64) -> torch.Tensor:
    weight = torch.zeros(1, 1, size, size)
    weight[..., 16:48, 20:44] = 1
    return weight


def test_psnr_counts_the_weighted_pixels_alone() -> None:
    truth = torch.full((2, 3, 64, 64), 0.5)
    weight = box().expand(2, -1, -1, -1)
    pred = truth + 0.1 * weight
    assert torch.allclose(psnr(pred, truth, weight), torch.tensor(20.0), atol=1e-3)
    share = float(box().mean())
    assert torch.allclose(psnr(pred, truth), torch.tensor(20 - 10 * np.log10(share)).float(), atol=1e-3)
    assert torch.equal(psnr(pred * (1 - weight), truth, 1 - weight), torch.full((2,), 100.0))


def test_ssim_is_that_of_scikit_image() -> None:
    truth, pred = pictures(), (pictures() + 0.1 * pictures(seed=2) - 0.05).clamp(0, 1)
    for n in range(2):
        wanted, each = structural_similarity(
            pred[n].numpy(),
            truth[n].numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        assert float(ssim(pred, truth)[n]) == pytest.approx(wanted, abs=1e-5)
        inside = each.mean(0)[box()[0, 0].bool().numpy()].mean()
        assert float(ssim(pred, truth, box().expand(2, -1, -1, -1))[n]) == pytest.approx(inside, abs=1e-5)


def test_frechet_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 0.5
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * scipy.linalg.sqrtm(ca @ cb).real)
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet(a, a) == pytest.approx(0, abs=1e-8)
    few = rng.normal(size=(5, 50))  # fewer pictures than features: no root of a singular matrix
    assert frechet(few, few + 1) == pytest.approx(50, rel=1e-6)


def test_interval_covers_the_mean_and_narrows() -> None:
    values = np.random.default_rng(2).normal(3, 1, 400).tolist()
    wide, narrow = interval(values[:25]), interval(values)
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)
    assert narrow.high - narrow.low == pytest.approx(4 * 1 / 20, rel=0.2)
    assert interval([1.0, float("nan"), 3.0]).mean == 2.0


def test_warping_error_sees_flicker_but_not_motion() -> None:
    scene = pictures(1, 96)[0]
    moved = torch.stack([torch.roll(scene, shift, -1) for shift in (0, 2, 4)])
    weight = torch.zeros(3, 1, 96, 96)
    weight[..., 24:72, 24:72] = 1
    still = warping_error(moved, moved, weight)
    flicker = moved + torch.tensor([0.1, -0.1, 0.1]).view(3, 1, 1, 1)
    assert still.shape == (2,) and float(still.max()) < 2
    assert torch.allclose(warping_error(flicker.clamp(0.2, 0.8), moved, weight), torch.tensor(40.0), atol=15)


def test_missing_networks_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingError, match="--alexnet FILE"):
        find_trunk("alexnet", None)
    with pytest.raises(InputError, match="does not exist"):
        find_trunk("vgg16", tmp_path / "none")
    with pytest.raises(MissingError, match="pip install no_such_package"):
        find_package_file("no_such_package", "weights")
    (tmp_path / "checkpoints").mkdir()
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "checkpoints" / "vgg16-0.pth")
    with pytest.raises(InputError, match=r"features\.0\.weight"):
        VGGFeatures(find_trunk("vgg16", None))
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError, match="no weights that can be read"):
        VGGFeatures(tmp_path / "text.safetensors")


class Scripted(torch.nn.Module):
    """Takes what the scripted Inception takes."""

    def forward(self, pixels: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert pixels.dtype == torch.uint8
        return pixels.float().mean((2, 3)) if return_features else pixels.float()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_fid_reads_a_scripted_inception(tmp_path: Path) -> None:
    torch.jit.script(Scripted()).save(str(tmp_path / "inception.pt"))
    features = InceptionFeatures(tmp_path / "inception.pt")
    flat = torch.tensor([0.1, 0.5, 1.2]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    assert torch.equal(features(flat), torch.tensor([[26.0, 128.0, 255.0]] * 2))
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(InputError, match="is no Inception"):
        InceptionFeatures(tmp_path / "text.pt")
    with pytest.raises(MissingError, match="--inception FILE"):
        InceptionFeatures(None)


@pytest.mark.shared
@pytest.mark.skipif(not HAS_LPIPS, reason="the package lpips is not installed")
def test_lpips_is_the_reference(shared: Path) -> None:
    """Figures of the package lpips 0.1.4 on the same two noisy pictures, spatial ones averaged over a box."""
    trunk = shared / "models" / "alexnet_imagenet_features.safetensors"
    net = LPIPS(trunk, find_package_file("lpips", "weights/v0.1/alex.pth"))
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 128, 128, generator=generator)
    b = (a + 0.2 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    weight = torch.zeros(2, 1, 128, 128)
    weight[:, :, 20:90, 30:100] = 1
    frame, inside = net(net.features(a), net.features(b), weight)
    assert frame.tolist() == pytest.approx([0.0704, 0.0751], abs=1e-4)
    assert inside.tolist() == pytest.approx([0.0774, 0.0951], abs=1e-4)


@pytest.mark.shared
@pytest.mark.skipif(not HAS_DLIB, reason="dlib-bin or face_recognition_models is not installed")
def test_identity_tells_people_apart(shared: Path) -> None:
    faces = Stills.load(shared / "data" / "faces" / "train" / "uscongress2", 128).pictures[:6].float() / 255
    identity = Identity()
    exact = np.concatenate([identity.embed(f[None], f) for f in faces])
    darker = np.concatenate([identity.embed(f[None] * 0.8, f) for f in faces])
    distances = np.linalg.norm(darker[:, None] - exact[None], axis=-1)
    others = distances[~np.eye(6, dtype=bool)]
    assert np.diag(distances).max() < 0.3
    assert np.median(others) > Identity.SAME
