"""Checks for the exercises of chapter 12, baselines and what accuracy hides.

Each check gets the right answer in another way than the solution does: by counting one picture after the other, by
a linear programme, by asking every bin for every pixel's vote, by Bayes' rule in a small world in which everything is known.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from mtl_lib.faces.states import TABLE_2
from mtl_lib.teach import Case, check


def _table_cases(answer: Callable) -> Iterator[Case]:
    for name, rows in (
        ("two classes", [[8, 2], [1, 4]]),
        ("always the largest of three", [[70, 0, 0], [20, 0, 0], [10, 0, 0]]),
        ("a class that never occurs", [[3, 1, 1], [0, 0, 0], [2, 0, 6]]),
        ("nothing right", [[0, 5], [3, 0]]),
    ):
        table = torch.tensor(rows)
        right, asked, total, correct = {}, {}, 0, 0
        for true, row in enumerate(rows):
            for said, count in enumerate(row):
                for _ in range(count):
                    asked[true] = asked.get(true, 0) + 1
                    right[true] = right.get(true, 0) + (said == true)
                    total, correct = total + 1, correct + (said == true)
        recalls = [right[k] / asked[k] for k in asked]
        columns = [table[k, k].item() / max(1, table[:, k].sum().item()) for k in range(len(rows))]
        expected = torch.tensor([correct / total, sum(recalls) / len(recalls)])
        yield Case(
            name,
            torch.as_tensor([float(x) for x in answer(table.clone())]),
            expected,
            "Accuracy counts pictures; macro-recall is the mean, over the classes that occur, of the share recognised",
            {
                "a class without pictures has no recall, and must not count as 0": torch.tensor(
                    [correct / total, sum(recalls) / len(rows)]
                ),
                "rows are true classes; you divided by how often a class was answered (precision)": torch.tensor(
                    [correct / total, sum(columns) / len(columns)]
                ),
                "both are fractions, not percent": 100 * expected,
                "in the other order: accuracy first": expected.flip(0),
            },
        )


def check_12_1(answer: Callable[[Tensor], tuple[float, float]]) -> bool:
    """Exercise 12.1: `answer(table)` are accuracy and macro-recall of a confusion matrix, as fractions."""
    return check("12.1", answer, _table_cases)


def _bounds_by_programme(accuracy: float, shares: np.ndarray) -> list[float]:
    count = len(shares)
    found = []
    for sign in (1, -1):
        solved = linprog(
            sign * np.full(count, 1 / count), A_eq=[shares], b_eq=[accuracy], bounds=[(0, 1)] * count
        )
        found.append(sign * float(solved.fun))
    return found


def _bounds_cases(answer: Callable) -> Iterator[Case]:
    paper = np.array(list(TABLE_2.values()), dtype=float) / sum(TABLE_2.values())
    for name, accuracy, shares in (
        ("two classes, 3 : 1", 0.6, np.array([0.75, 0.25])),
        ("always the largest class", 0.5, np.array([0.5, 0.3, 0.2])),
        ("all classes alike", 0.37, np.full(5, 0.2)),
        ("the paper's ResNet", 0.2839, paper),
        ("the paper's full method", 0.3672, paper),
        ("nothing right", 0.0, paper),
        ("everything right", 1.0, paper),
        ("in no order", 0.55, np.array([0.1, 0.4, 0.05, 0.25, 0.2])),
    ):
        low, high = _bounds_by_programme(accuracy, shares)
        yield Case(
            name,
            torch.tensor([float(x) for x in answer(accuracy, torch.from_numpy(shares.copy()))]),
            torch.tensor([low, high]),
            "Spend the accuracy where a whole class costs most for the lower bound, and least for the upper",
            {
                "those are the other way round": torch.tensor([high, low]),
                "the last class may be recognised in part": torch.tensor(
                    [math.floor(low * len(shares) + 1e-9), math.floor(high * len(shares) + 1e-9)]
                )
                / len(shares),
                "the mean over the classes was asked for, not the sum": torch.tensor([low, high])
                * len(shares),
                "the accuracy itself is not a bound": torch.tensor([accuracy, accuracy]),
            },
            tolerance=1e-5,
        )


def check_12_2(answer: Callable[[float, Tensor], tuple[float, float]]) -> bool:
    """Exercise 12.2: `answer(accuracy, shares)` are the least and the greatest macro-recall with that accuracy."""
    return check("12.2", answer, _bounds_cases)


def _shared_votes(down: Tensor, right: Tensor, bins: int, power: int = 1, turn: float = 180.0) -> list[float]:
    """Every pixel's vote for every bin: its share falls evenly from 1 at the centre to 0 at the next centre."""
    tally, step = [0.0] * bins, turn / bins
    for d, r in zip(down.flatten().tolist(), right.flatten().tolist(), strict=True):
        angle = math.degrees(math.atan2(d, r))
        for b in range(bins):
            # Bins repeat after each turn; with one bin its neighbours are itself.
            for again in range(-3, 4):
                apart = abs(angle - (b * step + again * turn)) / step
                tally[b] += math.hypot(d, r) ** power * max(0.0, 1.0 - apart)
    return tally


