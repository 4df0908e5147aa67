"""Checks for the exercises of chapter 15, the scorecard.

Right answers come from elsewhere than the solutions': from samples that are built to be clear or not, from testing every
group of hypotheses, from kernels whose history is known because it was made, from penalties whose degree is known.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from mtl_lib.teach import Case, check

VERDICTS = ("reproduced", "explained by the control", "inside the noise", "opposite", "not recorded yet")


def _around(
    mean: float | int, half_width: float | int, seeds: tuple[int, ...], base: dict[int, float]
) -> dict[int, float]:
    """Scores whose difference to `base` has this mean, and an interval of this half-width."""
    x = np.random.default_rng(len(seeds)).standard_normal(len(seeds))
    x = (x - x.mean()) / x.std(ddof=1)
    sd = half_width * math.sqrt(len(seeds)) / stats.t.ppf(0.975, len(seeds) - 1)
    return {seed: base[seed] + mean + sd * e for seed, e in zip(seeds, x, strict=True)}


def _verdict_cases(answer: Callable) -> Iterator[Case]:
    three, hint = (
        (0, 1, 2),
        "First the test: is there an interval, and where does it lie? Only then the control",
    )
    single = {seed: 40.0 + 6 * math.sin(seed) for seed in range(6)}  # splits differ by more than methods

    def case(name: str, laf: dict, control: dict, right: str, wrong: dict[str, str] | None = None) -> Case:
        return Case(name, answer(laf, dict(single), control), right, hint, wrong or {})

    laf = _around(5, 3, three, single)
    lower = _around(-5, 3, three, laf)
    yield case("a clear gain, over the control as well", laf, lower, "reproduced")
    yield case("a clear gain, and the control gains about as much", laf, _around(-1, 3, three, laf),
               "explained by the control",
               {"the control's interval contains 0: the gain may have that reason": "reproduced"})  # fmt: skip
    yield case("a clear gain, and the control gains clearly more", laf, _around(5, 3, three, laf),
               "explained by the control",
               {"the claim's own test holds; it is the reason that is wrong": "opposite",
                "clear, but on the wrong side: the control does better": "reproduced"})  # fmt: skip
    unclear = _around(2, 3, three, single)
    yield case("no clear gain, although the control is clearly worse", unclear, _around(-9, 3, three, unclear),
               "inside the noise",
               {"a control cannot make up for a test that fails": "reproduced"})  # fmt: skip
    loss = _around(-5, 3, three, single)
    yield case("a clear loss", loss, _around(-9, 3, three, loss), "opposite",
               {"clear, but on the wrong side": "reproduced", "the interval leaves out 0": "inside the noise"})  # fmt: skip
    yield case("two seeds in common", {k: laf[k] for k in (0, 1)}, lower, "not recorded yet")
    yield case("five seeds of one, three of the other, in another order",
               {7: 90.0, **{k: laf[k] for k in (2, 0, 1)}, 9: 10.0}, {k: lower[k] for k in (1, 2, 0)},
               "reproduced", {"pair by seed, over those that both have": "inside the noise"})  # fmt: skip
    yield case("the control has two seeds only", laf, {k: lower[k] for k in (0, 1)}, "not recorded yet",
               {"without its control a gain proves nothing": "reproduced"})  # fmt: skip
    yield case("a clear loss, and no control", loss, {}, "opposite",
               {"what is clearly the other way round needs no control": "not recorded yet"})  # fmt: skip


def check_15_1(answer: Callable[[dict, dict, dict], str]) -> bool:
    """Exercise 15.1: `answer(laf, single, norm_only)` is the verdict on "LAF is better than single"."""
    return check("15.1", answer, _verdict_cases)


def _fallen(values: dict[str, float], alpha: float) -> set[str]:
    """Rejected by closed testing: in every group that holds it, the least p-value passes Bonferroni's bound."""
    names = list(values)
    groups = [g for size in range(1, len(names) + 1) for g in itertools.combinations(names, size)]
    rejected = {g for g in groups if min(values[name] for name in g) <= alpha / len(g)}
    return {name for name in names if all(g in rejected for g in groups if name in g)}


