"""Thousands of drawn matrices through every method of `polar`: rank, spectrum, scale, shape, type, orientation.

Every draw goes through all methods that its shape allows, some five of them: with 12 x 60 draws more than 3600
cases, and the other tests add theirs. Each is judged by an SVD of the stored numbers in float64.
"""

import warnings

import matrix_samplers as samplers
import pytest
import torch

from mtl_lib.newton_schulz import NewtonSchulz
from mtl_lib.polar import polar_factor, singular_values, trace_norm, value_and_polar
from mtl_lib.randomized import COMPLETE, Randomized, TruncationWarning, randomized_svd

BUNDLES, DRAWS = 12, 60
bundles = pytest.mark.parametrize("bundle", range(BUNDLES))
EXACT = 1e-6
LAPACK = 2e-5
"""Error of LAPACK's own float32 SVD, which is what the method `svd` is for matrices in float32."""


def draws(bundle: int, many: int = DRAWS):
    for seed in range(many * bundle, many * (bundle + 1)):
        yield seed, samplers.drawn(seed, longest_side=40 if seed % 10 == 9 else 10)


def methods_for(matrix):
    """Every method that promises the whole trace norm, and what it may be off by."""
    side = min(matrix.shape)
    found = [("auto", EXACT), ("gram", EXACT), ("newton_schulz", EXACT), (Randomized(rank=side), EXACT)]
    # Singular values below this method's error count as zero: each of them may be missing from the polar factor.
    dropped = side * torch.finfo(torch.float32).eps * matrix.numel() ** 0.5
    found.append(("svd", EXACT if matrix.dtype == torch.float64 else LAPACK + dropped))
    return [*found, ("closed", EXACT)] if side == 2 else found


def reachable(matrix, allowed):
    """Result in the type that it was computed in: half precision rounds it, and is checked on its own."""
    return matrix.double() if matrix.dtype == torch.float64 else matrix.float()


@bundles
def test_value_spectral_norm_and_duality_gap(bundle):
    cases = 0
    for seed, stored in draws(bundle):
        matrix = reachable(stored, EXACT)
        for method, allowed in methods_for(matrix):
            value, polar = value_and_polar(matrix, method)
            error, overshoot, gap = samplers.defects(matrix, value, polar)
            assert max(error, overshoot, gap) <= allowed, (seed, method, error, overshoot, gap)
            assert value.isfinite() and polar.isfinite().all()
            cases += 1
            if stored.dtype != matrix.dtype:  # half precision is computed in float32 and rounded once
                half_value, half = value_and_polar(stored, method)
                assert half.dtype == stored.dtype and half_value.dtype == torch.float32
                torch.testing.assert_close(half_value, value, rtol=1e-6, atol=0)
                eps = torch.finfo(stored.dtype).eps
                torch.testing.assert_close(half.float(), polar, rtol=eps, atol=1e-4 * eps)
    assert cases >= 5 * DRAWS


@bundles
def test_subgradient_inequality(bundle):
    """||Y||_* >= ||X||_* + <G, Y - X> for a drawn Y near X or far from it."""
    for seed, matrix in draws(bundle, many=20):
        x = reachable(matrix, EXACT)
        size = x.abs().max().double() if x.any() else torch.tensor(1.0, dtype=torch.float64)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = x.double() + size * noise * 10.0 ** (seed % 4 - 3)
        y_norm, x_norm = (torch.linalg.svdvals(m.double()).sum() for m in (y, x))
        for method, allowed in methods_for(x):
            bound = x_norm + (polar_factor(x, method).double() * (y - x.double())).sum()
            assert y_norm - bound >= -3 * allowed * max(y_norm, x_norm), (seed, method)


