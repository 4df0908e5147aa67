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
    even = {n: [1 / n] * n for n in (5, 12)}
    # p, p, p, 1 - 3p: a sum of four terms, in nats
    skew = [0.1, 0.1, 0.1, 0.7]
    entropy = -sum(p * math.log(p) for p in skew)
    for name, p, right in (
        *((f"{n} neighbours, all alike", even[n], float(n)) for n in even),
        ("a single neighbour", [1.0], 1.0),
        ("five alike and three that are never chosen", [*even[5], 0.0, 0.0, 0.0], 5.0),
        ("one of four is near", skew, math.exp(entropy)),
        ("two neighbours, one of them certain", [0.0, 1.0], 1.0),
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
        own = near + np.eye(n)
        mistakes = {
            "each pair occurs twice in the sum, and the square has a 2 of its own: 4, not 2": slope / 2,
            "the factor 4 is missing": slope / 4,
            "that is the step downhill; the gradient points uphill": -slope,
            "the factor 1 / (1 + d^2) of the heavy tail is missing": 4 * (gap[..., None] * apart).sum(1),
            "near is not normalised: q sums to 1 over all pairs": 4
            * (((p - near) * near)[..., None] * apart).sum(1),
            "no place is its own neighbour: w_ii = 1 must stay out of Z": 4
            * (((p - own / own.sum()) * near)[..., None] * apart).sum(1),
            "q is normalised over all pairs at once, not row by row": 4
            * (((p - near / near.sum(1, keepdims=True)) * near)[..., None] * apart).sum(1),
        }
        known = {} if n == 2 else mistakes  # of two points q is p, and there is no pull
        yield Case(
            name,
            answer(p.copy(), y.copy()),
            slope,
            "test one entry yourself: move one coordinate of one place by 1e-5, and see how KL changes",
            known,
            1e-5,
        )


def check_11_2(answer: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> bool:
    """Exercise 11.2: `answer(p, y)` is the gradient of t-SNE's objective in the places."""
    return check("11.2", answer, _pull_cases)


def _others(x: np.ndarray, domain: np.ndarray, k: int, power: int = 2) -> np.ndarray:
    """Return of every point how many of its k nearest belong to another set."""
    counts = []
    for i in range(len(x)):
        order = sorted((float((abs(x[i] - x[j]) ** power).sum()), j) for j in range(len(x)) if j != i)
        counts.append(sum(domain[j] != domain[i] for _, j in order[:k]))
    return np.array(counts)


def _mixing_cases(answer: Callable) -> Iterator[Case]:
    for name, sizes, shift, k in (
        # Unequal sets first: in equal ones several mistakes give the same number.
        ("sets of 10 and 40", (10, 40), 0.4, 5),
        ("one distribution, two sets of 20", (20, 20), 0.0, 5),
        ("two islands", (15, 15), 40.0, 4),
        ("overlapping clouds", (25, 25), 1.0, 6),
        ("three sets", (12, 12, 12), 0.8, 3),
    ):
        domain = np.repeat(np.arange(len(sizes)), sizes)
        x = _draw(len(domain), 3, seed=130 + len(domain)) + shift * domain[:, None]
        n, found = len(x), _others(x, domain, k) / k
        meets = np.array([(domain != own).sum() for own in domain])  # others of another set
        share, by_chance = float(found.mean()), float(meets.mean()) / (n - 1)
        yield Case(
            name,
            answer(x.copy(), domain.copy(), k),
            share / by_chance,
            "the other sets' share of the k nearest, over their share of everybody else",
            {
                "nobody is a neighbour of his own": float(_others(x, domain, k - 1).mean()) / k / by_chance,
                "that is the share itself; divide by what a random draw would give": share,
                "a random draw gives one half only for two sets of equal size": 2 * share,
                "a random draw among the others cannot give the point itself: n - 1, not n": share
                / float(meets.mean() / n),
                "average both shares over the points first, then divide: not a mean of ratios": float(
                    (found / (meets / (n - 1))).mean()
                ),
                "Euclidean distances are asked for, not sums of absolute differences": float(
                    _others(x, domain, k, power=1).mean()
                )
                / k
                / by_chance,
                "that counts neighbours of the own set": 1 - share,
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
    order = "ask whether anybody can tell the sets apart; only then whether anything is left to tell"
    probe = "one probe whose whole interval lies above the null is enough, whichever it is"
    interval = "an interval lies above the null only if its lower end does"
    training = "the adversary is compared with the null, not with 50 or with the probes"
    left = "collapsed means less than 1 % of what the spread was before"
    nothing = "neither adversary nor probe is above the null, and the spread is nearly what it was"
    for name, changes, right, hint in (
        ("everything at chance, features as wide as before", {}, "aligned", nothing),
        ("a probe finds the sets, the adversary does not", {"probes": [(96.0, 99.0), (95.0, 99.0)]}, "fooled", probe),
        ("only the probe with a hidden layer finds them", {"probes": [(45.0, 54.0), (81.0, 88.0)]}, "fooled", probe),
        ("only the linear probe finds them", {"probes": [(81.0, 88.0), (45.0, 54.0)]}, "fooled", probe),
        ("only the second of three probes finds them", {"probes": [(45.0, 54.0), (58.0, 64.0), (44.0, 53.0)]}, "fooled",
         probe),
        ("both find them", {"probes": [(96.0, 99.0), (95.0, 99.0)], "adversary": 97.0}, "not aligned",
         "ask the adversary first"),
        ("the adversary finds what our probes miss", {"adversary": 88.0}, "not aligned",
         "the adversary is a probe too: ask it first"),
        ("the adversary is just above the null", {"adversary": 57.0}, "not aligned", training),
        ("the adversary is above 50, and below the null", {"adversary": 53.0}, "aligned", training),
        ("the adversary is far below chance, a probe is not",
         {"probes": [(90.0, 95.0), (90.0, 95.0)], "adversary": 21.0}, "fooled",
         "an adversary below the null is not above it, however far"),
        ("the upper end of an interval is above the null", {"probes": [(51.0, 59.0), (47.0, 56.0)]}, "aligned", interval),
        ("the middle of an interval is above the null", {"probes": [(52.0, 66.0), (47.0, 56.0)]}, "aligned", interval),
        ("a wide null", {"probes": [(58.0, 63.0), (57.0, 62.0)], "adversary": 59.0, "null": 61.0}, "aligned",
         "the null is an argument; it is not the same for all features"),
        ("nobody finds them, in features that have shrunk to a point", {"spread": 1e-4}, "collapsed", left),
        ("nobody finds them, and all features are zero", {"spread": 0.0}, "collapsed", left),
        ("nobody finds them, 0.5 % of the spread is left", {"spread": 2.15, "before": 430.0}, "collapsed", left),
        ("nobody finds them, 2 % of the spread is left", {"spread": 0.086}, "aligned", left),
        ("nobody finds them, features were small before and still are", {"spread": 4e-3, "before": 5e-3}, "aligned", left),
        ("features have shrunk, and are told apart all the same",
         {"spread": 1e-3, "probes": [(97.0, 99.0), (97.0, 99.0)]}, "fooled", order),
        ("features have shrunk, and the adversary tells them apart", {"spread": 1e-3, "adversary": 92.0}, "not aligned",
         order),
    ):  # fmt: skip
        given = {**base, **changes}
        # By position, so that the reader may name the arguments as he likes.
        yield Case(
            name, answer(*(list(v) if isinstance(v, list) else v for v in given.values())), right, hint
        )


def check_11_4(answer: Callable[..., str]) -> bool:
    """Exercise 11.4: `answer(adversary, probes, null, spread, before)` names what the numbers of a run mean."""
    return check("11.4", answer, _diagnosis_cases)