def _flips_cases(answer: Callable) -> Iterator[Case]:
    for name, values, level in (
        ("one small among large ones", {"a": 0.001, "b": 0.3, "c": 0.8}, 0.95),
        ("three small ones, of which one holds", {"a": 0.04, "b": 0.001, "c": 0.03, "d": 0.6}, 0.95),
        ("all hold, the last only because of the others", {"a": 0.04, "b": 0.02, "c": 0.01}, 0.95),
        ("the first fails, and so must all", {"a": 0.03, "b": 0.031, "c": 0.032, "d": 0.033}, 0.95),
        (
            "the third passes its own bound, but the second has failed",
            {"a": 0.001, "b": 0.026, "c": 0.027},
            0.95,
        ),
        ("another level", {"a": 0.02, "b": 0.08, "c": 0.5}, 0.9),
        ("nothing is clear", {"a": 0.4, "b": 0.06}, 0.95),
    ):
        alpha = 1 - level
        alone = {k for k, p in values.items() if p < alpha}
        right = alone - _fallen(values, alpha)
        order = sorted(values, key=values.get)
        bonferroni = alone - {k for k, p in values.items() if p <= alpha / len(values)}
        skipping = alone - {k for r, k in enumerate(order) if values[k] <= alpha / (len(order) - r)}
        larger = [r for r, k in enumerate(order) if values[k] <= alpha / (len(order) - r)]
        upwards = alone - set(order[: max(larger, default=-1) + 1])
        usual = {k for k, p in values.items() if p < 0.05} - _fallen(values, 0.05)
        got = answer(dict(values), level)
        yield Case(
            name,
            ", ".join(sorted(got)) if got is not None and got is not ... else got,
            ", ".join(sorted(right)),
            "those below 1 - level, without those that Holm's procedure keeps",
            {
                "every value was held to the same bound; after a rejection there is one test less": ", ".join(
                    sorted(bonferroni)
                ),
                "the procedure stops at the first that fails": ", ".join(sorted(skipping)),
                "from the smallest p-value up, not from the largest down": ", ".join(sorted(upwards)),
                "the level is given; it need not be 95 %": ", ".join(sorted(usual)),
                "those are the ones that hold; which do not?": ", ".join(sorted(alone - right)),
            },
        )


def check_15_2(answer: Callable[[dict, float], list]) -> bool:
    """Exercise 15.2: `answer(p_values, level)` names what is clear alone and not when held to all together."""
    return check("15.2", answer, _flips_cases)


