"""Soft sharing leaves T whole networks, side by side in memory, whatever is done to them."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mtl_lib.backbones import resnet34, shareable_layers
from mtl_lib.errors import ConfigError
from mtl_lib.regularisers import make_penalty
from mtl_lib.sharing import MultiTaskNet, reinitialise, select_weights, soft_share


class Mixer(nn.Module):
    """A bit of everything: 1-d convolution, attention, linear layers, one weight used twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up = nn.Linear(8, 8)
        self.down = nn.Linear(8, 8)
        self.down.weight = self.up.weight

    def forward(self, x):
        y = self.norm(self.conv(x)).transpose(1, 2)
        y = y + self.attention(y, y, y, need_weights=False)[0]
        return self.down(torch.relu(self.up(y))).mean(1)


def assert_tied(shared):
    """Every stack is one piece of memory: writing through the joined view changes the networks."""
    for name, stack in shared.joined().items():
        assert stack.shape == (shared.tasks, *shared.nets[0].get_parameter(name).shape)
        for t, net in enumerate(shared.nets):
            weight = net.get_parameter(name)
            assert torch.equal(stack[t], weight)
            assert stack[t].data_ptr() == weight.data_ptr()


@pytest.mark.parametrize("tasks", [1, 2, 5])
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (Mixer, torch.randn(2, 3, 5)),
        (lambda: resnet34(width=2, blocks=(1, 1, 1, 1)), torch.randn(2, 1, 32, 32)),
        (
            lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Flatten(), nn.Linear(16, 3)),
            torch.randn(2, 1, 3, 3, 3),
        ),
        (lambda: nn.Sequential(nn.ConvTranspose2d(1, 2, 2), nn.Flatten()), torch.randn(2, 1, 3, 3)),
    ],
)
def test_each_network_is_the_network_bit_for_bit(make, x, tasks):
    torch.manual_seed(1)
    net = make()
    shared = soft_share(net, tasks)
    assert_tied(shared)
    expected = copy.deepcopy(net)(x)
    for t in range(tasks):
        assert torch.equal(shared(x, t), expected)


def test_a_step_without_penalty_is_t_single_steps():
    """The stacked memory must not couple the tasks: after training each equals a network trained alone."""
    torch.manual_seed(2)
    net = resnet34(width=2, blocks=(1, 1, 1, 1))
    shared = soft_share(net, 2, init="independent")
    singles = [copy.deepcopy(n) for n in shared.nets]
    inputs = [torch.randn(4, 1, 32, 32) for _ in range(2)]

    def train(modules, parameters):
        optimiser = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        for _ in range(3):
            optimiser.zero_grad()
            sum(m(x).square().mean() for m, x in zip(modules, inputs, strict=True)).backward()
            optimiser.step()
            shared.stacks()

    train(shared.nets, shared.parameters())
    for single, x in zip(singles, inputs, strict=True):
        optimiser = torch.optim.SGD(single.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimiser.zero_grad()
            single(x).square().mean().backward()
            optimiser.step()
    for trained, single in zip(shared.nets, singles, strict=True):
        for (name, a), b in zip(trained.state_dict().items(), single.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


def test_every_stacked_parameter_receives_a_gradient():
    torch.manual_seed(3)
    shared = soft_share(Mixer(), 3, init="independent")
    for t in range(3):
        shared(torch.randn(4, 3, 5), t).square().sum().backward()
    for name, weights in shared.stacks().items():
        for t, weight in enumerate(weights):
            assert weight.grad is not None and weight.grad.abs().max() > 0, (name, t)


def test_default_selection_takes_weights_and_leaves_norms_and_biases():
    names = soft_share(Mixer(), 2).names
    assert set(names) == {
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "up.weight",  # down uses the same parameter; it is stacked once
    }
    assert soft_share(resnet34(width=2), 2).names == tuple(shareable_layers(resnet34(width=2)))


LAYERS = {
    "Conv1d": (lambda: nn.Conv1d(2, 3, 2), ["weight"]),
    "Conv2d": (lambda: nn.Conv2d(4, 6, (2, 3), groups=2), ["weight"]),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 2), ["weight"]),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 2), ["weight"]),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 3, 2), ["weight"]),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 3, 2), ["weight"]),
    "Linear": (lambda: nn.Linear(3, 2), ["weight"]),
    "attention": (
        lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True),
        ["in_proj_weight", "out_proj.weight"],
    ),
    "attention, other sizes": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
        ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
    ),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 6),
        ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"],
    ),
}


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt", "norm_only", "deviation"])
@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_every_kind_of_layer_is_stacked_and_penalised(layer, kind):
    """Each stack alone has a value; pushed along the negative gradient the penalty falls, for three tasks."""
    make, names = LAYERS[layer]
    torch.manual_seed(0)
    shared = soft_share(make(), 3, init="independent")
    assert list(shared.names) == names
    stacks = shared.stacks()
    penalty = make_penalty(kind, 1.0)
    for name in names:
        before = penalty.add_gradient_({name: stacks[name]})
        with torch.no_grad():
            for weight in stacks[name]:
                assert weight.grad.abs().max() > 0
                weight -= 1e-3 * weight.grad
        assert 0 < penalty({name: stacks[name]}) < before


