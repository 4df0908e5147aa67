"""Plausible wrong answers to the exercises of chapter 4; every check must reject all of its own."""

import math

import torch
from scipy.optimize import linear_sum_assignment

# 4.1: the tensor-train unfolding HW x CMT


def flat_without_permuting(kernels):
    _, _, h, w = kernels[0].shape
    return torch.stack(kernels).reshape(h * w, -1)


def flat_tasks_first(kernels):
    _, _, h, w = kernels[0].shape
    return torch.stack(kernels).permute(3, 4, 0, 2, 1).reshape(h * w, -1)


def flat_filters_before_channels(kernels):
    x = torch.stack([k.permute(2, 3, 0, 1) for k in kernels], dim=-1)
    return x.reshape(x.shape[0] * x.shape[1], -1)


def flat_width_first(kernels):
    return torch.stack(kernels).permute(4, 3, 2, 1, 0).flatten(0, 1).flatten(1)


def flat_is_the_task_mode(kernels):
    return torch.stack([k.permute(2, 3, 1, 0).flatten() for k in kernels])


def flat_is_transposed(kernels):
    x = torch.stack([k.permute(2, 3, 1, 0) for k in kernels], dim=-1)
    return x.reshape(x.shape[0] * x.shape[1], -1).T


# 4.2: the task term's share of the Tucker norm


def _ranks(shape):
    total = math.prod(shape)
    return [min(size, total // size) for size in shape]


def share_of_the_force(shape):
    return shape[-1] / sum(_ranks(shape))


def share_without_the_minimum(shape):
    return math.sqrt(shape[-1]) / sum(math.sqrt(size) for size in shape)


def share_of_the_others(shape):
    return math.sqrt(shape[-1]) / sum(math.sqrt(r) for r in _ranks(shape)[:-1])


def share_one_fifth(shape):
    return 1 / 5


def share_of_the_sizes(shape):
    return shape[-1] / sum(shape)


# 4.3: rescale filters, keep the function


def _scaled(weight, factors):
    return weight * factors[:, None, None, None]


def gain_left_alone(weight, gain, bias, factors):
    return _scaled(weight, factors), gain, bias


def gain_divided(weight, gain, bias, factors):
    return _scaled(weight, factors), gain / factors, bias


def gain_multiplied(weight, gain, bias, factors):
    return _scaled(weight, factors), gain * factors, bias


def bias_turned_too(weight, gain, bias, factors):
    return _scaled(weight, factors), gain * factors.sign(), bias * factors.sign()


def channels_scaled(weight, gain, bias, factors):
    return weight * factors[: weight.shape[1]][None, :, None, None], gain * factors.sign(), bias


def weight_made_positive(weight, gain, bias, factors):
    return _scaled(weight, factors.abs()), gain, bias


# 4.4: match order and sign


def _alike(w, v):
    return w.flatten(1) @ v.flatten(1).T


def match_order_only(w, v):
    return v[torch.as_tensor(linear_sum_assignment(-_alike(w, v).numpy())[1])]


def match_greedily(w, v):
    alike = _alike(w, v)
    order = alike.abs().argmax(1)
    sign = alike[torch.arange(len(w)), order].sign()
    return v[order] * sign[:, None, None, None]


def match_signs_after_a_signed_order(w, v):
    placed = match_order_only(w, v)
    return placed * (w * placed).flatten(1).sum(1).sign()[:, None, None, None]


def match_least(w, v):
    alike = _alike(w, v)
    order = torch.as_tensor(linear_sum_assignment(alike.abs().numpy())[1])
    return v[order] * alike[torch.arange(len(w)), order].sign()[:, None, None, None]


def match_the_wrong_way_round(w, v):
    alike = _alike(w, v)
    order = torch.as_tensor(linear_sum_assignment(-alike.abs().numpy().T)[1])
    sign = alike[torch.arange(len(w)), order].sign()
    return v[order] * sign[:, None, None, None]


def match_forgets_the_signs(w, v):
    return v[torch.as_tensor(linear_sum_assignment(-_alike(w, v).abs().numpy())[1])]


def match_by_cosines(w, v):
    alike = _alike(
        w / w.flatten(1).norm(dim=1)[:, None, None, None], v / v.flatten(1).norm(dim=1)[:, None, None, None]
    )
    order = torch.as_tensor(linear_sum_assignment(-alike.abs().numpy())[1])
    return v[order] * alike[torch.arange(len(w)), order].sign()[:, None, None, None]


# 4.5: the price of splitting


def price_not_projected(w, g1, g2):
    return (g1 - g2).norm() / math.sqrt(2)


def _projected(w, g):
    return g - (g * w).sum() / (w * w).sum() * w


def price_without_the_root(w, g1, g2):
    return _projected(w, g1 - g2).norm()


def price_of_the_sum(w, g1, g2):
    return _projected(w, g1 + g2).norm() / math.sqrt(2)


def price_squared(w, g1, g2):
    return _projected(w, g1 - g2).square().sum() / 2


def price_projected_without_length(w, g1, g2):
    d = (g1 - g2) / math.sqrt(2)
    return (d - (d * w).sum() * w).norm()


def price_along_w(w, g1, g2):
    return ((g1 - g2) * w).sum().abs() / w.norm() / math.sqrt(2)


WRONG = {
    "check_4_1": [
        ("cut in PyTorch's order", flat_without_permuting),
        ("tasks first", flat_tasks_first),
        ("filters before channels", flat_filters_before_channels),
        ("width before height", flat_width_first),
        ("the task mode instead", flat_is_the_task_mode),
        ("transposed", flat_is_transposed),
    ],
    "check_4_2": [
        ("rank instead of its root", share_of_the_force),
        ("rows instead of the shorter side", share_without_the_minimum),
        ("relative to the others only", share_of_the_others),
        ("five terms, one fifth each", share_one_fifth),
        ("sizes", share_of_the_sizes),
    ],
    "check_4_3": [
        ("batch norm left alone", gain_left_alone),
        ("gain divided by the factor", gain_divided),
        ("gain multiplied by the factor", gain_multiplied),
        ("bias turned as well", bias_turned_too),
        ("channels instead of filters", channels_scaled),
        ("signs dropped from the kernel", weight_made_positive),
    ],
    "check_4_4": [
        ("order only", match_order_only),
        ("greedily, a filter may be used twice", match_greedily),
        ("signed order first, signs afterwards", match_signs_after_a_signed_order),
        ("least instead of most alike", match_least),
        ("the inverse order", match_the_wrong_way_round),
        ("signs forgotten at the end", match_forgets_the_signs),
        ("cosines instead of inner products", match_by_cosines),
    ],
    "check_4_5": [
        ("not projected", price_not_projected),
        ("no root of two", price_without_the_root),
        ("sum instead of difference", price_of_the_sum),
        ("squared", price_squared),
        ("projected without dividing by the length", price_projected_without_length),
        ("the part along w", price_along_w),
    ],
}