def _history(pairs: list[list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, list[list[float]]]:
    """TNDR and cosine, by step and layer, of kernels whose whole history is given, by layer and step."""
    found: dict[str, list[list[float]]] = {"TNDR": [], "cosine": []}
    for step in range(len(pairs[0])):
        norms = [np.linalg.svd(np.stack(layer[step]), compute_uv=False).sum() for layer in pairs]
        first = [np.linalg.svd(np.stack(layer[0]), compute_uv=False).sum() for layer in pairs]
        found["TNDR"].append([float(a / b) for a, b in zip(norms, first, strict=True)])
        found["cosine"].append(
            [
                float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                for a, b in (layer[step] for layer in pairs)
            ]
        )
    return found


def _diagnosis_cases(answer: Callable) -> Iterator[Case]:
    draw = np.random.default_rng(153)
    steps = np.linspace(0, 1, 7)

    def layers(length: Callable, angle: Callable, count: int = 5) -> dict[str, list[list[float]]]:
        pairs = []
        for k in range(count):
            basis = np.linalg.qr(draw.normal(size=(12, 2)))[0].T
            pairs.append(
                [
                    (length(t, k) * basis[0], length(t, k) * (math.cos(angle(t, k)) * basis[0] + math.sin(angle(t, k)) * basis[1]))
                    for t in steps
                ]
            )  # fmt: skip
        return _history(pairs)

    right_angle = math.pi / 2
    for name, curve, right, mistakes in (
        ("equal at the start, hardly parted, a little longer", layers(lambda t, k: 1 + 0.3 * t, lambda t, k: 0.4 * t), "healthy", {}),
        ("equal at the start, shrunk to a twentieth, at right angles", layers(lambda t, k: 1 - 0.95 * t, lambda t, k: right_angle * t), "gamma too large",
         {"they began equal: this start would have shared, and the penalty destroyed it": "shrinkage for sharing"}),
        ("different from the start, shorter by a third", layers(lambda t, k: 1 - 0.35 * t, lambda t, k: right_angle), "shrinkage for sharing", {}),
        ("different from the start, shrunk to a twentieth", layers(lambda t, k: 1 - 0.95 * t, lambda t, k: right_angle + 0.02 * k), "shrinkage for sharing",
         {"the cosine was near 0 before the first step": "gamma too large"}),
        ("different from the start; two layers fold onto opposite sides", layers(lambda t, k: 1.0, lambda t, k: right_angle + right_angle * t * (k in (1, 3))), "opposite signs",
         {"look at every layer, not at the median": "healthy"}),
        ("the same, and all have become shorter", layers(lambda t, k: 1 - 0.4 * t, lambda t, k: right_angle + right_angle * t * (k == 2)), "opposite signs",
         {"opposite layers come first: no shrinkage explains them": "shrinkage for sharing"}),
        ("all layers fold onto one side", layers(lambda t, k: 1.0, lambda t, k: right_angle * (1 - t)), "healthy",
         {"look at the end of the curve for the signs": "opposite signs"}),
        ("equal at the start, parted to right angles, as long as before", layers(lambda t, k: 1.0, lambda t, k: right_angle * t), "healthy",
         {"the tasks have parted, which is their right; nothing has shrunk": "gamma too large"}),
        ("opposite for a while, on one side at the end", layers(lambda t, k: 1 + 0.1 * t, lambda t, k: math.pi * (1 - abs(2 * t - 1)) if t < 0.9 else 0.1), "healthy",
         {"look at the end of the curve for the signs": "opposite signs"}),
        ("shrunk to right angles, but for one layer that has grown sixfold", layers(lambda t, k: 1 + 5 * t if k == 0 else 1 - 0.6 * t, lambda t, k: right_angle * t), "gamma too large",
         {"the median over layers: one long layer moves a mean and not a median": "healthy"}),
        ("shrunk, two of five layers still alike", layers(lambda t, k: 1 - 0.6 * t, lambda t, k: right_angle * t * (k > 1)), "gamma too large",
         {"the median over layers: two layers that stayed alike move a mean": "healthy"}),
        ("shorter, and turned to cosines of -0.5", layers(lambda t, k: 1 - 0.5 * t, lambda t, k: right_angle * (1 + t / 3)), "healthy",
         {"within 0.3 of 0 on both sides": "shrinkage for sharing"}),
        ("shorter, cosines of 0.5 and -0.5 in turn", layers(lambda t, k: 1 - 0.5 * t, lambda t, k: right_angle * (1 + t / 3 * (0, 1, -1, 1, -1)[k])), "shrinkage for sharing",
         {"the median of the cosines, then its absolute value": "healthy"}),
    ):  # fmt: skip
        yield Case(name, answer(curve), right, "Signs at the end first, then lengths; then what the cosine was at the start", mistakes)  # fmt: skip


def check_15_3(answer: Callable[[dict], str]) -> bool:
    """Exercise 15.3: `answer(curve)` names the mistake whose curve it is given."""
    return check("15.3", answer, _diagnosis_cases)


class _Watched:
    """A penalty that notices whether it is asked at any other point than the one that was given."""

    def __init__(self, penalty: Callable[[Tensor], Tensor], w: Tensor):
        self.penalty, self.w, self.elsewhere = penalty, w, False

    def __call__(self, x: Tensor) -> Tensor:
        self.elsewhere |= x.shape != self.w.shape or not bool((x.detach() == self.w).all())
        return self.penalty(x)


def _degree_cases(answer: Callable) -> Iterator[Case]:
    w = torch.randn(2, 12, generator=torch.Generator().manual_seed(154), dtype=torch.float64)

    def trace_norm(x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x).sum()

    for name, penalty, right in (
        ("the trace norm", trace_norm, 1.0),
        ("weight decay", lambda x: 0.5 * x.square().sum(), 2.0),
        ("the trace norm over the Frobenius norm", lambda x: trace_norm(x) / x.norm(), 0.0),
        ("the deviation penalty", lambda x: (x[0] - x[1]).norm() / x.norm(dim=1).sum(), 0.0),
        ("the area that two kernels span", lambda x: torch.linalg.svdvals(x).prod(), 2.0),
        ("a cube", lambda x: 7.0 * x.abs().pow(3).sum(), 3.0),
        ("an inverse length", lambda x: 1 / x.norm(), -1.0),
        ("a power of the trace norm", lambda x: trace_norm(x).pow(0.7), 0.7),
    ):
        x = w.clone().requires_grad_()
        value = penalty(x)
        (gradient,) = torch.autograd.grad(value, x)
        inner, length = float((gradient * w).sum()), float(w.norm())
        mistakes = {
            "divide by the value: the degree does not depend on the penalty's unit": inner,
            "divide by the value, not by the squared length": inner / length**2,
            "that is the length of the gradient": float(gradient.norm()),
            "that is how the penalty grows, not to which power": float(penalty(2 * w) / penalty(w)),
            "a power need not be a whole number; do not round": round(right),
        }
        watched = _Watched(penalty, w)
        got = answer(watched, w.clone())
        yield Case(
            name,
            got.detach() if isinstance(got, Tensor) else got,
            right,
            "Euler: differentiate P(c w) = c^k P(w) in c, at c = 1",
            {why: wrong for why, wrong in mistakes.items() if abs(wrong - right) > 1e-3},
            tolerance=1e-6,
        )
        yield Case(
            f"{name}, where it was evaluated",
            "at other points, too" if watched.elsewhere else "at w alone",
            "at w alone",
            "A quotient of differences needs a second point and is not exact; the gradient at w is enough",
        )
        yield Case(
            f"{name}, what was returned",
            "an array" if isinstance(got, Tensor | np.ndarray) else "a number",
            "a number",
            "`.item()` makes a number of a tensor or array that has one entry",
        )


def check_15_4(answer: Callable[[Callable[[Tensor], Tensor], Tensor], float]) -> bool:
    """Exercise 15.4: `answer(penalty, w)` is the power k with penalty(c w) = c^k penalty(w)."""
    return check("15.4", answer, _degree_cases)
