"""Newton-Schulz: its polynomials, and what it returns where a matrix lacks rank."""

import matrix_samplers as samplers
import numpy as np
import pytest
import torch
from matrix_samplers import randn

from mtl_lib.newton_schulz import CUBICS, QUINTICS, NewtonSchulz, iterate, muon_five_steps
from mtl_lib.polar import polar_factor, trace_norm


def best_quintic(start):
    """Remez' algorithm: the odd quintic nearest to one on [start, 1], and how near."""
    points = np.array([start, (3 * start + 1) / 4, (start + 3) / 4, 1.0])
    for _ in range(100):
        table = np.stack([points, points**3, points**5, [1, -1, 1, -1]], 1)
        a, b, c, error = np.linalg.solve(table, np.ones(4))
        roots = np.sqrt(np.sort(np.roots([5 * c, 3 * b, a]).real))
        points = np.array([start, *roots, 1.0])
    return np.array([a, b, c]), abs(error)


@pytest.mark.parametrize("row", range(len(QUINTICS)))
def test_the_quintics_are_the_best_there_are(row):
    start, *given_coefficients, end = QUINTICS[row]
    coefficients, error = best_quintic(start)
    np.testing.assert_allclose(given_coefficients, coefficients / (1 + error), rtol=1e-8)
    x = np.linspace(start, 1, 200_001)
    p = sum(a * x**n for a, n in zip(given_coefficients, (1, 3, 5), strict=True))
    assert p.max() <= 1 + 1e-11 and abs(p.min() - end) < 1e-8
    assert abs(end - (1 - error) / (1 + error)) < 1e-8
    if row + 1 < len(QUINTICS):
        assert QUINTICS[row + 1][0] == end


@pytest.mark.parametrize("steps", [6, 12, 18, 24])
def test_the_chain_of_polynomials_reaches_one_from_below(steps):
    options = NewtonSchulz(steps)
    x = torch.cat([torch.logspace(-16, 0, 100_001, dtype=torch.float64), torch.zeros(1)])
    start = x.clone()
    for a, b, c in options.polynomials():
        x = a * x + b * x**3 + c * x**5
        assert x.max() <= 1 + 1e-11 and x.min() >= 0
    resolved = start >= options.resolves
    assert x[-1] == 0 and (1 - x[resolved]).max() < 1e-12
    assert (x[start < options.resolves / 1e3] < 0.1).all() and len(options.polynomials()) == steps
    assert CUBICS[0] == (1.5, -0.5, 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_what_the_matrix_lacks_stays_empty(seed):
    """The least sub-gradient without a threshold: rounding is lifted to 1e-6 at most."""
    full = samplers.with_spectrum(40, 90, [1.0] * 12 + [1e-3] * 8, seed)
    for matrix in (full, samplers.related_tasks(5, 700, "near", 0.0, seed).double(), torch.zeros(3, 4)):
        u, sigma, vh = torch.linalg.svd(matrix.double(), full_matrices=True)
        rank = int((sigma > 1e-6 * sigma[0]).sum())
        polar = polar_factor(matrix, "newton_schulz").double()
        assert torch.linalg.matrix_norm(u[:, rank:].T @ polar, 2) < 2e-6
        assert torch.linalg.matrix_norm(polar @ vh[rank:].T, 2) < 2e-6


def test_without_float64_it_is_a_valid_subgradient_still():
    """The way of a device that has no float64: right in norm and gap, only no longer the least one."""
    matrix = randn(40, 300)
    matrix[30:] = matrix[:10]
    matrix = matrix / 4
    polar = iterate(matrix, NewtonSchulz().polynomials())
    assert polar.dtype == torch.float32
    error, overshoot, gap = samplers.defects(matrix, (polar.double() * matrix.double()).sum(), polar)
    assert max(error, overshoot, gap) < 3e-6


def test_muons_five_steps_are_not_a_subgradient():
    matrix = samplers.with_spectrum(64, 200, np.geomspace(0.02, 1, 64).tolist(), 0).float()
    sigma = torch.linalg.svdvals(muon_five_steps(matrix).double())
    assert 0.65 < sigma.min() < 0.75 and 1.1 < sigma.max() < 1.25
    assert muon_five_steps(matrix.bfloat16()).dtype == torch.bfloat16
    assert not muon_five_steps(torch.zeros(3, 4)).any()
    _, overshoot, gap = samplers.defects(matrix, trace_norm(matrix), muon_five_steps(matrix))
    assert overshoot > 0.1 and gap > 0.05
