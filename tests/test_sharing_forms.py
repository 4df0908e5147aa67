"""Every way of sharing, behind one interface: where it must equal single networks it does, bit for bit."""

import copy
import itertools

import pytest
import tensorly as tl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly.decomposition import tensor_train, tucker
from torch import nn

from mtl_lib.backbones import resnet34, shareable_layers
from mtl_lib.config import TrainConfig
from mtl_lib.cross_stitch import CrossStitchUnit, cross_stitch, segments
from mtl_lib.errors import ConfigError
from mtl_lib.factorised import count_parameters, factorise
from mtl_lib.hard_sharing import hard_share, shared_layers
from mtl_lib.regularisers import make_regulariser
from mtl_lib.sharing import MultiTaskNet, soft_share
from mtl_lib.tasks import Expression, Networks
from mtl_lib.tensor_factors import compose, decompose
from mtl_lib.trunks import make_trunk
from mtl_lib.unfold import paper_order

SMALL = {"width": 2, "blocks": (1, 1, 1, 1)}


def pictures(tasks, seed=9, count=3):
    """A batch per task, of different sizes and statistics."""
    g = torch.Generator().manual_seed(seed)
    return [(1 + t) * torch.randn(count + t, 1, 32, 32, generator=g) + t for t in range(tasks)]


def small_net(seed=1):
    torch.manual_seed(seed)
    return resnet34(**SMALL)


