"""Plausible wrong answers to the exercises of chapter 9; every check must reject all of its own."""

import math

import numpy as np
from scipy import stats

# 9.1: how many seeds


def with_the_normal_quantile(sd, effect):
    n = 2
    while 1.96 * sd / math.sqrt(n) >= effect:
        n += 1
    return n


def without_the_root(sd, effect):
    n = 2
    while stats.t.ppf(0.975, n - 1) * sd / n >= effect:
        n += 1
    return n


def one_sided(sd, effect):
    n = 2
    while stats.t.ppf(0.95, n - 1) * sd / math.sqrt(n) >= effect:
        n += 1
    return n


def n_degrees_of_freedom(sd, effect):
    n = 2
    while stats.t.ppf(0.975, n) * sd / math.sqrt(n) >= effect:
        n += 1
    return n


# 9.2: the paired interval


def _interval(d, quantile, ddof=1):
    d = np.asarray(d)
    half = quantile * d.std(ddof=ddof) / math.sqrt(len(d))
    return d.mean(), d.mean() - half, d.mean() + half


def by_position(first, second):
    d = [a - b for a, b in zip(first.values(), second.values(), strict=False)]
    return _interval(d, stats.t.ppf(0.975, len(d) - 1))


def not_paired(first, second):
    common = [seed for seed in first if seed in second]
    a, b = np.array([first[s] for s in common]), np.array([second[s] for s in common])
    half = stats.t.ppf(0.975, 2 * len(common) - 2) * math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(common))
    return (a - b).mean(), (a - b).mean() - half, (a - b).mean() + half


def normal_interval(first, second):
    return _interval([first[s] - second[s] for s in first if s in second], 1.96)


def divided_by_n(first, second):
    d = [first[s] - second[s] for s in first if s in second]
    return _interval(d, stats.t.ppf(0.975, len(d) - 1), ddof=0)


def one_sided_interval(first, second):
    d = [first[s] - second[s] for s in first if s in second]
    return _interval(d, stats.t.ppf(0.95, len(d) - 1))


def of_single_runs(first, second):
    d = np.array([first[s] - second[s] for s in first if s in second])
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1)
    return d.mean(), d.mean() - half, d.mean() + half


# 9.3: the front


def both_larger(points):
    return np.array([not any((q >= p).all() and (q > p).any() for q in points) for p in points])


def strictly_worse_in_both(points):
    return np.array([not any(q[0] > p[0] and q[1] < p[1] for q in points) for p in points])


def equals_beat_one_another(points):
    return np.array(
        [
            not any(q[0] >= p[0] and q[1] <= p[1] for j, q in enumerate(points) if j != i)
            for i, p in enumerate(points)
        ]
    )


def best_in_one(points):
    return (points[:, 0] == points[:, 0].max()) | (points[:, 1] == points[:, 1].min())


def those_that_are_beaten(points):
    return np.array(
        [
            any((q[0] > p[0] and q[1] <= p[1]) or (q[0] >= p[0] and q[1] < p[1]) for q in points)
            for p in points
        ]
    )


def indices_not_truth_values(points):
    return np.array(
        [k for k, p in enumerate(points) if not any(q[0] > p[0] and q[1] < p[1] for q in points)] + [7]
    )


# 9.4: the best of equal trials


def too_few_draws(trials, sd):
    return sd * np.random.default_rng(5).standard_normal((40, trials)).max(1).mean()


def bound_for_many(trials, sd):
    return sd * math.sqrt(2 * math.log(trials))


def quantile_of_one(trials, sd):
    return sd * stats.norm.ppf(trials / (trials + 1))


def spread_forgotten(trials, sd):
    return np.random.default_rng(0).standard_normal((20000, trials)).max(1).mean()


def of_the_absolute_values(trials, sd):
    return sd * np.abs(np.random.default_rng(0).standard_normal((20000, trials))).max(1).mean()


WRONG = {
    "check_9_1": [
        ("the normal quantile", with_the_normal_quantile),
        ("divided by n, not by its root", without_the_root),
        ("a one-sided interval", one_sided),
        ("n degrees of freedom", n_degrees_of_freedom),
    ],
    "check_9_2": [
        ("paired by position", by_position),
        ("not paired", not_paired),
        ("the normal quantile", normal_interval),
        ("standard deviation with n", divided_by_n),
        ("a one-sided quantile", one_sided_interval),
        ("the interval of one run, not of the mean", of_single_runs),
    ],
    "check_9_3": [
        ("larger is better in both", both_larger),
        ("strictly worse in both", strictly_worse_in_both),
        ("equal points beat one another", equals_beat_one_another),
        ("best in one", best_in_one),
        ("the beaten ones", those_that_are_beaten),
        ("indices", indices_not_truth_values),
    ],
    "check_9_4": [
        ("the bound for many", bound_for_many),
        ("a quantile of one", quantile_of_one),
        ("without the spread", spread_forgotten),
        ("of absolute values", of_the_absolute_values),
        ("forty draws", too_few_draws),
    ],
}
