"""Checks for the exercises of chapter 13, landmarks.

Each check gets the right answer in another way than the solution does: by trying numbers that round to the printed
ones, by a general minimiser, by going through people one after another, by curves that could have been the stored one.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from mtl_lib.experiments.landmark_table import PAPER
from mtl_lib.teach import Case, check

_FACES = (554, 135)


def _some_numbers_fit(row: tuple[float, float, float], counts: tuple[int, int]) -> bool:
    """Try numbers that round to the first two, and see whether the third can follow."""
    steps = np.linspace(-0.005, 0.005, 21)
    first, second = np.meshgrid(row[0] + steps, row[1] + steps)
    full = (counts[0] * first + counts[1] * second) / sum(counts)
    return bool((np.abs(full - row[2]) <= 0.005 + 1e-9).any())


def _row_cases(answer: Callable) -> Iterator[Case]:
    rows = [
        ("the paper's row with l1", PAPER["Ours(l1 loss)"], _FACES, "0.003 apart"),
        (
            "a row whose three roundings add up",
            (5.00, 9.00, 5.79),
            _FACES,
            "0.0063 apart: each number is rounded",
        ),
        (
            "a row whose roundings add up to nearly 0.01",
            (4.00, 7.98, 4.77),
            _FACES,
            "0.0098 apart: all roundings may go one way, they need not cancel",
        ),
        ("a mean of two subsets", (4.00, 8.00, 6.00), _FACES, "that is no mean over pictures"),
        ("counts exchanged", (4.00, 8.00, 7.22), _FACES, "the first count belongs to the first subset"),
        ("0.02 off", (4.00, 8.00, 4.80), _FACES, "three roundings cannot add up to 0.016"),
        (
            "0.014 off",
            (4.00, 8.00, 4.77),
            _FACES,
            "the weights sum to 1, so that two roundings move the mean by 0.005 at most",
        ),
        ("other counts", (4.00, 8.00, 5.00), (300, 100), "the counts are given"),
        ("the quoted row of TSR", PAPER["TSR"], _FACES, "0.003 apart"),
    ]
    for name, row, counts, why in rows:
        yield Case(
            name,
            answer(*row, counts),
            _some_numbers_fit(row, counts),
            f"the full set is the mean over pictures, and three numbers are rounded; here: {why}",
        )


def check_13_1(answer: Callable[[float, float, float, tuple[int, int]], bool]) -> bool:
    """Exercise 13.1: `answer(common, challenging, full, counts)`: can a printed row be the mean over pictures?"""
    return check("13.1", answer, _row_cases)


def _huber(residual: np.ndarray, delta: float) -> np.ndarray:
    size = np.abs(residual)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))


def _huber_cases(answer: Callable) -> Iterator[Case]:
    chance = np.random.default_rng(13)
    labels = np.concatenate([20 + chance.normal(size=10), [38.0]])
    several = np.concatenate([20 + chance.normal(size=20), [33.0, 35.0, 9.0, 40.0, 41.0]])
    for name, y, delta in (
        ("one wrong label", labels, 1.0),
        ("one wrong label, wide", labels, 3.0),
        ("wider than everything: l2", labels, 100.0),
        ("narrow: nearly l1", labels, 0.05),
        ("five wrong labels on both sides", several, 1.0),
    ):
        found = minimize_scalar(
            lambda c, y=y, delta=delta: _huber(y - c, delta).sum(),
            bounds=(y.min(), y.max()),
            method="bounded",
            options={"xatol": 1e-9},
        ).x
        around = np.median(y)
        yield Case(
            name,
            float(answer(torch.from_numpy(y.copy()), delta)),
            float(found),
            "where the residuals, each cut off at delta, sum to 0",
            {
                "that is the mean": float(y.mean()),
                "that is the median": float(around),
                "residuals are cut off around the answer itself, not around the median": float(
                    around + np.clip(y - around, -delta, delta).mean()
                ),
                "labels further away than delta still pull, with the force delta": float(
                    y[np.abs(y - around) <= delta].mean() if (np.abs(y - around) <= delta).any() else around
                ),
            },
            tolerance=5e-4,
        )


def check_13_2(answer: Callable[[Tensor, float], float]) -> bool:
    """Exercise 13.2: `answer(labels, delta)` is the constant with the smallest Huber loss."""
    return check("13.2", answer, _huber_cases)


def _point_cases(answer: Callable) -> Iterator[Case]:
    chance = np.random.default_rng(7)
    cloud = chance.normal(size=(15, 2)) * [3.0, 1.0] + [30.0, 40.0]
    lost = np.concatenate([cloud, [[80.0, 5.0], [75.0, 90.0]]])
    even = np.ones(len(lost))
    for name, places, weights in (
        ("all eyes equally far apart", lost, even),
        ("faces of different size", lost, chance.uniform(0.2, 3.0, len(lost))),
        ("the small faces are the lost ones", lost, np.concatenate([np.full(15, 0.5), [2.0, 2.0]])),
        ("three places", np.array([[0.0, 0.0], [4.0, 0.0], [1.0, 3.0]]), np.array([1.0, 1.0, 1.0])),
    ):
        w = weights / weights.sum()

        def cost(c: np.ndarray, places: np.ndarray = places, w: np.ndarray = w) -> float:
            return float((w * np.hypot(*(places - c).T)).sum())

        starts = [places.mean(0), np.median(places, axis=0)]
        tries = [
            minimize(
                cost, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
            )
            for start in starts
        ]
        best = min(tries, key=lambda each: each.fun).x
        yield Case(
            name,
            answer(torch.from_numpy(places.copy()), torch.from_numpy(weights.copy())),
            torch.from_numpy(best),
            "where the unit vectors towards the places, each with its weight, sum to 0",
            {
                "that is the mean: it minimises squared distances": torch.from_numpy(places.mean(0)),
                "that is the weighted mean: it minimises squared distances": torch.from_numpy(w @ places),
                "medians of x and of y, each by itself, minimise |dx| + |dy| and not the distance": torch.from_numpy(
                    np.median(places, axis=0)
                ),
                "the best of the given places; the minimum lies between them": torch.from_numpy(
                    places[np.argmin([cost(c) for c in places])]
                ),
            },
            tolerance=1e-3,
        )


def check_13_3(answer: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Exercise 13.3: `answer(places, weights)` is the point with the smallest weighted sum of distances."""
    return check("13.3", answer, _point_cases)


