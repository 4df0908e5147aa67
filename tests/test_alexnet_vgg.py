"""AlexNet and VGG at 96x96: published parameter counts, shapes by arithmetic, and forward passes written anew."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy_faces import unhooked

from mtl_lib.alexnet import alexnet
from mtl_lib.backbones import shareable_layers
from mtl_lib.errors import ConfigError
from mtl_lib.sharing import soft_share
from mtl_lib.trace_norm import TraceNormPenalty
from mtl_lib.vgg import vgg16

SMALL = {
    "alexnet": lambda **more: alexnet(**{"width": 2, "hidden": 24, "dropout": 0, **more}),
    "vgg": lambda **more: vgg16(**{"width": 2, "hidden": 24, "dropout": 0, **more}),
    "vgg with batch norm": lambda **more: vgg16(
        **{"width": 2, "hidden": 24, "dropout": 0, "batch_norm": True, **more}
    ),
}
each = pytest.mark.parametrize("name", SMALL)


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_with_a_classifier_they_have_the_published_sizes():
    """Parameters of torchvision's alexnet, vgg16, vgg16_bn and vgg11: 1000 classes, 224x224, three channels."""
    with torch.device("meta"):
        nets = {
            61_100_840: alexnet(3, size=224),
            138_357_544: vgg16(3, size=224),
            138_365_992: vgg16(3, size=224, batch_norm=True),
            132_863_336: vgg16(3, size=224, blocks=(1, 1, 2, 2, 2)),
        }
    for published, net in nets.items():
        assert net.out_features == 4096
        assert count(net) + 4096 * 1000 + 1000 == published


def test_what_96_changes_is_the_first_hidden_layer_and_nothing_else():
    with torch.device("meta"):
        for build, large, small in ((alexnet, 6, 2), (vgg16, 7, 3)):
            at_224 = {name: tuple(p.shape) for name, p in build(size=224).named_parameters()}
            at_96 = {name: tuple(p.shape) for name, p in build().named_parameters()}
            (changed,) = [name for name in at_224 if at_96[name] != at_224[name]]
            channels = 256 if build is alexnet else 512
            assert at_224[changed] == (4096, channels * large**2)
            assert at_96[changed] == (4096, channels * small**2)


def test_map_sizes():
    def sides(net):
        x, found = torch.zeros(1, 1, 96, 96, device="meta"), []
        for layer in net.features:
            x = layer(x)
            if not isinstance(layer, (nn.ReLU, nn.BatchNorm2d)):
                found.append(x.shape[-1])
        return found

    with torch.device("meta"):
        assert sides(alexnet(width=2)) == [23, 11, 11, 5, 5, 5, 5, 2]
        expected = [96, 96, 48, 48, 48, 24, 24, 24, 24, 12, 12, 12, 12, 6, 6, 6, 6, 3]
        assert sides(vgg16(width=2, batch_norm=True)) == expected


@pytest.mark.parametrize("size", [63, 64, 95, 96, 112, 130])
def test_the_computed_side_of_the_last_map_is_the_real_one(size):
    for name, build in SMALL.items():
        net = build(size=size).eval()
        x = torch.zeros(1, 1, size, size)
        assert net.features(x).shape[2:] == (net.map_side, net.map_side), name
        assert net(x).shape == (1, 24)


def test_alexnet_equals_an_independent_implementation():
    torch.manual_seed(0)
    net = alexnet(in_channels=3, width=4, hidden=10).double().eval()
    for name, p in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(p)
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    w = net.state_dict()
    y = F.max_pool2d(F.relu(F.conv2d(x, w["features.0.weight"], w["features.0.bias"], 4, 2)), 3, 2)
    y = F.max_pool2d(F.relu(F.conv2d(y, w["features.3.weight"], w["features.3.bias"], 1, 2)), 3, 2)
    y = F.relu(F.conv2d(y, w["features.6.weight"], w["features.6.bias"], 1, 1))
    y = F.relu(F.conv2d(y, w["features.8.weight"], w["features.8.bias"], 1, 1))
    y = F.max_pool2d(F.relu(F.conv2d(y, w["features.10.weight"], w["features.10.bias"], 1, 1)), 3, 2)
    y = F.relu(F.linear(y.reshape(2, -1), w["classifier.1.weight"], w["classifier.1.bias"]))
    y = F.relu(F.linear(y, w["classifier.4.weight"], w["classifier.4.bias"]))
    torch.testing.assert_close(net(x), y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("batch_norm", "places"),
    [
        (False, "0 2 | 5 7 | 10 12 14 | 17 19 21 | 24 26 28"),
        (True, "0 3 | 7 10 | 14 17 20 | 24 27 30 | 34 37 40"),
    ],
)
def test_vgg_equals_an_independent_implementation(batch_norm, places):
    """The places of the convolutions in ``features`` are those of torchvision's vgg16 and vgg16_bn."""
    torch.manual_seed(0)
    net = vgg16(in_channels=3, width=2, hidden=10, batch_norm=batch_norm).double()
    for name, p in net.named_parameters():
        if name.endswith("bias") or p.ndim == 1:
            nn.init.normal_(p)
    net(torch.randn(4, 3, 96, 96, dtype=torch.float64))  # moves the running statistics
    net.eval()
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    w, y = net.state_dict(), x
    for group in places.split("|"):
        for place in map(int, group.split()):
            y = F.conv2d(y, w[f"features.{place}.weight"], w[f"features.{place}.bias"], padding=1)
            if batch_norm:
                scale, shift, mean, var = (
                    w[f"features.{place + 1}.{part}"][:, None, None]
                    for part in ("weight", "bias", "running_mean", "running_var")
                )
                y = (y - mean) / (var + 1e-5).sqrt() * scale + shift
            y = F.relu(y)
        y = F.max_pool2d(y, 2)
    y = F.relu(F.linear(y.reshape(2, -1), w["classifier.0.weight"], w["classifier.0.bias"]))
    y = F.relu(F.linear(y, w["classifier.3.weight"], w["classifier.3.bias"]))
    torch.testing.assert_close(net(x), y, rtol=1e-10, atol=1e-10)


