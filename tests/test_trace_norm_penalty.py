"""The penalty on stacks of layers: every way to its gradient agrees; layouts, types, tasks; the measures of sharing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cvxpy
import matrix_samplers as samplers
import numpy as np
import pytest
import torch
from weight_stacks import clear, gradients, make_stacks

from mtl_lib.errors import ConfigError
from mtl_lib.trace_norm import (
    TraceNormPenalty,
    layer_norms,
    scale_free_norm,
    task_cosine,
    tensor_trace_norm,
    tndr,
)
from mtl_lib.unfold import paper_order


def expected_gradients(penalty, stacks):
    """By float64 SVD on the stacked tensor in the paper's order."""
    found = []
    for tensors in stacks.values():
        leaf = torch.stack([t.detach().double() for t in tensors]).requires_grad_()
        (
            penalty.gamma * tensor_trace_norm(paper_order(leaf), penalty.kind, penalty.weights, "svd")
        ).backward()
        found += list(leaf.grad)
    return found


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
@pytest.mark.parametrize("likeness", ["random", "near", "opposite", "proportional"])
def test_every_way_to_the_gradient_agrees_with_the_oracle(kind, tasks, likeness):
    stacks = make_stacks(tasks, likeness=likeness, difference=1e-2)
    penalty = TraceNormPenalty(kind, gamma=0.3)
    expected = expected_gradients(penalty, stacks)
    value = penalty(stacks)
    value.backward()
    differentiable = gradients(stacks)
    clear(stacks)
    fast = penalty.add_gradient_(stacks)
    torch.testing.assert_close(fast, value.detach(), rtol=1e-6, atol=0)
    for one, two, three in zip(differentiable, gradients(stacks), expected, strict=True):
        torch.testing.assert_close(one.double(), three, rtol=0, atol=2e-6)
        torch.testing.assert_close(two.double(), three, rtol=0, atol=2e-6)


@pytest.mark.parametrize("tasks", [2, 3, 10])
@pytest.mark.parametrize("likeness", ["near", "opposite", "proportional", "random"])
@pytest.mark.parametrize("difference", [0.0, 1e-4, 1e-6, 1e-8])
def test_the_fast_way_is_a_valid_subgradient_for_related_tasks(tasks, likeness, difference):
    for scale in (1.0, 1e-15, 1e15):
        rows = samplers.related_tasks(tasks, 2000, likeness, difference, seed=1) * scale
        tensors = [torch.nn.Parameter(row.clone()) for row in rows]
        value = TraceNormPenalty(gamma=1.0).add_gradient_({"w": tensors})
        polar = torch.stack([t.grad for t in tensors])
        error, overshoot, gap = samplers.defects(rows, value, polar)
        assert error <= 1e-6 and overshoot <= 1e-6 and gap <= 1e-6


def test_gradients_are_added_and_gamma_zero_touches_nothing():
    stacks = make_stacks()
    TraceNormPenalty(gamma=0.0).add_gradient_(stacks)
    assert all(t.grad is None for tensors in stacks.values() for t in tensors)
    for tensors in stacks.values():
        for tensor in tensors:
            tensor.grad = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(9))
    before = gradients(stacks)
    assert TraceNormPenalty(gamma=0.0).add_gradient_(stacks) == 0
    for now, then in zip(gradients(stacks), before, strict=True):
        assert torch.equal(now.view(torch.int32), then.view(torch.int32))
    penalty = TraceNormPenalty(gamma=0.7)
    penalty.add_gradient_(stacks)
    for now, then, part in zip(gradients(stacks), before, expected_gradients(penalty, stacks), strict=True):
        torch.testing.assert_close((now - then).double(), part, rtol=0, atol=2e-6)