def test_selection_by_name_type_and_predicate():
    net = resnet34(width=2, blocks=(1, 1, 1, 1), shortcut="B")
    assert select_weights(net, ["layer1.0.conv2", "conv1.weight"]) == [
        "conv1.weight",
        "layer1.0.conv2.weight",
    ]
    assert select_weights(net, "conv1") == ["conv1.weight"]
    by_type = select_weights(net, [nn.Conv2d])
    without = select_weights(net, lambda name, m: isinstance(m, nn.Conv2d) and "downsample" not in name)
    assert set(by_type) - set(without) == {f"layer{i}.0.downsample.0.weight" for i in (2, 3, 4)}
    assert without == shareable_layers(net)
    assert select_weights(net, nn.Conv2d) == by_type


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": 0}, "tasks is 0"),
        ({"layers": ["layer9.conv1"]}, "no layer 'layer9.conv1'; did you mean 'conv1'"),
        ({"layers": ["relu"]}, "no weight of its own"),
        ({"layers": []}, "no layer is selected"),
        ({"layers": [nn.LSTM]}, "no layer is selected"),
        ({"layers": lambda name, module: False}, "no layer is selected"),
    ],
)
def test_bad_requests_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        soft_share(resnet34(width=2, blocks=(1, 1, 1, 1)), **{"tasks": 2, **arguments})


def test_networks_without_shapes_are_refused():
    with pytest.raises(ConfigError, match="no shape yet"):
        soft_share(nn.Sequential(nn.LazyLinear(3)), 2)


def test_independent_networks_differ_and_task_zero_keeps_the_given_weights():
    torch.manual_seed(4)
    net = Mixer()
    shared = soft_share(net, 3, init="independent")
    for name, (a, b, c) in shared.stacks().items():
        assert torch.equal(a, net.get_parameter(name))
        assert not torch.equal(a, b) and not torch.equal(b, c)
    same = soft_share(net, 2)
    assert all(torch.equal(a, b) for a, b in same.stacks().values())
    assert shared.nets[1].up.weight is shared.nets[1].down.weight


def test_independent_resnets_keep_he_scaling():
    """The network's own reset has the last word over its layers' (nn.Conv2d's is three times smaller)."""
    torch.manual_seed(5)
    shared = soft_share(resnet34(width=16), 2, init="independent")
    for name, (a, b) in shared.stacks().items():
        assert b.norm().item() == pytest.approx(a.norm().item(), rel=0.25), name


