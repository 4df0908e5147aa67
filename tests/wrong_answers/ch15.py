"""Plausible wrong answers to the exercises of chapter 15; every check must reject all of its own."""

import numpy as np
import torch

from mtl_lib.seeds import paired, spread

# 15.1: the verdict


def _seen(first, second, least=3):
    return paired(first, second) if len(set(first) & set(second)) >= least else None


def _judged(test, control, control_first=False):
    if test is None or (control_first and control is None):
        return "not recorded yet"
    if test.high < 0:
        return "opposite"
    if test.low <= 0:
        return "inside the noise"
    if control is None:
        return "not recorded yet"
    return "reproduced" if control.low > 0 else "explained by the control"


def judge_without_control(laf, single, norm_only):
    test = _seen(laf, single)
    if test is None:
        return "not recorded yet"
    return "reproduced" if test.low > 0 else "opposite" if test.high < 0 else "inside the noise"


def judge_two_seeds_are_enough(laf, single, norm_only):
    return _judged(_seen(laf, single, 2), _seen(laf, norm_only, 2))


def judge_control_is_asked_first(laf, single, norm_only):
    return _judged(_seen(laf, single), _seen(laf, norm_only), control_first=True)


def judge_any_clear_control(laf, single, norm_only):
    test, control = _seen(laf, single), _seen(laf, norm_only)
    verdict = _judged(test, control)
    return "reproduced" if verdict == "explained by the control" and control.clear else verdict


def judge_by_mean(laf, single, norm_only):
    test, control = _seen(laf, single), _seen(laf, norm_only)
    if test is None or control is None:
        return "not recorded yet"
    if test.mean < 0:
        return "opposite"
    return "reproduced" if control.mean > 0 else "explained by the control"


def judge_unpaired(laf, single, norm_only):
    def apart(first, second):
        if len(set(first) & set(second)) < 3:
            return None
        n = min(len(first), len(second))
        return spread(
            [a - b for a, b in zip(list(first.values())[:n], list(second.values())[:n], strict=True)]
        )

    return _judged(apart(laf, single), apart(laf, norm_only))


# 15.2: Holm


def _alone(p_values, level):
    return [name for name, p in p_values.items() if p < 1 - level]


def flips_bonferroni(p_values, level):
    return [name for name in _alone(p_values, level) if p_values[name] > (1 - level) / len(p_values)]


def flips_does_not_stop(p_values, level):
    order = sorted(p_values, key=p_values.get)
    held = {name for k, name in enumerate(order) if p_values[name] <= (1 - level) / (len(order) - k)}
    return [name for name in _alone(p_values, level) if name not in held]


def flips_those_that_hold(p_values, level):
    order, holds = sorted(p_values, key=p_values.get), 0
    while holds < len(order) and p_values[order[holds]] <= (1 - level) / (len(order) - holds):
        holds += 1
    return order[:holds]


def flips_hochberg(p_values, level):
    """Steps up from the largest instead of down from the smallest."""
    order = sorted(p_values, key=p_values.get)
    ranks = [k for k, name in enumerate(order) if p_values[name] <= (1 - level) / (len(order) - k)]
    held = set(order[: max(ranks) + 1]) if ranks else set()
    return [name for name in _alone(p_values, level) if name not in held]


def flips_fixed_level(p_values, level):
    order, holds = sorted(p_values, key=p_values.get), 0
    while holds < len(order) and p_values[order[holds]] <= 0.05 / (len(order) - holds):
        holds += 1
    return [name for name in order[holds:] if p_values[name] < 0.05]


# 15.3: diagnosis


def _diagnosed(curve, signs, shrunk_at=0.95, start=True):
    if signs < -0.9:
        return "opposite signs"
    tndr, cosine = np.median(curve["TNDR"][-1]), np.median(curve["cosine"][-1])
    if tndr < shrunk_at and abs(cosine) < 0.3:
        if not start:
            return "gamma too large" if tndr < 0.3 else "shrinkage for sharing"
        return "gamma too large" if np.median(curve["cosine"][0]) > 0.5 else "shrinkage for sharing"
    return "healthy"


def diagnose_median_sign(curve):
    return _diagnosed(curve, np.median(curve["cosine"][-1]))


def diagnose_sign_at_any_time(curve):
    return _diagnosed(curve, np.min(curve["cosine"]))


def diagnose_by_length_alone(curve):
    return _diagnosed(curve, min(curve["cosine"][-1]), start=False)


def diagnose_tndr_alone(curve):
    if min(curve["cosine"][-1]) < -0.9:
        return "opposite signs"
    alike = np.median(curve["cosine"][0]) > 0.5
    return (
        "healthy"
        if np.median(curve["TNDR"][-1]) >= 0.95
        else "gamma too large"
        if alike
        else "shrinkage for sharing"
    )


