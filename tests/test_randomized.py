"""Randomised SVD: seeds, power iterations, and the warning where something is left out."""

import warnings

import hypothesis.strategies as st
import matrix_samplers as samplers
import pytest
import torch
from hypothesis import given, settings
from matrix_samplers import ALLOWED, randn

from mtl_lib.polar import (
    Randomized,
    effective_rank,
    polar_factor,
    singular_value_threshold,
    singular_values,
    trace_norm,
    value_and_polar,
)
from mtl_lib.randomized import TruncationWarning, randomized_svd


def test_the_same_seed_gives_the_same_and_another_one_another_basis():
    matrix = randn(30, 80)
    options = Randomized(rank=3, oversample=0, power_iterations=0)
    first, again = randomized_svd(matrix, options), randomized_svd(matrix, options)
    other = randomized_svd(matrix, Randomized(rank=3, oversample=0, power_iterations=0, seed=1))
    assert torch.equal(first.sigma, again.sigma) and not torch.allclose(first.sigma, other.sigma, rtol=1e-3)
    state = torch.random.get_rng_state()
    randomized_svd(randn(9, 21), Randomized(rank=2, oversample=1, seed=77))
    assert torch.equal(state, torch.random.get_rng_state()), "nobody else's random numbers are used"


def test_power_iterations_and_oversampling_sharpen_a_flat_spectrum():
    matrix = randn(60, 200)
    true = torch.linalg.svdvals(matrix.double())[:10].sum().item()
    captured = [
        randomized_svd(matrix, Randomized(10, oversample, p)).sigma.sum().item() / true
        for oversample, p in ((0, 0), (0, 2), (10, 2), (10, 20))
    ]
    assert captured == sorted(captured)
    assert captured[0] < 0.8 and captured[2] > 0.97 and 1 - 1e-3 < captured[3] <= 1 + 1e-12


def test_power_iterations_keep_small_directions():
    """Without a QR between the products, fifty of them would leave the leading direction alone."""
    matrix = samplers.with_spectrum(20, 50, [1.0, 1e-4, 1e-9], 0)
    found = randomized_svd(matrix, Randomized(rank=3, oversample=2, power_iterations=50))
    expected = torch.tensor([1.0, 1e-4, 1e-9], dtype=torch.float64)
    torch.testing.assert_close(found.sigma, expected, rtol=1e-5, atol=0)


def test_a_low_rank_matrix_is_captured_without_a_warning_and_a_fresh_layer_is_not():
    low = samplers.with_spectrum(64, 200, [3.0, 2.0, 1.0], 1).float()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, polar = value_and_polar(low, Randomized(rank=4, oversample=4))
        assert max(samplers.defects(low, value, polar)) <= ALLOWED
        # A threshold above everything that is missing loses nothing either.
        fresh, tau = randn(64, 200), 60.0
        assert not singular_value_threshold(fresh, tau * 10, Randomized(rank=4, oversample=4)).any()
    for call in (trace_norm, polar_factor, singular_values, effective_rank):
        with pytest.warns(TruncationWarning, match=r"rank 4: possibly only \d+%"):
            call(fresh, method=Randomized(rank=4, oversample=4))
    with pytest.warns(TruncationWarning, match="threshold"):
        singular_value_threshold(fresh, 0.1, Randomized(rank=4, oversample=4))
    batch = torch.stack([low, fresh])
    with pytest.warns(TruncationWarning):
        trace_norm(batch, Randomized(rank=4, oversample=4))
    found = randomized_svd(batch, Randomized(rank=4, oversample=4))
    assert found.share_at_least[0] > 1 - 1e-5 and found.share_at_most[1] < 0.9
    empty = randomized_svd(torch.diag(torch.tensor([2.0, 1.0, 0.0, 0.0])), Randomized(rank=4))
    assert not empty.left[:, 2:].any() and not empty.right[2:].any()


@settings(derandomize=True, max_examples=60, deadline=None)
@given(samplers.matrices(max_side=6, max_long=10, decades=3), st.floats(0, 1.5))
def test_threshold_by_all_of_the_components_is_that_of_the_svd(matrix, share):
    tau = share * torch.linalg.svdvals(matrix.double())[0].item()
    shrunk = singular_value_threshold(matrix, tau, Randomized(rank=6))
    expected = singular_value_threshold(matrix.double(), tau, "svd")
    size = matrix.abs().max().item()
    torch.testing.assert_close(shrunk.double(), expected, rtol=0, atol=3e-6 * size)
