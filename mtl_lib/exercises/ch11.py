"""Checks for the exercises of chapter 11, alignment: t-SNE's perplexity and pull, mixing, and a diagnosis.

Right answers come from elsewhere than the solutions': from distributions whose perplexity is known by heart, from
finite differences of the objective written with loops, from counting pair by pair, from cases made for one reason.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from mtl_lib.teach import Case, check


def _draw(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def _perplexity_cases(answer: Callable) -> Iterator[Case]:
    even = {n: [1 / n] * n for n in (1, 5, 12)}
    # p, p, p, 1 - 3p: a sum of four terms, in nats
    skew = [0.1, 0.1, 0.1, 0.7]
    entropy = -sum(p * math.log(p) for p in skew)
    for name, p, right in (
        *((f"{n} neighbours, all alike", even[n], float(n)) for n in even),
        ("five alike and three that are never chosen", [*even[5], 0.0, 0.0, 0.0], 5.0),
        ("one of four is near", skew, math.exp(entropy)),
        ("one neighbour alone", [0.0, 1.0], 1.0),
    ):
        yield Case(
            name,
            answer(np.array(p)),
            right,
            "the perplexity of n equally likely neighbours is n",
            {
                "that is the entropy in nats; raise e to it": math.log(right),
                "that is the entropy in bits; raise 2 to it": math.log2(right),
                "base of the logarithm and of the power differ": 2.0 ** math.log(right),
                "also those that are never chosen were counted": float(len(p)),
                "one over the sum of squares counts neighbours too, but it is another number": 1
                / sum(v * v for v in p),
            },
            tolerance=1e-6,
        )


def check_11_1(answer: Callable[[np.ndarray], float]) -> bool:
    """Exercise 11.1: `answer(p)` is the perplexity of a point's distribution over neighbours."""
    return check("11.1", answer, _perplexity_cases)


def _divergence(p: np.ndarray, y: np.ndarray) -> float:
    """KL(P || Q), pair by pair."""
    n = len(y)
    near = [
        [0.0 if i == j else 1 / (1 + float(((y[i] - y[j]) ** 2).sum())) for j in range(n)] for i in range(n)
    ]
    total = sum(map(sum, near))
    return sum(
        p[i, j] * math.log(p[i, j] * total / near[i][j]) for i in range(n) for j in range(n) if p[i, j] > 0
    )


def _neighbourhoods(n: int, seed: int) -> np.ndarray:
    p = np.exp(_draw(n, n, seed=seed))
    p = p + p.T
    np.fill_diagonal(p, 0)
    return p / p.sum()


def _pull_cases(answer: Callable) -> Iterator[Case]:
    for name, n, scale in (
        ("four points", 4, 1.0),
        ("nine points, far apart", 9, 6.0),
        ("two points", 2, 1.0),
    ):
        p, y = _neighbourhoods(n, 110 + n), scale * _draw(n, 2, seed=120 + n)
        slope = np.zeros_like(y)
        for i in range(n):
            for k in range(2):
                up, down = y.copy(), y.copy()
                up[i, k] += 1e-5
                down[i, k] -= 1e-5
                slope[i, k] = (_divergence(p, up) - _divergence(p, down)) / 2e-5
        apart = y[:, None] - y[None]
        near = 1 / (1 + (apart**2).sum(-1))
        np.fill_diagonal(near, 0)
        gap = p - near / near.sum()
        mistakes = {
            "each pair occurs twice in the sum, and the square has a 2 of its own: 4, not 2": slope / 2,
            "the factor 4 is missing": slope / 4,
            "that is the step downhill; the gradient points uphill": -slope,
            "the factor 1 / (1 + d^2) of the heavy tail is missing": 4 * (gap[..., None] * apart).sum(1),
            "near is not normalised: q sums to 1 over all pairs": 4
            * (((p - near) * near)[..., None] * apart).sum(1),
        }
        known = {} if n == 2 else mistakes  # of two points q is p, and there is no pull
        yield Case(
            name,
            answer(p.copy(), y.copy()),
            slope,
            "4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + d_ij^2)",
            known,
            1e-5,
        )


