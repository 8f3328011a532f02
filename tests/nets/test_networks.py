"""What the networks promise whatever their weights are."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nets import pixelation as px
from nets.blocks import CrossStageAttention, DynamicDilatedConv, grow_mask, shrink_mask
from nets.discriminator import Discriminator
from nets.fusion import SUPPORT
from nets.idn import IDN, IDNConfig
from nets.nar import NAR, NARConfig
from nets.observation import CHANNELS, HALF_STEP, observe
from nets.reference.nar_seed import SeedNAR, SeedNARConfig, SpatialTransformer, base_grid

SMALL_IDN = IDNConfig(width=8, widths=(16, 24), tail=8, kernel=3)
SMALL_NAR = NARConfig(width=8, widths=(16, 24), tail=8, kernel=3, core=2, context=1)
SMALL_SEED = SeedNARConfig(width=8, widths=(16, 24), tail=8, blocks=1, core=2, context=1)


def mosaic(leading: tuple[int, ...], size: int = 64, seed: int = 0) -> tuple[Tensor, ...]:
    """Truth, then the inputs of a network: a mosaic of 5 px cells over the middle of random pictures."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(*leading, 3, size, size, generator=generator)
    index = px.axis_index(size, 5.0, 13.0)
    inside = (index >= 0) & (index < 7)
    rows = px.membership(torch.where(inside, index, -1), 16).expand(*leading, 16, size)
    weight = (inside[:, None] & inside[None]).float().expand(*leading, 1, size, size)
    return truth, px.pixelate(truth, rows, rows, weight), 1 - weight, rows, rows


