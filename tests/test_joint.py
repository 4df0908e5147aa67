"""The joint route of Tucker and TT: which unfoldings share a Gram matrix, and that it is the per-unfolding route's equal."""

import math

import hypothesis.strategies as st
import matrix_samplers as samplers
import pytest
import tensorly
import torch
from hypothesis import given, settings

from mtl_lib import joint
from mtl_lib.errors import ConfigError
from mtl_lib.gram import exact_float32
from mtl_lib.mode_gram import gram_of, root_of, well_conditioned
from mtl_lib.norm_terms import of_layers, of_tensor
from mtl_lib.trace_norm import KINDS, TraceNormPenalty, layer_norms, mode_norms, tensor_trace_norm, tndr
from mtl_lib.unfold import paper_order
from mtl_lib.unfolded_norms import weighted_terms
from mtl_lib.unfolding_sides import plan, shorter_sides

quick = settings(derandomize=True, max_examples=80, deadline=None)
ALLOWED = 1e-6


def random_tensor(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def unfoldings(x, kind):
    """Written out from Eqs. (1) to (3); TensorLy unfolds."""
    array = x.double().numpy()
    if kind == "tucker":
        return [torch.from_numpy(tensorly.unfold(array, i)) for i in range(x.ndim)]
    if kind == "laf":
        return [torch.from_numpy(tensorly.unfold(array, x.ndim - 1))]
    return [torch.from_numpy(array.reshape(math.prod(x.shape[:k]), -1)) for k in range(1, x.ndim)]


@st.composite
def tensors(draw):
    """Two to six axes; random, low Tucker rank, dead slices, tasks alike or nearly so; many scales."""
    shape = draw(st.lists(st.integers(1, 5), min_size=2, max_size=6))
    seed = draw(st.integers(0, 2**20))
    x = random_tensor(shape, seed, torch.float64)
    what = draw(
        st.sampled_from(["random", "rank one", "dead", "zero", "alike", "nearly alike", "proportional"])
    )
    if what == "rank one":
        x = torch.ones((), dtype=torch.float64)
        for axis, size in enumerate(shape):
            x = x[..., None] * random_tensor((size,), seed + axis, torch.float64)
    elif what == "dead":
        for axis in range(len(shape)):
            x.select(axis, 0).zero_()
    elif what == "zero":
        x.zero_()
    elif what in ("alike", "nearly alike"):
        x = x[..., :1] + (0 if what == "alike" else 1e-6) * random_tensor(shape, seed + 9, torch.float64)
    elif what == "proportional":
        x = x[..., :1] * torch.arange(1, shape[-1] + 1)
    return (x * 10.0 ** draw(st.sampled_from([0, 0, -15, 15, -3]))).float()


@quick
@given(tensors(), st.sampled_from(["tucker", "tt"]), st.integers(0, 5))
def test_every_term_has_an_exact_value_and_a_valid_subgradient(x, kind, which):
    """One weight is 1 and the others are 0, so that the gradient is that term's own polar factor."""
    matrices = unfoldings(x, kind)
    which %= len(matrices)
    weights = [float(i == which) for i in range(len(matrices))]
    values, gradient = of_tensor(x, kind, weights, "auto", "minimum", True)
    for value, matrix in zip(values, matrices, strict=True):
        true, _ = samplers.oracle(matrix)
        assert abs(value.item() - true) <= ALLOWED * true
    polar = unfoldings(gradient, kind)[which]
    error, overshoot, gap = samplers.defects(matrices[which], values[which], polar)
    assert error <= ALLOWED and overshoot <= ALLOWED and gap <= ALLOWED


@quick
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=6),
    st.sampled_from(["tucker", "tt"]),
    st.sampled_from([0, 6, 64]),
    st.integers(0, 1000),
)
def test_joint_and_per_unfolding_agree(shape, kind, joint_rows, seed):
    x = random_tensor(shape, seed)
    count = len(shape) - (kind == "tt")
    weights = [0.5 + i for i in range(count)]
    expected, total = weighted_terms(x.double(), kind, weights, "svd", "minimum", True)
    into = [torch.zeros(shape[:-1]) for _ in range(shape[-1])]
    values = joint.add_terms(x.unbind(-1), kind, weights, into, 1.0, None, joint_rows=joint_rows)
    torch.testing.assert_close(values.double(), expected, rtol=ALLOWED, atol=1e-9)
    sizes = [torch.linalg.svdvals(m) for m in unfoldings(x, kind)]
    if all(s[-1] > 1e-3 * s[0] for s in sizes):  # elsewhere the polar factor itself is not well determined
        torch.testing.assert_close(torch.stack(into, -1).double(), total, rtol=0, atol=2e-5 * sum(weights))


