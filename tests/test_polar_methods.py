"""`randomized` and `newton_schulz`: coefficients, extremes, batches, precision, compilation, errors and the choice."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import hypothesis.strategies as st
import matrix_samplers as samplers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch._subclasses.fake_tensor import FakeTensorMode

from mtl_lib.errors import ConfigError
from mtl_lib.newton_schulz import CUBICS, QUINTICS, NewtonSchulz, iterate, muon_five_steps
from mtl_lib.polar import (
    Randomized,
    checked_method,
    effective_rank,
    polar_factor,
    singular_value_threshold,
    singular_values,
    trace_norm,
    value_and_polar,
)
from mtl_lib.randomized import TruncationWarning, randomized_svd
from mtl_lib.trace_norm import TraceNormPenalty, mode_norms, tensor_trace_norm

ALLOWED = 1e-6
ALL = ["auto", "svd", "gram", "newton_schulz", "randomized"]


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# Newton-Schulz


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


# Randomised SVD


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


# All of them


@pytest.mark.parametrize(
    ("method", "rows"), [*((method, rows) for method in ALL for rows in (1, 2, 3, 10, 40)), ("closed", 2)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_number_range(method, rows, dtype):
    """From the smallest denormal to the largest number, mixed in one matrix and alone: never NaN."""
    method = Randomized(rank=rows) if method == "randomized" else method
    info = torch.finfo(dtype)
    unit = randn(rows, 50, seed=1).clamp(-4, 4).to(dtype) / 4
    unit[0, 0] = 1
    smallest = info.smallest_normal * info.eps
    for size in (
        smallest,
        info.smallest_normal,
        info.smallest_normal**0.5,
        info.max**0.5,
        info.max / 4,
        info.max,
    ):
        matrix = unit * size
        value, polar = value_and_polar(matrix, method)
        assert polar.isfinite().all(), size
        assert not value.isnan() and value > 0
        wide = (matrix / size).double() if size > 1 else matrix.double() / size
        true = torch.linalg.svdvals(wide)
        allowed = 3e-5 if method == "svd" and dtype == torch.float32 else 2e-6
        assert torch.linalg.matrix_norm(polar.double(), 2) <= 1 + allowed
        assert abs((polar.double() * wide).sum() - true.sum()) <= allowed * true.sum()
        if method != "newton_schulz":
            assert not singular_value_threshold(matrix, 0.0, method).isnan().any()
    mixed = unit.clone()
    mixed[-1] *= smallest
    mixed[:, ::2] *= info.max
    assert polar_factor(mixed, method).isfinite().all()
    single = torch.zeros(rows, 50, dtype=dtype)
    single[-1, 7] = -smallest
    torch.testing.assert_close(polar_factor(single, method), single / smallest)
    assert not polar_factor(torch.zeros(rows, 50, dtype=dtype), method).any()


@pytest.mark.parametrize("method", ["randomized", "newton_schulz", Randomized(rank=2, oversample=1)])
@pytest.mark.filterwarnings("ignore::mtl_lib.randomized.TruncationWarning")
def test_batches_are_solved_as_if_one_by_one(method):
    for rows in (1, 2, 5, 40):
        batch = randn(2, 3, rows, 50, seed=rows)
        batch[0, 0] = 0
        batch[0, 1] *= 1e-12
        batch[1, 1] *= 1e12
        batch[1, 0, 0, 3] = float("nan")
        batch[1, 2, 0, 3] = float("inf")
        for layout in (batch, batch.mT.contiguous()):
            value, polar = value_and_polar(layout, method)
            assert value.shape == (2, 3) and polar.shape == layout.shape
            for index in ((0, 0), (0, 1), (0, 2), (1, 1)):
                alone, alone_polar = value_and_polar(layout[index], method)
                torch.testing.assert_close(value[index], alone, rtol=1e-6, atol=0)
                torch.testing.assert_close(polar[index], alone_polar, rtol=0, atol=1e-5)
            for index in ((1, 0), (1, 2)):
                assert value[index].isnan() and polar[index].isnan().any()
    assert value_and_polar(torch.zeros(2, 0, 3), method)[1].shape == (2, 0, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["randomized", "newton_schulz"])
def test_neither_autocast_nor_tf32_nor_bfloat16_products_change_a_digit(dtype, method):
    matrix = randn(9, 300, seed=5, dtype=dtype)
    outside = value_and_polar(matrix, method)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = value_and_polar(matrix, method)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(outside[0], inside[0]) and torch.equal(outside[1], inside[1])
    assert outside[1].dtype == dtype
    expected = polar_factor(matrix.double(), "svd")
    assert (outside[1].double() - expected).abs().max() <= 1e-7 + torch.finfo(dtype).eps


@pytest.mark.parametrize("tasks", range(1, 11))
def test_equal_networks_and_nearly_equal_ones(tasks):
    for difference in (0.0, 1e-7, 1e-4):
        for scale in (1e-15, 1.0, 1e15):
            matrix = samplers.related_tasks(tasks, 800, "near", difference, seed=tasks) * scale
            for method in ("newton_schulz", "randomized"):
                value, polar = value_and_polar(matrix, method)
                assert max(samplers.defects(matrix, value, polar)) <= ALLOWED
                if not difference:
                    torch.testing.assert_close(polar, matrix / matrix.norm(), rtol=0, atol=1e-6)


# Without the checks of shapes that the other tests run under: they are not part of the graph.
COMPILED = """
import json, sys, warnings
import torch
from mtl_lib.polar import singular_value_threshold, value_and_polar

