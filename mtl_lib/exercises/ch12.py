"""Checks for the exercises of chapter 12, baselines and what accuracy hides.

Each check gets the right answer in another way than the solution does: by counting one picture after the other, by
a linear programme, by going around every pixel, by Bayes' rule in a small world in which everything is known.
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


def _histogram_cases(answer: Callable) -> Iterator[Case]:
    chance = torch.Generator().manual_seed(0)
    for name, shape, bins in (
        ("noise", (9, 7), 8),
        ("five bins", (6, 6), 5),
        ("one bin", (4, 5), 1),
        ("an even grey", (5, 5), 8),
    ):
        down, right = torch.randn(2, *shape, generator=chance, dtype=torch.float64)
        if name == "an even grey":
            down, right = torch.zeros_like(down), torch.zeros_like(right)
        tallies = {key: [0.0] * bins for key in ("right", "count", "turn", "floor")}
        for d, r in zip(down.flatten().tolist(), right.flatten().tolist(), strict=True):
            length, angle = math.hypot(d, r), math.degrees(math.atan2(d, r))
            step = 180 / bins
            centred = int(((angle + step / 2) % 180) // step)
            tallies["right"][centred] += length
            tallies["count"][centred] += 1
            tallies["turn"][int(((angle + 180 / bins) % 360) // (360 / bins))] += length
            tallies["floor"][int((angle % 180) // step)] += length
        values = {}
        for key, tally in tallies.items():
            size = math.sqrt(sum(x * x for x in tally))
            values[key] = torch.tensor([x / size if size else 0.0 for x in tally], dtype=torch.float64)
        total = sum(tallies["right"])
        yield Case(
            name,
            answer(down.clone(), right.clone(), bins),
            values["right"],
            "Directions modulo 180 degrees, bin 0 centred on the x axis, weighted by length, scaled to length 1",
            {
                "every pixel counts its gradient's length, not 1": values["count"],
                "a bright edge on dark ground and a dark one on bright are the same: 180 degrees, not 360": values[
                    "turn"
                ],
                "bin 0 is centred on the x axis; it does not begin there": values["floor"],
                "the sum of the squares is to be 1, not the sum": torch.tensor(
                    [x / total if total else 0.0 for x in tallies["right"]], dtype=torch.float64
                ),
            },
        )


def check_12_3(answer: Callable[[Tensor, Tensor, int], Tensor]) -> bool:
    """Exercise 12.3: `answer(down, right, bins)` is the edge orientation histogram of one cell."""
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
                "the frequencies that the classifier was trained with are still in it": times
                / times.sum(1, keepdim=True),
                "nothing has changed yet": given,
                "the wrong way round": (given * trained / met) / (given * trained / met).sum(1, keepdim=True),
            },
        )


def check_12_4(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Exercise 12.4: `answer(probabilities, trained, met)` moves a classifier to other class frequencies."""
    return check("12.4", answer, _prior_cases)
