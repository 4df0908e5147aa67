"""`randomized` and `newton_schulz`: extremes, batches, precision, compilation, errors and the choice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matrix_samplers as samplers
import pytest
import torch
from matrix_samplers import ALLOWED, randn
from torch._subclasses.fake_tensor import FakeTensorMode

from mtl_lib.errors import ConfigError
from mtl_lib.newton_schulz import NewtonSchulz
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
from mtl_lib.randomized import TruncationWarning
from mtl_lib.trace_norm import TraceNormPenalty, mode_norms, tensor_trace_norm

ALL = ["auto", "svd", "gram", "newton_schulz", "randomized"]


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