def test_shareable_layers_are_the_weights_with_several_axes_in_forward_order():
    with torch.device("meta"):
        nets = {"alexnet": (alexnet(), 5, 2), "vgg": (vgg16(), 13, 2), "bn": (vgg16(batch_norm=True), 13, 2)}
    for net, convolutions, hidden in nets.values():
        names = shareable_layers(net)
        shapes = [net.get_parameter(name).shape for name in names]
        assert [len(s) for s in shapes] == [4] * convolutions + [2] * hidden
        before = 1
        for shape in shapes[:convolutions]:
            assert shape[1] == before
            before = shape[0]
        assert set(names) == {n for n, p in net.named_parameters() if p.ndim > 1}


@each
def test_soft_share_stacks_them_and_the_penalty_reaches_every_stack(name):
    torch.manual_seed(1)
    net = SMALL[name]()
    shared = soft_share(net, 2, shareable_layers(net), init="independent")
    stacks = shared.stacks()
    assert list(stacks) == shareable_layers(net)
    TraceNormPenalty("laf", 0.1).add_gradient_(stacks)
    for layer, pair in stacks.items():
        assert all(w.grad is not None and w.grad.any() for w in pair), layer
    x = torch.randn(2, 1, 96, 96)
    assert torch.equal(shared.eval()(x, 0), net.eval()(x))
    assert not torch.equal(shared(x, 1), net(x))


@each
def test_a_gradient_reaches_every_parameter(name):
    torch.manual_seed(2)
    net = SMALL[name](width=4, hidden=64)
    net(torch.randn(4, 1, 96, 96)).square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # Batch norm takes out what a bias before it adds: rounding is all that its gradient may be.
    assert silent == []


@each
def test_channels_last_computes_the_same(name):
    torch.manual_seed(3)
    net = SMALL[name](in_channels=3, hidden=16).double()
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    y = other(x.to(memory_format=torch.channels_last))
    assert other.features[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x), y, rtol=1e-9, atol=1e-9)


@each
def test_a_shift_by_the_total_stride_shifts_the_last_map(name):
    torch.manual_seed(4)
    net = SMALL[name](size=448).double().eval()

    def last_map(top):
        x = torch.zeros(1, 1, 448, 448, dtype=torch.float64)
        chance = torch.Generator().manual_seed(5)
        x[..., top : top + 20, 200:220] = torch.randn(20, 20, generator=chance, dtype=torch.float64)
        return net.features(x)

    here = last_map(200)
    assert here.any()
    torch.testing.assert_close(here.roll(1, dims=2), last_map(232), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(here, last_map(216))


@each
def test_dropout_acts_in_training_only_and_initialisation_is_redrawn(name):
    torch.manual_seed(6)
    net = SMALL[name](dropout=0.5)
    x = torch.randn(4, 1, 96, 96)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    before = {n: p.clone() for n, p in net.named_parameters()}
    net.reset_parameters()
    for n, p in net.named_parameters():
        assert torch.equal(p, before[n]) != (p.ndim > 1), n


@pytest.mark.parametrize(("init", "factor"), [("fan_in", 0), ("fan_out", 1)])
def test_he_initialisation_has_the_stated_norms(init, factor):
    torch.manual_seed(7)
    net = vgg16(width=16, blocks=(1, 1, 1, 1, 1), init=init)
    for name in shareable_layers(net)[1:]:
        w = net.get_parameter(name)
        if w.ndim == 2:
            expected = 2 * w.shape[factor]
        else:
            expected = 2 * w.shape[factor]  # the kernel's area cancels
        assert w.square().sum().item() == pytest.approx(expected, rel=0.1), name


@pytest.mark.parametrize(
    ("module", "function", "bad"),
    [
        ("alexnet", "alexnet", {"size": 62}),
        ("alexnet", "alexnet", {"width": 0}),
        ("alexnet", "alexnet", {"blocks": 0}),
        ("alexnet", "alexnet", {"dropout": 1.0}),
        ("alexnet", "alexnet", {"init": "xavier"}),
        ("vgg", "vgg16", {"size": 31}),
        ("vgg", "vgg16", {"blocks": (2, 2, 3, 3)}),
        ("vgg", "vgg16", {"blocks": (2, 2, 3, 3, 0)}),
        ("vgg", "vgg16", {"hidden": 0}),
        ("vgg", "vgg16", {"dropout": -0.1}),
        ("vgg", "vgg16", {"init": "xavier"}),
    ],
)
def test_bad_arguments_are_named(module, function, bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        getattr(unhooked(f"mtl_lib/{module}.py"), function)(**{"width": 2, **bad})


@each
def test_pictures_of_another_size_are_refused_in_words(name):
    with pytest.raises(ConfigError, match="64 x 64 .* 96 x 96"):
        SMALL[name]()(torch.zeros(1, 1, 64, 64))
