"""Plausible wrong answers to the exercises of chapter 12; every check must reject all of its own."""

import math

import torch

# 12.1: accuracy and macro-recall


def _accuracy(table):
    return (table.diag().sum() / table.sum()).item()


def scores_empty_class_counts(table):
    return _accuracy(table), (table.diag() / table.sum(1).clamp_min(1)).mean().item()


def scores_precision(table):
    return _accuracy(table), (table.diag() / table.sum(0).clamp_min(1)).mean().item()


def scores_percent(table):
    met = table.sum(1) > 0
    return 100 * _accuracy(table), 100 * (table.diag()[met] / table.sum(1)[met]).mean().item()


def scores_accuracy_twice(table):
    return _accuracy(table), _accuracy(table)


def scores_swapped(table):
    met = table.sum(1) > 0
    return (table.diag()[met] / table.sum(1)[met]).mean().item(), _accuracy(table)


# 12.2: bounds


def _spent(accuracy, shares, descending, part=True):
    recalls = 0.0
    for share in shares.sort(descending=descending).values.tolist():
        got = min(1.0, max(0.0, accuracy / share))
        recalls += got if part or got >= 1 - 1e-9 else 0.0
        accuracy -= got * share
    return recalls / len(shares)


def bounds_swapped(accuracy, shares):
    return _spent(accuracy, shares, False), _spent(accuracy, shares, True)


def bounds_whole_classes(accuracy, shares):
    return _spent(accuracy, shares, True, part=False), _spent(accuracy, shares, False, part=False)


def bounds_sum(accuracy, shares):
    return _spent(accuracy, shares, True) * len(shares), _spent(accuracy, shares, False) * len(shares)


def bounds_unsorted(accuracy, shares):
    def spent(each):
        left, recalls = accuracy, 0.0
        for share in each.tolist():
            got = min(1.0, max(0.0, left / share))
            recalls, left = recalls + got, left - got * share
        return recalls / len(each)

    return spent(shares), spent(shares.flip(0))


def bounds_accuracy_itself(accuracy, shares):
    return accuracy, accuracy


def bounds_one_class(accuracy, shares):
    return min(1.0, accuracy / shares.max().item()) / len(shares), min(
        1.0, accuracy / shares.min().item()
    ) / len(shares)


# 12.3: edge orientation histogram


def _histogram(down, right, bins, turn=math.pi, shared=True, weight=torch.hypot, power=2.0, lower=False):
    place = (torch.atan2(down, right) / turn * bins).flatten()
    length = weight(down, right).flatten()
    low = place.floor() if shared or lower else place.round()
    upper = place - low if shared else torch.zeros_like(place)
    tally = torch.bincount(low.long() % bins, weights=length * (1 - upper), minlength=bins)
    tally = tally + torch.bincount((low.long() + 1) % bins, weights=length * upper, minlength=bins)
    return tally / tally.norm(p=power).clamp_min(1e-12)


def histogram_nearest(down, right, bins):
    return _histogram(down, right, bins, shared=False)


def histogram_floor(down, right, bins):
    return _histogram(down, right, bins, shared=False, lower=True)


def histogram_counts(down, right, bins):
    return _histogram(down, right, bins, weight=lambda d, r: torch.ones_like(d))


def histogram_squares(down, right, bins):
    return _histogram(down, right, bins, weight=lambda d, r: d**2 + r**2)


def histogram_full_turn(down, right, bins):
    return _histogram(down, right, bins, turn=2 * math.pi)


def histogram_shares_exchanged(down, right, bins):
    place = (torch.atan2(down, right) / math.pi * bins).flatten()
    low, length = place.floor(), torch.hypot(down, right).flatten()
    upper = place - low
    tally = torch.bincount(low.long() % bins, weights=length * upper, minlength=bins)
    tally = tally + torch.bincount((low.long() + 1) % bins, weights=length * (1 - upper), minlength=bins)
    return tally / tally.norm().clamp_min(1e-12)


def histogram_sums_to_one(down, right, bins):
    return _histogram(down, right, bins, power=1.0)


def histogram_axes_exchanged(down, right, bins):
    return _histogram(right, down, bins)


def histogram_not_scaled(down, right, bins):
    return _histogram(down, right, bins, power=math.inf)


def histogram_divides_by_zero(down, right, bins):
    tally = _histogram(down, right, bins) * torch.hypot(down, right).sum()
    return tally / tally.norm()


# 12.4: other frequencies


def _rows(values):
    return values / values.sum(1, keepdim=True)


def prior_not_taken_out(probabilities, trained, met):
    return _rows(probabilities * met)


def prior_rows_left(probabilities, trained, met):
    return probabilities * met / trained


def prior_backwards(probabilities, trained, met):
    return _rows(probabilities * trained / met)


def prior_by_column(probabilities, trained, met):
    moved = probabilities * met / trained
    return moved / moved.sum(0, keepdim=True)


def prior_nothing(probabilities, trained, met):
    return probabilities


def prior_added(probabilities, trained, met):
    return _rows((probabilities + met - trained).clamp_min(0))


WRONG = {
    "check_12_1": [
        ("an empty class counts as 0", scores_empty_class_counts),
        ("precision", scores_precision),
        ("percent", scores_percent),
        ("accuracy twice", scores_accuracy_twice),
        ("the other order", scores_swapped),
    ],
    "check_12_2": [
        ("the other way round", bounds_swapped),
        ("whole classes only", bounds_whole_classes),
        ("sums", bounds_sum),
        ("in the order given", bounds_unsorted),
        ("the accuracy itself", bounds_accuracy_itself),
        ("one class gets all", bounds_one_class),
    ],
    "check_12_3": [
        ("pixels counted", histogram_counts),
        ("360 degrees", histogram_full_turn),
        ("each vote to the nearest bin", histogram_nearest),
        ("each vote to the bin below", histogram_floor),
        ("squared lengths", histogram_squares),
        ("shares exchanged", histogram_shares_exchanged),
        ("scaled by the largest entry", histogram_not_scaled),
        ("sums to 1", histogram_sums_to_one),
        ("rows for columns", histogram_axes_exchanged),
        ("an even grey is not a number", histogram_divides_by_zero),
    ],
    "check_12_4": [
        ("training frequencies left in", prior_not_taken_out),
        ("rows do not sum to 1", prior_rows_left),
        ("backwards", prior_backwards),
        ("columns scaled", prior_by_column),
        ("nothing", prior_nothing),
        ("added", prior_added),
    ],
}
