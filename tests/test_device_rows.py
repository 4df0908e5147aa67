"""LAF's way for GPUs, run on CPU tensors: right to 1e-6 for all tasks and scales, and as few bytes as is said."""

import importlib.util
from pathlib import Path

import matrix_samplers as samplers
import pytest
import torch

from mtl_lib import task_rows
from mtl_lib.device_rows import add_many, add_two
from mtl_lib.gram import decompose
from mtl_lib.polar import value_and_polar

ROOT = Path(__file__).parents[1]
DIFFERENCES = [0.0, 1e-2, 1e-4, 1e-6, 3e-7, 1e-7, 1e-8, 1e-10]


def load(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_layers(way, layers, alpha=1.0):
    """Values and polar factors of matrices, all in one call."""
    into = [[torch.zeros_like(row) for row in rows] for rows in layers]
    factors = way([list(rows) for rows in layers], into, alpha)
    return [f.sigma.sum() for f in factors], [torch.stack(g) for g in into], factors


@pytest.mark.parametrize("likeness", ["near", "opposite", "proportional", "random"])
@pytest.mark.parametrize(("way", "tasks"), [(add_two, 2), (add_many, 2), (add_many, 3), (add_many, 10)])
def test_values_and_subgradients_are_right_for_related_tasks_at_every_scale(way, tasks, likeness):
    scales = (1.0, 1e-15, 1e15) if way is add_many else (1.0, 1e-15, 1e15, 1e-30, 1e30)
    layers = [
        samplers.related_tasks(tasks, size, likeness, difference, seed) * scale
        for size in (tasks, 64, 2000)
        for seed, difference in enumerate(DIFFERENCES)
        for scale in scales
    ]
    values, polars, _ = of_layers(way, layers)
    for rows, value, polar in zip(layers, values, polars, strict=True):
        error, overshoot, gap = samplers.defects(rows, value, polar)
        assert error <= 1e-6 and overshoot <= 1e-6 and gap <= 1e-6


def test_drawn_matrices_of_two_rows():
    """Any rank, spectrum and scale; hundreds of layers in one call, of which none disturbs another."""
    layers = []
    for seed in range(600):
        matrix = samplers.drawn(seed).float()
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        layers += [wide[i : i + 2].contiguous() for i in range(len(wide) - 1)]
    values, polars, _ = of_layers(add_two, layers)
    for rows, value, polar in zip(layers, values, polars, strict=True):
        assert max(samplers.defects(rows, value, polar)) <= 1e-6


@pytest.mark.parametrize("likeness", ["near", "opposite", "random"])
def test_directions_are_those_of_the_float64_svd(likeness):
    for difference in (1e-2, 1e-4, 1e-6):
        rows = samplers.related_tasks(2, 5000, likeness, difference, seed=4)
        _, (polar,), _ = of_layers(add_two, [rows])
        true = value_and_polar(rows.double(), "svd")[1]
        assert (polar - true).norm() <= 1e-6 * true.norm()


@pytest.mark.parametrize("way", [add_two, add_many])
def test_the_subgradient_has_least_length_where_the_rank_is_not_full(way):
    base = torch.randn(500, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(500)
    pairs = [
        (base, base),
        (base, -base),
        (base, 2 * base),
        (base, 3 * base),
        (base, zero),
        (zero, base),
        (zero, zero),
    ]
    values, polars, factors = of_layers(way, [torch.stack(pair) for pair in pairs])
    for (first, second), value, polar, factor in zip(pairs, values, polars, factors, strict=True):
        length = torch.stack([first, second]).norm()
        torch.testing.assert_close(value.float(), length, rtol=1e-6, atol=0)
        expected = torch.stack([first, second]) / length.clamp_min(1e-30)
        torch.testing.assert_close(polar, expected, rtol=0, atol=1e-6)
        assert (factor.sigma > 0).sum() == int(length > 0)
    assert torch.equal(*polars[0])  # equal tasks are pushed alike, to the last bit
    assert not polars[-1].any()


def test_a_single_different_entry_is_seen_or_left_out_but_never_overshoots():
    for tiny in (1e-3, 1e-9, 1e-20, 1e-38):
        base = torch.randn(3000, generator=torch.Generator().manual_seed(1))
        base[7] = tiny
        other = base.clone()
        other[7] = 0
        rows = torch.stack([base, other])
        (value,), (polar,), _ = of_layers(add_two, [rows])
        assert max(samplers.defects(rows, value, polar)) <= 1e-6


def test_numbers_at_the_ends_of_float32_give_no_nan():
    for size in (1e-44, 1e-40, 1e-37, 1e36, 1.6e38):
        rows = (torch.randn(2, 40, generator=torch.Generator().manual_seed(2)).clamp(-1, 1) * size).float()
        for pair in (
            rows,
            rows[:1].expand(2, -1),
            torch.stack([rows[0], -rows[0]]),
            torch.stack([rows[0], 0 * rows[1]]),
        ):
            _, (polar,), (factor,) = of_layers(add_two, [pair])
            assert polar.isfinite().all() and factor.sigma.isfinite().all()
            assert torch.linalg.matrix_norm(polar.double(), ord=2) <= 1 + (
                1e-6 if 1e-38 < size < 1e38 else 1e-4
            )


def test_what_is_not_finite_spoils_its_own_layer_only():
    for way in (add_two, add_many):
        good = torch.randn(2, 50, generator=torch.Generator().manual_seed(3))
        for bad in (float("nan"), float("inf")):
            spoilt = good.clone()
            spoilt[1, 4] = bad
            values, polars, _ = of_layers(way, [good, spoilt, good])
            assert values[1].isnan() and polars[1].isnan().all()
            assert values[0].isfinite() and torch.equal(polars[0], polars[2]) and polars[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("way", "tasks"), [(add_two, 2), (add_many, 3)])
def test_every_layout_and_type_of_the_gradient(way, tasks, dtype):
    generator = torch.Generator().manual_seed(5)
    rows = torch.randn(tasks, 4 * 6 * 3 * 3, generator=generator).to(dtype)
    true = value_and_polar(rows.double(), "svd")[1].view(tasks, 4, 6, 3, 3)
    start = torch.randn(tasks, 4, 6, 3, 3, generator=generator).to(dtype)
    last = torch.channels_last
    for targets in (
        list(start.clone()),
        [g.clone(memory_format=last) for g in start],
        [start[0].clone(), *(g.clone(memory_format=last) for g in start[1:])],
        [None, *start[1:].clone()],
    ):
        way([list(rows)], [targets], 0.5)
        for before, target, part in zip(start, targets, true, strict=True):
            if target is not None:
                assert target.dtype == dtype
                torch.testing.assert_close(
                    (target - before).double(), 0.5 * part, rtol=0, atol=torch.finfo(dtype).eps * 4
                )


def test_both_ways_return_the_factor_that_the_measures_need():
    for tasks, way in ((2, add_two), (3, add_many)):
        rows = samplers.related_tasks(tasks, 300, "near", 0.3, seed=6)
        (found,), known = way([list(rows)], None, 0.0), decompose(list(rows))
        torch.testing.assert_close(found.sigma.sort().values, known.sigma.sort().values, rtol=1e-6, atol=0)
        torch.testing.assert_close(
            found.polar, known.polar, rtol=1e-6, atol=1e-6 * float(known.polar.abs().max())
        )
        for factor in (found, known):  # the rows' own Gram matrix
            half = factor.left * factor.sigma
            torch.testing.assert_close(
                half @ half.T, known.left * known.sigma**2 @ known.left.T, rtol=1e-6, atol=1e-4
            )


@pytest.mark.parametrize(
    ("tasks", "dtype", "ratio", "kernels", "waits"),
    [(2, torch.float32, 3.1, 400, 0), (2, torch.bfloat16, 8.1, 550, 0), (3, torch.float32, 8.5, 600, 3)],
)
def test_bytes_kernels_and_waits_are_as_few_as_is_said(tasks, dtype, ratio, kernels, waits):
    """Counted over ResNet-34's layers on tensors without data, where the library goes as on a GPU; not timed."""
    counts, shapes = load("device_counts"), load("trace_norm").resnet34_shapes()
    watch, floor = counts.laf(shapes, tasks, dtype)
    assert floor == 4 * tasks * sum(torch.Size(s).numel() for s in shapes) * dtype.itemsize
    assert 1 <= watch.bytes.total() / floor <= ratio
    assert watch.kernels.total() <= kernels
    assert len(watch.waits) == waits


def test_the_library_takes_this_way_off_the_cpu_only(monkeypatch):
    asked = []
    monkeypatch.setattr(
        task_rows, "add_two", lambda *args: asked.append(args[0][0][0].device.type) or add_two(*args)
    )
    counts = load("device_counts")
    with counts.without_autocast():
        for device in ("cpu", "meta"):
            weights = [[torch.ones(4, 3, device=device), torch.ones(4, 3, device=device)]]
            task_rows.add_polars(weights, None, 1.0, "auto")
    assert asked == ["meta"]
