"""Cross-stitch units: how they mix maps, how fast they learn, and where a network is cut for them."""

import copy
import itertools

import pytest
import torch
from small_nets import Plain, pictures, small_net
from torch import nn

from mtl_lib.cross_stitch import CrossStitchUnit, cross_stitch, segments
from mtl_lib.errors import ConfigError


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
