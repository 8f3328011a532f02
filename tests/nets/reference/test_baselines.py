"""Networks of Table 4: what they see of a mosaic, and that they fit the harness."""

import pytest
import torch

from nets.network import FrameNetwork
from nets.observation import CHANNELS
from nets.pixelation import axis_index, membership
from nets.reference.baselines import (
    Inpainter,
    InpainterConfig,
    PartialConv,
    SRResNet,
    SRResNetConfig,
)

WIDTHS = (8, 16, 24)


def inputs(size: int = 64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(2, 1, size, size)
    mask[..., 16:48, 16:48] = 0
    member = membership(axis_index(size, 8.0, 0.0), 16).expand(2, -1, -1)
    return torch.rand(2, 3, size, size, generator=generator), mask, member, member


NETS: list[FrameNetwork] = [
    Inpainter(InpainterConfig("partial", False, WIDTHS)),
    Inpainter(InpainterConfig("partial", True, WIDTHS)),
    Inpainter(InpainterConfig("gated", False, WIDTHS)),
    Inpainter(InpainterConfig("gated", True, WIDTHS)),
    SRResNet(SRResNetConfig(16, 2)),
]


@pytest.mark.parametrize("net", NETS)
def test_clean_pixels_stay_and_gradients_reach_all(net: FrameNetwork) -> None:
    image, mask, rows, cols = inputs()
    restored, trust = net(image, mask, rows, cols)
    assert restored.shape == image.shape and torch.equal(trust, torch.zeros(2))
    assert torch.equal(restored * mask, image * mask)
    net.zero_grad()
    (restored * (1 - mask)).square().mean().backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None]
    assert not idle


@pytest.mark.parametrize("conv", ["partial", "gated"])
@pytest.mark.parametrize("adapted", [False, True])
def test_only_the_adapted_see_into_the_mosaic(conv: str, adapted: bool) -> None:
    torch.manual_seed(2)
    net = Inpainter(InpainterConfig(conv, adapted, WIDTHS))  # type: ignore[arg-type]
    features = torch.rand(1, CHANNELS, 64, 64) - 0.5
    mask = inputs()[1][:1]
    features[:, 6:7] = mask
    other = torch.where(mask > 0, features, features + 0.3)
    other[:, 3:7] = features[:, 3:7]  # the base is what the residual is taken against
    with torch.no_grad():
        change = (net.body(features, mask)[0] - net.body(other, mask)[0]).abs().max()
    assert (float(change) > 1e-3) == adapted


def test_a_partial_convolution_averages_over_what_is_there() -> None:
    conv = PartialConv(1, 1, 3, 1)
    torch.nn.init.constant_(conv.conv.weight, 1 / 9)
    valid = torch.zeros(1, 1, 9, 9)
    valid[..., :3] = 1
    y, seen = conv(torch.full((1, 1, 9, 9), 0.7), valid)
    assert torch.allclose(y[..., 1:-1, 1:4], torch.tensor(0.7), atol=1e-5)
    assert seen[0, 0, 4].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert float(y[..., 4:].detach().abs().max()) == 0
