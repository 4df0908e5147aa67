"""ResNet-34 at 96x96: counts, numbering and shapes from the paper, and a forward pass written anew."""

import copy

import pytest
import torch
from torch.nn import functional as F
from toy_faces import unhooked

from mtl_lib.backbones import BasicBlock, resnet34, shareable_layers
from mtl_lib.errors import ConfigError
from mtl_lib.receptive_field import layers_of


@pytest.fixture(scope="module")
def full():
    """The paper's size, on no device: shapes and counts without memory or time."""
    with torch.device("meta"):
        return {option: resnet34(in_channels=3, shortcut=option) for option in "AB"}


@pytest.mark.parametrize("option", ["A", "B"])
def test_thirty_three_layers_hold_the_main_path_weights(full, option):
    names = shareable_layers(full[option])
    weights = [full[option].get_parameter(name) for name in names]
    assert len(names) == 33
    assert sum(w.numel() for w in weights) == 21_095_616
    # The count again from the architecture: stem, then per stage the first conv and its 3x3 followers.
    by_hand = 7 * 7 * 3 * 64
    before = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        m = 64 * 2**stage
        by_hand += 9 * before * m + (2 * blocks - 1) * 9 * m * m
        before = m
    assert by_hand == 21_095_616


def torchvision_names(blocks):
    """Parameters and buffers of torchvision's ResNet without its classifier, name by name."""
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = ["conv1.weight", *(f"bn1.{each}" for each in norm)]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            for i in (1, 2):
                names.append(f"layer{stage}.{block}.conv{i}.weight")
                names += [f"layer{stage}.{block}.bn{i}.{each}" for each in norm]
            if stage > 1 and block == 0:
                names.append(f"layer{stage}.0.downsample.0.weight")
                names += [f"layer{stage}.0.downsample.1.{each}" for each in norm]
    return names


def test_option_b_with_a_classifier_has_torchvisions_names_and_21_797_672_parameters(full):
    # The published size of torchvision's resnet34: 1000 classes, three channels.
    trunk = sum(p.numel() for p in full["B"].parameters())
    assert trunk + 512 * 1000 + 1000 == 21_797_672
    assert set(full["B"].state_dict()) == set(torchvision_names((3, 4, 6, 3)))
    # He et al. give 3.6 billion multiply-adds for 224x224 (Table 1); projections of option B are not counted.
    billions = sum(layer.multiply_adds for layer in layers_of(full["A"], 224, 3)) / 1e9
    assert 3.55 < billions < 3.65


def test_only_option_b_has_projections(full):
    def projections(model):
        return [p for n, p in model.named_parameters() if ".downsample.0." in n]

    assert projections(full["A"]) == []
    assert sum(p.numel() for p in projections(full["B"])) == 172_032
    # With option A the shareable layers are all the convolutions there are.
    convolutions = [n for n, p in full["A"].named_parameters() if p.ndim == 4]
    assert convolutions == shareable_layers(full["A"])


def test_numbering_is_the_papers(full):
    names = shareable_layers(full["A"])
    expected = {1: "conv1", 10: "layer2.1.conv1", 20: "layer3.2.conv1", 30: "layer4.1.conv1"}
    assert {number: names[number - 1].removesuffix(".weight") for number in expected} == expected
    stage_of = [0 if n == "conv1.weight" else int(n[5]) for n in names]
    first_and_last = {s: (stage_of.index(s) + 1, 33 - stage_of[::-1].index(s)) for s in range(5)}
    assert first_and_last == {0: (1, 1), 1: (2, 7), 2: (8, 15), 3: (16, 27), 4: (28, 33)}


def test_map_sizes_and_features(full):
    x = torch.zeros(2, 3, 96, 96, device="meta")
    assert [m.shape[-1] for m in full["A"].stages(x)] == [48, 24, 24, 12, 6, 3]
    assert [m.shape[1] for m in full["A"].stages(x)] == [64, 64, 64, 128, 256, 512]
    assert full["A"](x).shape == (2, 512) and full["A"].out_features == 512
    assert full["A"](torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 512)