warnings.simplefilter("ignore")
backend, cases = json.loads(sys.argv[1])
for function, method, side, whole in cases:
    batch = torch.randn(3, side, 60, generator=torch.Generator().manual_seed(8))
    batch[1] = batch[1, :1]
    batch[2] = 0
    call = {
        "norm": lambda m: value_and_polar(m, method),
        "prox": lambda m: (singular_value_threshold(m, 0.5, method),),
    }[function]
    torch._dynamo.reset()
    found = torch.compile(call, backend=backend, fullgraph=whole)(batch)
    off = max(float(((a - b).abs() / b.abs().amax().clamp_min(1)).max()) for a, b in zip(found, call(batch)))
    print(json.dumps([function, method, side, off]))
"""


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_compiled_is_as_uncompiled(backend):
    """One graph for all methods but `gram` with a long side, which asks for numbers and is cut in two."""
    whole = [
        ("norm", "auto", 2),
        ("prox", "gram", 3),
        ("norm", "randomized", 40),
        ("norm", "newton_schulz", 40),
    ]
    if backend != "eager":
        whole += [("norm", "svd", 3), ("prox", "auto", 2), ("norm", "gram", 3), ("prox", "randomized", 40)]
    cases = [[*case, True] for case in whole] + [["norm", "gram", 40, False]]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, json.dumps([backend, cases])],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(cases)
    for *case, off in found:
        assert off <= 3e-6, (case, off)


def test_auto_chooses_by_shape_type_and_device():
    with FakeTensorMode():
        gpu, cpu = torch.empty(0, device="cuda"), torch.empty(0)
        double = torch.empty(0, device="cuda", dtype=torch.float64)
    for like in (gpu, cpu):
        assert checked_method("auto", 2, like) == "closed"
        assert [checked_method("auto", side, like) for side in (1, 3, 32)] == ["gram"] * 3
    assert checked_method("auto", 33, cpu) == "gram" and checked_method("auto", 33, gpu) == NewtonSchulz()
    assert checked_method("auto", 33, gpu, values=True) == "gram"
    assert checked_method("auto", 33, double) == "svd"


@pytest.mark.parametrize("method", ["randomized", "newton_schulz", NewtonSchulz(20), Randomized(rank=30)])
@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
def test_tensor_norms_and_the_penalty_take_every_method(method, kind):
    x = randn(3, 3, 4, 5, 2, seed=9)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    norm = tensor_trace_norm(ours, kind, method=method)
    expected = tensor_trace_norm(theirs, kind)
    norm.backward(), expected.backward()
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-5)
    torch.testing.assert_close(mode_norms(x, kind, method), mode_norms(x, kind), rtol=1e-6, atol=0)
    weights = [torch.nn.Parameter(randn(5, 4, 3, 3, seed=t)) for t in range(2)]
    penalty = TraceNormPenalty(kind, gamma=0.5, method=method)
    value = penalty.add_gradient_({"conv": weights})
    found = [w.grad.clone() for w in weights]
    for w in weights:
        w.grad = None
    torch.testing.assert_close(value, TraceNormPenalty(kind, 0.5).add_gradient_({"conv": weights}))
    for w, g in zip(weights, found, strict=True):
        torch.testing.assert_close(g, w.grad, rtol=0, atol=1e-5)
    assert repr(method) in repr(penalty)


def test_a_penalty_with_few_components_is_not_that_of_the_gram_matrix():
    """The direct way over the rows serves `gram` and `closed` only: a method that was asked for is used."""
    weights = [torch.nn.Parameter(randn(40, seed=t)) for t in range(4)]
    with pytest.warns(TruncationWarning):
        value = TraceNormPenalty("laf", 1.0, method=Randomized(rank=1, oversample=0)).add_gradient_(
            {"fc": weights}
        )
    sigma = torch.linalg.svdvals(torch.stack([w.detach() for w in weights]))
    assert value < 1.001 * sigma[0] < 0.5 * sigma.sum()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: trace_norm(m, "qr"), ["'qr'", "randomized", "newton_schulz", "Randomized(...)"]),
        (lambda m: TraceNormPenalty(method="qr"), ["'qr'", "newton_schulz"]),
        (lambda m: singular_values(m, "newton_schulz"), ["newton_schulz", "singular value", "'gram'"]),
        (lambda m: effective_rank(m, method=NewtonSchulz(9)), ["newton_schulz", "'svd'"]),
        (lambda m: singular_value_threshold(m, 0.1, "newton_schulz"), ["newton_schulz", "'auto'"]),
        (lambda m: polar_factor(m, "newton_schulz", null="full"), ["'full'", "NewtonSchulz", "'minimum'"]),
        (lambda m: polar_factor(m, "randomized", null="full"), ["'full'", "Randomized", "'svd'"]),
        (lambda m: polar_factor(m, "randomized", null="some"), ["'some'", "minimum", "full"]),
        (lambda m: Randomized(rank=0), ["rank is 0", "at least 1"]),
        (lambda m: Randomized(power_iterations=-1), ["power_iterations is -1", "at least 0"]),
        (lambda m: Randomized(oversample=-2), ["oversample is -2"]),
        (lambda m: NewtonSchulz(steps=5), ["steps is 5", "6 to 24"]),
        (lambda m: NewtonSchulz(steps=25), ["steps is 25", "6 to 24"]),
    ],
)
def test_errors_say_what_was_given_and_what_is_allowed(call, says):
    with pytest.raises(ConfigError) as error:
        call(torch.ones(3, 5))
    for part in says:
        assert part in str(error.value)


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e30, 3e38])
def test_the_penalty_at_the_ends_of_the_number_range(tasks, size):
    """Differences of opposite rows near the largest number do not exist in float32; float64 takes over."""
    unit = randn(tasks, 50, seed=2).clamp(-1, 1).double()
    for rows in (unit, torch.cat([unit[:1], -unit[:1] + 1e-6 * unit[1:]])):
        weights = [torch.nn.Parameter(row) for row in (rows * size).float()]
        stored = torch.stack([w.detach() for w in weights]).double() / size
        penalty = TraceNormPenalty("laf", 1.0)
        assert not penalty.add_gradient_({"fc": weights}).isnan()
        polar = torch.stack([w.grad for w in weights])
        assert max(samplers.defects(stored, torch.linalg.svdvals(stored).sum(), polar)) <= 2e-6
        penalty.prox_({"fc": weights}, step_size=1.0)
        assert not torch.stack([w.detach() for w in weights]).isnan().any()
