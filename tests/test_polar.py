"""Trace norm and polar factor: duality, spectral norm, sub-gradient inequality, invariance, every rank and scale."""

import hypothesis.strategies as st
import matrix_samplers as samplers
import pytest
import torch
from hypothesis import given, settings

from mtl_lib.errors import ConfigError
from mtl_lib.polar import (
    effective_rank,
    polar_factor,
    singular_value_threshold,
    singular_values,
    trace_norm,
    value_and_polar,
)

quick = settings(derandomize=True, max_examples=60, deadline=None)
ALLOWED = 1e-6


def methods_for(matrix):
    return ["auto", "gram", *(["closed"] if min(matrix.shape) == 2 else [])]


def assert_valid(matrix, method, allowed=ALLOWED):
    value, polar = value_and_polar(matrix, method)
    assert polar.dtype == matrix.dtype and polar.shape == matrix.shape
    error, overshoot, gap = samplers.defects(matrix, value, polar)
    assert error <= allowed and overshoot <= allowed and gap <= allowed, (method, error, overshoot, gap)
    return value, polar


@quick
@given(samplers.matrices())
def test_every_matrix_has_an_exact_value_and_a_valid_subgradient(matrix):
    for method in methods_for(matrix):
        assert_valid(matrix, method)
    # LAPACK in float32, on small matrices: the same to float32's own precision.
    assert_valid(matrix, "svd", allowed=2e-5)


@quick
@given(samplers.matrices(max_side=2, decades=8))
def test_closed_form_on_two_rows_or_columns(matrix):
    if min(matrix.shape) == 2:
        assert_valid(matrix, "closed")


@quick
@given(samplers.matrices(dtype=torch.float64, decades=6))
def test_float64_is_as_good_as_the_svd(matrix):
    assert_valid(matrix, "auto", allowed=1e-12)
    for method in methods_for(matrix)[1:]:
        assert_valid(matrix, method, allowed=1e-7)


@quick
@given(samplers.matrices(), st.integers(0, 1000))
def test_subgradient_inequality(matrix, seed):
    """||Y||_* >= ||X||_* + <G, Y - X> for every Y: what makes G a sub-gradient at X."""
    polar = polar_factor(matrix).double()
    x = matrix.double()
    size = x.abs().max() if x.any() else torch.tensor(1.0)
    generator = torch.Generator().manual_seed(seed)
    for distance in (1e-3, 1.0, 10.0):
        y = x + distance * size * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        y_norm = torch.linalg.matrix_norm(y, ord="nuc")
        bound = torch.linalg.matrix_norm(x, ord="nuc") + (polar * (y - x)).sum()
        assert y_norm - bound >= -3e-6 * y_norm


@quick
@given(samplers.matrices(dtype=torch.float64, decades=3), st.integers(0, 1000))
def test_rotations_of_rows_and_columns_change_nothing(matrix, seed):
    generator = torch.Generator().manual_seed(seed)
    left = samplers.orthonormal(matrix.shape[0], matrix.shape[0], generator)
    right = samplers.orthonormal(matrix.shape[1], matrix.shape[1], generator)
    for method in methods_for(matrix):
        value, polar = value_and_polar(matrix, method)
        turned_value, turned = value_and_polar(left @ matrix @ right, method)
        torch.testing.assert_close(turned_value, value, rtol=1e-7, atol=0)
        # Every singular value of this matrix is zero or at least 1e-3: the polar factor is well determined.
        torch.testing.assert_close(turned, left @ polar @ right, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["near", "opposite", "proportional", "random"])
@pytest.mark.parametrize("difference", [0.0, 1e-2, 1e-4, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 10])
def test_related_tasks(tasks, kind, difference):
    for scale in (1.0, 1e-15, 1e15):
        matrix = samplers.related_tasks(tasks, 3000, kind, difference, seed=tasks) * scale
        for method in methods_for(matrix):
            assert_valid(matrix, method)


