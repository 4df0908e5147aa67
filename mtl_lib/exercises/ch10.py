"""Checks for the exercises of chapter 10, what TNDR measures.

The right answers come in other ways than the solutions': from singular values of matrices that are built, from
steps of an optimiser on kernels, from loops over pairs of tasks and over layers.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from mtl_lib.checking import Unanswered
from mtl_lib.teach import Case, check


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _pair(length: float, cosine: float) -> np.ndarray:
    """Two kernels of one length at an angle."""
    return length * np.array([[1.0, 0.0, 0.0], [cosine, 0.0, math.sqrt(1 - cosine**2)]])


def _sum_of_singular_values(rows: np.ndarray) -> float:
    return float(np.linalg.svd(rows, compute_uv=False).sum())


def _growth_cases(answer: Callable) -> Iterator[Case]:
    for name, growth, cosine, start in (
        ("equal at the start, equal at the end", 0.6, 1.0, "same"),
        ("equal at the start, orthogonal at the end", 0.5, 0.0, "same"),
        ("equal at the start, opposite at the end", 0.6, -1.0, "same"),
        ("equal at the start, an angle at the end", 1.3, 0.8, "same"),
        ("orthogonal at the start and at the end", 0.7, 0.0, "orthogonal"),
        ("orthogonal at the start, folded at the end", 1.0, 1.0, "orthogonal"),
        ("orthogonal at the start, an obtuse angle at the end", 0.4, -0.5, "orthogonal"),
    ):
        before = _sum_of_singular_values(_pair(2.0, 1.0 if start == "same" else 0.0))
        value = _sum_of_singular_values(_pair(2.0 * growth, cosine)) / before
        sine = math.sqrt(1 - cosine**2)
        # Where kernels start orthogonal, "multiplied" and "2 for the root of 2" can give one number.
        mistaken = (
            {"multiplied where it should be divided": value * math.sqrt(1 + sine)}
            if start == "same"
            else {
                "two orthogonal kernels have the root of 2 times the trace norm of two equal ones, not twice": (
                    growth * math.sqrt(2)
                )
            }
        )
        yield Case(
            name,
            answer(value, cosine, start),
            growth,
            "TNDR is growth times parting; what is the parting at the end, and what was it at the start?",
            {
                "that is TNDR; part of it is the angle": value,
                "the kernels started orthogonal": value / math.sqrt(1 + sine),
                "the kernels started equal": value / math.sqrt((1 + sine) / 2),
                "singular values know the sine, not the cosine": value / math.sqrt(1 + abs(cosine)),
                "the trace norm of two kernels of one length is a root: divide by its quotient": growth
                / math.sqrt((1 + sine) / (1 if start == "same" else 2)),
                **mistaken,
            },
            tolerance=1e-9,
        )


def check_10_1(answer: Callable[[float, float, str], float]) -> bool:
    """Exercise 10.1: `answer(tndr, cosine, start)` is the factor by which both kernels have changed their length."""
    return check("10.1", answer, _growth_cases)


def _without_data(start: str, norm: float, rates: list[float], gamma: float, momentum: float) -> float:
    """TNDR after plain steps of torch's SGD on two kernels, with gamma U V' for a gradient and nothing else."""
    left, _ = np.linalg.qr(_draw(6, 2, seed=41).numpy())
    rows = norm * (np.ones((2, 1)) @ left[:, :1].T if start == "same" else left.T)
    W = torch.nn.Parameter(torch.from_numpy(rows))
    before = _sum_of_singular_values(rows)
    optimiser = torch.optim.SGD([W], lr=1.0, momentum=momentum)
    for rate in rates:
        optimiser.param_groups[0]["lr"] = rate
        u, s, vh = torch.linalg.svd(W.detach(), full_matrices=False)
        keep = s > 1e-9 * s[0]
        W.grad = gamma * u[:, keep] @ vh[keep]
        optimiser.step()
    return _sum_of_singular_values(W.detach().numpy()) / before


def _gamma_cases(answer: Callable) -> Iterator[Case]:
    falling = [0.05 * (1 + math.cos(math.pi * k / 20)) for k in range(20)]
    for name, start, norm, rates, gamma, momentum in (
        ("one step, orthogonal kernels", "orthogonal", 2.0, [0.1], 3.0, 0.0),
        ("ten steps, orthogonal kernels", "orthogonal", 4.0, [0.1] * 10, 1.0, 0.0),
        ("equal kernels", "same", 4.0, [0.1] * 10, 1.0, 0.0),
        ("momentum", "orthogonal", 4.0, [0.1] * 10, 0.5, 0.9),
        ("momentum and a falling rate", "orthogonal", 8.0, falling, 0.6, 0.8),
        ("the same with equal kernels", "same", 8.0, falling, 0.6, 0.8),
    ):
        target = _without_data(start, norm, rates, gamma, momentum)
        full = 1 - momentum
        pushes, push = [], 0.0
        for _ in rates:
            push = momentum * push + 1.0
            pushes.append(push)
        unit = sum(r * p for r, p in zip(rates, pushes, strict=True))
        mistakes = {}
        if start == "same":
            mistakes["equal kernels have one singular value, and it is longer than a kernel"] = (
                gamma / math.sqrt(2)
            )
        if start == "orthogonal":
            mistakes["orthogonal kernels have two singular values, each as long as a kernel"] = (
                gamma * math.sqrt(2)
            )
        if momentum:
            mistakes["momentum is missing"] = gamma * unit / sum(rates)
            mistakes["the momentum buffer is empty at first and fills step by step"] = (
                gamma * unit * full / sum(rates)
            )
            mistakes["torch's momentum buffer takes the whole gradient, not 1 - momentum of it"] = (
                gamma / full
            )
        mistakes["the target is what is left, not what is taken"] = gamma * target / (1 - target)
        yield Case(
            name,
            answer(target, norm, start, list(rates), momentum),
            gamma,
            "What is taken from a singular value is proportional to gamma",
            mistakes,
            tolerance=1e-6,
        )


def check_10_2(answer: Callable[[float, float, str, list, float], float]) -> bool:
    """Exercise 10.2: `answer(target, norm, start, rates, momentum)` is the gamma that leaves this TNDR without data."""
    return check("10.2", answer, _gamma_cases)


def _trace_norm(weights: tuple[Tensor, ...]) -> float:
    return float(np.linalg.svd(np.stack([w.numpy().ravel() for w in weights]), compute_uv=False).sum())


def _disguise_cases(answer: Callable) -> Iterator[Case]:
    for name, tasks, wanted in (
        ("two tasks, a profile that rises", 2, (0.2, 0.5, 0.9)),
        ("two tasks, a profile that falls", 2, (1.4, 0.7, 0.1)),
        ("three tasks", 3, (0.3, 0.3, 2.0)),
    ):
        stacks, start, before = {}, {}, {}
        for i, (layer, shape) in enumerate(
            (("stem", (4, 1, 3, 3)), ("middle", (4, 4, 3, 3)), ("last", (6, 4)))
        ):
            drawn = [(1 + t) * _draw(*shape, seed=10 * i + t) for t in range(tasks)]
            start[layer] = _trace_norm(tuple(drawn))
            # Training has changed lengths and directions since.
            stacks[layer] = tuple(0.7 * w + 0.2 * _draw(*shape, seed=90 + t) for t, w in enumerate(drawn))
            before[layer] = [w.clone() for w in stacks[layer]]
        goals = dict(zip(stacks, wanted, strict=True))
        answer(stacks, dict(start), dict(goals))
        if all(
            torch.equal(w, old)
            for layer in stacks
            for w, old in zip(stacks[layer], before[layer], strict=True)
        ):
            raise Unanswered("No kernel has changed.")
        for layer, weights in stacks.items():
            now = _trace_norm(tuple(before[layer])) / start[layer]
            meanwhile = [w.clone() for w in before[layer]]
            for w in meanwhile:
                w.mul_(goals[layer] * start[layer] / _trace_norm(tuple(meanwhile)))
            yield Case(
                f"{name}: TNDR of layer {layer!r}",
                _trace_norm(weights) / start[layer],
                goals[layer],
                "TNDR is proportional to a common factor of the layer's kernels",
                {
                    "the layer's TNDR was not 1 before you began": goals[layer] * now,
                    "you have divided by the start, and not looked at the present": goals[layer] * now**2,
                    "measure a layer once, before its first kernel is scaled": _trace_norm(tuple(meanwhile))
                    / start[layer],
                },
                tolerance=1e-9,
            )
            for t, (w, old) in enumerate(zip(weights, before[layer], strict=True)):
                ratio = w / old
                yield Case(
                    f"{name}: is the kernel of task {t + 1} in layer {layer!r} a positive multiple of what it was?",
                    bool((ratio - ratio.mean()).abs().max() < 1e-9 and ratio.mean() > 0),
                    True,
                    "Only a positive factor leaves what batch norm hands on as it is",
                )


def check_10_3(answer: Callable[[Mapping, Mapping, Mapping], None]) -> bool:
    """Exercise 10.3: `answer(stacks, start, wanted)` gives every layer a wanted TNDR and changes no function."""
    return check("10.3", answer, _disguise_cases, returns=False)


def _index_cases(answer: Callable) -> Iterator[Case]:
    a, b = _draw(7, seed=1), _draw(7, seed=2)
    for name, rows in (
        ("two equal tasks", torch.stack([a, a])),
        ("proportional, one three times as long", torch.stack([a, 3 * a])),
        ("opposite", torch.stack([a, -2 * a])),
        ("two unrelated tasks", torch.stack([a, b])),
        ("the same two, one much shorter", torch.stack([a, 0.01 * b])),
        ("three tasks, two of them equal", torch.stack([a, a, b])),
        ("three tasks, one the mirror image of another", torch.stack([a, -a, b])),
        ("four tasks", _draw(4, 9, seed=3)),
        ("kernels with a mean far from zero", 1 + 0.1 * _draw(3, 6, seed=4)),
    ):
        cosines = [
            sum(x * y for x, y in zip(p, q, strict=True))
            / math.sqrt(sum(x * x for x in p) * sum(y * y for y in q))
            for p, q in itertools.combinations(rows.tolist(), 2)
        ]
        count, total = len(rows), sum(cosines)
        singular = np.linalg.svd(rows.numpy(), compute_uv=False)
        yield Case(
            name,
            answer(rows.clone()),
            total / len(cosines),
            "The mean over pairs of different tasks",
            {
                "the sign is lost": sum(map(abs, cosines)) / len(cosines),
                "every task agrees with itself; leave those pairs out": (count + 2 * total) / count**2,
                "that is trace norm over Frobenius norm: it sees neither sign nor one task's length": float(
                    singular.sum() / np.linalg.norm(singular)
                ),
                "that is the sum over the pairs": total,
                "the tasks' lengths are still in it": float((rows @ rows.T).triu(1).sum()) / len(cosines),
            },
            tolerance=1e-9,
        )


def check_10_4(answer: Callable[[Tensor], float]) -> bool:
    """Exercise 10.4: `answer(weights)` is the mean cosine between the rows, one row per task."""
    return check("10.4", answer, _index_cases)


def _step_cases(answer: Callable) -> Iterator[Case]:
    for name, blocks, seed in (
        ("ResNet-34", (3, 4, 6, 3), None),
        ("ResNet-34, some profile", (3, 4, 6, 3), 5),
        ("ResNet-18, some profile", (2, 2, 2, 2), 6),
        ("stages of different depth", (1, 3, 1, 2), 7),
    ):
        count = 1 + 2 * sum(blocks)
        profile = (
            torch.linspace(0.2, 0.8, count, dtype=torch.float64) if seed is None else _draw(count, seed=seed)
        )
        named = iter(profile.tolist())
        next(named)  # the stem belongs to no block
        within, stages = [], []
        for length in blocks:
            stage = []
            for _ in range(length):
                first, second = next(named), next(named)
                within.append(second - first)
                stage += [first, second]
            stages.append(stage[-1] - stage[0])
        values = profile.tolist()
        with_stem = [values[i + 1] - values[i] for i in range(0, count - 1, 2)]
        ends = [2 * sum(blocks[: i + 1]) for i in range(len(blocks))]  # the last layer of every stage
        begins = [0, *ends[:-1]]
        shifted = [values[b - 1] - values[a] for a, b in zip(begins, ends, strict=True)]
        before = [values[b] - values[a] for a, b in zip(begins, ends, strict=True)]
        from_stem = [before[0], *stages[1:]]
        yield Case(
            name,
            answer(profile.clone(), blocks),
            torch.tensor([sum(within) / len(within), sum(stages) / 4], dtype=torch.float64),
            "Layer 1 is the stem; then two layers for every block, stage after stage",
            {
                "the stem is no part of a block": torch.tensor(
                    [sum(with_stem) / len(with_stem), sum(stages) / 4], dtype=torch.float64
                ),
                **{
                    f"{why}: stage 1 begins with the layer after it": torch.tensor(
                        [sum(steps) / len(steps), sum(found) / 4], dtype=torch.float64
                    )
                    for why, steps, found in (
                        ("the stem is no part of a stage", within, from_stem),
                        ("no stage begins with the stem", within, shifted),
                        ("the stem is no part of a block or a stage", with_stem, shifted),
                    )
                },
                "a stage begins with a layer of its own, not with the last one of the stage before": (
                    torch.tensor([sum(within) / len(within), sum(before) / 4], dtype=torch.float64)
                ),
                "first minus second: the sign is the wrong way round": -torch.tensor(
                    [sum(within) / len(within), sum(stages) / 4], dtype=torch.float64
                ),
                "the other way round: residual blocks first, then stages": torch.tensor(
                    [sum(stages) / 4, sum(within) / len(within)], dtype=torch.float64
                ),
            },
            tolerance=1e-9,
        )


def check_10_5(answer: Callable[[Tensor, tuple], Tensor]) -> bool:
    """Exercise 10.5: `answer(profile, blocks)` is how TNDR goes on within a residual block, and within a stage."""
    return check("10.5", answer, _step_cases)