class Plain(nn.Module):
    """Convolutions with biases, batch norm and a hidden layer, as AlexNet and VGG are built."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(4),
            nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.MaxPool2d(4),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Dropout(0.0), nn.Linear(5, 4), nn.ReLU(inplace=True)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def train(parameters, step, steps=3):
    optimiser = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    for k in range(steps):
        optimiser.zero_grad()
        step(k).backward()
        optimiser.step()


def train_trunk(trunk, steps=3):
    batches = pictures(trunk.tasks)
    train(
        trunk.parameters(), lambda k: sum(trunk(x, t).square().mean() for t, x in enumerate(batches)), steps
    )
    return trunk


FORMS = {
    "soft": lambda net, tasks: soft_share(net, tasks, init="independent"),
    "hard after 0": lambda net, tasks: hard_share(net, tasks, 0, init="independent"),
    "cross-stitch at identity": lambda net, tasks: cross_stitch(
        net, tasks, torch.zeros(1, 1, 32, 32), start=1.0, rate=0.0, init="independent"
    ),
    "cross-stitch at identity, one matrix": lambda net, tasks: cross_stitch(
        net, tasks, start=1.0, rate=0.0, init="independent"
    ),
}


def own_network(trunk, task):
    """What task ``task`` uses."""
    net = trunk.nets[task]
    return net.nets[task] if hasattr(net, "nets") else net


@pytest.mark.parametrize("make", [small_net, Plain])
@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("form", sorted(FORMS))
def test_forms_without_sharing_are_single_networks_to_the_last_bit(form, tasks, make):
    """Weights, running statistics and outputs, after several steps, against networks that never met."""
    torch.manual_seed(3)
    trunk = FORMS[form](make(), tasks)
    singles = [copy.deepcopy(own_network(trunk, t)) for t in range(tasks)]
    assert tasks == 1 or not torch.equal(*[next(s.parameters()) for s in singles[:2]])
    train_trunk(trunk)
    for t, (single, x) in enumerate(zip(singles, pictures(tasks), strict=True)):
        train(single.parameters(), lambda k, s=single, x=x: s(x).square().mean())
        found = own_network(trunk, t).state_dict()
        for name, value in single.state_dict().items():
            assert torch.equal(found[name], value), (t, name)
        trunk.eval(), single.eval()
        assert torch.equal(trunk(x, t), single(x))


@pytest.mark.parametrize("init", ["same", "independent"])
def test_configured_forms_start_from_the_same_weights_and_stay_equal_where_they_share_nothing(init):
    base = {"pixels": 32, "ada": 0.0, "init": init, "pinned": True, "seed": 5}
    arms = {
        "soft": {"gamma": 0.0},
        "single": {"sharing": "single", "gamma": 0.3},
        "hard": {"sharing": "hard", "hard_after": 0},
        "stitched": {"sharing": "cross_stitch", "stitch_start": 1.0, "stitch_rate": 0.0},
    }
    outputs = {}
    for name, settings_ in arms.items():
        config = TrainConfig.for_budget("smoke", **base, **settings_)
        networks = Networks(config, [Expression(tuple("abcd")[:n], torch.ones(n)) for n in (3, 4)])
        regulariser = make_regulariser(config, networks.net.stacks())
        optimiser = torch.optim.SGD(networks.parameters(), lr=0.05, momentum=0.9)
        for _ in range(3):
            optimiser.zero_grad()
            found, *_ = networks(pictures(2), 0.0)
            sum(o.square().mean() for o in found).backward()
            regulariser.add_gradient_(networks.net.stacks())
            optimiser.step()
            regulariser.after_step_(networks.net.stacks(), 0.05)
        outputs[name] = [o.detach() for o in found]
    for name in ("single", "hard", "stitched"):
        assert all(torch.equal(a, b) for a, b in zip(outputs["soft"], outputs[name], strict=True)), name


ALL_FORMS = {
    "soft": {},
    "single": {"sharing": "single"},
    "hard": {"sharing": "hard", "hard_after": 4},
    "hard, all": {"sharing": "hard", "hard_after": 8, "batch_norm": "shared"},
    "hard, statistics": {"sharing": "hard", "hard_after": 8, "batch_norm": "statistics"},
    "cross-stitch": {"sharing": "cross_stitch"},
    "laf factors": {"sharing": "factorised"},
    "tucker factors": {"sharing": "factorised", "factorisation": "tucker", "factor_tolerance": 0.3},
    "tt factors": {"sharing": "factorised", "factorisation": "tt"},
}


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("form", sorted(ALL_FORMS))
def test_every_form_trains_all_that_it_has_and_is_restored(form, tasks):
    config = TrainConfig.for_budget(
        "smoke", **{**SMALL, **ALL_FORMS[form], "pixels": 32, "init": "independent"}
    )
    torch.manual_seed(2)
    trunk, features = make_trunk(config, tasks)
    net = MultiTaskNet(trunk, [nn.Linear(features, 2 + t) for t in range(tasks)])
    assert trunk.tasks == tasks
    batches = pictures(tasks)
    for t, x in enumerate(batches):
        assert net(x, t).shape == (len(x), 2 + t)
        net(x, t).square().mean().backward()
    for name, parameter in net.named_parameters():
        # One network alone has nothing to mix: its units' single numbers still learn.
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    optimiser.step()
    torch.manual_seed(77)
    other = MultiTaskNet(make_trunk(config, tasks)[0], [nn.Linear(features, 2 + t) for t in range(tasks)])
    state = {key: value.clone() for key, value in net.state_dict().items()}
    if "factors" not in form:  # ranks follow the weights, so that another start may have other shapes
        other.load_state_dict(state)
    twin = copy.deepcopy(net)
    twin.load_state_dict(state, assign=True)
    for each in (net, twin) if "factors" in form else (net, other, twin):
        each.eval()
        for t, x in enumerate(batches):
            assert torch.equal(each(x, t), net(x, t)), form
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in net.parameters())
    assert all(isinstance(w, nn.Parameter) for ws in net.stacks().values() for w in ws)


@pytest.mark.parametrize("form", sorted(ALL_FORMS))
def test_every_form_takes_a_step_as_configured(form):
    """In the layout of the book's runs, with the adversary and a regulariser."""
    config = TrainConfig.for_budget("smoke", **{**ALL_FORMS[form], "pixels": 32, "channels_last": True})
    networks = Networks(config, [Expression(tuple("abcd")[:n], torch.ones(n)) for n in (3, 4)])
    regulariser = make_regulariser(config, networks.net.stacks())
    before = [p.detach().clone() for p in networks.parameters()]
    outputs, domain, _ = networks(pictures(2), 0.5)
    (domain + sum(o.square().mean() for o in outputs)).backward()
    assert regulariser.add_gradient_(networks.net.stacks()) >= 0
    torch.optim.SGD(networks.parameters(), lr=0.1).step()
    regulariser.after_step_(networks.net.stacks(), 0.1)
    assert not any(torch.equal(a, b) for a, b in zip(before, networks.parameters(), strict=True))


