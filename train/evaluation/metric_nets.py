"""The networks of metrics: LPIPS, features for the Frechet distance, identity.

None of their weights is ours to ship. Each class takes paths; ``find_*`` say where weights are on this
machine, or raise MissingError with what to do. A network of a metric is never one of a training loss at the
same time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nets import vgg
from pipeline.errors import InputError, MissingError
from pipeline.people.network import SIDE_PX, DlibNetwork

_ALEXNET = (
    (0, 3, 64, 11, 4, 2),
    (3, 64, 192, 5, 1, 2),
    (6, 192, 384, 3, 1, 1),
    (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)
"""Place in torchvision's ``features``, inputs, outputs, kernel, stride, padding."""
_POOLED = (3, 6)
"""Places of convolutions that a 3x3 pooling of stride 2 precedes."""


def find_trunk(name: str, given: Path | None) -> Path:
    """File of ``alexnet`` or ``vgg16``: ``given``, else torchvision's standard file where it lies."""
    if given is not None:
        if not given.is_file():
            raise InputError(
                f"{given} does not exist; wanted {name}'s ImageNet weights under torchvision's names"
            )
        return given
    standard = sorted((Path(torch.hub.get_dir()) / "checkpoints").glob(f"{name}-*.pth"))
    if not standard:
        raise MissingError(
            f"no weights of {name}: give --{name} FILE (torchvision's names, .safetensors or .pth), or fetch "
            f"them: python -c 'import torchvision.models as m; m.{name}(weights=\"DEFAULT\")'"
        )
    return standard[-1]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} holds no weights that can be read: {error}") from error
    return loaded


class LPIPS(nn.Module):
    """LPIPS v0.1, alex (Zhang et al., arXiv 1801.03924)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Path, heads: Path) -> None:
        """``trunk``: AlexNet's convolutions; ``heads``: ``weights/v0.1/alex.pth`` of the package lpips."""
        super().__init__()
        weights = _read(trunk)
        try:
            self.convs = nn.ModuleList(
                vgg.read_conv(weights, at, nn.Conv2d(i, o, k, s, p)) for at, i, o, k, s, p in _ALEXNET
            )
        except ValueError as error:
            raise InputError(f"{trunk} has {error}; wanted torchvision's names") from error
        linear = _read(heads)
        for n in range(len(_ALEXNET)):
            self.register_buffer(f"head{n}", linear[f"lin{n}.model.1.weight"].float())
        # Of pictures in [-1, 1], as the reference has it.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def features(self, pictures: Tensor) -> list[Tensor]:
        """(M, 3, H, W) in [0, 1] -> five maps, of unit length over channels."""
        x = (pictures.clamp(0, 1) * 2 - 1 - self.shift) / self.scale
        out = []
        for (at, *_), conv in zip(_ALEXNET, self.convs, strict=True):
            if at in _POOLED:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(conv(x))
            out.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        return out

    @torch.no_grad()
    def forward(self, pred: list[Tensor], truth: list[Tensor], weight: Tensor) -> tuple[Tensor, Tensor]:
        """Features of both -> distance over the frame, and its spatial map's mean over ``weight``: (M,)
        each."""
        frame, inside = torch.zeros(len(weight)), torch.zeros(len(weight))
        for n, (p, t) in enumerate(zip(pred, truth, strict=True)):
            each = F.conv2d((p - t) ** 2, getattr(self, f"head{n}"))
            frame = frame + each.mean((1, 2, 3))
            fine = F.interpolate(each, weight.shape[-2:], mode="bilinear", align_corners=False)
            inside = inside + (fine * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1)
        return frame, inside


class VGGFeatures(nn.Module):
    """Mean over positions of VGG16's relu5_3 (arXiv 1409.1556): the features of FD-VGG, which is no FID."""

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            stages = vgg.stages(_read(path), len(vgg.STAGES))
        except ValueError as error:
            raise InputError(f"{path} has {error}; wanted torchvision's names") from error
        del stages[-1][-1]  # the last pooling
        self.layers = nn.Sequential(*stages)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """(M, 3, H, W) in [0, 1] -> (M, 512)."""
        out: Tensor = self.layers((pictures.clamp(0, 1) - self.mean) / self.std).mean((-2, -1))
        return out


class InceptionFeatures:
    """Inception's 2048 features of the Frechet Inception Distance (Heusel et al., arXiv 1706.08500).

    ``path`` is the TorchScript file that StyleGAN's metrics and clean-fid use, the network of the first FID
    with its resizing inside.
    """

    def __init__(self, path: Path | None) -> None:
        if path is None:
            raise MissingError(
                "no Inception: give --inception FILE, inception-2015-12-05.pt of StyleGAN's metrics"
            )
        try:
            self._net = torch.jit.load(str(path), map_location="cpu").eval()
            self(torch.zeros(1, 3, 32, 32))
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(f"{path} is no Inception in TorchScript ({reason}); see --inception") from error

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """(M, 3, H, W) in [0, 1] -> (M, 2048)."""
        pixels = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
        out: Tensor = self._net(pixels, return_features=True)
        return out.float()


class Identity:
    """dlib's face recognition network (128-d; LFW 99.38 % at a distance of 0.6).

    No face is detected: where the face lies in a crop is known, landmarks are found once on the truth and
    used for all methods, so that no restoration is favoured or dropped by what a detector makes of it.
    """

    SAME = 0.6
    """Distance below which dlib calls two pictures one person."""

    def __init__(self) -> None:
        self._network = DlibNetwork()

    def embed(self, pictures: Tensor, truth: Tensor) -> NDArray[np.float64]:
        """Embeddings (M, 128) of pictures (M, 3, S, S), aligned by the landmarks of ``truth`` (3, S, S)."""
        marks = self._network.landmarks(_enlarge(truth[None], SIDE_PX)[0])
        return self._network.embed(list(_enlarge(pictures, SIDE_PX)), marks)


def _enlarge(pictures: Tensor, side: int) -> NDArray[np.uint8]:
    """(M, 3, S, S) -> (M, side, side, 3) uint8."""
    large = F.interpolate(pictures.cpu(), (side, side), mode="bicubic", align_corners=False)
    return np.ascontiguousarray((large.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