def check_11_2(answer: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> bool:
    """Exercise 11.2: `answer(p, y)` is the gradient of t-SNE's objective in the places."""
    return check("11.2", answer, _pull_cases)


def _counted(x: np.ndarray, domain: np.ndarray, k: int) -> tuple[float, float, float]:
    """Mixing; the same without its denominator; and with everybody as the own nearest neighbour."""
    n, other, with_self = len(x), 0, 0
    for i in range(n):
        order = sorted((float(((x[i] - x[j]) ** 2).sum()), j) for j in range(n) if j != i)
        other += sum(domain[j] != domain[i] for _, j in order[:k])
        with_self += sum(domain[j] != domain[i] for _, j in order[: k - 1])
    by_chance = float(np.mean([(domain != domain[i]).sum() / (n - 1) for i in range(n)]))
    return other / (n * k) / by_chance, other / (n * k), with_self / (n * k) / by_chance


def _mixing_cases(answer: Callable) -> Iterator[Case]:
    for name, sizes, shift, k in (
        ("one distribution, two sets of 20", (20, 20), 0.0, 5),
        ("two islands", (15, 15), 40.0, 4),
        ("overlapping clouds", (25, 25), 1.0, 6),
        ("sets of 10 and 40", (10, 40), 0.0, 5),
        ("three sets", (12, 12, 12), 0.8, 3),
    ):
        domain = np.repeat(np.arange(len(sizes)), sizes)
        x = _draw(len(domain), 3, seed=130 + len(domain)) + shift * domain[:, None]
        right, share, with_self = _counted(x, domain, k)
        own = 1 - share
        yield Case(
            name,
            answer(x.copy(), domain.copy(), k),
            right,
            "the other sets' share of the k nearest, over their share of everybody else",
            {
                "nobody is a neighbour of his own": with_self,
                "that is the share itself; divide by what a random draw would give": share,
                "a random draw gives one half only for two sets of equal size": 2 * share,
                "that counts neighbours of the own set": own,
            },
            1e-6,
        )


def check_11_3(answer: Callable[[np.ndarray, np.ndarray, int], float]) -> bool:
    """Exercise 11.3: `answer(x, domain, k)` is how well the sets are mixed."""
    return check("11.3", answer, _mixing_cases)


def _diagnosis_cases(answer: Callable) -> Iterator[Case]:
    base = {
        "adversary": 50.0,
        "probes": [(46.0, 55.0), (47.0, 56.0)],
        "null": 56.0,
        "spread": 4.1,
        "before": 4.3,
    }
    for name, changes, right in (
        ("everything at chance, features as wide as before", {}, "aligned"),
        ("a probe finds the sets, the adversary does not", {"probes": [(96.0, 99.0), (95.0, 99.0)]}, "fooled"),
        ("only the probe with a hidden layer finds them", {"probes": [(45.0, 54.0), (81.0, 88.0)]}, "fooled"),
        (
            "both find them",
            {"probes": [(96.0, 99.0), (95.0, 99.0)], "adversary": 97.0},
            "not aligned",
        ),
        (
            "the adversary is far below chance, a probe is not",
            {"probes": [(90.0, 95.0), (90.0, 95.0)], "adversary": 21.0},
            "fooled",
        ),
        ("nobody finds them, in features that have shrunk to a point", {"spread": 1e-4}, "collapsed"),
        ("nobody finds them, and all features are zero", {"spread": 0.0}, "collapsed"),
        ("above 50, but no higher than halves of one set get by chance", {"probes": [(51.0, 59.0), (47.0, 56.0)]}, "aligned"),
        ("features have shrunk, and are told apart all the same", {"spread": 1e-3, "probes": [(97.0, 99.0), (97.0, 99.0)]}, "fooled"),
        ("the adversary finds what our probes miss", {"adversary": 88.0}, "not aligned"),
    ):  # fmt: skip
        given = {**base, **changes}
        yield Case(
            name,
            answer(**{key: list(v) if isinstance(v, list) else v for key, v in given.items()}),
            right,
            "ask first whether anybody can tell the sets apart, only then whether anything is left to tell",
        )


def check_11_4(answer: Callable[..., str]) -> bool:
    """Exercise 11.4: `answer(adversary, probes, null, spread, before)` names what the numbers of a run mean."""
    return check("11.4", answer, _diagnosis_cases)