@pytest.mark.parametrize("backbone", ["alexnet", "vgg16", "vgg16_bn"])
@pytest.mark.parametrize("sharing", ["soft", "hard", "cross_stitch", "factorised"])
def test_other_architectures_are_shared_by_the_order_of_their_layers(backbone, sharing):
    layers = 7 if backbone == "alexnet" else 15
    config = TrainConfig(
        backbone=backbone,
        width=1,
        pixels=64,
        sharing=sharing,
        hard_after=3,
        factorisation="tt",
        init="independent",
    )
    torch.manual_seed(0)
    trunk, features = make_trunk(config, 2)
    trunk.eval()  # no dropout
    x = torch.randn(2, 1, 64, 64)
    assert features == 64 and trunk(x, 1).shape == (2, 64)
    stacks = trunk.stacks()
    if sharing == "hard":  # no stem to come on top; both readings are one
        assert [len(weights) for weights in stacks.values()] == [1] * 3 + [2] * (layers - 3)
        shared = [a is b for a, b in zip(*(net.parameters() for net in trunk.nets), strict=True)]
        # A bias goes with its layer; batch norm is private.
        assert sum(shared) == 6 and shared[: 2 if backbone == "vgg16_bn" else 6].count(False) == 0
    elif sharing == "factorised":
        assert stacks == {} and len(trunk.ranks()) == layers
    else:
        assert [len(weights) for weights in stacks.values()] == [2] * layers
    if sharing == "cross_stitch":
        assert len(trunk.units) == (4 if backbone == "alexnet" else 6)  # pools, and the first hidden layer


# -------------------------------------------------------------------------------------------- hard sharing


def test_the_counts_of_the_paper():
    """Stages of ResNet-34 end at layers 7, 15, 27 and 33 of the 33; the paper's counts leave the stem out."""
    names = shareable_layers(resnet34(width=1))
    ends = [shared_layers(k) for k in (6, 14, 26, 32)]
    assert [names[e - 1] for e in ends] == [
        f"layer{s + 1}.{b - 1}.conv2.weight" for s, b in enumerate((3, 4, 6, 3))
    ]
    assert [shared_layers(k, "literal") for k in (0, 6, 32, 33)] == [0, 6, 32, 33]
    assert shared_layers(0) == 0 and shared_layers(3, stem=0) == 3
    for k, count in ((33, "blocks"), (34, "literal"), (-1, "literal")):
        with pytest.raises(ConfigError, match=f"after {k} layers"):
            shared_layers(k, count)
    with pytest.raises(ConfigError, match="'blocks' or 'literal'"):
        shared_layers(3, "pairs")


@pytest.mark.parametrize("count", ["blocks", "literal"])
@pytest.mark.parametrize("after", [6, 14, 26, 32])
def test_full_depth_forks_where_the_count_says(after, count):
    config = TrainConfig(width=1, sharing="hard", hard_after=after, hard_count=count)
    trunk, _ = make_trunk(config, 2)
    shared = [name for name, weights in trunk.stacks().items() if len(weights) == 1]
    assert shared == shareable_layers(resnet34(width=1))[: after + (count == "blocks")]
    first, second = trunk.nets
    for name in trunk.names:
        assert (first.get_parameter(name) is second.get_parameter(name)) == (name in shared)
        norm = name.removesuffix(".weight").replace("conv", "bn")
        assert first.get_submodule(norm) is not second.get_submodule(norm)  # private by default