@bundles
def test_turning_transposing_and_scaling(bundle):
    """Equivariance, where the polar factor is determined by the matrix: singular values zero or not small."""
    for seed, matrix in draws(bundle, many=10):
        x = matrix.double()
        sigma = torch.linalg.svdvals(x)
        determined = bool(((sigma > 1e-4 * sigma[0]) | (sigma < 1e-14 * sigma[0])).all())
        generator = torch.Generator().manual_seed(seed)
        left, right = (samplers.orthonormal(n, n, generator) for n in x.shape)
        for method, _ in methods_for(x):
            value, polar = value_and_polar(x, method)
            for other, back, factor in (
                (left @ x @ right, lambda p, a=left, b=right: a.T @ p @ b.T, 1),
                (x.T.contiguous(), lambda p: p.T, 1),
                (-3e-7 * x, lambda p: -p, 3e-7),
            ):
                other_value, other_polar = value_and_polar(other, method)
                torch.testing.assert_close(other_value, factor * value, rtol=1e-7, atol=0)
                if determined:
                    torch.testing.assert_close(
                        back(other_polar), polar, rtol=0, atol=2e-6, msg=f"{seed} {method}"
                    )


@bundles
def test_a_truncation_says_what_it_left_out(bundle):
    """Any rank, any oversampling: the share is inside its bounds, the gap is the rest, and a loss is announced."""
    for seed, stored in draws(bundle, many=20):
        matrix = reachable(stored, EXACT)
        side = min(matrix.shape)
        options = Randomized(rank=1 + seed % side, oversample=seed % 4, power_iterations=seed % 3, seed=seed)
        found = randomized_svd(matrix, options)
        true, sigma = samplers.oracle(matrix)
        share = found.sigma.sum().item() / true if true else 1.0
        assert found.share_at_least - EXACT <= share <= found.share_at_most + EXACT, (seed, options)
        square = found.sigma.square().sum().item() / sigma.square().sum().item() if true else 1.0
        assert abs(found.squared_share.item() - square) <= 1e-9
        # Never more than the sum of the k largest, and exactly that if the basis cannot miss anything.
        leading = sigma[: options.rank].sum().item()
        assert found.sigma.sum().item() <= leading * (1 + EXACT)
        if options.rank + options.oversample >= side:
            torch.testing.assert_close(
                found.sigma, sigma[: options.rank], rtol=0, atol=EXACT * sigma[0].item()
            )
        rest = matrix.double() - (found.left * found.sigma) @ found.right
        assert found.left_out.item() >= torch.linalg.matrix_norm(rest, 2).item() - EXACT * sigma[0].item()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value, polar = value_and_polar(matrix, options)
        error, overshoot, gap = samplers.defects(matrix, value, polar)
        assert abs(gap - (1 - share)) <= EXACT and overshoot <= EXACT
        announced = [w for w in caught if w.category is TruncationWarning]
        assert announced or gap <= COMPLETE + EXACT, (seed, gap)


@bundles
def test_fewer_steps_leave_a_gap_and_never_an_overshoot(bundle):
    for seed, stored in draws(bundle, many=10):
        matrix = reachable(stored, EXACT)
        side, (true, sigma) = min(matrix.shape), samplers.oracle(matrix)
        for steps in (6, 8, 11, 14, 18):
            options = NewtonSchulz(steps)
            value, polar = value_and_polar(matrix, options)
            error, overshoot, gap = samplers.defects(matrix, value, polar)
            assert overshoot <= EXACT and value.double() <= true * (1 + EXACT)
            unresolved = sigma[sigma < 1.01 * options.resolves * side**0.25 * sigma[0]].sum().item()
            assert gap <= EXACT + (unresolved / true if true else 0), (seed, steps, gap)


@bundles
def test_singular_values(bundle):
    for _seed, stored in draws(bundle, many=10):
        matrix = reachable(stored, EXACT)
        _, sigma = samplers.oracle(matrix)
        for method, allowed in methods_for(matrix):
            if method == "newton_schulz":
                continue
            found = singular_values(matrix, method).double()
            torch.testing.assert_close(found, sigma, rtol=0, atol=allowed * sigma[0].item())
            assert abs(trace_norm(matrix, method).double() - sigma.sum()) <= allowed * sigma.sum()
