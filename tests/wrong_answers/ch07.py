"""Plausible wrong answers to the exercises of chapter 7; every check must reject all of its own."""

import re

import numpy as np
import torch

from mtl_lib.landmarks import FLIP_68

ORDER = list(FLIP_68)

# 7.1: landmarks of the mirrored picture


def _mirror_x(points, width):
    return torch.stack((width - 1 - points[..., 0], points[..., 1]), -1)


def mirror_without_names(points, width):
    return _mirror_x(points, width)


def mirror_names_only(points, width):
    return points[:, ORDER]


def mirror_off_by_one(points, width):
    return torch.stack((width - points[..., 0], points[..., 1]), -1)[:, ORDER]


def mirror_upside_down(points, width):
    return torch.stack((points[..., 0], width - 1 - points[..., 1]), -1)[:, ORDER]


def mirror_backwards(points, width):
    return _mirror_x(points, width).flip(1)


def mirror_in_place(points, width):
    points[..., 0] = width - 1 - points[..., 0]
    return points[:, ORDER]


def mirror_eyes_only(points, width):
    order = list(range(68))
    order[36:42], order[42:48] = range(42, 48), range(36, 42)
    return _mirror_x(points, width)[:, order]


# 7.2: NME


def _mean_distance(predicted, true):
    return (predicted - true).norm(dim=-1).mean(-1)


def _pupils(points):
    return (points[:, 36:42].mean(1) - points[:, 42:48].mean(1)).norm(dim=-1)


def nme_by_corners(predicted, true):
    return 100 * _mean_distance(predicted, true) / (true[:, 36] - true[:, 45]).norm(dim=-1)


def nme_by_the_predictions_eyes(predicted, true):
    return 100 * _mean_distance(predicted, true) / _pupils(predicted)


def nme_root_mean_square(predicted, true):
    return 100 * (predicted - true).square().sum(-1).mean(-1).sqrt() / _pupils(true)


def nme_per_coordinate(predicted, true):
    return 100 * (predicted - true).abs().flatten(1).mean(1) / _pupils(true)


def nme_without_percent(predicted, true):
    return _mean_distance(predicted, true) / _pupils(true)


def nme_of_all(predicted, true):
    return (100 * _mean_distance(predicted, true) / _pupils(true)).mean()


def nme_mean_eyes_over_the_set(predicted, true):
    return 100 * _mean_distance(predicted, true) / _pupils(true).mean()


# 7.3: a .pts file


def _between_braces(text):
    inside = text[text.index("{") + 1 : text.index("}")]
    return torch.tensor([float(word) for word in inside.split()], dtype=torch.float64).view(68, 2)


def pts_from_one(text):
    return _between_braces(text)


def pts_plus_one(text):
    return _between_braces(text) + 1


def pts_rows_and_columns(text):
    return _between_braces(text).flip(1) - 1


def pts_x_only(text):
    return _between_braces(text) - torch.tensor([1.0, 0.0])


def pts_three_header_lines(text):
    lines = [line for line in text.splitlines() if line.strip()][3:71]
    return torch.tensor([[float(w) for w in line.split()] for line in lines], dtype=torch.float64) - 1


def pts_without_signs(text):
    numbers = re.findall(r"\d+\.?\d*", text.split("{")[1])
    return torch.tensor([float(x) for x in numbers], dtype=torch.float64).view(68, 2) - 1


def pts_with_points_only(text):
    numbers = re.findall(r"-?\d+\.\d+", text)[-136:]
    return torch.tensor([float(x) for x in numbers], dtype=torch.float64).view(-1, 2) - 1


def pts_whole_pixels(text):
    return _between_braces(text).floor() - 1


# 7.4: a split by person


def split_pictures(sets, fraction, seed):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.random(len(people)) < fraction) for people in sets]


