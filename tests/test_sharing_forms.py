"""Every way of sharing, behind one interface: where it must equal single networks it does, bit for bit."""

import copy

import pytest
import torch
from small_nets import SMALL, Plain, pictures, small_net, train, train_trunk
from torch import nn

from mtl_lib.config import TrainConfig
from mtl_lib.cross_stitch import cross_stitch
from mtl_lib.errors import ConfigError
from mtl_lib.hard_sharing import hard_share
from mtl_lib.regularisers import make_regulariser
from mtl_lib.sharing import MultiTaskNet, soft_share
from mtl_lib.tasks import Expression, Networks
from mtl_lib.trunks import make_trunk

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