@pytest.mark.parametrize("kind", ["tucker", "tt"])
@pytest.mark.parametrize(
    "shape", [(40, 36, 3, 3), (70, 80), (48, 40, 3), (20, 16, 3, 3, 3), (130, 5, 5, 5), (90,)]
)
@pytest.mark.parametrize("tasks", [2, 3])
def test_kernels_of_every_dimension_in_every_layout(kind, shape, tasks):
    """1-d to 3-d convolutions, linear layers, vectors; large sides in float32; channels last; frozen tasks."""
    count = len(shape) + (kind == "tucker")
    penalty = TraceNormPenalty(kind, gamma=0.5, weights=[1 + 0.1 * i for i in range(count)])
    tensors = [torch.nn.Parameter(0.1 * random_tensor(shape, t)) for t in range(tasks)]
    stack = torch.stack([t.detach().double() for t in tensors]).requires_grad_()
    expected = 0.5 * tensor_trace_norm(paper_order(stack), kind, penalty.weights, "svd")
    expected.backward()
    for last in (False, True):
        form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(len(shape)) if last else None
        form = form or torch.contiguous_format
        leaves = [torch.nn.Parameter(t.detach().clone(memory_format=form)) for t in tensors]
        leaves[0].requires_grad_(not last)
        value = penalty.add_gradient_({"w": leaves})
        torch.testing.assert_close(value.double(), expected.detach(), rtol=ALLOWED, atol=0)
        for leaf, part in zip(leaves, stack.grad, strict=True):
            if leaf.requires_grad:
                torch.testing.assert_close(leaf.grad.double(), part, rtol=0, atol=1e-6)
            else:
                assert leaf.grad is None


@pytest.mark.parametrize("spectrum", ["flat", "decades", "deficient", "small"])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("precision", ["accurate", "fast"])
def test_a_long_side_is_right_for_every_spectrum(spectrum, stacked, precision):
    sigma = {
        "flat": [1.0] * 150,
        "decades": [10 ** (-3 * i / 150) for i in range(150)],
        "deficient": [1.0 + i for i in range(70)],
        "small": [10 ** (-7 * i / 150) for i in range(150)],
    }[spectrum]
    matrix = samplers.with_spectrum(150, 400, sigma, seed=1).float()
    matrix[3] = 0  # a dead filter
    for scale in (1.0, 1e-15, 1e15):
        pieces = list((matrix * scale).split(75, 0) if stacked else (matrix * scale).split(200, 1))
        root = root_of(pieces, stacked, precision)
        dtype = torch.float32 if root.single else torch.float64
        polar = root.mixing.to(dtype) @ (matrix * scale).to(dtype)
        allowed = ALLOWED if precision == "accurate" else 2e-5
        assert max(samplers.defects(matrix * scale, root.value, polar.float())) <= allowed
    assert root_of([matrix], False).single == (spectrum == "flat")


def test_what_float32_is_trusted_with():
    generator = torch.Generator().manual_seed(0)
    left, right = samplers.orthonormal(200, 200, generator), samplers.orthonormal(300, 200, generator)
    for ratio in (3.0, 6.0, 14.0, 30.0, 200.0):
        sigma = torch.linspace(1, ratio, 200, dtype=torch.float64)
        matrix = ((left * sigma) @ right.T).float()
        g = gram_of([matrix], False, torch.float64)
        assert well_conditioned(g, 2.5e-2) == (ratio < 7.0)
        torch.testing.assert_close(g, matrix.double() @ matrix.double().T)
        root = root_of([matrix], False)
        assert root.single == (ratio < 15.0)
        polar = root.mixing.float() @ matrix if root.single else root.mixing @ matrix.double()
        assert max(samplers.defects(matrix, root.value, polar)) <= ALLOWED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["accurate", "fast"])
def test_reduced_float32_products_change_nothing(kind, precision):
    """TF32 on a GPU, bfloat16 on a CPU: asked for by the program, refused by the penalty, put back afterwards."""
    gradients = []
    for setting in ("highest", "medium"):
        torch.set_float32_matmul_precision(setting)
        try:
            tensors = [torch.nn.Parameter(random_tensor((80, 90, 3, 3), t)) for t in range(3)]
            TraceNormPenalty(kind, 1.0, precision=precision).add_gradient_({"w": tensors})
            assert torch.get_float32_matmul_precision() == setting
        finally:
            torch.set_float32_matmul_precision("highest")
        gradients.append(torch.stack([t.grad for t in tensors]))
    assert torch.equal(*gradients)
    with pytest.raises(ZeroDivisionError), exact_float32():
        raise ZeroDivisionError