def test_full_hard_sharing_is_one_trunk():
    net = small_net()
    trunk = hard_share(net, 3, 9, shareable_layers(net), "shared")
    assert count_parameters(trunk) == count_parameters(net)
    for t, x in enumerate(pictures(3)):
        assert torch.equal(trunk(x, t), net(x))  # running statistics too have seen the same batches in turn
    assert all(torch.equal(a, b) for a, b in zip(trunk.nets[2].buffers(), net.buffers(), strict=True))


@pytest.mark.parametrize("batch_norm", ["private", "statistics", "shared"])
def test_batch_norm_is_shared_as_stated(batch_norm):
    net = small_net()
    trunk = train_trunk(hard_share(net, 2, 9, shareable_layers(net), batch_norm))
    a, b = (each.layer2[0].bn1 for each in trunk.nets)
    assert (a.weight is b.weight) == (batch_norm != "private")
    assert torch.equal(a.running_mean, b.running_mean) == (batch_norm == "shared")
    assert int(a.num_batches_tracked) == (6 if batch_norm == "shared" else 3)


@pytest.mark.parametrize("make", [small_net, Plain])
def test_gradients_of_shared_weights_are_the_sum_of_the_tasks(make):
    net = make()
    names = [n for n, p in net.named_parameters() if p.ndim > 1]
    trunk = hard_share(net, 3, 2, names)
    batches = pictures(3)
    sum(trunk(x, t).square().mean() for t, x in enumerate(batches)).backward()
    alone = []
    for t, x in enumerate(batches):
        single = copy.deepcopy(net)
        single(x).square().mean().backward()
        alone.append({name: p.grad for name, p in single.named_parameters()})
        for name in names[2:]:
            torch.testing.assert_close(trunk.nets[t].get_parameter(name).grad, alone[t][name])
    for name in names[:2]:
        torch.testing.assert_close(
            trunk.nets[0].get_parameter(name).grad, sum(g[name] for g in alone), rtol=1e-5, atol=1e-7
        )


def test_a_fork_takes_biases_along_and_leaves_projections_to_the_block_that_adds_them():
    trunk = hard_share(Plain(), 2, 1, None)
    a, b = trunk.nets
    assert a.features[0].bias is b.features[0].bias and a.features[4].bias is not b.features[4].bias
    net = resnet34(**SMALL, shortcut="B")
    names = shareable_layers(net)
    inside, behind = (hard_share(net, 2, k, names) for k in (4, 5))  # before and after layer2.0.conv2
    assert inside.nets[0].layer2[0].conv1 is inside.nets[1].layer2[0].conv1
    assert inside.nets[0].layer2[0].downsample[0] is not inside.nets[1].layer2[0].downsample[0]
    assert behind.nets[0].layer2[0].downsample[0] is behind.nets[1].layer2[0].downsample[0]


def test_shared_layers_survive_casting_copying_and_loading():
    net = small_net()
    for batch_norm in ("private", "statistics", "shared"):
        trunk = hard_share(net, 2, 5, shareable_layers(net), batch_norm)
        count = count_parameters(trunk)
        trunk = copy.deepcopy(trunk.double()).to(memory_format=torch.channels_last)
        state = {key: value.clone() for key, value in trunk.state_dict().items()}
        trunk.load_state_dict(state, assign=True)
        assert count_parameters(trunk) == count
        assert trunk.nets[0].layer1[0].conv1.weight is trunk.nets[1].layer1[0].conv1.weight
        train_trunk(trunk.float())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": 0}, "tasks is 0"),
        ({"after": 10}, "after 10 layers: the network has 9"),
        ({"layers": ["layer1.0.conv1.weight", "conv1.weight"]}, "in the order"),
        ({"layers": ["conv9.weight"]}, "no layer 'conv9.weight'"),
    ],
)
def test_impossible_forks_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        hard_share(small_net(), **{"tasks": 2, "after": 1, **arguments})


