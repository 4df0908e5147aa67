"""Plausible wrong answers to the exercises of chapter 14; every check must reject all of its own."""

import math

import numpy as np
from scipy import stats

# 14.1: the share of test pictures of people who are trained on


def met_persons(persons, train, test):
    seen, tested = {persons[i] for i in train}, {persons[i] for i in test}
    return len(seen & tested) / len(tested)


def met_of_all(persons, train, test):
    seen = {persons[i] for i in train}
    return sum(persons[i] in seen for i in test) / len(persons)


def met_new(persons, train, test):
    seen = {persons[i] for i in train}
    return sum(persons[i] not in seen for i in test) / len(test)


def met_backwards(persons, train, test):
    tested = {persons[i] for i in test}
    return sum(persons[i] in tested for i in train) / len(train)


def met_pictures(persons, train, test):
    return len(set(train) & set(test)) / len(test)


# 14.2: a trunk that moves


def _carried(old, new, here, there, keep=lambda name: True, prefix="trunk.nets"):
    start = f"{prefix}.{there}."
    moved = {
        f"{prefix}.{here}.{name.removeprefix(start)}": value
        for name, value in old.items()
        if name.startswith(start) and keep(name)
    }
    return {**new, **moved}


def carry_kernels(old, new, here, there):
    return _carried(old, new, here, there, keep=lambda name: "running" not in name)


def carry_same_place(old, new, here, there):
    return _carried(old, new, here, here)


def carry_head_too(old, new, here, there):
    trunk = _carried(old, new, here, there)
    return _carried(old, trunk, here, there, prefix="heads")


def carry_nothing(old, new, here, there):
    return dict(new)


def carry_old_names(old, new, here, there):
    return {**new, **{name: value for name, value in old.items() if ".trunk" in name or "trunk." in name}}


def carry_trunk_alone(old, new, here, there):
    start = f"trunk.nets.{there}."
    return {
        name.replace(start, f"trunk.nets.{here}."): v for name, v in old.items() if name.startswith(start)
    }


# 14.3: an interval over folds


def _ends(d, width):
    return d.mean() - width, d.mean() + width


def interval_plain(d, k):
    return _ends(d, stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d)))


def interval_one_kth(d, k):
    return _ends(d, stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) * math.sqrt(1 / len(d) + 1 / k))


def interval_biased(d, k):
    return _ends(d, stats.t.ppf(0.975, len(d) - 1) * d.std() * math.sqrt(1 / len(d) + 1 / (k - 1)))


def interval_normal(d, k):
    return _ends(d, 1.96 * d.std(ddof=1) * math.sqrt(1 / len(d) + 1 / (k - 1)))


def interval_folds_are_values(d, k):
    return interval_right(d, len(d))


def interval_right(d, k):
    return _ends(d, stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) * math.sqrt(1 / len(d) + 1 / (k - 1)))


def interval_one_sided(d, k):
    return _ends(d, stats.t.ppf(0.95, len(d) - 1) * d.std(ddof=1) * math.sqrt(1 / len(d) + 1 / (k - 1)))


# 14.4: faces that transfer is worth


def worth_straight(counts, scratch, reached):
    return math.inf if reached > scratch[-1] else float(np.interp(reached, scratch, counts))


def worth_logarithm(counts, scratch, reached):
    return math.inf if reached > scratch[-1] else float(np.interp(reached, scratch, np.log(counts)))


def worth_last(counts, scratch, reached):
    return math.exp(np.interp(reached, scratch, np.log(counts)))


def worth_first_count(counts, scratch, reached):
    return next((n for n, value in zip(counts, scratch, strict=True) if value >= reached), math.inf)


def worth_beyond(counts, scratch, reached):
    slope, start = np.polyfit(np.log(counts), scratch, 1)
    return math.exp((reached - start) / slope)


def worth_open_end(counts, scratch, reached):
    return math.inf if reached >= scratch[-1] else math.exp(np.interp(reached, scratch, np.log(counts)))


def worth_fit(counts, scratch, reached):
    slope, start = np.polyfit(np.log(counts), scratch, 1)
    found = math.exp((reached - start) / slope)
    return math.inf if found > counts[-1] * (1 + 1e-9) else max(found, counts[0])


WRONG = {
    "check_14_1": [
        ("persons counted", met_persons),
        ("of all pictures", met_of_all),
        ("those who are new", met_new),
        ("training pictures counted", met_backwards),
        ("pictures on both sides", met_pictures),
    ],
    "check_14_2": [
        ("running statistics left behind", carry_kernels),
        ("the trunk of the same place", carry_same_place),
        ("the head as well", carry_head_too),
        ("nothing", carry_nothing),
        ("under the old names", carry_old_names),
        ("without the rest of the new networks", carry_trunk_alone),
    ],
    "check_14_3": [
        ("independent values", interval_plain),
        ("one k-th", interval_one_kth),
        ("n in the denominator", interval_biased),
        ("normal quantile", interval_normal),
        ("as many folds as values", interval_folds_are_values),
        ("one-sided quantile", interval_one_sided),
    ],
    "check_14_4": [
        ("a straight line over the number", worth_straight),
        ("the logarithm", worth_logarithm),
        ("the largest number tried", worth_last),
        ("the next number tried", worth_first_count),
        ("extrapolated", worth_beyond),
        ("infinity at the last point already", worth_open_end),
        ("one line through all points", worth_fit),
    ],
}
