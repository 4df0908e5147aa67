"""The paper's U V^T over all singular vectors as the factor of a penalty, beside the shortest one."""

import math

import pytest
import torch
from weight_stacks import clear, gradients, make_stacks

from mtl_lib.sharing import soft_share
from mtl_lib.trace_norm import (
    TraceNormPenalty,
    tensor_trace_norm,
)
from mtl_lib.unfold import paper_order


def deficient(tasks, what):
    """Stacks whose unfoldings lack rank: equal tasks, proportional ones, dead filters, nothing but zeros."""
    stacks = make_stacks(tasks, shapes={"conv": (4, 3, 3, 3), "fc": (5, 7)})
    for tensors in stacks.values():
        for number, tensor in enumerate(tensors):
            if what == "equal":
                tensor.data.copy_(tensors[0])
            elif what == "proportional":
                tensor.data.copy_((-2.0) ** number * tensors[0])
            elif what == "dead filters":
                tensor.data[1:3] = 0
            elif what == "zero" or (what == "one task zero" and number == 0):
                tensor.data.zero_()
    return stacks


def unfoldings(stack, kind):
    """Written out: the matrices whose trace norms a kind sums, of a tensor with the tasks last."""
    n = stack.ndim
    if kind == "tt":
        return [stack.reshape(math.prod(stack.shape[:k]), -1) for k in range(1, n)]
    axes = range(n) if kind == "tucker" else [n - 1]
    return [stack.movedim(axis, 0).reshape(stack.shape[axis], -1) for axis in axes]


@pytest.mark.parametrize("tasks", [2, 3])
@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
@pytest.mark.parametrize(
    "what", ["equal", "proportional", "dead filters", "one task zero", "zero", "full rank"]
)
def test_the_papers_factor_in_a_penalty_against_the_svd(kind, tasks, what):
    """Of every unfolding, by turns: U V^T of the SVD on the ranks there are, and all singular values one."""
    count = {"laf": (1, 1), "tucker": (5, 3), "tt": (4, 2)}[kind]
    for name, terms in zip(("conv", "fc"), count, strict=True):
        for term in range(terms):
            stacks = {name: deficient(tasks, what)[name]}
            weights = [float(i == term) for i in range(terms)]
            found = {}
            for null in ("minimum", "full"):
                clear(stacks)
                value = TraceNormPenalty(kind, 1.0, weights, null=null).add_gradient_(stacks)
                gradient = paper_order(torch.stack(gradients(stacks)))
                found[null] = value, unfoldings(gradient, kind)[term].double()
            whole = paper_order(torch.stack([t.detach() for t in stacks[name]]))
            matrix = unfoldings(whole, kind)[term].double()
            u, sigma, v = torch.linalg.svd(matrix, full_matrices=False)
            rank = int((sigma > 1e-5 * sigma[0]).sum()) if sigma[0] else 0
            u, v = u[:, :rank], v[:rank]
            value, full = found["full"]
            torch.testing.assert_close(value, found["minimum"][0], rtol=1e-6, atol=0)
            torch.testing.assert_close(value.double(), sigma.sum(), rtol=1e-6, atol=0)
            torch.testing.assert_close(torch.linalg.svdvals(full), torch.ones_like(sigma), rtol=0, atol=1e-5)
            torch.testing.assert_close((full * matrix).sum(), sigma.sum(), rtol=1e-5, atol=0)
            extra = full - u @ v  # in the null spaces alone, as the whole subdifferential demands
            assert (u.T @ extra).abs().max() < 1e-5 if rank else True
            assert (extra @ v.T).abs().max() < 1e-5 if rank else True
            assert extra.norm() == pytest.approx((min(matrix.shape) - rank) ** 0.5, abs=1e-4)
            torch.testing.assert_close(found["minimum"][1], u @ v, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
def test_every_way_to_the_papers_factor_is_the_same(kind):
    stacks = deficient(2, "equal")
    penalty = TraceNormPenalty(kind, gamma=0.3, null="full")
    log = {}
    value = penalty.add_gradient_(stacks, measures=log)
    added = gradients(stacks)
    clear(stacks)
    penalty(stacks).backward()
    for one, two in zip(added, gradients(stacks), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    leaves = {name: torch.stack([t.detach() for t in ts]).requires_grad_() for name, ts in stacks.items()}
    total = sum(0.3 * tensor_trace_norm(paper_order(leaf), kind, null="full") for leaf in leaves.values())
    total.backward()
    torch.testing.assert_close(value, total.detach(), rtol=1e-6, atol=0)
    for one, two in zip(added, [g for leaf in leaves.values() for g in leaf.grad], strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    for name, found in TraceNormPenalty(kind).measures(stacks).items():
        torch.testing.assert_close(log[name].terms, found.terms, rtol=1e-6, atol=0)
        torch.testing.assert_close(log[name].cosine, found.cosine, rtol=0, atol=1e-6)


def test_soft_sharing_from_one_start_parts_at_once_under_the_papers_factor_alone():
    """Equal networks and equal data: by the shortest sub-gradient they stay equal to the last bit."""
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    apart = {}
    for null in ("minimum", "full"):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
        shared = soft_share(net, tasks=2)
        penalty = TraceNormPenalty("laf", gamma=0.1, null=null)
        optimiser = torch.optim.SGD(shared.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            sum((shared(inputs, task)[:, 0] - inputs[:, 0]).square().mean() for task in (0, 1)).backward()
            penalty.add_gradient_(shared.stacks())
            optimiser.step()
        apart[null] = max((a - b).abs().max().item() for a, b in shared.stacks().values())
    assert apart["minimum"] < 1e-6 < 1e-3 < apart["full"]
