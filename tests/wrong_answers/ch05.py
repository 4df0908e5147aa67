"""Plausible wrong answers to the exercises of chapter 5; every check must reject all of its own."""

import torch

# 5.1: the name of a numbered layer


def _name(number, blocks, stem=1, first_stage=1, first_block=0, first_conv=1):
    if number <= stem:
        return "conv1"
    block, which = divmod(number - 1 - stem, 2)
    for stage, count in enumerate(blocks):
        if block < count:
            return f"layer{stage + first_stage}.{block + first_block}.conv{which + first_conv}"
        block -= count
    return ""


def stem_not_counted(number, blocks):
    return _name(number, blocks, stem=0)


def blocks_from_one(number, blocks):
    return _name(number, blocks, first_block=1)


def stages_from_zero(number, blocks):
    return _name(number, blocks, first_stage=0)


def convolutions_from_zero(number, blocks):
    return _name(number, blocks, first_conv=0)


def always_resnet34(number, blocks):
    return _name(number, (3, 4, 6, 3))


def projections_counted(number, blocks):
    names = ["conv1"]
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            names += [f"layer{stage}.{block}.conv{i}" for i in (1, 2)]
            if stage > 1 and block == 0:
                names.append(f"layer{stage}.0.downsample.0")
    return names[number - 1]


def named_like_the_parameter(number, blocks):
    return _name(number, blocks) + ".weight"


# 5.2: the pixels that a unit can see


def _follow(windows):
    field, jump, start = 1, 1, 0.0
    for k, s, p in windows:
        field, start, jump = field + (k - 1) * jump, start + ((k - 1) / 2 - p) * jump, jump * s
    return field, jump, start


def _cut(first, last, size):
    return max(0, int(first)), min(size - 1, int(last))


def reach_into_the_padding(windows, unit, size):
    field, jump, start = _follow(windows)
    centre = start + unit * jump
    return int(centre - (field - 1) / 2), int(centre + (field - 1) / 2)


def reach_of_the_first_unit(windows, unit, size):
    field, jump, start = _follow(windows)
    return _cut(start - (field - 1) / 2, start + (field - 1) / 2, size)


def reach_one_pixel_apart(windows, unit, size):
    field, jump, start = _follow(windows)
    return _cut(start + unit - (field - 1) / 2, start + unit + (field - 1) / 2, size)


def reach_from_the_corner(windows, unit, size):
    field, jump, start = _follow(windows)
    return _cut(unit * jump - (field - 1) / 2, unit * jump + (field - 1) / 2, size)


def reach_to_one_behind(windows, unit, size):
    field, jump, start = _follow(windows)
    centre = start + unit * jump
    return max(0, int(centre - (field - 1) / 2)), min(size, int(centre + (field - 1) / 2) + 1)


def reach_with_the_new_jump(windows, unit, size):
    field, jump, start = 1, 1, 0.0
    for k, s, p in windows:
        start, jump = start + ((k - 1) / 2 - p) * jump, jump * s
        field += (k - 1) * jump
    centre = start + unit * jump
    return _cut(centre - (field - 1) / 2, centre + (field - 1) / 2, size)


def reach_with_whole_kernels(windows, unit, size):
    field, jump, start = 0, 1, 0.0
    for k, s, p in windows:
        field, start, jump = field + k * jump, start + ((k - 1) / 2 - p) * jump, jump * s
    centre = start + unit * jump
    return _cut(centre - (field - 1) / 2, centre + (field - 1) / 2, size)


def reach_backwards_in_the_wrong_order(windows, unit, size):
    first = last = unit
    for k, s, p in windows:
        first, last = first * s - p, last * s - p + k - 1
    return _cut(first, last, size)


def reach_without_the_padding(windows, unit, size):
    field, jump, start = 1, 1, 0.0
    for k, s, _ in windows:
        field, start, jump = field + (k - 1) * jump, start + (k - 1) / 2 * jump, jump * s
    centre = start + unit * jump
    return _cut(centre - (field - 1) / 2, centre + (field - 1) / 2, size)


def reach_in_floats(windows, unit, size):
    field, jump, start = _follow(windows)
    centre = start + unit * jump
    return max(0.0, centre - (field - 1) / 2), min(size - 1.0, centre + (field - 1) / 2)


def reach_that_uses_up_its_windows(windows, unit, size):
    first = last = unit
    while windows:
        k, s, p = windows.pop()
        first, last = first * s - p, last * s - p + k - 1
    return _cut(first, last, size)


# 5.3: batch norm folded into the convolution


def _fold(weight, bias, mean, factor):
    return weight * factor[:, None, None, None], bias - mean * factor


def fold_without_epsilon(weight, gain, bias, mean, var, eps):
    return _fold(weight, bias, mean, gain / var.sqrt())


def fold_with_epsilon_outside(weight, gain, bias, mean, var, eps):
    return _fold(weight, bias, mean, gain / (var.sqrt() + eps))


def fold_without_the_root(weight, gain, bias, mean, var, eps):
    return _fold(weight, bias, mean, gain / (var + eps))


def fold_without_the_mean(weight, gain, bias, mean, var, eps):
    return weight * (gain / (var + eps).sqrt())[:, None, None, None], bias