@pytest.mark.parametrize("tasks", [2, 3, 10])
@pytest.mark.parametrize("likeness", ["near", "opposite", "proportional", "random"])
@pytest.mark.parametrize("difference", [0.0, 1e-2, 1e-4, 1e-6, 1e-8])
def test_fast_is_a_valid_subgradient_for_related_tasks(tasks, likeness, difference):
    for scale in (1.0, 1e-15, 1e15, 1e-20):
        rows = samplers.related_tasks(tasks, 3000, likeness, difference, seed=1) * scale
        tensors = [torch.nn.Parameter(row.clone()) for row in rows]
        value = TraceNormPenalty(gamma=1.0, precision="fast").add_gradient_({"w": tensors})
        polar = torch.stack([t.grad for t in tensors])
        assert max(samplers.defects(rows, value, polar)) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["auto", "svd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measures_come_with_the_gradient(kind, method, dtype):
    stacks = {
        name: [torch.nn.Parameter(random_tensor(shape, 7 * t + len(shape), dtype)) for t in range(3)]
        for name, shape in {"conv": (6, 5, 3, 3), "fc": (4, 7), "bias": (5,)}.items()
    }
    stacks["dead"] = [torch.nn.Parameter(torch.zeros(4, 3, dtype=dtype)) for _ in range(3)]
    penalty = TraceNormPenalty(kind, gamma=0.3, method=method)
    log = {}
    value = penalty.add_gradient_(stacks, measures=log)
    gradients = [t.grad.clone() for tensors in stacks.values() for t in tensors]
    assert list(log) == list(stacks)
    for name, tensors in stacks.items():
        rows = torch.stack([t.detach().double().reshape(-1) for t in tensors])
        nuclear = torch.linalg.matrix_norm(rows, ord="nuc")
        torch.testing.assert_close(log[name].laf.double(), nuclear, rtol=ALLOWED, atol=0)
        ratio = nuclear / rows.norm() if name != "dead" else torch.tensor(1.0).double()
        torch.testing.assert_close(log[name].scale_free.double(), ratio, rtol=ALLOWED, atol=0)
        cosine = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
        cosine = torch.eye(3).double() if name == "dead" else cosine
        torch.testing.assert_close(log[name].cosine.double(), cosine, rtol=0, atol=ALLOWED)
        expected = [torch.linalg.matrix_norm(m, ord="nuc") for m in unfoldings(paper_order(torch.stack(
            [t.detach() for t in tensors])), kind)]  # fmt: skip
        torch.testing.assert_close(log[name].terms.double(), torch.stack(expected), rtol=ALLOWED, atol=0)
        torch.testing.assert_close(penalty.terms(stacks)[name], log[name].terms, rtol=1e-6, atol=0)
    torch.testing.assert_close(value.double(), 0.3 * sum(m.terms.sum() for m in log.values()).double())
    again = penalty.measures(stacks)
    for name in stacks:
        for one, two in zip(vars(again[name]).values(), vars(log[name]).values(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)
    for tensors in stacks.values():
        for tensor in tensors:
            tensor.grad = None
    penalty.add_gradient_(stacks)  # without measures: the same gradient
    after = [t.grad for tensors in stacks.values() for t in tensors]
    assert all(torch.equal(one, two) for one, two in zip(gradients, after, strict=True))
    none = {}
    assert TraceNormPenalty(kind, gamma=0, method=method).add_gradient_(stacks, none) == 0 and set(
        none
    ) == set(log)


def test_tndr_from_the_measures():
    tensors = [torch.nn.Parameter(random_tensor((4, 3, 3, 3), t)) for t in range(2)]
    penalty = TraceNormPenalty("tt")
    start = {name: m.laf for name, m in penalty.measures({"w": tensors}).items()}
    torch.testing.assert_close(start["w"], layer_norms({"w": tensors})["w"], rtol=1e-6, atol=0)
    with torch.no_grad():
        for tensor in tensors:
            tensor.mul_(0.25)
    now = {name: m.laf for name, m in penalty.measures({"w": tensors}).items()}
    assert tndr(now, start)["w"] == pytest.approx(0.25)


def test_golden_integers_by_hand():
    """x[h, w, c, m, t]: two tasks, one with a kernel in every second filter, the other with its double.

    x = a (x) b (x) c (x) m (x) t + the same with orthogonal c' and m': two orthogonal directions along c, m; one
    along h, w, t.  |a||b||t| = 3 * 5 * sqrt(5), |c||m| = 2 * 1 and |c'||m'| = 3 * 2.
    """
    a, b, t = torch.tensor([1.0, 2, 2]), torch.tensor([3.0, 4]), torch.tensor([1.0, 2])
    kernel = torch.zeros(2, 3)
    kernel[0, 0], kernel[1, 2] = 2.0, 6.0
    x = torch.einsum("h,w,cm,t->hwcmt", a, b, kernel, t)
    along, size = 15 * 5**0.5 * 8, 15 * 5**0.5 * 40**0.5  # 2 + 6, and sqrt(2^2 + 6^2)
    torch.testing.assert_close(mode_norms(x, "tucker"), torch.tensor([size, size, along, along, size]))
    torch.testing.assert_close(mode_norms(x, "tt"), torch.tensor([size, size, along, size]))


@quick
@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.integers(0, 1000))
def test_the_tasks_term_is_laf_to_the_last_bit(shape, seed):
    tensors = [random_tensor(shape, seed + t) for t in range(2)]
    weights = {"tucker": [0.0] * len(shape) + [1.0], "tt": [0.0] * (len(shape) - 1) + [1.0]}
    expected = None
    for kind in KINDS:
        leaves = [torch.nn.Parameter(t.clone()) for t in tensors]
        value = TraceNormPenalty(kind, 1.0, weights.get(kind)).add_gradient_({"w": leaves})
        found = (value, *(leaf.grad for leaf in leaves))
        expected = expected or found
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0) if min(shape) > 1 else None
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@quick
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.sampled_from(KINDS), st.integers(0, 80))
def test_the_plan_serves_every_term_once_from_a_shorter_side(shape, kind, joint_rows):
    shape = tuple(shape)
    found = plan(shape, kind, joint_rows)
    served = list(found.tasks) + [i for g in (*found.joint, *found.single) for i in g.terms]
    sides = shorter_sides(shape, kind)
    assert sorted(served) == list(range(len(sides)))
    for side in sides:
        assert math.prod(shape[a] for a in side) ** 2 <= math.prod(shape)
    for group in found.joint:
        assert len(shape) - 1 not in group.axes and math.prod(shape[a] for a in group.axes) <= max(
            joint_rows, 1
        )
        assert all(set(side) <= set(group.axes) for side in group.sides)