def _person_cases(answer: Callable) -> Iterator[Case]:
    chance = np.random.default_rng(3)
    own = chance.normal(10, 3, size=12)
    unequal = [1, 1, 2, 9, 3, 1, 4, 1, 6, 2, 1, 5]
    for name, pictures, noise, mixed in (
        ("one picture each", [1] * 12, 0.0, False),
        ("every picture five times", [5] * 12, 0.0, False),
        ("eight pictures each, alike but not equal", [8] * 12, 1.0, False),
        ("some people have many", unequal, 0.5, False),
        ("the same, one person's pictures not in a row", unequal, 0.5, True),
    ):
        persons = [f"p{k}" for k, count in enumerate(pictures) for _ in range(count)]
        errors = np.repeat(own, pictures)
        errors = errors + noise * chance.normal(size=len(errors))
        if mixed:
            order = chance.permutation(len(errors))
            persons, errors = [persons[k] for k in order], errors[order]
        mean, total = errors.mean(), 0.0
        for who in dict.fromkeys(persons):
            together = sum(e - mean for e, p in zip(errors, persons, strict=True) if p == who)
            total += together**2
        people, count = len(set(persons)), len(persons)
        expected = math.sqrt(people / (people - 1) * total) / count
        means = np.array([errors[[p == who for p in persons]].mean() for who in dict.fromkeys(persons)])
        yield Case(
            name,
            float(answer(torch.from_numpy(errors.copy()), tuple(persons))),
            expected,
            "add up the deviations of each person's pictures first; these sums are what is drawn independently",
            {
                "that counts pictures as if each were another person": float(
                    errors.std(ddof=1) / math.sqrt(count)
                ),
                "people with many pictures weigh more in the NME; means of people would be another measure": float(
                    means.std(ddof=1) / math.sqrt(people)
                ),
                "the factor G / (G - 1) is missing": math.sqrt(total) / count,
            },
        )


def check_13_4(answer: Callable[[Tensor, Sequence[str]], float]) -> bool:
    """Exercise 13.4: `answer(errors, persons)` is the standard error of a mean over pictures, counting people."""
    return check("13.4", answer, _person_cases)


def _area_cases(answer: Callable) -> Iterator[Case]:
    chance = np.random.default_rng(5)
    errors = chance.gamma(4.0, 1.6, size=60)
    for name, limits in (
        ("even steps", np.arange(0, 8.01, 0.5)),
        ("uneven steps", np.array([0.0, 1.0, 2.5, 3.0, 5.0, 5.5, 8.0])),
        ("one step", np.array([0.0, 8.0])),
        ("another limit", np.arange(0, 10.01, 2.5)),
    ):
        shares = np.array([(errors <= limit).mean() for limit in limits])
        low = high = 0.0
        for k in range(len(limits) - 1):
            # All errors between two limits may lie at the right end, or just behind the left one.
            low += (limits[k + 1] - limits[k]) * shares[k] / limits[-1]
            high += (limits[k + 1] - limits[k]) * shares[k + 1] / limits[-1]
        middle = (low + high) / 2
        yield Case(
            name,
            answer(limits.tolist(), shares.tolist()),
            torch.tensor([low, high], dtype=torch.float64),
            "between two limits the curve is at least what it was at the left one, and at most what it is at the right",
            {
                "that is one value in between, by trapezoids, and not a bound": torch.tensor(
                    [middle, middle]
                ),
                "the lower bound comes first": torch.tensor([high, low]),
                "divide by the last limit, so that 1 is the most": torch.tensor(
                    [low * limits[-1], high * limits[-1]]
                ),
                "the steps are not of one width": torch.tensor(
                    [shares[:-1].mean(), shares[1:].mean()], dtype=torch.float64
                ),
            },
        )


def check_13_5(answer: Callable[[Sequence[float], Sequence[float]], tuple[float, float]]) -> bool:
    """Exercise 13.5: `answer(limits, shares)` are bounds of the area under a curve that is known at some limits."""
    return check("13.5", answer, _area_cases)