def _histogram_cases(answer: Callable) -> Iterator[Case]:
    chance = torch.Generator().manual_seed(0)
    noise = {
        name: (torch.randn(2, *shape, generator=chance, dtype=torch.float64), bins)
        for name, shape, bins in (("noise", (9, 7), 8), ("five bins", (6, 6), 5), ("one bin", (4, 5), 1))
    }
    for name, parts, bins in (
        # One edge whose grey values change along x, so in the middle of bin 0, and one half-way to bin 1.
        ("a single edge, its gradient along x", torch.tensor([[[0.0]], [[2.0]]], dtype=torch.float64), 4),
        ("a gradient half-way between bins 0 and 1", _slope(math.pi / 8), 4),
        ("a gradient half-way between the last bin and bin 0", _slope(-math.pi / 8), 4),
        *((key, *value) for key, value in noise.items()),
        ("an even grey", torch.zeros(2, 5, 5, dtype=torch.float64), 8),
    ):
        down, right = parts
        tallies = {
            "right": _shared_votes(down, right, bins),
            "count": _shared_votes(down, right, bins, power=0),
            "square": _shared_votes(down, right, bins, power=2),
            "turn": _shared_votes(down, right, bins, turn=360.0),
            "exchanged": _shared_votes(right, down, bins),
            "upside down": _shared_votes(-down, right, bins),
            "nearest": [0.0] * bins,
            "floor": [0.0] * bins,
            "farther": [0.0] * bins,
        }
        for d, r in zip(down.flatten().tolist(), right.flatten().tolist(), strict=True):
            place = (math.degrees(math.atan2(d, r)) % 180) * bins / 180
            tallies["nearest"][int(place + 0.5) % bins] += math.hypot(d, r)
            tallies["floor"][int(place) % bins] += math.hypot(d, r)
            for b, share in ((int(place), place % 1), (int(place) + 1, 1 - place % 1)):
                tallies["farther"][b % bins] += math.hypot(d, r) * share
        values = {}
        for key, tally in tallies.items():
            size = math.sqrt(sum(x * x for x in tally))
            values[key] = torch.tensor([x / size if size else 0.0 for x in tally], dtype=torch.float64)
        total = sum(tallies["right"])
        yield Case(
            name,
            answer(down.clone(), right.clone(), bins),
            values["right"],
            "Each pixel's length, divided between the two bins whose centres are nearest, modulo 180 degrees; the squares"
            " of the entries sum to 1",
            {
                "each vote goes to one bin whole; divide it between the two nearest": values["nearest"],
                "each vote goes whole to the bin that begins below it; divide it between the two nearest": values[
                    "floor"
                ],
                "the nearer of the two bins gets the larger share": values["farther"],
                "every pixel counts its gradient's length, not 1": values["count"],
                "every pixel counts its gradient's length, not the square of it": values["square"],
                "a bright edge on dark ground and a dark one on bright are the same: 180 degrees, not 360": values[
                    "turn"
                ],
                "the angle is taken from the wrong axis: atan2 takes first down, then right": values[
                    "exchanged"
                ],
                "the angle turns the wrong way: rows count downwards, and so does the angle": values[
                    "upside down"
                ],
                "the sum of the squares is to be 1, not the sum": torch.tensor(
                    [x / total if total else 0.0 for x in tallies["right"]], dtype=torch.float64
                ),
                "it is not scaled yet": torch.tensor(tallies["right"], dtype=torch.float64),
            },
        )


def _slope(angle: float) -> Tensor:
    """The gradient of one pixel with this direction: down, right."""
    return torch.tensor([[[math.sin(angle)]], [[math.cos(angle)]]], dtype=torch.float64)


def check_12_3(answer: Callable[[Tensor, Tensor, int], Tensor]) -> bool:
    """Exercise 12.3: `answer(down, right, bins)` is the edge orientation histogram of one cell, votes shared."""
    return check("12.3", answer, _histogram_cases)


def _prior_cases(answer: Callable) -> Iterator[Case]:
    chance = torch.Generator().manual_seed(1)
    for name, classes, trained_even in (
        ("trained on equal classes", 3, True),
        ("trained on unequal classes", 4, False),
        ("thirteen classes", 13, True),
    ):
        # A world of 50 kinds of pictures: how often each kind is drawn for each class.
        likelihood = torch.rand(classes, 50, generator=chance, dtype=torch.float64)
        likelihood /= likelihood.sum(1, keepdim=True)
        met = torch.rand(classes, generator=chance, dtype=torch.float64) + 0.05
        met /= met.sum()
        trained = torch.full((classes,), 1 / classes, dtype=torch.float64)
        if not trained_even:
            trained = met.flip(0)

        def posterior(prior: Tensor, likelihood: Tensor = likelihood) -> Tensor:
            joint = prior[:, None] * likelihood
            return (joint / joint.sum(0)).T

        given, wanted = posterior(trained), posterior(met)
        times = given * met
        yield Case(
            name,
            answer(given.clone(), trained.clone(), met.clone()),
            wanted,
            "Take the frequencies of the training set out, put those of the new place in, and make rows sum to 1",
            {
                "rows must sum to 1": given * met / trained,
                "divide by the sum over the classes of a picture, dimension 1, not over the pictures": given
                * met
                / trained
                / (given * met / trained).sum(0),
                "the frequencies that the classifier was trained with are still in it": times
                / times.sum(1, keepdim=True),
                "nothing has changed yet": given,
                "the wrong way round": (given * trained / met) / (given * trained / met).sum(1, keepdim=True),
            },
        )


def check_12_4(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 12.4: `answer(probabilities, trained, met)` moves a classifier to other class frequencies."""
    return check("12.4", answer, _prior_cases)
