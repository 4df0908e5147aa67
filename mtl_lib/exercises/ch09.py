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


def _least(half_width: Callable[[int], float], effect: float) -> int:
    """The least n of 2 and more whose half-width is below the effect, both in standard deviations."""
    n = 2
    while half_width(n) >= effect:
        n += 1
    return n


def _seeds_cases(answer: Callable) -> Iterator[Case]:
    for name, sd, effect in (
        ("a spread of 5 points, an effect of 2.5", 5.0, 2.5),  # the quantiles of the known mistakes part here
        ("a spread of 2.5 points, an effect of 2", 2.5, 2.0),
        ("an effect as large as the spread", 3.0, 3.0),
        ("a large effect", 1.0, 5.0),
        ("a tiny effect", 2.5, 0.5),
        ("other units", 0.025, 0.01),
    ):
        n = 2
        while not spread(_sample(n, effect, sd)).clear:
            n += 1
        slips = {
            "with few seeds Student's quantile is far above 1.96": lambda n: 1.96 / np.sqrt(n),
            "that quantile leaves out 5 % on one side; an interval has two, 2.5 % each": lambda n: (
                stats.t.ppf(0.95, n - 1) / np.sqrt(n)
            ),
            "n differences around their own mean have n - 1 degrees of freedom, not n": lambda n: (
                stats.t.ppf(0.975, n) / np.sqrt(n)
            ),
            "sd over the root of n, not over n": lambda n: stats.t.ppf(0.975, n - 1) / n,
        }
        yield Case(
            name,
            answer(sd, effect),
            n,
            "the interval is the mean plus and minus Student's quantile, for n - 1, times sd over the root of n",
            {
                **{why: _least(width, effect / sd) for why, width in slips.items()},
                "the least number that is enough, not the one before it": n - 1,
                "that is one more than is needed": n + 1,
            },
        )


def check_9_1(answer: Callable[[float, float], int]) -> bool:
    """Exercise 9.1: `answer(sd, effect)` is the least number of seeds that shows the effect."""
    return check("9.1", answer, _seeds_cases)


def _around(mean: float, half: float) -> np.ndarray:
    return np.array([mean, mean - half, mean + half])


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
        pooled = stats.ttest_ind(a, b).confidence_interval(0.95)
        apart = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        count, mean, sd = len(a), (a - b).mean(), (a - b).std(ddof=1)
        quantile = (interval.high - mean) / sd * np.sqrt(count)
        lists = np.array([x - y for x, y in zip(first.values(), second.values(), strict=False)])
        got = answer(dict(first), dict(second))
        yield Case(
            name,
            np.asarray([float(x) for x in got]) if got is not None and got is not ... else got,
            np.array([mean, interval.low, interval.high]),
            "mean, low and high end of the differences over the seeds that both have, with Student's quantile",
            {
                "the scores were paired by their position, not by their seed": _around(
                    lists.mean(),
                    stats.t.ppf(0.975, len(lists) - 1) * lists.std(ddof=1) / np.sqrt(len(lists)),
                ),
                "those two were not paired: the splits' spread is still in the interval": _around(
                    mean, pooled.high - mean
                ),
                "those were not paired: the splits' spread is still in the interval": _around(
                    mean, apart.high - mean
                ),
                "with few seeds Student's quantile is far above 1.96": _around(
                    mean, 1.96 * sd / np.sqrt(count)
                ),
                "the root of n is missing: that is the spread of single runs, not of their mean": _around(
                    mean, quantile * sd
                ),
                "divide the squares by n - 1, not by n (ddof=1)": _around(
                    mean, quantile * sd / np.sqrt(count) * np.sqrt((count - 1) / count)
                ),
                "that quantile leaves out 5 % on one side; an interval has two, 2.5 % each": _around(
                    mean, stats.t.ppf(0.95, count - 1) * sd / np.sqrt(count)
                ),
                "the sign is turned: first minus second": -np.array([mean, interval.high, interval.low]),
            },
            tolerance=1e-9,
        )


def check_9_2(answer: Callable[[dict, dict], tuple[float, float, float]]) -> bool:
    """Exercise 9.2: `answer(first, second)` is mean, low and high of the paired difference."""
    return check("9.2", answer, _paired_cases)


def _named(points: np.ndarray, on: np.ndarray) -> str:
    """The points on a front in words, so that a complaint can name them."""
    return ", ".join(f"({r:g}, {e:g})" for (r, e), stays in zip(points, on, strict=True) if stays) or "none"


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
        x, hint = (
            np.array(points),
            "off the front is a point to which another is at least equal in both and better in one",
        )
        known = {
            "of the NME less is better": [not any((y >= p).all() and (y > p).any() for y in x) for p in x],
            "a point that is as good in one and worse in the other is beaten too": [
                not any(y[0] > p[0] and y[1] < p[1] for y in x) for p in x
            ],
            "two equal points do not beat each other, both stay": [
                not any(y[0] >= p[0] and y[1] <= p[1] for j, y in enumerate(x) if j != i)
                for i, p in enumerate(x)
            ],
            "best in one of the two is not needed: a point between them can be on the front": list(
                (x[:, 0] == x[:, 0].max()) | (x[:, 1] == x[:, 1].min())
            ),
            "those are the points that are beaten; the others were asked for": [not each for each in keep],
        }
        got = answer(x.copy())
        if np.shape(got) != (len(x),) or not set(np.ravel(np.asarray(got, dtype=object))) <= {True, False}:
            yield Case(name, got, np.array(keep), hint)  # it says what is wrong with the shape or the values
        else:
            said = np.asarray(got, dtype=bool)
            mistakes = {why: _named(x, np.array(on)) for why, on in known.items()}
            yield Case(
                f"{name}, points on the front", _named(x, said), _named(x, np.array(keep)), hint, mistakes
            )


def check_9_3(answer: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Exercise 9.3: `answer(points)` says which (recall, NME) points lie on the front."""
    return check("9.3", answer, _front_cases)


def _optimism_cases(answer: Callable) -> Iterator[Case]:
    # Of one trial the mean is 0; rounded, so that neither side's last digit counts.
    yield Case(
        "1 trial, spread 2, to two digits",
        round(float(answer(1, 2.0)), 2) + 0.0,
        0.0,
        "one trial is not chosen among others, so it is not too good",
    )
    for trials, sd in ((2, 1.0), (6, 2.5), (24, 2.5), (24, 0.4)):
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
            tolerance=5e-3,
        )


def check_9_4(answer: Callable[[int, float], float]) -> bool:
    """Exercise 9.4: `answer(trials, sd)` is how much too good the best of equal trials looks."""
    return check("9.4", answer, _optimism_cases)