def diagnose_cosine_alone(curve):
    if min(curve["cosine"][-1]) < -0.9:
        return "opposite signs"
    alike = np.median(curve["cosine"][0]) > 0.5
    if abs(np.median(curve["cosine"][-1])) >= 0.3:
        return "healthy"
    return "gamma too large" if alike else "shrinkage for sharing"


def _diagnosed_by(curve, middle, size=abs):
    if min(curve["cosine"][-1]) < -0.9:
        return "opposite signs"
    if middle(curve["TNDR"][-1]) < 0.95 and size(middle(curve["cosine"][-1])) < 0.3:
        return "gamma too large" if middle(curve["cosine"][0]) > 0.5 else "shrinkage for sharing"
    return "healthy"


def diagnose_means(curve):
    return _diagnosed_by(curve, np.mean)


def diagnose_one_side(curve):
    return _diagnosed_by(curve, np.median, size=float)


def diagnose_median_of_sizes(curve):
    return (
        _diagnosed_by({**curve, "cosine": [curve["cosine"][0], np.abs(curve["cosine"][-1])]}, np.median)
        if min(curve["cosine"][-1]) >= -0.9
        else "opposite signs"
    )


# 15.4: degree


def _parts(penalty, w):
    x = w.clone().requires_grad_()
    value = penalty(x)
    (gradient,) = torch.autograd.grad(value, x)
    return value.item(), gradient, (gradient * w).sum().item()


def degree_without_value(penalty, w):
    return _parts(penalty, w)[2]


def degree_by_length(penalty, w):
    return _parts(penalty, w)[2] / w.square().sum().item()


def degree_cosine(penalty, w):
    _, gradient, inner = _parts(penalty, w)
    return inner / (gradient.norm() * w.norm()).item()


def degree_growth(penalty, w):
    return (penalty(2 * w) / penalty(w)).item()


def degree_is_rounded_up(penalty, w):
    value, _, inner = _parts(penalty, w)
    return float(max(1, round(inner / value)))


def degree_rounded(penalty, w):
    value, _, inner = _parts(penalty, w)
    return float(round(inner / value))


def degree_tensor(penalty, w):
    x = w.clone().requires_grad_()
    value = penalty(x)
    (gradient,) = torch.autograd.grad(value, x)
    return (gradient * w).sum() / value


def degree_array(penalty, w):
    return degree_tensor(penalty, w).detach().numpy()


def degree_quotient(penalty, w, step=1e-7):
    return ((penalty((1 + step) * w) - penalty((1 - step) * w)) / (2 * step * penalty(w))).item()


def degree_logarithms(penalty, w):
    return torch.log2(penalty(2 * w) / penalty(w)).item()


WRONG = {
    "check_15_1": [
        ("a control was never asked", judge_without_control),
        ("two seeds have an interval, too", judge_two_seeds_are_enough),
        ("without a control nothing is said, not even of a clear loss", judge_control_is_asked_first),
        ("a control that is clear on the wrong side counts as held", judge_any_clear_control),
        ("signs of means instead of intervals", judge_by_mean),
        ("paired by position instead of by seed", judge_unpaired),
    ],
    "check_15_2": [
        ("Bonferroni's bound for all", flips_bonferroni),
        ("does not stop at the first that fails", flips_does_not_stop),
        ("returns those that hold", flips_those_that_hold),
        ("goes from the largest down (Hochberg)", flips_hochberg),
        ("always 5 %", flips_fixed_level),
    ],
    "check_15_3": [
        ("opposite layers are lost in the median", diagnose_median_sign),
        ("opposite at any time counts", diagnose_sign_at_any_time),
        ("how short, instead of how it started", diagnose_by_length_alone),
        ("TNDR without the cosine", diagnose_tndr_alone),
        ("the cosine without TNDR", diagnose_cosine_alone),
        ("means instead of medians", diagnose_means),
        ("below 0.3, without the absolute value", diagnose_one_side),
        ("the median of the cosines' sizes", diagnose_median_of_sizes),
    ],
    "check_15_4": [
        ("not divided by the value", degree_without_value),
        ("divided by the squared length", degree_by_length),
        ("a cosine", degree_cosine),
        ("growth, not its exponent", degree_growth),
        ("at least 1", degree_is_rounded_up),
        ("rounded to a whole number", degree_rounded),
        ("a tensor instead of a number", degree_tensor),
        ("an array instead of a number", degree_array),
        ("a quotient of differences", degree_quotient),
        ("logarithms of two values", degree_logarithms),
    ],
}