def fold_with_the_bare_mean(weight, gain, bias, mean, var, eps):
    return weight * (gain / (var + eps).sqrt())[:, None, None, None], bias - mean


def fold_without_the_gain(weight, gain, bias, mean, var, eps):
    return _fold(weight, bias, mean, (var + eps).rsqrt())


def fold_along_the_channels(weight, gain, bias, mean, var, eps):
    factor = gain / (var + eps).sqrt()
    channels = factor.repeat(weight.shape[1])[: weight.shape[1]]
    return weight * channels[None, :, None, None], bias - mean * factor


def fold_along_the_rows(weight, gain, bias, mean, var, eps):
    factor = gain / (var + eps).sqrt()
    return weight * factor[:, None], bias - mean * factor


def fold_along_the_last_axis(weight, gain, bias, mean, var, eps):
    factor = gain / (var + eps).sqrt()
    return weight * factor, bias - mean * factor


def fold_in_place(weight, gain, bias, mean, var, eps):
    factor = gain / (var + eps).sqrt()
    weight *= factor[:, None, None, None]
    return weight, bias - mean * factor


# 5.4: the penalty alone


def null_linear(lengths, steps, lr, gamma):
    return (lengths - steps * lr * gamma).sum() / lengths.sum()


def null_stops_at_zero(lengths, steps, lr, gamma):
    return (lengths - steps * lr * gamma).clamp_min(0).sum() / lengths.sum()


def null_weight_decay(lengths, steps, lr, gamma):
    return (1 - lr * gamma) ** steps * lengths.sum() / lengths.sum()


def null_turns_once(lengths, steps, lr, gamma):
    return (lengths - steps * lr * gamma).abs().sum() / lengths.sum()


def null_without_gamma(lengths, steps, lr, gamma):
    now = lengths.clone()
    for _ in range(steps):
        now = (now - lr).abs()
    return now.sum() / lengths.sum()


def null_of_frobenius_norms(lengths, steps, lr, gamma):
    now = lengths.clone()
    for _ in range(steps):
        now = (now - lr * gamma).abs()
    return now.norm() / lengths.norm()


def null_of_mean_ratios(lengths, steps, lr, gamma):
    now = lengths.clone()
    for _ in range(steps):
        now = (now - lr * gamma).abs()
    return (now / lengths).mean()


def null_sees_equal_lengths(lengths, steps, lr, gamma):
    now = lengths[0]
    for _ in range(steps):
        now = (now - lr * gamma).abs()
    return now / lengths[0]


def null_flickers_with_the_whole_step(lengths, steps, lr, gamma):
    now = lengths.clone()
    for _ in range(steps):
        now = torch.where(now > lr * gamma, now - lr * gamma, now)
    return now.sum() / lengths.sum()


def null_in_place(lengths, steps, lr, gamma):
    before = lengths.sum()
    for _ in range(steps):
        lengths.sub_(lr * gamma).abs_()
    return lengths.sum() / before


WRONG = {
    "check_5_1": [
        ("the stem is not counted", stem_not_counted),
        ("blocks counted from 1", blocks_from_one),
        ("stages counted from 0", stages_from_zero),
        ("convolutions counted from 0", convolutions_from_zero),
        ("the blocks of ResNet-34 whatever is asked", always_resnet34),
        ("projections have numbers", projections_counted),
        ("the weight instead of the module", named_like_the_parameter),
    ],
    "check_5_2": [
        ("padding counted as pixels", reach_into_the_padding),
        ("unit 0 whatever is asked", reach_of_the_first_unit),
        ("units one pixel apart", reach_one_pixel_apart),
        ("the first unit at pixel 0", reach_from_the_corner),
        ("one behind the last, as a slice", reach_to_one_behind),
        ("the stride counts for its own layer's field", reach_with_the_new_jump),
        ("k instead of k - 1", reach_with_whole_kernels),
        ("backwards, but from the first layer on", reach_backwards_in_the_wrong_order),
        ("the padding forgotten", reach_without_the_padding),
        ("numbers with a point", reach_in_floats),
        ("the list of windows emptied on the way", reach_that_uses_up_its_windows),
    ],
    "check_5_3": [
        ("epsilon forgotten", fold_without_epsilon),
        ("epsilon outside of the root", fold_with_epsilon_outside),
        ("the root forgotten", fold_without_the_root),
        ("the mean forgotten", fold_without_the_mean),
        ("the mean not scaled", fold_with_the_bare_mean),
        ("the gain forgotten", fold_without_the_gain),
        ("channels scaled instead of filters", fold_along_the_channels),
        ("rows scaled instead of filters", fold_along_the_rows),
        ("columns scaled instead of filters", fold_along_the_last_axis),
        ("the network's own kernel changed", fold_in_place),
    ],
    "check_5_4": [
        ("lengths become negative", null_linear),
        ("lengths stop at zero, as in a proximal step", null_stops_at_zero),
        ("weight decay", null_weight_decay),
        ("turned round once, at the end", null_turns_once),
        ("gamma forgotten", null_without_gamma),
        ("Frobenius norms", null_of_frobenius_norms),
        ("the mean of the tasks' ratios", null_of_mean_ratios),
        ("all as long as the first", null_sees_equal_lengths),
        ("a length that cannot pay keeps still", null_flickers_with_the_whole_step),
        ("right, but the lengths given are changed", null_in_place),
    ],
}