# -------------------------------------------------------------------------------------------- cross-stitch


@pytest.mark.parametrize("make", [small_net, Plain, lambda: nn.Sequential(nn.Flatten(), nn.Linear(1024, 3))])
def test_segments_are_the_network(make):
    net = make()
    x = pictures(1)[0]
    y = x
    for part in segments(copy.deepcopy(net)):
        y = part(y)
    assert torch.equal(y, net(x))
    assert len(segments(net)) == (6 if hasattr(net, "layer1") else 4 if hasattr(net, "features") else 2)
    with pytest.raises(ConfigError, match="does not know where to cut Bilinear"):
        segments(nn.Bilinear(2, 2, 2))


def test_units_are_convex_at_the_start_and_mix_as_written():
    for tasks, channels in itertools.product((1, 2, 4), (None, 3)):
        unit = CrossStitchUnit(tasks, channels, start=0.7)
        alpha = unit.weights()
        assert alpha.min() >= 0 and torch.allclose(alpha.sum(1), torch.ones(()))
        nn.init.normal_(unit.learnt)
        maps = [torch.randn(2, 3, 5, 5) for _ in range(tasks)]
        alpha = unit.weights() if channels else unit.weights()[..., None].expand(-1, -1, 3)
        expected = torch.einsum("tsc,snchw->tnchw", alpha, torch.stack(maps))
        torch.testing.assert_close(torch.stack(unit(maps)), expected)
        torch.testing.assert_close(unit(maps, [tasks - 1])[0], expected[-1])


@pytest.mark.parametrize("rate", [0.0, 1.0, 100.0])
def test_a_units_rate_multiplies_the_learning_rate(rate):
    unit = CrossStitchUnit(2, start=0.9, rate=rate)
    maps = [torch.randn(4, 3), torch.randn(4, 3)]
    before = unit.weights().detach().clone()
    free = before.clone().requires_grad_()
    torch.einsum("ts,snc->tnc", free, torch.stack(maps)).square().sum().backward()
    optimiser = torch.optim.SGD(unit.parameters(), lr=1e-3)
    sum(m.square().sum() for m in unit(maps)).backward()
    optimiser.step()
    torch.testing.assert_close(unit.weights().detach(), before - rate * 1e-3 * free.grad)


def test_every_network_looks_at_every_picture_and_learns_from_it():
    """The cost of disjoint data: T x T passes; the networks learn from all tasks as soon as they are mixed."""
    trunk = cross_stitch(small_net(), 3, torch.zeros(1, 1, 32, 32))
    calls = []
    for s, t in itertools.product(range(3), repeat=2):
        trunk.nets[s].nets[t].maxpool.register_forward_hook(lambda *_, s=s, t=t: calls.append((s, t)))
        # The pool has no state, so that every view has one of its own.
    x = pictures(3)[1]
    trunk(x, 1).square().mean().backward()
    assert calls == [(0, 1), (1, 1), (2, 1)] or set(calls) == {(0, 1), (1, 1), (2, 1)}
    for net in trunk.nets:
        assert net.nets[1].conv1.weight.grad.abs().max() > 0
        assert int(net.nets[1].bn1.num_batches_tracked) == 1
        assert int(net.nets[0].bn1.num_batches_tracked) == 0  # statistics of another stream are untouched
    assert all(u.learnt.grad.abs().max() > 0 for u in trunk.units)
    names = [n for n, _ in trunk.named_parameters()]
    assert len(names) == 3 * len(list(small_net().parameters())) + 5


