"""Checks for the exercises of chapter 14, transfer: folds by person, a trunk that moves, and intervals over folds.

Right answers come from elsewhere than the solutions': from counting one picture after the other, from tensors that
say where they were made, from adding up a covariance matrix, from a curve whose inverse is known.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy import special

from mtl_lib.teach import Case, check


def _met_cases(answer: Callable) -> Iterator[Case]:
    for name, persons, train, test in (
        ("nobody on both sides", "aabbccdd", [0, 1, 2, 3], [4, 5, 6, 7]),
        ("everybody on both sides", "aabbccdd", [0, 2, 4, 6], [1, 3, 5, 7]),
        ("one of three", "aaabbbccc", [0, 1, 2, 3], [4, 5, 6, 7, 8]),
        ("many training pictures of one person", "aaaaaabb", [0, 1, 2, 3, 4, 6], [5, 7]),
        ("a person with many test pictures", "aaaaabbbc", [0, 5, 6], [1, 2, 3, 4, 8]),
        ("not all pictures are used", "aabbcc", [0], [1, 2]),
    ):
        seen = {persons[i] for i in train}
        hits = sum(persons[i] in seen for i in test)
        tested = {persons[i] for i in test}
        yield Case(
            name,
            float(answer(list(persons), list(train), list(test))),
            hits / len(test),
            "Of the test pictures, the share whose person is also among the training pictures",
            {
                "no picture is on both sides, but its person may be": len(set(train) & set(test)) / len(test),
                "pictures were asked for, not persons": len(seen & tested) / len(tested),
                "divide by the test pictures, not by all": hits / len(persons),
                "that is the share of test pictures whose person is new": 1 - hits / len(test),
                "the other way round: training pictures whose person is tested": sum(
                    persons[i] in tested for i in train
                )
                / len(train),
            },
            tolerance=1e-9,
        )


def check_14_1(answer: Callable[[Sequence[str], Sequence[int], Sequence[int]], float]) -> bool:
    """Exercise 14.1: `answer(persons, train, test)` is the share of test pictures of people who are trained on."""
    return check("14.1", answer, _met_cases)


_LAYERS = ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var")


def _networks(offset: float, tasks: int, classes: int) -> dict[str, np.ndarray]:
    """Tensors by name; every entry says of which network, task and layer it is."""
    made = {}
    for task in range(tasks):
        for k, layer in enumerate(_LAYERS):
            made[f"trunk.nets.{task}.{layer}"] = np.full(3, offset + 10 * task + k)
        made[f"heads.{task}.weight"] = np.full((classes, 2), offset + 10 * task + 8)
        made[f"heads.{task}.bias"] = np.full(classes, offset + 10 * task + 9)
    return made


def _summed(tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """One number per tensor, its sum, in the order of the names."""
    return np.array([float(np.sum(tensors[name])) for name in sorted(tensors)])


def _names_beside(given: Mapping, new: Mapping) -> str:
    lacking, more = sorted(set(new) - set(given)), sorted(set(given) - set(new))
    if lacking:
        return f"{lacking[0]} is missing"
    return f"{more[0]} is too many" if more else "those of the new networks"


def _moved(old: Mapping, new: Mapping, here: int, there: int, what: Sequence[str]) -> dict[str, np.ndarray]:
    made = dict(new)
    for layer in what:
        made[f"trunk.nets.{here}.{layer}"] = old[f"trunk.nets.{there}.{layer}"]
    return made


def _carry_cases(answer: Callable) -> Iterator[Case]:
    for name, old_tasks, new_tasks, here, there, classes in (
        ("one network, from the first of two", 2, 1, 0, 0, 7),
        ("one network, from the second of two", 2, 1, 0, 1, 7),
        ("the second of two, from the first", 2, 2, 1, 0, 7),
        ("as many classes as before", 2, 1, 0, 0, 13),
    ):
        old, new = _networks(100.0, old_tasks, 13), _networks(5000.0, new_tasks, classes)
        given = answer(
            {k: v.copy() for k, v in old.items()}, {k: v.copy() for k, v in new.items()}, here, there
        )
        right = _moved(old, new, here, there, _LAYERS)
        kernels = [layer for layer in _LAYERS if "running" not in layer]
        other = _moved(old, new, here, 1 - there, _LAYERS) if old_tasks > 1 else right
        with_head = {**right}
        for part in ("weight", "bias"):
            with_head[f"heads.{here}.{part}"] = old[f"heads.{there}.{part}"]
        yield Case(
            f"{name}, the names",
            _names_beside(given, new),
            "those of the new networks",
            "Begin with all of `new`, and put the moved tensors in place of its own",
        )
        yield Case(
            name,
            _summed(given),
            _summed(right),
            "All tensors of trunk `here` come from the old trunk `there`; whatever else the new networks have, stays",
            {
                "running statistics belong to the trunk, too": _summed(
                    _moved(old, new, here, there, kernels)
                ),
                "that is the other task's trunk": _summed(other),
                "the head is new: its classes are others": _summed(with_head),
                "nothing has moved": _summed(new),
            },
            tolerance=1e-9,
        )


def check_14_2(answer: Callable[[Mapping, Mapping, int, int], Mapping]) -> bool:
    """Exercise 14.2: `answer(old, new, here, there)` are the new networks' tensors with one trunk carried over."""
    return check("14.2", answer, _carry_cases)