def test_not_finite_is_never_silent():
    for kind in ("tucker", "tt"):
        for bad in (float("nan"), float("inf")):
            tensors = [torch.nn.Parameter(random_tensor((70, 40, 3, 3), t)) for t in range(2)]
            with torch.no_grad():
                tensors[1][5, 3, 1, 1] = bad
            log = {}
            assert TraceNormPenalty(kind, 1.0).add_gradient_({"w": tensors}, log).isnan()
            assert log["w"].terms.isnan().all() and tensors[1].grad.isnan().any()


def test_layers_of_no_weights_and_of_many_tasks():
    many = [torch.nn.Parameter(random_tensor((3, 5), t)) for t in range(40)]  # more tasks than weights
    for kind in KINDS:
        penalty = TraceNormPenalty(kind, 1.0)
        penalty.add_gradient_({"w": many})
        stack = torch.stack([t.detach().double() for t in many]).requires_grad_()
        tensor_trace_norm(paper_order(stack), kind, None, "svd").backward()
        for leaf, part in zip(many, stack.grad, strict=True):
            torch.testing.assert_close(leaf.grad.double(), part, rtol=0, atol=1e-6)
            leaf.grad = None
        empty = [torch.nn.Parameter(torch.zeros(0, 3)) for _ in range(2)]
        assert penalty.add_gradient_({"w": empty}) == 0 and penalty.measures({"w": empty})["w"].laf == 0


@pytest.mark.parametrize("precision", ["exact", "", "float32"])
def test_a_wrong_precision_is_named(precision):
    with pytest.raises(ConfigError) as error:
        TraceNormPenalty(precision=precision)
    assert repr(precision) in str(error.value) and "accurate, fast" in str(error.value)


def test_layers_are_independent_of_each_other():
    """Their small algebra is done together, grouped by tasks and weights."""
    layers = [
        [random_tensor(shape, t) for t in range(tasks)]
        for shape, tasks in (((4, 3), 2), ((5,), 2), ((6,), 3))
    ]
    weights = [[1.0, 2.0, 3.0], [1.0, 2.0], [2.0, 1.0]]
    together = of_layers(layers, "tucker", weights, None, 1.0, "auto")
    for tensors, w, found in zip(layers, weights, together, strict=True):
        alone = of_layers([tensors], "tucker", [w], None, 1.0, "auto")[0]
        torch.testing.assert_close(found.values, alone.values)
