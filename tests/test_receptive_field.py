"""Receptive fields: published values, and pixels poisoned one by one."""

import copy

import pytest
import torch
from torch import nn
from toy_faces import unhooked

from mtl_lib.alexnet import alexnet
from mtl_lib.backbones import resnet34
from mtl_lib.errors import ConfigError
from mtl_lib.receptive_field import effective_field, effective_side, layers_of
from mtl_lib.vgg import vgg16

NAN = float("nan")


def test_published_receptive_fields():
    """Araujo, Norris and Sim (2019) give 195 for AlexNet and 212 for VGG-16 up to the last pool, stride 32."""
    with torch.device("meta"):
        nets = alexnet(3, width=2, size=224), vgg16(3, width=2, size=224), resnet34(3, width=2)
    last = [[layer for layer in layers_of(net, 224, 3) if layer.kind != "linear"][-1] for net in nets]
    assert [layer.field for layer in last] == [195, 212, 899]
    assert [layer.jump for layer in last] == [32, 32, 32]
    # Stem 7, pool 4 more, then (k - 1) jumps of every 3x3 convolution: the first of a stage still has the old jump.
    by_hand = 1 + 6 + 2 * 2
    for stage, blocks in enumerate((3, 4, 6, 3)):
        jump = 4 * 2**stage
        by_hand += 2 * (jump if stage == 0 else jump // 2) + 2 * jump * (2 * blocks - 1)
    assert last[2].field == by_hand


def poisoned_rows(net, layer, size):
    """For every pixel of the middle column: which units of the layer's middle column become NaN with it."""
    kept = []
    hook = dict(net.named_modules())[layer].register_forward_hook(lambda m, x, y: kept.append(y.clone()))
    x = torch.zeros(size, 1, size, size, dtype=torch.float64)
    x[torch.arange(size), 0, torch.arange(size), size // 2] = NAN
    with torch.no_grad():
        net(x)
    hook.remove()
    return kept[0].isnan().any(dim=1).any(dim=2)  # [pixel, unit]


BUILD = {  # sides for which every window of every layer fits, so that no map ends before the picture does
    "resnet A": (lambda: resnet34(width=2, blocks=(1, 2, 1, 1)), 97),
    "resnet B": (lambda: resnet34(width=2, blocks=(1, 2, 1, 1), shortcut="B"), 97),
    "alexnet": (lambda: alexnet(width=2, hidden=4, blocks=1, size=95), 95),
    "vgg": (lambda: vgg16(width=2, hidden=4, blocks=(1, 1, 2, 1, 1), size=96, batch_norm=True), 96),
    "odd": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 4, stride=3, padding=2),
            nn.AvgPool2d(2),
            nn.Conv2d(2, 2, 3, padding=1),
            nn.MaxPool2d(3, 2, padding=1),
        ),
        99,
    ),
}


@pytest.mark.parametrize("name", BUILD)
def test_a_poisoned_pixel_reaches_exactly_the_units_whose_field_holds_it(name):
    torch.manual_seed(0)
    build, size = BUILD[name]
    net = build().double().eval()
    layers = layers_of(net, size)
    assert len(layers) > 3
    for layer in layers:
        if layer.kind == "linear":
            # A fully connected layer is the convolution that fits once: its single unit sees every pixel.
            first, last = layer.reach(0)
            assert layer.side == 1 and first <= 0 and last >= layers[-3].reach(layers[-3].side - 1)[1]
            continue
        hit = poisoned_rows(net, layer.name, size)
        assert hit.shape[1] == layer.side
        pixel = torch.arange(size)
        expected = torch.stack(
            [(pixel >= a) & (pixel <= b) for a, b in map(layer.reach, range(layer.side))], dim=1
        )
        assert torch.equal(hit, expected), layer.name


def test_where_the_picture_ends_behind_the_last_window_the_field_is_an_upper_bound():
    net = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1)).double()
    layer = layers_of(net, 7)[-1]
    hit = poisoned_rows(net, "1", 7)
    assert layer.reach(2) == (2.0, 7.0) and not hit[6].any() and hit[5, 2]


def test_dilation_widens_a_field_without_filling_it():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=2, dilation=2)).double()
    (layer,) = layers_of(net, 9)
    assert (layer.field, layer.start, layer.side, layer.reach(4)) == (5, 0.0, 9, (2.0, 6.0))
    assert poisoned_rows(net, "0", 9)[:, 4].nonzero().flatten().tolist() == [2, 4, 6]


def test_costs_are_counted_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 25, 7))
    conv, pool, linear = layers_of(net, size=24, in_channels=3)
    assert (conv.side, conv.weights, conv.multiply_adds) == (10, 5 * 5 * 3 * 8, 10 * 10 * 5 * 5 * 3 * 8)
    assert (pool.side, pool.weights, pool.multiply_adds) == (5, 0, 0)
    assert (linear.channels, linear.kernel, linear.side) == ((8, 7), 5, 1)
    assert linear.weights == linear.multiply_adds == 8 * 25 * 7


def test_listing_the_layers_leaves_the_network_as_it_was():
    net = resnet34(width=2, blocks=(1, 1, 1, 1)).train()
    before = copy.deepcopy(net.state_dict())
    names = [layer.name for layer in layers_of(net, 64)]
    assert names[:3] == ["conv1", "maxpool", "layer1.0.conv1"] and len(names) == 10
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())


def test_an_effective_field_lies_inside_the_theoretical_one_and_is_narrower():
    torch.manual_seed(1)
    net = resnet34(width=4, blocks=(2, 1, 1, 1)).double().eval()
    x = torch.randn(8, 1, 96, 96, dtype=torch.float64)
    for layer in layers_of(net)[:8]:
        used = effective_field(net, layer.name, x)
        first, last = layer.reach(layer.side // 2)
        inside = torch.zeros(96, dtype=torch.bool)
        inside[max(0, int(first)) : int(last) + 1] = True
        assert not used[~inside].any() and not used[:, ~inside].any()
        assert used.sum().item() == pytest.approx(1)
        assert effective_side(used) < layer.field
    assert all(p.grad is None for p in net.parameters())


def test_the_effective_field_of_one_convolution_is_its_kernel():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False)).double()
    used = effective_field(net, "0", torch.randn(4, 1, 9, 9, dtype=torch.float64))
    kernel = net[0].weight[0, 0].detach().abs()
    torch.testing.assert_close(used[3:6, 3:6], kernel / kernel.sum())


def test_box_filters_spread_as_the_sum_of_their_variances():
    side = 5
    net = nn.Sequential(*[nn.Conv2d(1, 1, side, padding=2, bias=False) for _ in range(4)]).double()
    for conv in net:
        nn.init.constant_(conv.weight, 1.0)
    used = effective_field(net, "3", torch.randn(1, 1, 41, 41, dtype=torch.float64))
    # Variance of a box of n pixels is (n^2 - 1) / 12, and variances of convolved boxes add up.
    assert effective_side(used) == pytest.approx((4 * (side**2 - 1) + 1) ** 0.5)


def test_bad_input_is_named():
    module = unhooked("mtl_lib/receptive_field.py")
    net = nn.Sequential(nn.Conv2d(1, 2, (3, 5)), nn.Flatten(), nn.Linear(2 * 6 * 4, 3))
    with pytest.raises(ConfigError, match="unequal sides"):
        module.layers_of(net, 8)
    with pytest.raises(ConfigError, match="no layer 'conv9'"):
        module.effective_field(net, "conv9", torch.zeros(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="no map"):
        module.effective_field(net, "2", torch.zeros(1, 1, 8, 8))