def _t_quantile(level: float, df: int) -> float:
    """Of Student's distribution, from the inverse of the incomplete beta function."""
    tail = special.betaincinv(df / 2, 0.5, 2 * (1 - level))
    return math.sqrt(df * (1 / tail - 1))


def _interval_cases(answer: Callable) -> Iterator[Case]:
    draw = np.random.default_rng(14)
    for name, k, seeds, run, mean, sd in (
        ("five folds, one seed", 5, 1, 5, 3.0, 4.0),
        ("five folds, three seeds", 5, 3, 5, -1.0, 6.0),
        ("ten folds, three seeds", 10, 3, 10, 2.0, 5.0),
        ("three of ten folds, two seeds", 10, 2, 3, 0.5, 3.0),
        ("two folds", 2, 4, 2, 8.0, 2.0),
    ):
        d = draw.normal(mean, sd, seeds * run)
        count = len(d)
        # The covariance matrix of J values, of which any two have the correlation 1/k, has this mean.
        rho = 1 / k
        own = d.std(ddof=1) ** 2 / (1 - rho)
        matrix = own * ((1 - rho) * np.eye(count) + rho)
        half = _t_quantile(0.975, count - 1) * math.sqrt(matrix.mean())
        middle = d.mean()

        def ends(width: float, middle: float = middle) -> np.ndarray:
            return np.array([middle - width, middle + width])

        scale = half / math.sqrt(matrix.mean())
        s2 = d.var(ddof=1)
        yield Case(
            name,
            np.array([float(x) for x in answer(d.copy(), k)]),
            ends(half),
            "mean plus and minus t (J - 1 degrees of freedom) times s sqrt(1/J + 1/(k - 1))",
            {
                "that is the interval of independent values: the folds share training pictures": ends(
                    scale * math.sqrt(s2 / count)
                ),
                "the test part is 1/(k - 1) of the training part, not 1/k": ends(
                    scale * math.sqrt((1 / count + 1 / k) * s2)
                ),
                "s has J - 1 in its denominator": ends(
                    scale * math.sqrt((1 / count + 1 / (k - 1)) * d.var())
                ),
                "with few values the quantile is Student's, not the normal one": ends(
                    1.96 * math.sqrt(matrix.mean())
                ),
                "2.5 % on each side: the quantile is that of 0.975": ends(
                    _t_quantile(0.95, count - 1) * math.sqrt(matrix.mean())
                ),
                "k is the number of folds, however many of them were run": ends(
                    scale * math.sqrt((1 / count + 1 / max(1, count - 1)) * s2)
                ),
            },
            tolerance=1e-4,
        )


def check_14_3(answer: Callable[[np.ndarray, int], tuple[float, float]]) -> bool:
    """Exercise 14.3: `answer(differences, k)` are the ends of the 95 % interval over folds and seeds."""
    return check("14.3", answer, _interval_cases)


def _worth_cases(answer: Callable) -> Iterator[Case]:
    # Not on one line: a fit through all points misses both pieces.
    given = float(answer([3, 9, 27], [30.0, 50.0, 60.0], 55.0))
    one_line = math.exp(math.log(9) + (55.0 - 140 / 3) / 15 * math.log(3))
    yield Case(
        "steep at first, then flatter",
        given,
        9 * math.sqrt(3),
        "Straight lines over the logarithm of the number, from each count to the next",
        {
            "one line through all points passes by them; go from point to point": one_line,
            "the accuracy grows along a straight line only over the logarithm of the number": 18.0,
            "that is the logarithm; take its exponential": math.log(9 * math.sqrt(3)),
            "between two counts, not the next one": 27.0,
        },
        tolerance=1e-6,
    )
    for name, counts, a, b, reached in (
        ("between two counts", [3, 10, 30], 20.0, 12.0, 45.0),
        ("near the left end", [2, 4, 8, 16, 32], 10.0, 15.0, 14.0 + 10 * math.log(2) + 3),
        ("at a count", [2, 8, 32], 30.0, 9.0, 30.0 + 9 * math.log(8)),
        ("just at the last of them", [2, 8, 32], 30.0, 9.0, 30.0 + 9 * math.log(32)),
        ("above all of them", [3, 10, 30], 20.0, 12.0, 90.0),
        ("below all of them", [3, 10, 30], 20.0, 12.0, 21.0),
    ):
        scratch = [a + b * math.log(n) for n in counts]  # its inverse is known
        exact = math.exp((reached - a) / b)
        right = math.inf if reached > scratch[-1] else min(max(exact, counts[0]), counts[-1])
        given = float(answer(list(counts), list(scratch), reached))
        hint = "Straight lines over the logarithm of the number; above the last point nobody knows: infinity"
        if right == counts[-1]:
            hint = "That is the last count itself; only above the last point nobody knows"
        if math.isinf(right):
            yield Case(name, "infinity" if math.isinf(given) else f"{given:.4g}", "infinity", hint)
            continue
        yield Case(
            name,
            given,
            float(right),
            hint,
            {
                "the accuracy grows along a straight line only over the logarithm of the number": float(
                    np.interp(reached, scratch, counts)
                ),
                "that is the logarithm; take its exponential": math.log(right),
            },
            tolerance=1e-6,
        )


def check_14_4(answer: Callable[[Sequence[int], Sequence[float], float], float]) -> bool:
    """Exercise 14.4: `answer(counts, scratch, reached)` is how many faces a class random weights need for that."""
    return check("14.4", answer, _worth_cases)
