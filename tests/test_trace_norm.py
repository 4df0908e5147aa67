"""Tensor trace norms: the paper's identities, gradients against autograd and finite differences, golden values."""

import math

import hypothesis.strategies as st
import pytest
import tensorly
import torch
from hypothesis import given, settings

from mtl_lib.errors import ConfigError
from mtl_lib.trace_norm import KINDS, mode_norms, tensor_trace_norm
from mtl_lib.unfold import tt_unfold, unfold

quick = settings(derandomize=True, max_examples=40, deadline=None)
shapes = st.lists(st.integers(1, 4), min_size=2, max_size=5)


def random_tensor(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unfoldings(x, kind):
    """Written out from Eqs. (1) to (3); TensorLy unfolds."""
    n = x.ndim
    if kind == "laf":
        return [x.reshape(-1, x.shape[-1])]
    if kind == "tucker":
        return [torch.from_numpy(tensorly.unfold(x.detach().numpy(), i)) for i in range(n)]
    return [x.reshape(math.prod(x.shape[:k]), -1) for k in range(1, n)]


@quick
@given(shapes, st.sampled_from(KINDS), st.integers(0, 1000), st.floats(0, 3))
def test_value_is_the_weighted_sum_over_unfoldings(shape, kind, seed, first):
    x = random_tensor(shape, seed)
    norms = [torch.linalg.matrix_norm(m, ord="nuc") for m in unfoldings(x, kind)]
    weights = [first, *(0.5 + i for i in range(len(norms) - 1))]
    expected = sum(w * n for w, n in zip(weights, norms, strict=True))
    for method in ("auto", "svd", "gram"):
        torch.testing.assert_close(
            tensor_trace_norm(x, kind, weights, method), expected, rtol=1e-7, atol=1e-12
        )
        torch.testing.assert_close(mode_norms(x, kind, method), torch.stack(norms), rtol=1e-7, atol=1e-12)


@quick
@given(shapes, st.integers(0, 1000))
def test_last_terms_of_tucker_and_tt_are_laf(shape, seed):
    x = random_tensor(shape, seed, torch.float32)
    laf = tensor_trace_norm(x, "laf")
    torch.testing.assert_close(mode_norms(x, "tucker")[-1], laf, rtol=1e-6, atol=0)
    torch.testing.assert_close(mode_norms(x, "tt")[-1], laf, rtol=1e-6, atol=0)
    torch.testing.assert_close(mode_norms(x, "tt")[0], mode_norms(x, "tucker")[0], rtol=1e-6, atol=0)


@quick
@given(shapes, st.sampled_from(KINDS), st.integers(0, 1000))
def test_subgradient_inequality_also_at_rank_deficiency(shape, kind, seed):
    x = random_tensor(shape, seed)
    if seed % 3 == 0:
        x[..., :] = x[..., :1]  # all tasks alike
    if seed % 7 == 0:
        x.zero_()
    x.requires_grad_()
    value = tensor_trace_norm(x, kind, method="gram" if seed % 2 else "auto")
    value.backward()
    assert x.grad.isfinite().all()
    for distance in (1e-3, 1.0):
        y = x.detach() + distance * random_tensor(shape, seed + 1)
        bound = value + (x.grad * (y - x.detach())).sum()
        assert tensor_trace_norm(y, kind) - bound >= -1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["auto", "svd", "gram", "closed"])
def test_gradcheck_at_full_rank(kind, method):
    x = random_tensor((2, 3, 4, 2), 0).requires_grad_()
    count = {"laf": 1, "tucker": 4, "tt": 3}[kind]
    weights = [1.0 + i for i in range(count)]
    assert torch.autograd.gradcheck(lambda t: tensor_trace_norm(t, kind, weights, method), x)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_agrees_with_autograd_of_the_nuclear_norm(kind):
    x = random_tensor((3, 3, 8, 6, 2), 1).requires_grad_()
    tensor_trace_norm(x, kind).backward()
    y = x.detach().clone().requires_grad_()
    matrices = {
        "laf": lambda: [unfold(y, -1)],
        "tucker": lambda: [unfold(y, i) for i in range(5)],
        "tt": lambda: [tt_unfold(y, k) for k in range(1, 5)],
    }[kind]()
    sum(torch.linalg.matrix_norm(m, ord="nuc") for m in matrices).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-10)


def test_golden_values():
    """x[i, j, t] = 1 where i = j, with weights 3 and 4 for the two tasks: every norm by hand."""
    x = torch.zeros(2, 2, 2)
    x[0, 0] = x[1, 1] = torch.tensor([3.0, 4.0])
    # Modes 0 and 1: two orthogonal rows of length 5.  Tasks: rank one, Frobenius norm sqrt(50).
    expected = torch.tensor([10.0, 10.0, 50**0.5])
    torch.testing.assert_close(mode_norms(x, "tucker"), expected)
    torch.testing.assert_close(mode_norms(x, "tt"), torch.tensor([10.0, 50**0.5]))
    torch.testing.assert_close(tensor_trace_norm(x, "tucker", [1, 2, 0]), torch.tensor(30.0))


def test_the_papers_full_factor_and_the_least_one_differ_only_in_the_null_space():
    x = random_tensor((5, 2), 2)
    x[:, 1] = x[:, 0]
    gradients = {}
    for null in ("minimum", "full"):
        leaf = x.clone().requires_grad_()
        tensor_trace_norm(leaf, "laf", null=null).backward()
        gradients[null] = leaf.grad
    extra = gradients["full"] - gradients["minimum"]
    assert gradients["full"].norm() == pytest.approx(2**0.5) and gradients["minimum"].norm() == pytest.approx(
        1
    )
    assert (x.T @ extra).abs().max() < 1e-12 and (x @ extra.T).abs().max() < 1e-12


def test_no_second_derivative_is_pretended():
    x = random_tensor((3, 2), 3).requires_grad_()
    (gradient,) = torch.autograd.grad(tensor_trace_norm(x) ** 2, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: tensor_trace_norm(x, "cp"), ["'cp'", "laf, tucker, tt"]),
        (lambda x: tensor_trace_norm(x, "tucker", [1.0, 1.0]), ["2 entries", "3 axes", "give 3"]),
        (lambda x: tensor_trace_norm(x, "tt", [1.0]), ["1 entries", "give 2"]),
        (lambda x: tensor_trace_norm(x, "laf", [-1.0]), ["-1.0", "at least 0"]),
        (lambda x: tensor_trace_norm(x[0, 0]), ["two axes", "given: 1"]),
        (lambda x: tensor_trace_norm(x, method="newton"), ["'newton'", "gram"]),
        (lambda x: tensor_trace_norm(x, null="none"), ["'none'", "minimum"]),
        (lambda x: mode_norms(x, "sum"), ["'sum'"]),
    ],
)
def test_errors_say_what_was_given_and_what_is_allowed(call, says):
    with pytest.raises(ConfigError) as error:
        call(torch.zeros(2, 3, 4))
    for part in says:
        assert part in str(error.value)