def shake(net: nn.Module) -> None:
    """Zero-initialised layers would hide what a trained network does."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.mark.parametrize("conv", ["dynamic", "vanilla", "dilated"])
@pytest.mark.parametrize("attention", ["cross", "ordinary", "none"])
@pytest.mark.parametrize("fusion", ["cross", "mean", "last"])
def test_idn_keeps_clean_pixels_and_block_means(conv: str, attention: str, fusion: str) -> None:
    net = IDN(
        IDNConfig(width=8, widths=(16, 24), tail=8, kernel=3, conv=conv, attention=attention, fusion=fusion)  # type: ignore[arg-type]
    )
    shake(net)
    with torch.no_grad():
        net.trust.bias.fill_(50.0)
    truth, *inputs = mosaic((2,))
    with torch.no_grad():
        out, trust = net(*inputs)
    image, mask, rows, cols = inputs
    assert out.shape == truth.shape and trust.shape == (2,)
    assert torch.equal(out * mask, truth * mask)
    means = px.block_means(out, rows, cols)[..., :7, :7]
    samples = px.block_means(image, rows, cols)[..., :7, :7]
    assert float((means - samples).abs().max()) < HALF_STEP + 1e-5
    assert float((out - observe(*inputs).base).abs().max()) > 1e-3


def test_an_untrained_idn_is_bicubic_with_projection() -> None:
    _, *inputs = mosaic((1,))
    net = IDN(SMALL_IDN)
    with torch.no_grad():
        net.tail_last.weight.zero_()  # it starts small, so that all layers learn from the first step
        out, trust = net(*inputs)
    obs = observe(*inputs)
    whole = px.project(obs.base, obs.samples, obs.rows, obs.cols, obs.weight, slack=HALF_STEP)
    torch.testing.assert_close(out, obs.base + trust[0] * (whole - obs.base))


@pytest.mark.slow
def test_the_paper_size_builds_and_runs() -> None:
    net = IDN(IDNConfig.paper())
    assert 15e6 < sum(p.numel() for p in net.parameters()) < 35e6
    with torch.no_grad():
        out, _ = net(*mosaic((1,))[1:])
        nar, _ = SeedNAR(SeedNARConfig.paper())(*mosaic((1, 5), 128)[1:])
    assert out.shape == (1, 3, 64, 64) and nar.shape == (1, 1, 3, 128, 128)


def test_a_frame_without_a_clean_pixel_gives_numbers() -> None:
    net = IDN(SMALL_IDN)
    shake(net)
    truth, *_ = mosaic((1,))
    rows = px.membership(px.axis_index(64, 8.0, 0.0), 16).unsqueeze(0)
    out, _ = net(truth, torch.zeros(1, 1, 64, 64), rows, rows)
    assert torch.isfinite(out).all()


def test_seven_by_seven_closes_a_box_of_128_in_five_recurrences() -> None:
    """Eq. (4) of the IDN paper with a centred window."""
    mask = torch.ones(1, 1, 256, 256)
    mask[..., 64:192, 64:192] = 0
    mask = shrink_mask(mask, 2)
    counts = 0
    while not bool((mask == 1).all()):
        mask = grow_mask(grow_mask(mask, 7), 7)
        counts += 1
    assert counts == 6


def test_dynamic_dilated_convolution_is_one_of_its_branches_where_the_mask_is_constant() -> None:
    layer = DynamicDilatedConv(4, 6, 3, dilation=3)
    x, ones = torch.rand(1, 4, 16, 16), torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(layer(x, ones), layer.clean(x))
    torch.testing.assert_close(layer(x, 0 * ones), layer.pixelated(x))
    half = ones.clone()
    half[..., :8] = 0
    torch.testing.assert_close(layer(x, half), layer.clean(x * half) + layer.pixelated(x * (1 - half)))


def test_attention_maps_are_distributions_and_carry_over() -> None:
    layer = CrossStageAttention(16, recurrences=3)
    x, y = torch.rand(2, 16, 6, 6), torch.rand(2, 16, 6, 6)
    _, first = layer(x, None, 0)
    _, alone = layer(y, None, 1)
    _, carried = layer(y, first, 1)
    _, ordinary = layer(y, first, 1, carry=False)
    torch.testing.assert_close(first.sum(-1), torch.ones(2, 36))
    torch.testing.assert_close(carried, 0.5 * alone + 0.5 * first)  # sigmoid(0)
    torch.testing.assert_close(ordinary, alone)


@pytest.mark.parametrize("align", ["frame", "latent", "none"])
def test_the_seeds_nar_keeps_clean_pixels_of_its_core(align: str) -> None:
    net = SeedNAR(replace(SMALL_SEED, align=align))  # type: ignore[arg-type]
    shake(net)
    truth, *inputs = mosaic((2, 4), 128)
    out, trust = net(*inputs)
    assert out.shape == (2, 2, 3, 128, 128) and trust.shape == (2, 2)
    mask = inputs[1][:, 1:3]
    assert torch.equal(out * mask, truth[:, 1:3] * mask)


def test_the_seeds_nar_uses_its_neighbours_and_only_those() -> None:
    net = SeedNAR(SMALL_SEED)
    shake(net)
    _, image, mask, rows, cols = mosaic((1, 4), 128)
    before, _ = net(image, mask, rows, cols)
    changed = image.clone()
    changed[:, 3] = 0.5
    after, _ = net(changed, mask, rows, cols)
    assert torch.equal(before[:, 0], after[:, 0])  # frame 1 sees 0 to 2
    assert not torch.equal(before[:, 1], after[:, 1])  # frame 2 sees 1 to 3


def test_nar_keeps_clean_pixels_and_block_means_of_its_core() -> None:
    net = NAR(SMALL_NAR)
    shake(net)
    with torch.no_grad():
        net.restorer.trust.bias.fill_(50.0)
        truth, *inputs = mosaic((2, 4))
        out, trust = net(*inputs)
    assert out.shape == (2, 2, 3, 64, 64) and trust.shape == (2, 2)
    image, mask, rows, cols = (x[:, 1:3] for x in inputs)
    assert torch.equal(out * mask, truth[:, 1:3] * mask)
    means, samples = (px.block_means(x, rows, cols)[..., :7, :7] for x in (out, image))
    assert float((means - samples).abs().max()) < HALF_STEP + 1e-5


def test_a_nar_takes_any_number_of_frames() -> None:
    net = NAR(SMALL_NAR)
    with torch.no_grad():
        out, trust = net(*mosaic((1, 7))[1:])
    assert out.shape[:2] == (1, 5) == trust.shape


def test_a_nar_that_starts_from_an_idn_is_that_idn_on_one_frame() -> None:
    idn, nar = IDN(SMALL_IDN), NAR(replace(SMALL_NAR, core=1, context=0))
    shake(idn)
    nar.start_from(idn)
    inputs = mosaic((2, 1))[1:]
    with torch.no_grad():
        alone, sure = idn(*(x[:, 0] for x in inputs))
        one, trust = nar(*inputs)
    assert torch.equal(one[:, 0], alone)
    assert torch.equal(trust[:, 0], sure)


def test_the_gate_of_a_nar_takes_what_the_window_knows() -> None:
    """With no residual of its own and an open gate, the common picture comes out."""
    nar = NAR(SMALL_NAR)
    with torch.no_grad():
        nar.restorer.tail_last.weight.zero_()
        nar.restorer.tail_last.bias.zero_()  # type: ignore[union-attr]
        nar.restorer.tail_last.bias[3] = 50.0  # type: ignore[index]
        features = torch.rand(1, 2, CHANNELS + SUPPORT, 32, 32)
        residual, _ = nar.body(features, torch.ones(1, 2, 1, 32, 32))
    assert torch.allclose(residual, features[:, :, CHANNELS : CHANNELS + 3])


def test_the_transformer_starts_at_the_identity() -> None:
    places, affine = SpatialTransformer(flow=True)(torch.rand(3, 8, 32, 32))
    torch.testing.assert_close(affine, torch.eye(2, 3).expand(3, 2, 3))
    torch.testing.assert_close(places, base_grid(32, 32, places.device)[..., :2].expand(3, -1, -1, -1))


def test_observation_channels() -> None:
    obs = observe(*mosaic((2,))[1:])
    assert obs.features.shape[1] == CHANNELS
    assert float(obs.features[:, 7:9].abs().max()) < 1
    torch.testing.assert_close(obs.features[:, 9:11].max(), torch.tensor(5 / 32))


def test_the_discriminator_gives_patches() -> None:
    assert Discriminator(8)(torch.rand(2, 3, 128, 128)).shape == (2, 1, 5, 5)
