"""Factorised weights: ranks, errors, gradients and sizes of what the factors make."""

import copy

import pytest
import tensorly as tl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import pictures, small_net
from tensorly.decomposition import tensor_train, tucker
from torch import nn

from mtl_lib.backbones import shareable_layers
from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError
from mtl_lib.factorised import count_parameters, factorise
from mtl_lib.tensor_factors import compose, decompose
from mtl_lib.unfold import paper_order


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
