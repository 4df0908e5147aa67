"""Plausible wrong answers to the exercises of chapter 13; every check must reject all of its own."""

import math

import torch

# 13.1: a consistent row


def _gap(common, challenging, full, counts):
    return abs((counts[0] * common + counts[1] * challenging) / sum(counts) - full)


def row_mean_of_two(common, challenging, full, counts):
    return abs((common + challenging) / 2 - full) <= 0.01


def row_one_rounding(common, challenging, full, counts):
    return _gap(common, challenging, full, counts) <= 0.005


def row_counts_exchanged(common, challenging, full, counts):
    return _gap(common, challenging, full, counts[::-1]) <= 0.01


def row_too_generous(common, challenging, full, counts):
    return _gap(common, challenging, full, counts) <= 0.02


def row_counts_of_300_w(common, challenging, full, counts):
    return _gap(common, challenging, full, (554, 135)) <= 0.01


def row_exact(common, challenging, full, counts):
    return round((counts[0] * common + counts[1] * challenging) / sum(counts), 2) == full


# 13.2: Huber


def huber_mean(labels, delta):
    return labels.mean().item()


def huber_median(labels, delta):
    return labels.median().item()


def huber_cut_around_the_median(labels, delta):
    middle = labels.median()
    return (middle + (labels - middle).clamp(-delta, delta).mean()).item()


def huber_without_the_far(labels, delta):
    near = (labels - labels.median()).abs() <= delta
    return labels[near].mean().item()


def huber_one_step_from_the_mean(labels, delta):
    c = labels.mean()
    return (c + (labels - c).clamp(-delta, delta).mean()).item()


def huber_half_way(labels, delta):
    return (labels.mean() + labels.median()).item() / 2


# 13.3: the best point


def _weiszfeld(places, weights, steps=2000):
    c = (weights[:, None] * places).sum(0) / weights.sum()
    for _ in range(steps):
        pull = weights / (places - c).norm(dim=1).clamp_min(1e-12)
        c = (pull[:, None] * places).sum(0) / pull.sum()
    return c


def point_mean(places, weights):
    return places.mean(0)


def point_weighted_mean(places, weights):
    return (weights[:, None] * places).sum(0) / weights.sum()


def point_medians(places, weights):
    return places.median(0).values


def point_without_weights(places, weights):
    return _weiszfeld(places, torch.ones_like(weights))


def point_weights_upside_down(places, weights):
    return _weiszfeld(places, 1 / weights)


def point_one_step(places, weights):
    return _weiszfeld(places, weights, steps=1)


def point_best_given(places, weights):
    cost = (weights * (places[:, None] - places).norm(dim=-1)).sum(1)
    return places[cost.argmin()]


# 13.4: people, not pictures


def _sums(errors, persons):
    mean = errors.mean()
    return torch.stack(
        [
            sum((e - mean for e, p in zip(errors, persons, strict=True) if p == who), torch.zeros(()))
            for who in sorted(set(persons))
        ]
    )


def error_of_pictures(errors, persons):
    return errors.std().item() / math.sqrt(len(errors))


def error_of_means(errors, persons):
    means = [
        torch.stack([e for e, p in zip(errors, persons, strict=True) if p == who]).mean()
        for who in sorted(set(persons))
    ]
    return torch.stack(means).std().item() / math.sqrt(len(means))


def error_without_the_factor(errors, persons):
    return _sums(errors, persons).square().sum().sqrt().item() / len(errors)


def error_by_people_alone(errors, persons):
    people = len(set(persons))
    return errors.std().item() / math.sqrt(people)


def error_not_divided(errors, persons):
    sums = _sums(errors, persons)
    return (len(sums) / (len(sums) - 1) * sums.square().sum()).sqrt().item()


# 13.5: bounds of an area


def _bounds(limits, shares):
    steps = [b - a for a, b in zip(limits, limits[1:], strict=False)]
    low = sum(step * share for step, share in zip(steps, shares[:-1], strict=True))
    high = sum(step * share for step, share in zip(steps, shares[1:], strict=True))
    return low, high


def area_trapezoids(limits, shares):
    low, high = _bounds(limits, shares)
    return (low + high) / 2 / limits[-1], (low + high) / 2 / limits[-1]


def area_swapped(limits, shares):
    low, high = _bounds(limits, shares)
    return high / limits[-1], low / limits[-1]


def area_not_scaled(limits, shares):
    return _bounds(limits, shares)


def area_even_steps(limits, shares):
    return sum(shares[:-1]) / (len(shares) - 1), sum(shares[1:]) / (len(shares) - 1)


def area_of_8(limits, shares):
    low, high = _bounds(limits, shares)
    return low / 8, high / 8


def area_zero_to_last(limits, shares):
    return 0.0, shares[-1]


WRONG = {
    "check_13_1": [
        ("mean of two subsets", row_mean_of_two),
        ("only the last number is rounded", row_one_rounding),
        ("counts exchanged", row_counts_exchanged),
        ("too generous", row_too_generous),
        ("the counts of 300-W", row_counts_of_300_w),
        ("equal after rounding", row_exact),
    ],
    "check_13_2": [
        ("mean", huber_mean),
        ("median", huber_median),
        ("cut off around the median", huber_cut_around_the_median),
        ("far labels thrown away", huber_without_the_far),
        ("one step", huber_one_step_from_the_mean),
        ("half way", huber_half_way),
    ],
    "check_13_3": [
        ("mean", point_mean),
        ("weighted mean", point_weighted_mean),
        ("medians of the coordinates", point_medians),
        ("weights forgotten", point_without_weights),
        ("weights upside down", point_weights_upside_down),
        ("one step", point_one_step),
        ("the best given place", point_best_given),
    ],
    "check_13_4": [
        ("pictures", error_of_pictures),
        ("means of people", error_of_means),
        ("without the factor", error_without_the_factor),
        ("people alone", error_by_people_alone),
        ("not divided", error_not_divided),
    ],
    "check_13_5": [
        ("trapezoids", area_trapezoids),
        ("the other order", area_swapped),
        ("not scaled", area_not_scaled),
        ("even steps", area_even_steps),
        ("always up to 8", area_of_8),
        ("0 and the last share", area_zero_to_last),
    ],
}