def test_own_initialise_is_used_and_missing_reset_is_reported():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

    with pytest.raises(ConfigError, match="Bare has parameters but no reset_parameters"):
        reinitialise(Bare())
    shared = soft_share(
        Bare(),
        2,
        layers=["weight"],
        init="independent",
        initialise=lambda m: nn.init.constant_(m.weight, 7.0),
    )
    assert [w[0, 0].item() for w in shared.stacks()["weight"]] == [1, 7]


def disturb_to_dtype(shared):
    return shared.double()


def disturb_copy(shared):
    return copy.deepcopy(shared)


def disturb_layout(shared):
    return shared.to(memory_format=torch.channels_last)


def disturb_load(shared):
    other = soft_share(resnet34(width=2, blocks=(1, 1, 1, 1)), 2, init="independent")
    shared.load_state_dict(other.state_dict(), assign=True)
    return shared


@pytest.mark.parametrize("disturb", [disturb_to_dtype, disturb_copy, disturb_layout, disturb_load])
def test_ties_survive(disturb):
    torch.manual_seed(6)
    shared = disturb(soft_share(resnet34(width=2, blocks=(1, 1, 1, 1)), 2, init="independent"))
    values = {k: v.clone() for k, v in shared.state_dict().items()}
    strides = {k: v.stride() for k, v in shared.named_parameters()}
    identity = {k: id(v) for k, v in shared.named_parameters()}
    shared.stacks()
    assert_tied(shared)
    assert all(torch.equal(v, values[k]) for k, v in shared.state_dict().items())
    assert {k: v.stride() for k, v in shared.named_parameters()} == strides
    assert {k: id(v) for k, v in shared.named_parameters()} == identity


def test_another_layout_in_the_same_memory_is_noticed():
    shared = soft_share(nn.Linear(2, 2), 2, init="independent")
    shared.nets[1].weight.data = shared.nets[1].weight.data.t()
    assert_tied(shared)


def test_a_copy_has_memory_of_its_own():
    shared = soft_share(nn.Linear(2, 2), 2)
    twin = copy.deepcopy(shared)
    before = shared.joined()["weight"].clone()
    twin.joined()["weight"].zero_()
    assert torch.equal(shared.joined()["weight"], before)


def test_optimiser_state_and_gradients_survive_a_repair():
    shared = soft_share(nn.Linear(3, 2), 2, init="independent")
    optimiser = torch.optim.SGD(shared.parameters(), lr=0.1, momentum=0.9)
    (shared(torch.ones(1, 3), 0).sum() + shared(torch.ones(1, 3), 1).sum()).backward()
    optimiser.step()
    weight = shared.nets[1].weight
    weight.data = weight.data.clone()
    grad, momentum = weight.grad, optimiser.state[weight]["momentum_buffer"]
    assert shared.stacks()["weight"][1] is weight
    assert weight.grad is grad and optimiser.state[weight]["momentum_buffer"] is momentum
    optimiser.step()
    assert_tied(shared)


@settings(max_examples=20, deadline=None)
@given(
    tasks=st.integers(1, 6), sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=st.integers(0, 99)
)
def test_joined_is_the_stack(tasks, sizes, seed):
    torch.manual_seed(seed)
    shared = soft_share(nn.Linear(*sizes), tasks, init="independent")
    assert torch.equal(shared.joined()["weight"], torch.stack([n.weight for n in shared.nets]))


def test_multitask_net_routes_features_and_heads():
    torch.manual_seed(7)
    trunk = soft_share(nn.Linear(4, 8), 2, init="independent")
    net = MultiTaskNet(trunk, [nn.Linear(8, 13), nn.Linear(8, 136)])
    x = torch.randn(5, 4)
    for t in range(2):
        features = F.linear(x, trunk.nets[t].weight, trunk.nets[t].bias)
        assert torch.equal(net.features(x, t), features)
        assert torch.equal(net(x, t), net.heads[t](features))
    assert list(net.stacks()) == ["weight"]
    with pytest.raises(ConfigError, match="2 tasks and there are 3 heads"):
        MultiTaskNet(trunk, [nn.Linear(8, 1)] * 3)
