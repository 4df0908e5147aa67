"""Hard sharing: where the trunk forks, what both sides of the fork have in common, and its gradients."""

import copy

import pytest
import torch
from small_nets import SMALL, Plain, pictures, small_net, train_trunk

from mtl_lib.backbones import resnet34, shareable_layers
from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError
from mtl_lib.factorised import count_parameters
from mtl_lib.hard_sharing import hard_share, shared_layers
from mtl_lib.trunks import make_trunk


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