def test_every_layout_in_memory_gives_the_same():
    """Slices of one tensor, channels last, gradients in another layout, transposed weights, frozen tasks."""
    base = make_stacks(shapes={"conv": (4, 6, 3, 3)})["conv"]
    penalty = TraceNormPenalty(gamma=1.0)
    penalty.add_gradient_({"conv": base})
    expected = [t.grad.clone() for t in base]
    joined = torch.stack([t.detach() for t in base])
    last = torch.channels_last
    variants = {
        "joined": list(joined.clone()),
        "channels last": [t.detach().clone(memory_format=last) for t in base],
        "mixed": [base[0].detach().clone(memory_format=last), base[1].detach().clone()],
        "strided": [torch.stack([t.detach(), t.detach()], -1)[..., 0] for t in base],
        "flipped": [t.detach().transpose(0, 1).contiguous().transpose(0, 1) for t in base],
    }
    for name, tensors in variants.items():
        for other in (False, True):
            leaves = [t.requires_grad_() for t in (t.detach() for t in tensors)]
            for leaf in leaves:
                leaf.grad = torch.zeros_like(leaf, memory_format=torch.contiguous_format if other else last)
            value = penalty.add_gradient_({"conv": leaves})
            for leaf, part in zip(leaves, expected, strict=True):
                torch.testing.assert_close(
                    leaf.grad, part, rtol=0, atol=5e-7, msg=lambda m, n=name: f"{n}: {m}"
                )
            torch.testing.assert_close(value, penalty({"conv": base}).detach(), rtol=1e-6, atol=0)
    frozen = [base[0].detach().clone(), torch.nn.Parameter(base[1].detach().clone())]
    penalty.add_gradient_({"conv": frozen})
    assert frozen[0].grad is None
    torch.testing.assert_close(frozen[1].grad, expected[1], rtol=0, atol=5e-7)


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types(kind, dtype):
    stacks = make_stacks(dtype=dtype)
    penalty = TraceNormPenalty(kind, gamma=1.0)
    value = penalty.add_gradient_(stacks)
    for now, part in zip(gradients(stacks), expected_gradients(penalty, stacks), strict=True):
        assert now.dtype == dtype
        assert (now.double() - part).abs().max() <= 1e-9 + 2 * torch.finfo(dtype).eps * part.abs().max() * 5
    torch.testing.assert_close(value, penalty(stacks).detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["laf", "tucker", "tt"])