def split_each_set_by_itself(sets, fraction, seed):
    rng = np.random.default_rng(seed)
    masks = []
    for people in sets:
        names = sorted(set(people))
        chosen = set(rng.permutation(names)[: round(fraction * len(names))])
        masks.append(torch.tensor([who in chosen for who in people]))
    return masks


def split_by_alphabet(sets, fraction, seed):
    names = sorted({who for people in sets for who in people})
    chosen = set(names[: round(fraction * len(names))])
    return [torch.tensor([who in chosen for who in people]) for people in sets]


def split_a_coin_per_person(sets, fraction, seed):
    rng = np.random.default_rng(seed)
    names = sorted({who for people in sets for who in people})
    chosen = {who for who in names if rng.random() < fraction}
    return [torch.tensor([who in chosen for who in people]) for people in sets]


def split_training_instead(sets, fraction, seed):
    rng = np.random.default_rng(seed)
    names = sorted({who for people in sets for who in people})
    chosen = set(rng.permutation(names)[: round(fraction * len(names))])
    return [torch.tensor([who not in chosen for who in people]) for people in sets]


def split_without_a_seed(sets, fraction, seed):
    rng = np.random.default_rng()
    names = sorted({who for people in sets for who in people})
    chosen = set(rng.permutation(names)[: round(fraction * len(names))])
    return [torch.tensor([who in chosen for who in people]) for people in sets]


# 7.5: out of the crop


def _corner(crop):
    return torch.tensor(crop[:2], dtype=torch.float64)


def crop_without_half_pixels(points, crop, size):
    return points * crop[2] / size + _corner(crop)


def crop_half_pixel_once(points, crop, size):
    return (points + 0.5) * crop[2] / size + _corner(crop)


def crop_into(points, crop, size):
    return (points + 0.5 - _corner(crop)) * size / crop[2] - 0.5


def crop_scaled_corner(points, crop, size):
    return (points + 0.5 + _corner(crop)) * crop[2] / size - 0.5


def crop_divided(points, crop, size):
    return (points + 0.5) * size / crop[2] + _corner(crop) - 0.5


def crop_last_pixel(points, crop, size):
    return points * (crop[2] - 1) / (size - 1) + _corner(crop)


WRONG = {
    "check_7_1": [
        ("names kept", mirror_without_names),
        ("names exchanged, nothing moved", mirror_names_only),
        ("width instead of width - 1", mirror_off_by_one),
        ("upside down", mirror_upside_down),
        ("the list of points reversed", mirror_backwards),
        ("eyes exchanged as blocks, the rest not", mirror_eyes_only),
        ("in place", mirror_in_place),
    ],
    "check_7_2": [
        ("outer eye corners", nme_by_corners),
        ("the prediction's eyes", nme_by_the_predictions_eyes),
        ("root mean square", nme_root_mean_square),
        ("per coordinate", nme_per_coordinate),
        ("no percent", nme_without_percent),
        ("mean over the set", nme_of_all),
        ("one yardstick for all", nme_mean_eyes_over_the_set),
    ],
    "check_7_3": [
        ("still counted from 1", pts_from_one),
        ("one added", pts_plus_one),
        ("rows before columns", pts_rows_and_columns),
        ("x only", pts_x_only),
        ("three header lines", pts_three_header_lines),
        ("whole pixels", pts_whole_pixels),
        ("minus signs lost", pts_without_signs),
        ("whole numbers lost", pts_with_points_only),
    ],
    "check_7_4": [
        ("by picture", split_pictures),
        ("each set by itself", split_each_set_by_itself),
        ("the first names of the alphabet", split_by_alphabet),
        ("a coin for each person", split_a_coin_per_person),
        ("the training part", split_training_instead),
        ("another draw at every call", split_without_a_seed),
    ],
    "check_7_5": [
        ("no half pixels", crop_without_half_pixels),
        ("half a pixel too far", crop_half_pixel_once),
        ("into the crop", crop_into),
        ("corner scaled", crop_scaled_corner),
        ("divided", crop_divided),
        ("from first to last pixel centre", crop_last_pixel),
    ],
}