def reference_forward(state, x, blocks, option, training=False, moments=None):
    """ResNet from its state dict alone, with torch.nn.functional only; notes the moments that it normalised by.

    Written from He et al. and, for option B, read side by side with the forward pass of torchvision's ``resnet.py``,
    whose names the state dict has: the same operations in the same order.  torchvision itself is no requirement of
    this package and is not run by any test.
    """

    def norm(x, name):
        mean, var, scale, shift = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        if training:
            mean = x.mean(dim=(0, 2, 3), keepdim=True)[0]
            var = (x - mean).square().mean(dim=(0, 2, 3), keepdim=True)[0]
            moments[name] = (mean.flatten(), var.flatten() * (x[:, 0].numel() / (x[:, 0].numel() - 1)))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = F.relu(norm(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(4):
        for block in range(blocks[stage]):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            y = F.relu(
                norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1")
            )
            y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2 and option == "B":
                x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            elif stride == 2:
                wide = torch.zeros_like(y)
                wide[:, : x.shape[1]] = x[:, :, ::2, ::2]
                x = wide
            x = F.relu(x + y)
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


@pytest.mark.parametrize("option", ["A", "B"])
@pytest.mark.parametrize(("blocks", "sides"), [((3, 4, 6, 3), (96, 96)), ((1, 2, 1, 1), (70, 101))])
def test_forward_equals_an_independent_implementation(option, blocks, sides):
    torch.manual_seed(0)
    model = resnet34(in_channels=3, width=4, blocks=blocks, shortcut=option).double()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, *sides, dtype=torch.float64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = reference_forward(before, x, blocks, option)
    torch.testing.assert_close(model.eval()(x), expected, rtol=1e-10, atol=1e-10)
    # In training: the batch's own moments, of which a tenth goes into the running ones.
    moments = {}
    expected = reference_forward(before, x, blocks, option, training=True, moments=moments)
    torch.testing.assert_close(model.train()(x), expected, rtol=1e-8, atol=1e-8)
    assert len(moments) == sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    for name, (mean, var) in moments.items():
        norm = model.get_submodule(name)
        for new, old, seen in (
            (norm.running_mean, before[f"{name}.running_mean"], mean),
            (norm.running_var, before[f"{name}.running_var"], var),
        ):
            torch.testing.assert_close(new, 0.9 * old + 0.1 * seen, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("init", "stem", "last"), [("fan_in", 2 * 64, 2 * 512), ("fan_out", 2, 2 * 512)])
def test_he_initialisation_has_the_stated_norms(init, stem, last):
    torch.manual_seed(0)
    # E ||w||^2 = 2 M for fan_in and 2 C for fan_out; the stem has one input channel.
    model = resnet34(blocks=(1, 1, 1, 1), init=init)
    assert model.conv1.weight.square().sum().item() == pytest.approx(stem, rel=0.15)
    assert model.layer4[0].conv2.weight.square().sum().item() == pytest.approx(last, rel=0.02)


def test_shortcut_a_keeps_the_input_where_the_block_is_silent():
    block = BasicBlock(2, 4, stride=2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 2, 6, 6)
    out = block(x)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2]) and not out[:, 2:].any()


def patch_at(top, left, side, seed):
    """A random patch on a black picture large enough that nothing it influences meets the border."""
    x = torch.zeros(1, 1, side, side, dtype=torch.float64)
    chance = torch.Generator().manual_seed(seed)
    x[..., top : top + 24, left : left + 24] = torch.randn(24, 24, generator=chance, dtype=torch.float64)
    return x


@pytest.mark.parametrize("option", ["A", "B"])
def test_a_shift_by_the_total_stride_shifts_every_map(option):
    torch.manual_seed(1)
    model = resnet34(width=2, blocks=(1, 1, 1, 1), shortcut=option).double().eval()
    # Black stays black: no biases, running means of zero.
    here = model.stages(patch_at(224, 224, 480, 0))
    there = model.stages(patch_at(256, 192, 480, 0))
    for stride, a, b in zip((2, 4, 4, 8, 16, 32), here, there, strict=True):
        down, right = 32 // stride, -32 // stride
        torch.testing.assert_close(a.roll((down, right), dims=(2, 3)), b, rtol=1e-12, atol=1e-12)
        assert a.any()
    # By half of it the last map is another one, the maps with a finer grid are only shifted.
    half = model.stages(patch_at(240, 224, 480, 0))
    torch.testing.assert_close(here[4].roll(1, dims=2), half[4], rtol=1e-12, atol=1e-12)
    assert (here[5].roll(1, dims=2) - half[5]).abs().max() > 1e-3 < (here[5] - half[5]).abs().max()


@pytest.mark.parametrize("option", ["A", "B"])
def test_a_gradient_reaches_every_parameter(option):
    torch.manual_seed(2)
    model = resnet34(width=4, shortcut=option)
    model(torch.randn(4, 1, 96, 96)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_computes_the_same(training):
    torch.manual_seed(3)
    model = resnet34(in_channels=3, width=4).double().train(training)
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    y = other(x.to(memory_format=torch.channels_last))
    assert other.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), y, rtol=1e-9, atol=1e-9)


def test_a_network_built_for_a_size_refuses_others():
    model = resnet34(width=2, blocks=(1, 1, 1, 1), size=64).eval()
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 16)
    with pytest.raises(ConfigError, match="96 x 96 .* 64 x 64"):
        model(torch.zeros(1, 1, 96, 96))


@pytest.mark.parametrize(
    "bad",
    [
        {"shortcut": "C"},
        {"blocks": (3, 4, 6)},
        {"blocks": (3, 0, 6, 3)},
        {"width": 0},
        {"init": "xavier"},
        {"size": 31},
    ],
)
def test_bad_arguments_are_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        unhooked("mtl_lib/backbones.py").resnet34(**{"width": 4, **bad})
