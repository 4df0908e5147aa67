"""Norms of matrices and tensors: proximal steps, dual norms, sub-gradients, unfoldings."""

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorly
from hypothesis import given, settings

from mtl_lib.linear_norm_sums import mode_folding, mode_trace_norm, mode_unfolding
from mtl_lib.linear_penalties import (
    COLUMN_NORMS,
    L21,
    TRACE_NORM,
    polar_factor,
    prox_trace_norm,
    spectral_norm,
)
from mtl_lib.linear_tensor_penalties import latent_trace_norm, overlapped_trace_norm

quick = settings(derandomize=True, max_examples=40, deadline=None)
SHAPE = (4, 3, 2)
PENALTIES = {
    "l21": L21,
    "trace norm": TRACE_NORM,
    "column norms": COLUMN_NORMS,
    **{f"mode {k}": mode_trace_norm(SHAPE, k, weight=0.5 + k) for k in range(3)},
}
names, seeds, taus = st.sampled_from(sorted(PENALTIES)), st.integers(0, 10_000), st.floats(1e-3, 4)


def matrix(seed, rank=4):
    """Random 4 x 6 of a given rank; some rows and columns may be zero."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(4, rank)) @ rng.normal(size=(rank, 6))
    w[rng.random(4) < 0.2] = 0
    w[:, rng.random(6) < 0.2] = 0
    return w


@quick
@given(names, seeds, taus, st.integers(1, 4))
def test_the_proximal_step_minimises(name, seed, tau, rank):
    penalty, w = PENALTIES[name], matrix(seed, rank)
    z = penalty.prox(w, tau)

    def value(v):
        return ((v - w) ** 2).sum() / 2 + tau * penalty.norm(v)

    rng = np.random.default_rng(seed)
    for size in (1e-4, 1e-2, 1.0):
        other = z + size * rng.normal(size=w.shape)
        assert value(other) - value(z) >= ((other - z) ** 2).sum() / 2 - 1e-10  # strongly convex


@quick
@given(names, seeds, taus)
def test_what_the_proximal_step_takes_away_is_a_scaled_subgradient(name, seed, tau):
    penalty, w = PENALTIES[name], matrix(seed)
    z = penalty.prox(w, tau)
    assert penalty.dual_norm(w - z) <= tau * (1 + 1e-9)
    np.testing.assert_allclose(((w - z) * z).sum(), tau * penalty.norm(z), rtol=1e-7, atol=1e-10)


@quick
@given(names, seeds, seeds, taus)
def test_the_proximal_step_brings_no_two_points_further_apart(name, first, second, tau):
    penalty, a, b = PENALTIES[name], matrix(first), matrix(second)
    assert np.linalg.norm(penalty.prox(a, tau) - penalty.prox(b, tau)) <= np.linalg.norm(a - b) + 1e-12


@quick
@given(names, seeds)
def test_the_dual_norm_is_where_the_proximal_step_becomes_zero(name, seed):
    penalty, w = PENALTIES[name], matrix(seed)
    size = penalty.dual_norm(w)
    assert np.linalg.norm(penalty.prox(w, size * (1 + 1e-9))) <= 1e-7 * size
    assert size == 0 or penalty.prox(w, size * 0.99).any()


@quick
@given(names, seeds, seeds, st.integers(1, 4))
def test_subgradient_inequality(name, first, second, rank):
    penalty, w, other = PENALTIES[name], matrix(first, rank), matrix(second)
    g = penalty.subgradient(w)
    assert penalty.norm(other) >= penalty.norm(w) + (g * (other - w)).sum() - 1e-9
    np.testing.assert_allclose((g * w).sum(), penalty.norm(w), rtol=1e-9, atol=1e-12)


@quick
@given(st.integers(1, 12), st.integers(1, 40), seeds, st.floats(-7, 0.2))
def test_thresholding_through_the_gram_matrix_is_as_exact_as_through_the_svd(rows, columns, seed, exponent):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, columns)) * 10.0 ** rng.uniform(-6, 6)
    u, s, vh = np.linalg.svd(w, full_matrices=False)
    tau = float(10.0**exponent * s[0])
    expected = (u * np.maximum(s - tau, 0)) @ vh
    for long in (False, True):
        got = prox_trace_norm(w.T if long else w, tau)
        np.testing.assert_allclose(got.T if long else got, expected, atol=1e-11 * s[0])


def test_zero_matrices_are_no_trouble():
    zero = np.zeros((3, 7))
    assert spectral_norm(zero) == 0
    assert not polar_factor(zero).any() and not prox_trace_norm(zero, 0).any()


@pytest.mark.parametrize("mode", range(3))
def test_unfoldings_are_those_of_tensorly(mode):
    tensor = np.arange(24.0).reshape(SHAPE)
    unfolded = mode_unfolding(tensor.reshape(4, 6), SHAPE, mode)
    np.testing.assert_array_equal(unfolded, tensorly.unfold(tensor, mode))
    np.testing.assert_array_equal(mode_folding(unfolded, SHAPE, mode), tensor.reshape(4, 6))


@settings(derandomize=True, max_examples=15, deadline=None)
@given(seeds, st.integers(1, 4))
def test_the_dual_of_the_overlapped_norm_is_bounded_from_both_sides(seed, rank):
    norm, g = overlapped_trace_norm(SHAPE, (1, 0.5, 2)), matrix(seed, rank)
    size, split = norm.best_split(g)
    np.testing.assert_allclose(split.sum(axis=0), g, atol=1e-12)
    sizes = [part.dual_norm(piece) for part, piece in zip(norm.parts, split, strict=True)]
    np.testing.assert_allclose(max(sizes), size, rtol=1e-9)  # so it is not too small
    weak, strong = ([_prox_is_zero(norm, g, factor * size)] for factor in (0.995, 1.001))
    assert strong == [True] and (weak == [False] or size == 0)  # nor too large


def _prox_is_zero(norm, g, tau):
    """Whether 0 minimises |W - G|^2 / 2 + tau norm(W), by cvxpy."""
    import cvxpy as cp

    pieces = [cp.Variable(g.shape) for _ in norm.parts]
    limits = []
    for part, (mode, weight), piece in zip(norm.parts, ((0, 1), (1, 0.5), (2, 2)), pieces, strict=True):
        index = mode_unfolding(np.arange(g.size).reshape(g.shape), SHAPE, mode)
        unfolded = cp.reshape(cp.vec(piece, order="C")[index.ravel()], index.shape, order="C")
        limits.append(cp.sigma_max(unfolded) <= tau * weight)
        assert part is not None
    problem = cp.Problem(cp.Minimize(cp.norm(sum(pieces) - g, "fro")), limits)
    return problem.solve(solver=cp.CLARABEL) < 1e-5 * max(1, np.linalg.norm(g))


def test_overlapped_norm_of_a_matrix_is_twice_the_trace_norm():
    w = matrix(0)
    assert overlapped_trace_norm((4, 6)).norm(w) == pytest.approx(2 * TRACE_NORM.norm(w))
    assert overlapped_trace_norm((4, 6, 1), (1, 1, 0)).norm(w) == pytest.approx(2 * TRACE_NORM.norm(w))


@quick
@given(seeds, seeds)
def test_the_latent_norm_and_its_dual_bound_inner_products(first, second):
    norm, g = latent_trace_norm(SHAPE), matrix(first)
    v = np.stack([matrix(second), matrix(second + 1), matrix(second + 2)])
    assert (g * v.sum(axis=0)).sum() <= norm.dual_norm(g) * norm.norm(v) + 1e-9


@settings(derandomize=True, max_examples=15, deadline=None)
@given(seeds, st.integers(1, 4), st.booleans())
def test_the_latent_norm_of_a_tensor_is_below_that_of_any_mode_and_above_its_dual_bound(seed, rank, scaled):
    norm, w = latent_trace_norm(SHAPE, scaled=scaled), matrix(seed, rank)
    value, parts = norm.best_parts(w)
    np.testing.assert_allclose(parts.sum(axis=0), w, atol=1e-10)
    assert norm.norm(parts) == pytest.approx(value)
    alone = min(part.norm(w) for part in norm.parts)
    assert value <= alone * 1.001 + 1e-12
    assert value * norm.dual_norm(w) >= (w**2).sum() - 1e-9  # <W, W> <= norm * dual norm
    matrix_norm = latent_trace_norm((4, 6), scaled=False)
    assert matrix_norm.best_parts(w)[0] == pytest.approx(TRACE_NORM.norm(w), rel=2e-3, abs=1e-9)


def test_golden_values_of_a_small_tensor():
    w = np.array([[1.0, 0, 0, 1], [0, 1, 1, 0]])  # 2 x 2 x 2
    parts = [part.norm(w) for part in overlapped_trace_norm((2, 2, 2)).parts]
    np.testing.assert_allclose(parts, [2 * np.sqrt(2)] * 3)  # two singular values of sqrt 2 in every mode
    scaled = [part.norm(w) for part in latent_trace_norm((2, 2, 2)).parts]
    np.testing.assert_allclose(scaled, [2.0] * 3)