@pytest.mark.parametrize("tasks", [2, 3, 10])
def test_equal_tasks_get_the_least_subgradient(tasks):
    """Identical initialisation: rank one. The null space gets nothing, instead of an arbitrary unit push."""
    row = torch.randn(500, generator=torch.Generator().manual_seed(0))
    matrix = row.repeat(tasks, 1)
    expected = matrix / matrix.norm()
    for method in [*methods_for(matrix), "svd"]:
        polar = polar_factor(matrix, method)
        torch.testing.assert_close(polar, expected, rtol=0, atol=1e-6)
        assert effective_rank(matrix, method=method) == 1
    full = polar_factor(matrix, null="full")
    sigma = torch.linalg.svdvals(full.double())
    torch.testing.assert_close(sigma, torch.ones_like(sigma), rtol=0, atol=1e-6)
    assert abs((full * matrix).sum() / trace_norm(matrix) - 1) < 1e-6


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("kind", ["near", "opposite", "proportional"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_multiples_of_one_row_have_rank_one(tasks, kind, dtype):
    """Equal, opposite and doubled tasks: nothing is pushed, and the proximal step acts on the one direction."""
    row = samplers.related_tasks(1, 400, "random", 0.0, seed=8)[0].to(dtype)
    factor = {"near": [1] * 5, "opposite": [1, -1, 1, -1, 1], "proportional": [1, 2, -4, 8, 0.5]}[kind][
        :tasks
    ]
    matrix = torch.stack([row * f for f in factor])
    length = matrix.norm()
    for method in [*methods_for(matrix), "svd"]:
        torch.testing.assert_close(polar_factor(matrix, method), matrix / length, rtol=0, atol=2e-6)
        shrunk = singular_value_threshold(matrix, float(length) / 4, method)
        torch.testing.assert_close(shrunk, matrix * 0.75, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(singular_values(matrix, method)[0], length, rtol=2e-5, atol=0)
        assert effective_rank(matrix, rtol=1e-5, method=method) == 1


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_agrees_with_autograd_at_full_rank(tasks):
    matrix = torch.randn(tasks, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix.requires_grad_()
    torch.linalg.matrix_norm(matrix, ord="nuc").backward()
    for method in [*methods_for(matrix), "svd"]:
        torch.testing.assert_close(polar_factor(matrix, method), matrix.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(64, 600), (600, 64), (48, 48)])
@pytest.mark.parametrize("spectrum", ["flat", "decades", "deficient", "small", "equal tasks"])
def test_large_sides(shape, spectrum):
    k = min(shape)
    sigma = {
        "flat": [1.0] * k,
        "decades": [10 ** (-4 * i / k) for i in range(k)],
        "deficient": [1.0 + i for i in range(k // 2)],
        "small": [10 ** (-7 * i / k) for i in range(k)],
    }
    if spectrum == "equal tasks":
        half = torch.randn(shape[0], shape[1] // 2, generator=torch.Generator().manual_seed(3))
        matrix = torch.cat([half, half], 1)
    else:
        matrix = samplers.with_spectrum(*shape, sigma[spectrum], seed=2).float()
    matrix[0] = 0  # a dead filter
    assert_valid(matrix, "gram")


def test_batches_are_solved_as_if_one_by_one():
    generator = torch.Generator().manual_seed(4)
    for rows in (2, 3, 40):
        batch = torch.randn(2, 3, rows, 50, generator=generator)
        batch[0, 0] = 0
        batch[0, 1, 1] = batch[0, 1, 0]
        for method in ("auto", "gram", "svd"):
            for layout in (batch, batch.mT.contiguous()):
                value, polar = value_and_polar(layout, method)
                shrunk = singular_value_threshold(layout, 1.5, method)
                assert value.shape == (2, 3)
                for index in ((0, 0), (0, 1), (1, 2)):
                    alone, alone_polar = value_and_polar(layout[index], method)
                    torch.testing.assert_close(value[index], alone, rtol=1e-5, atol=1e-6)
                    torch.testing.assert_close(polar[index], alone_polar, rtol=0, atol=1e-5)
                    torch.testing.assert_close(
                        shrunk[index], singular_value_threshold(layout[index], 1.5, method), rtol=0, atol=1e-4
                    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["auto", "svd", "gram", "closed"])
def test_types_and_autocast(dtype, method):
    matrix = torch.randn(2, 700, generator=torch.Generator().manual_seed(5)).to(dtype)
    outside = value_and_polar(matrix, method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = value_and_polar(matrix, method)
        shrunk = singular_value_threshold(matrix, 0.5, method)
    assert torch.equal(outside[0], inside[0]) and torch.equal(outside[1], inside[1])
    assert outside[1].dtype == dtype and shrunk.dtype == dtype
    assert outside[0].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    true, _ = samplers.oracle(matrix)
    assert abs(outside[0].item() / true - 1) < 2e-6
    expected = polar_factor(matrix.double(), "svd")
    assert (outside[1].double() - expected).abs().max() <= 4e-7 + torch.finfo(
        dtype
    ).eps * expected.abs().max()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_gives_nan_and_stays_in_its_own_matrix(bad, dtype):
    for rows in (1, 2, 3, 40):
        batch = torch.randn(2, rows, 60, generator=torch.Generator().manual_seed(6)).to(dtype)
        batch[1, 0, 5] = bad
        for method in ["auto", "gram", "svd"]:
            value, polar = value_and_polar(batch, method)
            assert value[0].isfinite() and polar[0].isfinite().all()
            assert value[1].isnan() and polar[1].isnan().any()
            assert singular_value_threshold(batch, 0.1, method)[1].isnan().any()
            assert trace_norm(batch[1], method).isnan()


@quick
@given(samplers.matrices(max_side=6, max_long=10, decades=3), st.floats(0, 1.5), st.integers(0, 1000))
def test_proximal_step_is_optimal(matrix, share, seed):
    """X = prox(M) exactly when (M - X) / tau is a sub-gradient at X: norm at most one, and tight on X."""
    true, sigma = samplers.oracle(matrix)
    tau = share * sigma[0].item()
    for method in methods_for(matrix):
        x = singular_value_threshold(matrix, tau, method).double()
        dual = matrix.double() - x
        size = sigma[0].item() or 1.0
        assert torch.linalg.matrix_norm(dual, ord=2) <= tau + 1e-6 * size
        tight = (dual * x).sum() - tau * torch.linalg.matrix_norm(x, ord="nuc")
        assert abs(tight) <= 5e-6 * size * size
        expected = (sigma - tau).clamp_min(0)
        torch.testing.assert_close(torch.linalg.svdvals(x), expected, rtol=0, atol=1e-6 * size)


def test_proximal_step_reaches_exact_zero_and_leaves_all_at_zero_tau():
    matrix = torch.randn(3, 50, generator=torch.Generator().manual_seed(7))
    for method in ("auto", "svd"):
        assert not singular_value_threshold(matrix, 1e3, method).any()
        torch.testing.assert_close(singular_value_threshold(matrix, 0.0, method), matrix, rtol=0, atol=1e-5)


@quick
@given(samplers.matrices(decades=3, dtype=torch.float64))
def test_singular_values_and_rank(matrix):
    _, sigma = samplers.oracle(matrix)
    for method in ("svd", "gram"):
        found = singular_values(matrix, method)
        torch.testing.assert_close(found, sigma, rtol=0, atol=1e-7 * sigma[0].item())
        assert effective_rank(matrix, rtol=1e-6, method=method) == (sigma > 1e-6 * sigma[0]).sum()


def test_empty_matrices():
    for shape in ((0, 3), (3, 0), (2, 0, 3), (0, 2, 3)):
        value, polar = value_and_polar(torch.zeros(shape))
        assert polar.shape == shape and not value.any()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: trace_norm(torch.zeros(2, 3), "qr"), ["'qr'", "svd", "closed"]),
        (lambda: trace_norm(torch.zeros(3, 3), "closed"), ["closed", "two", "3"]),
        (lambda: polar_factor(torch.zeros(2, 3), null="some"), ["'some'", "minimum", "full"]),
        (lambda: singular_value_threshold(torch.zeros(2, 3), -1.0), ["tau is -1.0", "at least 0"]),
        (lambda: singular_value_threshold(torch.zeros(2, 3), float("nan")), ["tau is nan"]),
        (lambda: effective_rank(torch.zeros(2, 3), rtol=-1.0), ["rtol is -1.0"]),
    ],
)
def test_errors_say_what_was_given_and_what_is_allowed(call, says):
    with pytest.raises(ConfigError) as error:
        call()
    for part in says:
        assert part in str(error.value)