def test_the_paper_like_stitching_is_a_two_network_forward():
    """Against the forward pass written out for two networks and pictures of the second task."""
    torch.manual_seed(4)
    net = small_net()
    trunk = cross_stitch(net, 2, init="independent", start=0.8)
    a, b = (copy.deepcopy(trunk.nets[s].nets[1]) for s in range(2))
    x = pictures(2)[1]
    maps = [net.maxpool(torch.relu(net.bn1(net.conv1(x)))) for net in (a, b)]
    for i in range(1, 6):
        maps = [0.8 * maps[0] + 0.2 * maps[1], 0.2 * maps[0] + 0.8 * maps[1]]
        if i < 5:
            maps = [getattr(net, f"layer{i}")(m) for net, m in zip((a, b), maps, strict=True)]
    torch.testing.assert_close(trunk(x, 1), maps[1].mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_impossible_stitches_are_named():
    for arguments, message in (
        ({"start": 1.5}, "convex mixture needs 0 to 1"),
        ({"rate": -1.0}, "at least 0"),
        ({"tasks": 0}, "tasks is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            cross_stitch(small_net(), **{"tasks": 2, **arguments})


# ---------------------------------------------------------------------------------------------- factorised


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["laf", "tucker", "tt"]),
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    tolerance=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    seed=st.integers(0, 99),
)
def test_decompositions_keep_the_error_they_are_given(kind, shape, tolerance, seed):
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64)
    factors = decompose(x, kind, tolerance)
    whole = compose(factors, kind)
    assert (whole - x).norm() <= (tolerance + 1e-9) * x.norm()
    for t in range(shape[-1]):
        torch.testing.assert_close(compose(factors, kind, t)[..., 0], whole[..., t])


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
def test_ranks_are_found_and_agree_with_tensorly(kind):
    """A tensor of known low rank, with a little noise: the ranks come out, and so does its best approximation."""
    tl.set_backend("numpy")
    torch.manual_seed(0)
    core = torch.randn(2, 3, 2, dtype=torch.float64)
    sides = [torch.linalg.qr(torch.randn(n, r, dtype=torch.float64)).Q for n, r in ((6, 2), (7, 3), (5, 2))]
    x = torch.einsum("abc,ia,jb,kc->ijk", core, *sides)
    x = x + 1e-4 * x.norm() / x.numel() ** 0.5 * torch.randn_like(x)
    factors = decompose(x, kind, 0.01)
    if kind == "tucker":
        assert factors[0].shape == (2, 3, 2)
        oracle = tl.tucker_to_tensor(tucker(x.numpy(), [2, 3, 2]))
    elif kind == "tt":
        assert [tuple(f.shape) for f in factors] == [(1, 6, 2), (2, 7, 2), (2, 5, 1)]
        oracle = tl.tt_to_tensor(tensor_train(x.numpy(), [1, 2, 2, 1]))
    else:
        assert factors[1].shape == (5, 2)
        u, s, v = torch.linalg.svd(x.flatten(0, 1), full_matrices=False)
        oracle = ((u[:, :2] * s[:2]) @ v[:2]).view(6, 7, 5).numpy()
    torch.testing.assert_close(compose(factors, kind), torch.from_numpy(oracle), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
def test_at_full_rank_the_networks_are_the_given_ones(kind):
    torch.manual_seed(1)
    nets = [small_net(seed) for seed in range(3)]
    names = shareable_layers(nets[0])
    shared = factorise(nets, layers=names, kind=kind, tolerance=0.0)
    for t, x in enumerate(pictures(3)):
        torch.testing.assert_close(shared(x, t), nets[t](x), rtol=1e-3, atol=1e-4)
    for name, stack in shared.joined().items():
        torch.testing.assert_close(
            stack, torch.stack([n.get_parameter(name) for n in nets]), rtol=1e-4, atol=1e-5
        )
    assert shared.stacks() == {} and set(shared.ranks()) == set(names)


def test_what_the_paper_says_of_two_tasks():
    """Rank 2 of two tasks costs more than the two networks; rank 1 ties the kernels up to a factor."""
    nets = [small_net(seed) for seed in range(2)]
    names = shareable_layers(nets[0])
    plain = 2 * count_parameters(nets[0])
    assert count_parameters(factorise(nets, layers=names, kind="laf")) == plain + 4 * len(names)
    assert count_parameters(factorise(nets, layers=names, kind="tucker")) > plain
    one = factorise(nets, layers=names, kind="laf", tolerance=0.99)
    assert set(one.ranks().values()) == {(1,)}
    assert count_parameters(one) < plain
    for stack in one.joined().values():
        assert torch.linalg.matrix_rank(stack.flatten(1), rtol=1e-5) == 1


def test_factors_receive_the_gradient_of_what_they_make():
    """Against autograd through the multiplied-out weights of an ordinary network."""
    torch.manual_seed(2)
    nets = [nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 2)) for _ in range(2)]
    shared = factorise(nets, kind="tucker", tolerance=0.2)
    x = torch.randn(5, 1, 4, 4)
    shared(x, 1).square().sum().backward()
    found = [f.grad.clone() for factors in shared.factors for f in factors]
    weights = {name: compose(shared.factors_of(i), "tucker") for i, name in enumerate(shared.names)}
    state = {
        "0.weight": weights["0.weight"][..., 1].permute(3, 2, 0, 1),
        "2.weight": weights["2.weight"][..., 1].T,
    }
    assert paper_order(torch.zeros(2, 3, 1, 4, 5)).shape == (4, 5, 1, 3, 2)
    state |= {"0.bias": shared.nets[1][0].bias, "2.bias": shared.nets[1][2].bias}
    expected = torch.autograd.grad(
        torch.func.functional_call(nets[1], state, x).square().sum(),
        [f for factors in shared.factors for f in factors],
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_weight_that_is_used_twice_is_factorised_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4)
            self.down.weight = self.up.weight

        def forward(self, x):
            return self.down(torch.relu(self.up(x)))

    nets = [Twice(), Twice()]
    shared = factorise(nets, tolerance=0.0)
    assert shared.names == ("up.weight",)
    x = torch.randn(3, 4)
    torch.testing.assert_close(shared(x, 1), nets[1](x))
    assert "down.weight" not in shared.nets[0].state_dict()
    copy.deepcopy(shared)(x, 0).sum().backward()


