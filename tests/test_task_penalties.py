"""The control without coupling and the deviation penalty: values, gradients, proximal steps."""

import copy
import math

import cvxpy as cp
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from task_formulas import FORMULAS, as_matrix, deviation, norm_only, weights
from torch import nn

from mtl_lib.regularisers import Regulariser, make_penalty
from mtl_lib.task_penalties import Deviation, NormOnly, length
from mtl_lib.trace_norm import TraceNormPenalty


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(sorted(FORMULAS)), tasks=st.integers(1, 5), seed=st.integers(0, 99))
def test_values_and_gradients_are_those_of_autograd(kind, tasks, seed):
    stack = weights(tasks, seed=seed)
    matrix = as_matrix(stack).requires_grad_()
    expected = 0.3 * FORMULAS[kind](matrix)
    if tasks > 1 or kind == "norm_only":
        (gradient,) = torch.autograd.grad(expected, matrix)
    else:  # one task does not deviate; autograd would divide by zero
        gradient = torch.zeros_like(matrix)
    penalty = make_penalty(kind, 0.3)
    value = penalty.add_gradient_({"fc": stack})
    torch.testing.assert_close(value.double(), expected.detach(), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(penalty({"fc": stack}), value)
    torch.testing.assert_close(torch.stack([w.grad.reshape(-1) for w in stack]), gradient)


def test_for_two_tasks_deviation_is_the_relative_distance():
    a, b = (w.detach() for w in weights(2))
    value = Deviation(1.0)({"fc": [a, b]})
    assert value.item() == pytest.approx(((a - b).norm() / (a.norm() + b.norm())).item(), rel=1e-6)


def test_deviation_is_signed_and_free_of_scale():
    (w,) = (w.detach() for w in weights(1))
    across = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    value = Deviation(1.0)
    assert value({"fc": [w, w]}) == 0 and value({"fc": [w, w, w]}) == 0
    assert value({"fc": [w, -w]}).item() == pytest.approx(1)
    assert value({"fc": list(across)}).item() == pytest.approx(math.sqrt(0.5))
    assert value({"fc": [5 * w, 5 * w.flip(0)]}).item() == pytest.approx(value({"fc": [w, w.flip(0)]}).item())
    stack = weights(3)
    value.add_gradient_({"fc": stack})
    # Pulling at directions only: no gain by scaling all tasks together.
    assert sum((w * w.grad).sum() for w in stack).item() == pytest.approx(0, abs=1e-12)


def test_norm_only_does_not_couple_and_is_laf_of_orthogonal_tasks():
    a, b = weights(2)
    alone = copy.deepcopy(a)
    NormOnly(0.7).add_gradient_({"fc": [a, b]})
    NormOnly(0.7).add_gradient_({"fc": [alone]})
    assert torch.equal(a.grad, alone.grad)
    rows = torch.linalg.qr(torch.randn(8, 3, dtype=torch.float64)).Q.T * torch.tensor([[1.0], [2], [3]])
    laf, own = TraceNormPenalty("laf", 1.0)({"fc": list(rows)}), NormOnly(1.0)({"fc": list(rows)})
    assert laf.item() == pytest.approx(own.item(), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(tasks=st.integers(1, 4), zero=st.booleans(), seed=st.integers(0, 99))
def test_norm_only_satisfies_the_subgradient_inequality(tasks, zero, seed):
    """R(v) >= R(w) + <g, v - w>, at a kink too."""
    stack = weights(tasks, seed=seed)
    if zero:
        stack[0].data.zero_()
    NormOnly(1.0).add_gradient_({"fc": stack})
    w, g = as_matrix(stack), torch.stack([w.grad.reshape(-1) for w in stack])
    for v in (torch.randn_like(w), w + 0.01 * torch.randn_like(w), torch.zeros_like(w)):
        assert norm_only(v) >= norm_only(w) + (g * (v - w)).sum() - 1e-9


@settings(max_examples=25, deadline=None)
@given(tasks=st.integers(2, 4), tied=st.booleans(), seed=st.integers(0, 99))
def test_the_numerator_of_deviation_satisfies_it(tasks, tied, seed):
    """R S with S held fixed is convex; its sub-gradient is R's gradient with the denominator's part taken off."""
    stack = weights(tasks, seed=seed)
    if tied:
        for w in stack[1:]:
            w.data.copy_(stack[0])
    value = Deviation(1.0).add_gradient_({"fc": stack})
    w, g = as_matrix(stack), torch.stack([w.grad.reshape(-1) for w in stack])
    total = norm_only(w)
    g = total * g + value * w / w.norm(dim=1, keepdim=True)
    for v in (torch.randn_like(w), w + 0.01 * torch.randn_like(w)):
        numerator = [math.sqrt(tasks) * (x - x.mean(0)).norm() for x in (v, w)]
        assert numerator[0] >= numerator[1] + (g * (v - w)).sum() - 1e-6


@pytest.mark.parametrize("kind", sorted(FORMULAS))
@pytest.mark.parametrize("scale", [0.0, 1e-15, 1e15])
def test_nothing_breaks_at_zero_and_at_the_ends_of_float32(kind, scale):
    stack = [nn.Parameter(w.detach() * scale) for w in weights(3, dtype=torch.float32)]
    penalty = make_penalty(kind, 1.0)
    assert penalty.add_gradient_({"fc": stack}).isfinite()
    penalty.prox_({"fc": stack}, 0.1)
    assert all(w.isfinite().all() and w.grad.isfinite().all() for w in stack)


def test_lengths_are_exact_to_float32_where_plain_sums_are_not():
    torch.manual_seed(0)
    row = torch.randn(1_000_003)
    assert length(row).item() == pytest.approx(row.double().norm().item(), rel=2e-7)


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("tau", [0.05, 0.6, 4.0])
def test_norm_only_proximal_step_is_the_minimiser(tasks, tau):
    stack = weights(tasks)
    w = as_matrix(stack).numpy()
    u = cp.Variable(w.shape)
    cp.Problem(cp.Minimize(cp.sum_squares(u - w) / 2 + tau * cp.sum(cp.norm(u, axis=1)))).solve()
    NormOnly(2.0).prox_({"fc": stack}, tau / 2)
    torch.testing.assert_close(as_matrix(stack), torch.from_numpy(u.value), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("tau", [0.05, 1.0, 80.0])
def test_deviation_proximal_step_is_the_minimiser_at_this_denominator(tasks, tau):
    stack = weights(tasks)
    w = as_matrix(stack).numpy()
    total = norm_only(as_matrix(stack)).item()
    u = cp.Variable(w.shape)
    centre = torch.eye(tasks).double().numpy() - 1 / tasks
    objective = cp.sum_squares(u - w) / 2 + tau * math.sqrt(tasks) / total * cp.norm(centre @ u, "fro")
    cp.Problem(cp.Minimize(objective)).solve()
    Deviation(2.0).prox_({"fc": stack}, tau / 2)
    torch.testing.assert_close(as_matrix(stack), torch.from_numpy(u.value), rtol=0, atol=1e-5)
    assert all(torch.equal(w, stack[0]) for w in stack) == (tau == 80.0)


@pytest.mark.parametrize("tau", [0.02, 0.5, 1.5, 5.0])
def test_on_the_sphere_two_pinned_tasks_take_the_exact_step(tau):
    """Against a search over both angles for the step of tau R among kernels of the given length."""
    rho, angles = 1.3, torch.tensor([0.4, 1.5]).double()
    stack = [nn.Parameter(rho * torch.stack([a.cos(), a.sin()])) for a in angles]
    before = as_matrix(stack)
    regulariser = Regulariser({"fc": stack}, Deviation(tau), "proximal", pinned=True)
    regulariser.after_step_({"fc": stack}, 1.0)

    def objective(turned):
        u = rho * torch.stack([torch.tensor([math.cos(a), math.sin(a)]).double() for a in turned])
        return (((u - before) ** 2).sum() / 2 + tau * deviation(u)).item()

    both = minimize(objective, angles.tolist(), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    tied = minimize_scalar(lambda a: objective([a, a]), bounds=(0, 2), method="bounded")
    expected = both.x if both.fun < tied.fun - 1e-12 else [tied.x, tied.x]
    found = [math.atan2(w[1].item(), w[0].item()) for w in stack]
    assert found == pytest.approx(list(expected), abs=1e-4)
    assert torch.equal(*stack) == (tau == 5.0)


@settings(max_examples=20, deadline=None)
@given(tasks=st.integers(2, 6), seed=st.integers(0, 99), pinned=st.booleans())
def test_ties_are_exact_and_stay_when_nothing_pulls(tasks, seed, pinned):
    """In float32, from kernels of different lengths; three or more equal tasks must not fall apart by rounding."""
    stack = weights(tasks, (4, 3, 3, 3), seed, torch.float32)
    regulariser = Regulariser({"conv": stack}, Deviation(1e3), "proximal", pinned)
    for _ in range(3):
        regulariser.after_step_({"conv": stack}, 1.0)
        assert all(torch.equal(w, stack[0]) for w in stack)
        assert Deviation(1.0)({"conv": stack}) == 0


def test_weights_in_any_layout_give_the_same():
    for kind in FORMULAS:
        plain = weights(2, (4, 3, 3, 3))
        last = [nn.Parameter(w.detach().contiguous(memory_format=torch.channels_last)) for w in plain]
        odd = [nn.Parameter(torch.cat([w.detach(), w.detach()], 1)[:, :3]) for w in plain]
        for stack in (last, odd):
            stack[1].grad = torch.zeros(4, 3, 3, 3).double()  # another layout than the weight's
        for stack in (plain, last, odd):
            penalty = make_penalty(kind, 0.5)
            penalty.add_gradient_({"conv": stack})
            penalty.prox_({"conv": stack}, 0.3)
        for stack in (last, odd):
            for w, v in zip(plain, stack, strict=True):
                torch.testing.assert_close(w.grad, v.grad)
                torch.testing.assert_close(w.detach(), v.detach())
