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


def row_three_times_a_half(common, challenging, full, counts):
    return _gap(common, challenging, full, counts) <= 3 * 0.005


def row_in_quadrature(common, challenging, full, counts):
    shares = [count / sum(counts) for count in counts]
    return _gap(common, challenging, full, counts) <= 0.005 * math.hypot(*shares, 1)


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


def huber_trimmed_mean(labels, delta):
    c = labels.median()
    for _ in range(100):
        c = labels[(labels - c).abs() <= delta].mean()
    return c.item()


def huber_derivative_of_half_a_square(labels, delta):
    low, high = labels.min(), labels.max()
    for _ in range(80):
        c = (low + high) / 2
        r = labels - c
        pull = torch.where(
            r.abs() <= delta, r, r.sign() * delta / 2
        )  # delta / 2 from the value, not the slope
        low, high = (c, high) if pull.sum() > 0 else (low, c)
    return c.item()


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


def point_squared_distances(places, weights):
    c = places.mean(0)
    for _ in range(500):
        pull = weights / (places - c).square().sum(1).clamp_min(1e-12)
        c = (pull[:, None] * places).sum(0) / pull.sum()
    return c


def point_each_coordinate(places, weights):
    c = places.mean(0)
    for _ in range(2000):
        pull = weights[:, None] / (places - c).abs().clamp_min(1e-12)
        c = (pull * places).sum(0) / pull.sum(0)
    return c


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


def error_of_runs(errors, persons):
    """Each row of neighbours counts as a person."""
    sums, mean = [], errors.mean()
    for k, who in enumerate(persons):
        deviation = (errors[k] - mean).item()
        if k and persons[k - 1] == who:
            sums[-1] += deviation
        else:
            sums.append(deviation)
    return math.sqrt(len(sums) / (len(sums) - 1) * sum(x * x for x in sums)) / len(errors)


def error_around_the_mean_of_people(errors, persons):
    names = sorted(set(persons))
    index = torch.tensor([names.index(who) for who in persons])
    counts = torch.bincount(index)
    people = torch.zeros(len(names), dtype=errors.dtype).index_add(0, index, errors) / counts
    sums = counts * (people - people.mean())
    return (len(names) / (len(names) - 1) * sums.square().sum()).sqrt().item() / len(errors)


def error_factor_of_pictures(errors, persons):
    count = len(errors)
    return (count / max(1, count - 1) * _sums(errors, persons).square().sum()).sqrt().item() / count


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


def area_lower_alone(limits, shares):
    return _bounds(limits, shares)[0] / limits[-1]


def area_half_the_widest_step(limits, shares):
    middle = sum(_bounds(limits, shares)) / 2 / limits[-1]
    widest = max(b - a for a, b in zip(limits, limits[1:], strict=False)) / limits[-1]
    return middle - widest * shares[-1] / 2, middle + widest * shares[-1] / 2


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
        ("three half digits", row_three_times_a_half),
        ("roundings in quadrature", row_in_quadrature),
    ],
    "check_13_2": [
        ("mean", huber_mean),
        ("median", huber_median),
        ("cut off around the median", huber_cut_around_the_median),
        ("far labels thrown away", huber_without_the_far),
        ("one step", huber_one_step_from_the_mean),
        ("mean of the near ones, again and again", huber_trimmed_mean),
        ("far labels pull with half of delta", huber_derivative_of_half_a_square),
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
        ("squared distances in the weights", point_squared_distances),
        ("each coordinate by itself", point_each_coordinate),
    ],
    "check_13_4": [
        ("pictures", error_of_pictures),
        ("means of people", error_of_means),
        ("without the factor", error_without_the_factor),
        ("people alone", error_by_people_alone),
        ("not divided", error_not_divided),
        ("neighbours for people", error_of_runs),
        ("around the mean of people", error_around_the_mean_of_people),
        ("the factor counts pictures", error_factor_of_pictures),
    ],
    "check_13_5": [
        ("trapezoids", area_trapezoids),
        ("the other order", area_swapped),
        ("not scaled", area_not_scaled),
        ("even steps", area_even_steps),
        ("always up to 8", area_of_8),
        ("0 and the last share", area_zero_to_last),
        ("one bound", area_lower_alone),
        ("trapezoids and the widest step", area_half_the_widest_step),
    ],
}