def test_impossible_factorisations_are_named():
    net = nn.Linear(3, 2)
    with pytest.raises(ConfigError, match="tasks is None"):
        factorise(net)
    with pytest.raises(ConfigError, match="tasks is 3 and there are 2"):
        factorise([net, net], 3)
    with pytest.raises(ConfigError, match="the tolerance is 1"):
        factorise(net, 2, tolerance=1.0)
    with pytest.raises(ConfigError, match="no norm to pin"):
        TrainConfig(sharing="factorised", pinned=True)


# ------------------------------------------------------------------------------------------- configuration


def test_new_settings_are_told_apart_and_checked():
    base = TrainConfig()
    for change in (
        {"backbone": "vgg16"}, {"sharing": "hard"}, {"hard_after": 6}, {"hard_count": "literal"}, {"batch_norm": "shared"},
        {"stitch_start": 1.0}, {"stitch_rate": 10.0}, {"factorisation": "tt"}, {"factor_tolerance": 0.2},
        {"norm": "deviation"}, {"gamma_schedule": "linear"}, {"gamma_end": 1.0}, {"penalty_step": "proximal"},
    ):  # fmt: skip
        config = TrainConfig(**change)
        assert config.digest() != base.digest() and TrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="hard sharing after 9 layers"):
        make_trunk(TrainConfig.for_budget("smoke", sharing="hard", hard_after=9), 2)