def test_autocast_changes_nothing(kind):
    stacks = make_stacks(3)
    penalty = TraceNormPenalty(kind, gamma=1.0)
    value = penalty.add_gradient_(stacks)
    outside = gradients(stacks)
    clear(stacks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside_value = penalty.add_gradient_(stacks)
        differentiable = penalty(stacks)
    assert torch.equal(value, inside_value)
    torch.testing.assert_close(differentiable.detach(), value, rtol=1e-6, atol=0)
    for one, two in zip(outside, gradients(stacks), strict=True):
        assert torch.equal(one, two)


def test_somebody_elses_training_loop_shares_what_it_learns():
    """Two regressions on one truth, few samples each: with the penalty the tasks grow alike."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(20, generator=generator)
    inputs = [torch.randn(15, 20, generator=generator) for _ in range(2)]
    ratios = {}
    for gamma in (0.0, 1.0):
        nets = [torch.nn.Linear(20, 1, bias=False) for _ in range(2)]
        for net in nets:
            torch.nn.init.normal_(net.weight, generator=generator)
        penalty = TraceNormPenalty("laf", gamma=gamma)
        optimiser = torch.optim.SGD([net.weight for net in nets], lr=0.05)
        for _ in range(150):
            optimiser.zero_grad()
            sum(
                ((net(x)[:, 0] - x @ truth) ** 2).mean() for net, x in zip(nets, inputs, strict=True)
            ).backward()
            penalty.add_gradient_({"weight": [net.weight for net in nets]})
            optimiser.step()
        ratios[gamma] = scale_free_norm([net.weight for net in nets]).item()
    assert ratios[1.0] < ratios[0.0] - 0.05


@pytest.mark.parametrize("tasks", [2, 3])
def test_prox_agrees_with_cvxpy(tasks):
    rows = samplers.related_tasks(tasks, 6, "random", 0.0, seed=2)
    tau = 0.8
    x = cvxpy.Variable(rows.shape)
    objective = cvxpy.sum_squares(x - rows.double().numpy()) / 2 + tau * cvxpy.normNuc(x)
    cvxpy.Problem(cvxpy.Minimize(objective)).solve(solver=cvxpy.SCS, eps=1e-8)
    tensors = [torch.nn.Parameter(row.view(2, 3).clone()) for row in rows]
    TraceNormPenalty(gamma=4.0).prox_({"w": tensors}, step_size=tau / 4)
    found = torch.stack([t.detach().view(-1) for t in tensors])
    np.testing.assert_allclose(found.numpy(), x.value, atol=1e-5)


def test_prox_in_every_layout_and_to_exact_rank():
    stacks = make_stacks(3, likeness="near", difference=0.05, shapes={"conv": (4, 6, 3, 3)})["conv"]
    rows = torch.stack([t.detach().reshape(-1) for t in stacks])
    small = torch.linalg.svdvals(rows.double())[1].item()
    penalty = TraceNormPenalty(gamma=1.0)
    last = [torch.nn.Parameter(t.detach().clone(memory_format=torch.channels_last)) for t in stacks]
    mixed = [
        stacks[0].detach().clone(),
        *(t.detach().clone(memory_format=torch.channels_last) for t in stacks[1:]),
    ]
    results = []
    for tensors in (stacks, last, mixed):
        penalty.prox_({"conv": tensors}, step_size=1.01 * small)
        results.append(torch.stack([t.detach().reshape(-1) for t in tensors]))
        sigma = torch.linalg.svdvals(results[-1].double())
        assert sigma[1] < 1e-7 * sigma[0]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-6)


def test_measures():
    stacks = make_stacks(3)
    norms = layer_norms(stacks)
    for name, tensors in stacks.items():
        rows = torch.stack([t.detach().reshape(-1) for t in tensors]).double()
        nuclear = torch.linalg.matrix_norm(rows, ord="nuc")
        torch.testing.assert_close(norms[name].double(), nuclear, rtol=1e-6, atol=0)
        ratio = scale_free_norm(tensors)
        torch.testing.assert_close(ratio.double(), nuclear / rows.norm(), rtol=1e-6, atol=0)
        torch.testing.assert_close(scale_free_norm([7 * t for t in tensors]), ratio, rtol=1e-6, atol=0)
        cosine = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
        torch.testing.assert_close(task_cosine(tensors).double(), cosine, rtol=0, atol=1e-6)
    half = {name: [t.detach() / 2 for t in tensors] for name, tensors in stacks.items()}
    for ratio in tndr(layer_norms(half), norms).values():
        assert ratio == pytest.approx(0.5)  # shrinking alone
    assert scale_free_norm([torch.zeros(3), torch.zeros(3)]) == 1
    assert task_cosine([torch.zeros(3), torch.ones(3)]).tolist() == [[1, 0], [0, 1]]
    assert scale_free_norm([torch.ones(4), -torch.ones(4)]) == pytest.approx(1)
    assert task_cosine([torch.ones(4), -torch.ones(4)])[0, 1] == pytest.approx(-1)


def test_terms_are_what_the_value_sums():
    stacks = make_stacks(shapes={"a": (4, 6, 3, 3), "b": (3, 4, 3, 3)})
    for kind, count in (("laf", 1), ("tucker", 5), ("tt", 4)):
        weights = [0.5 + i for i in range(count)]
        penalty = TraceNormPenalty(kind, 0.2, weights)
        total = sum((t * torch.tensor(weights)).sum() for t in penalty.terms(stacks).values())
        torch.testing.assert_close(penalty(stacks).detach(), 0.2 * total, rtol=1e-6, atol=0)


def test_not_finite_is_never_silent():
    stacks = make_stacks()
    with torch.no_grad():
        stacks["conv2"][1].view(-1)[3] = float("nan")
    for kind in ("laf", "tucker", "tt"):
        assert TraceNormPenalty(kind if kind == "laf" else "laf").add_gradient_(stacks).isnan()
        penalty = TraceNormPenalty(kind)
        convolutions = {name: stacks[name] for name in ("conv1", "conv2")}
        assert penalty(convolutions).isnan()


def test_repr_and_no_layers():
    assert repr(TraceNormPenalty("tt", 0.1, [1, 2])) == (
        "TraceNormPenalty(kind='tt', gamma=0.1, weights=(1.0, 2.0), method='auto', precision='accurate', "
        "null='minimum')"
    )
    assert TraceNormPenalty()({}) == 0 and TraceNormPenalty().add_gradient_({}) == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: TraceNormPenalty("sum"), ["'sum'", "laf"]),
        (lambda: TraceNormPenalty(gamma=-1), ["gamma is -1"]),
        (lambda: TraceNormPenalty(gamma=float("nan")), ["gamma is nan"]),
        (lambda: TraceNormPenalty(method="qr"), ["'qr'"]),
        (lambda: TraceNormPenalty()({"a": []}), ["'a'", "no tensors"]),
        (lambda: TraceNormPenalty()({"a": [torch.zeros(2), torch.zeros(3)]}), ["'a'", "(2,)", "(3,)"]),
        (lambda: TraceNormPenalty()({"a": [torch.zeros(2), torch.zeros(2).double()]}), ["dtype", "float64"]),
        (lambda: TraceNormPenalty()({"a": [torch.zeros(2, dtype=torch.int64)] * 2}), ["int64"]),
        (lambda: TraceNormPenalty()({"a": [torch.tensor(1.0)] * 2}), ["single numbers"]),
        (lambda: TraceNormPenalty("tt", 1, [1, 1])({"a": [torch.zeros(2, 2, 3, 3)] * 2}), ["'a'", "give 4"]),
        (
            lambda: TraceNormPenalty().add_gradient_({"a": [torch.ones(2, requires_grad=True) * 2] * 2}),
            ["'a'", "task 0", "penalty(stacks)"],
        ),
        (lambda: TraceNormPenalty("tt").prox_({}, 0.1), ["'laf'", "'tt'"]),
        (lambda: TraceNormPenalty().prox_({}, -0.1), ["step_size is -0.1"]),
        (lambda: tndr({"a": torch.tensor(1.0)}, {"b": torch.tensor(1.0)}), ["a, b"]),
        (lambda: scale_free_norm([]), ["no weights"]),
        (lambda: task_cosine([torch.zeros(2), torch.zeros(3)]), ["(2,)", "(3,)"]),
    ],
)
def test_errors_say_what_was_given_and_what_is_allowed(call, says):
    with pytest.raises(ConfigError) as error:
        call()
    for part in says:
        assert part in str(error.value)


# Without the checks of shapes that the other tests run under: they are not part of the graph.
COMPILED = """
import json
import torch
from mtl_lib.trace_norm import TraceNormPenalty

for tasks, kind in ((2, "laf"), (3, "laf"), (2, "tucker"), (2, "tt")):
    torch._dynamo.reset()
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(4, 3, 3, 3, generator=generator).requires_grad_() for _ in range(tasks)]
    penalty = TraceNormPenalty(kind, 0.3)
    call = lambda *tensors: penalty({"a": tensors, "b": [2 * t for t in tensors]})
    found, known = torch.compile(call, backend="aot_eager", fullgraph=True)(*weights), call(*weights)
    pairs = zip(torch.autograd.grad(found, weights), torch.autograd.grad(known, weights))
    print(json.dumps([float(abs(found / known - 1)), max(float((a - b).abs().max()) for a, b in pairs)]))
"""


def test_compiled_into_one_graph_the_differentiable_penalty_is_the_same():
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILED],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    for line in lines:
        value, gradient = json.loads(line)
        assert value <= 1e-6 and gradient <= 1e-6
