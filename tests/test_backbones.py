"""ResNet-34 at 96x96: counts, numbering and shapes from the paper, and a forward pass written anew."""

import pytest
import torch
from torch.nn import functional as F
from toy_faces import unhooked

from mtl_lib.backbones import BasicBlock, resnet34, shareable_layers
from mtl_lib.errors import ConfigError


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


def reference_forward(state, x, blocks, option):
    """ResNet in evaluation mode from its state dict alone, with torch.nn.functional only."""

    def norm(x, name):
        mean, var, scale, shift = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
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
    return F.avg_pool2d(x, x.shape[-1]).flatten(1)


@pytest.mark.parametrize("option", ["A", "B"])
@pytest.mark.parametrize("blocks", [(3, 4, 6, 3), (1, 2, 1, 1)])
def test_forward_equals_an_independent_implementation(option, blocks):
    torch.manual_seed(0)
    model = resnet34(in_channels=3, width=4, blocks=blocks, shortcut=option).double()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    expected = reference_forward(model.state_dict(), x, blocks, option)
    torch.testing.assert_close(model.eval()(x), expected, rtol=1e-10, atol=1e-10)


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


@pytest.mark.parametrize(
    "bad",
    [{"shortcut": "C"}, {"blocks": (3, 4, 6)}, {"blocks": (3, 0, 6, 3)}, {"width": 0}, {"init": "xavier"}],
)
def test_bad_arguments_are_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        unhooked("mtl_lib/backbones.py").resnet34(**{"width": 4, **bad})
