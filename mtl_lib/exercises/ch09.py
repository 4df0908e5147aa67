"""Checks for the exercises of chapter 9, Table 4.

Right answers come from elsewhere than the solutions': from samples built to have a given mean and spread, from SciPy's
own test, from loops over all pairs, from an integral over another density.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import integrate, stats

from mtl_lib.checking import Case, check
from mtl_lib.seeds import spread


def _sample(n: int, mean: float, sd: float) -> np.ndarray:
    """n numbers with exactly this mean and standard deviation."""
    x = np.random.default_rng(n).standard_normal(n)
    return mean + sd * (x - x.mean()) / x.std(ddof=1)


def _seeds_cases(answer: Callable) -> Iterator[Case]:
    for name, sd, effect in (
        ("a spread of 2.5 points, an effect of 2", 2.5, 2.0),
        ("an effect as large as the spread", 3.0, 3.0),
        ("a large effect", 1.0, 5.0),
        ("a tiny effect", 2.5, 0.5),
        ("other units", 0.025, 0.01),
    ):
        n = 2
        while not spread(_sample(n, effect, sd)).clear:
            n += 1
        normal = int(np.floor((1.96 * sd / effect) ** 2)) + 1
        yield Case(
            name,
            answer(sd, effect),
            n,
            "the interval is the mean plus and minus Student's quantile, for n - 1, times sd over the root of n",
            {
                "with few seeds Student's quantile is far above 1.96": max(normal, 2),
                "the least number that is enough, not the one before it": n - 1,
                "that is one more than is needed": n + 1,
            },
        )


def check_9_1(answer: Callable[[float, float], int]) -> bool:
    """Exercise 9.1: `answer(sd, effect)` is the least number of seeds that shows the effect."""
    return check("9.1", answer, _seeds_cases)


def _paired_cases(answer: Callable) -> Iterator[Case]:
    draw = np.random.default_rng(92)
    for name, first_seeds, second_seeds in (
        ("the same seeds, in the same order", range(5), range(5)),
        ("the same seeds, in another order", range(5), (3, 1, 4, 0, 2)),
        ("seeds that only one of them has", (0, 1, 2, 3, 7), (9, 2, 3, 0, 1, 8)),
    ):
        split = {seed: draw.normal(50, 4) for seed in range(10)}
        first = {seed: split[seed] + 1 + draw.normal() for seed in first_seeds}
        second = {seed: split[seed] + draw.normal() for seed in second_seeds}
        common = sorted(set(first) & set(second))
        a, b = (np.array([each[seed] for seed in common]) for each in (first, second))
        test = stats.ttest_rel(a, b)
        interval = test.confidence_interval(0.95)
        apart = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        half = 1.96 * (a - b).std(ddof=1) / np.sqrt(len(a))
        mean = (a - b).mean()
        got = answer(dict(first), dict(second))
        yield Case(
            name,
            np.asarray([float(x) for x in got]) if got is not None and got is not ... else got,
            np.array([mean, interval.low, interval.high]),
            "mean, low and high end of the differences over the seeds that both have, with Student's quantile",
            {
                "those two were not paired: the splits' spread is still in the interval": np.array(
                    [mean, apart.low, apart.high]
                ),
                "with few seeds Student's quantile is far above 1.96": np.array(
                    [mean, mean - half, mean + half]
                ),
                "the sign is turned: first minus second": -np.array([mean, interval.high, interval.low]),
            },
            tolerance=1e-9,
        )


def check_9_2(answer: Callable[[dict, dict], tuple[float, float, float]]) -> bool:
    """Exercise 9.2: `answer(first, second)` is mean, low and high of the paired difference."""
    return check("9.2", answer, _paired_cases)


def _front_cases(answer: Callable) -> Iterator[Case]:
    for name, points in (
        ("one is best in both", [[50.0, 10.0], [40.0, 12.0], [45.0, 11.0]]),
        ("a trade", [[50.0, 12.0], [45.0, 11.0], [40.0, 10.0], [44.0, 11.5]]),
        ("ties in one of the two", [[50.0, 10.0], [50.0, 11.0], [45.0, 10.0], [55.0, 13.0]]),
        ("two that are equal", [[50.0, 10.0], [50.0, 10.0], [30.0, 9.0]]),
        ("a single one", [[30.0, 20.0]]),
    ):
        keep = []
        for r, e in points:
            beaten = False
            for other_r, other_e in points:
                as_good = other_r >= r and other_e <= e
                if as_good and (other_r, other_e) != (r, e):
                    beaten = True
            keep.append(beaten is False)
        x = np.array(points)
        larger = np.array([not any((y >= p).all() and (y > p).any() for y in x) for p in x])
        strict = np.array([not any(y[0] > p[0] and y[1] < p[1] for y in x) for p in x])
        yield Case(
            name,
            answer(x.copy()),
            np.array(keep),
            "a point is off the front if another is at least as good in both and better in one",
            {
                "of the NME less is better": larger,
                "a point that is as good in one and worse in the other is beaten too": strict,
            },
        )


def check_9_3(answer: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Exercise 9.3: `answer(points)` says which (recall, NME) points lie on the front."""
    return check("9.3", answer, _front_cases)


def _optimism_cases(answer: Callable) -> Iterator[Case]:
    for trials, sd in ((1, 2.0), (2, 1.0), (6, 2.5), (24, 2.5), (24, 0.4)):
        # The mean of a maximum as an integral of its tails, which has no density in it.
        above = integrate.quad(lambda x, k=trials: 1 - stats.norm.cdf(x) ** k, 0, 12)[0]
        below = integrate.quad(lambda x, k=trials: stats.norm.cdf(x) ** k, -12, 0)[0]
        right = sd * (above - below)
        yield Case(
            f"{trials} trials, spread {sd:g}",
            answer(trials, sd),
            right,
            "the mean of the largest of so many equal draws from a normal with mean 0",
            {
                "that is the bound for many trials, not the mean": sd * np.sqrt(2 * np.log(trials)),
                "that is a quantile of one draw, not the mean of the largest": sd
                * stats.norm.ppf(trials / (trials + 1)),
                "the largest of them, not the sum": trials * right,
                "the spread is missing": right / sd,
            },
            tolerance=1e-3,
        )


def check_9_4(answer: Callable[[int, float], float]) -> bool:
    """Exercise 9.4: `answer(trials, sd)` is how much too good the best of equal trials looks."""
    return check("9.4", answer, _optimism_cases)
