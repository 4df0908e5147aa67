"""A face as 68 points in space: the mean shape, how people differ, how muscles move it.

Axes as in a picture: ``x`` right, ``y`` down, ``z`` towards the viewer.  The unit is half the width of the
face, so the jaw reaches from -1 to 1.  People differ along a few *modes* (wide jaw, long nose, ...); muscles
move the points along *action units*, numbered as in the Facial Action Coding System.  Both are linear:

    points = mean + identity @ MODES + action @ ACTIONS
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from mtl_lib.landmarks import FLIP_68

# The left half in the picture and the points of the middle line; the right half is its mirror.
_LEFT = {
    # jaw, from the ear to the chin
    0: (-1.00, -0.30, -0.52), 1: (-0.99, -0.06, -0.48), 2: (-0.965, 0.18, -0.43), 3: (-0.91, 0.42, -0.36),
    4: (-0.81, 0.64, -0.27), 5: (-0.66, 0.82, -0.16), 6: (-0.46, 0.96, -0.05), 7: (-0.235, 1.05, 0.05),
    8: (0.00, 1.085, 0.09),
    # brow, from the temple inwards
    17: (-0.80, -0.51, -0.14), 18: (-0.69, -0.595, -0.02), 19: (-0.54, -0.62, 0.07), 20: (-0.38, -0.60, 0.12),
    21: (-0.23, -0.555, 0.15),
    # nose
    27: (0.00, -0.32, 0.17), 28: (0.00, -0.17, 0.25), 29: (0.00, -0.02, 0.34), 30: (0.00, 0.12, 0.41),
    31: (-0.185, 0.235, 0.17), 32: (-0.095, 0.265, 0.23), 33: (0.00, 0.285, 0.26),
    # eye: outer corner, upper lid, inner corner, lower lid
    36: (-0.655, -0.295, -0.06), 37: (-0.545, -0.365, 0.01), 38: (-0.405, -0.365, 0.04), 39: (-0.285, -0.28, 0.03),
    40: (-0.40, -0.238, 0.03), 41: (-0.54, -0.238, 0.0),
    # mouth
    48: (-0.35, 0.59, 0.07), 49: (-0.22, 0.535, 0.17), 50: (-0.085, 0.505, 0.22), 51: (0.00, 0.52, 0.23),
    57: (0.00, 0.715, 0.21), 58: (-0.10, 0.705, 0.20), 59: (-0.23, 0.665, 0.15),
    60: (-0.31, 0.592, 0.09), 61: (-0.12, 0.588, 0.19), 62: (0.00, 0.598, 0.20),
    66: (0.00, 0.604, 0.20), 67: (-0.12, 0.597, 0.19),
}  # fmt: skip


def _both_sides(left: Mapping[int, tuple[float | int, ...]]) -> Tensor:
    """Points or displacements of the left half, completed by their mirror."""
    points = torch.zeros(68, 3, dtype=torch.float64)
    for i, xyz in left.items():
        points[i] = torch.tensor(xyz, dtype=torch.float64)
        points[FLIP_68[i]] = points[i] * torch.tensor([-1.0, 1.0, 1.0]) if FLIP_68[i] != i else points[i]
    return points


MEAN_SHAPE: Float64[Tensor, "68 3"] = _both_sides(_LEFT)
"""A face at rest, looking straight ahead, mouth closed."""

MODE_NAMES = (
    "wide face", "wide jaw", "long chin", "eyes apart", "large eyes", "slanted eyes", "high brows",
    "arched brows", "long nose", "wide nose", "wide mouth", "full lips", "low mouth", "sloping brows",
)  # fmt: skip


def _modes() -> Tensor:
    x, y, z = MEAN_SHAPE.unbind(1)
    nothing = torch.zeros(68, dtype=torch.float64)

    def group(*ranges: tuple[int, int]) -> Tensor:
        mask = nothing.clone()
        for first, last in ranges:
            mask[first : last + 1] = 1
        return mask

    eyes, brows, nose, mouth = group((36, 47)), group((17, 26)), group((28, 35)), group((48, 67))
    jaw, side = group((0, 16)), x.sign()
    eye_x, eye_y = 0.465 * side, -0.30
    lip_line = 0.597
    fields = (
        (0.055 * x, nothing),
        (jaw * 0.09 * x * ((y + 0.3) / 1.2).clamp(0, 1), nothing),
        (nothing, 0.08 * ((y - 0.7) / 0.4).clamp(0, 1)),
        ((eyes + 0.6 * brows) * 0.025 * side, nothing),
        (eyes * 0.09 * (x - eye_x), eyes * 0.16 * (y - eye_y)),
        (nothing, eyes * 0.09 * -(x.abs() - 0.465)),
        (nothing, -0.035 * brows),
        (nothing, brows * -0.03 * (1 - ((x.abs() - 0.5) / 0.28) ** 2)),
        (nothing, nose * 0.13 * (y + 0.32) + mouth * 0.02),
        (group((31, 35)) * 0.13 * x, nothing),
        (mouth * 0.09 * x, nothing),
        (nothing, group((48, 59)) * 0.22 * (y - lip_line)),
        (nothing, 0.03 * mouth),
        (nothing, brows * 0.10 * (x.abs() - 0.5)),
    )
    return torch.stack([torch.stack((dx, dy, nothing), -1) for dx, dy in fields])


MODES: Float64[Tensor, "14 68 3"] = _modes()
"""Displacement of every point at one standard deviation of each of :data:`MODE_NAMES`."""

# Displacements (x, y) of the left half at full strength; the right half is the mirror.
_UNITS: dict[str, dict[int, tuple[float, float]]] = {
    "AU1 inner brow raiser": {21: (0, -0.15), 20: (0, -0.11), 19: (0, -0.04)},
    "AU2 outer brow raiser": {17: (0, -0.09), 18: (0, -0.14), 19: (0, -0.13), 20: (0, -0.05)},
    "AU4 brow lowerer": {21: (0.08, 0.13), 20: (0.06, 0.12), 19: (0.04, 0.08), 18: (0.02, 0.03)},
    "AU5 upper lid raiser": {37: (0, -0.055), 38: (0, -0.055)},
    "AU6 cheek raiser": {40: (0, -0.035), 41: (0, -0.04), 36: (0.01, 0.005)},
    "AU7 lid tightener": {37: (0, 0.035), 38: (0, 0.03), 40: (0, -0.03), 41: (0, -0.03)},
    "AU9 nose wrinkler": {31: (-0.02, -0.06), 32: (-0.01, -0.05), 33: (0, -0.03), 21: (0.02, 0.05), 50: (0, -0.03)},
    "AU10 upper lip raiser": {49: (0, -0.05), 50: (0, -0.07), 51: (0, -0.06), 61: (0, -0.06), 62: (0, -0.06)},
    "AU12 lip corner puller": {
        48: (-0.13, -0.12), 60: (-0.13, -0.115), 49: (-0.07, -0.05), 59: (-0.07, -0.03), 61: (-0.04, -0.02),
        67: (-0.04, -0.01), 50: (-0.02, -0.01), 58: (-0.03, 0.0), 51: (0, 0.01), 31: (-0.02, -0.01),
        4: (-0.01, -0.01), 5: (-0.01, -0.01),
    },
    "AU14 dimpler": {48: (-0.07, -0.01), 60: (-0.07, -0.01), 49: (-0.02, 0.015), 59: (-0.02, -0.015)},
    "AU15 lip corner depressor": {48: (-0.01, 0.10), 60: (-0.01, 0.10), 49: (0, 0.03), 59: (0, 0.05), 67: (0, 0.01)},
    "AU17 chin raiser": {57: (0, -0.06), 58: (0, -0.06), 59: (0, -0.03), 50: (0, -0.03), 51: (0, -0.035),
                         61: (0, -0.035), 62: (0, -0.04), 66: (0, -0.04), 67: (0, -0.035), 8: (0, -0.04),
                         7: (0, -0.03)},
    "AU18 lip pucker": {48: (0.13, 0), 60: (0.13, 0), 49: (0.07, -0.02), 59: (0.07, 0.02), 50: (0.02, -0.02),
                        58: (0.03, 0.02), 61: (0.05, 0), 67: (0.05, 0)},
    "AU20 lip stretcher": {48: (-0.12, 0.04), 60: (-0.12, 0.04), 49: (-0.06, 0.02), 59: (-0.06, 0.0)},
    "AU24 lip pressor": {49: (0.01, 0.035), 50: (0, 0.05), 51: (0, 0.045), 57: (0, -0.06), 58: (0, -0.06),
                         59: (0, -0.04), 48: (0.03, 0), 60: (0.03, 0)},
    "AU25 lips part": {61: (0, -0.025), 62: (0, -0.025), 66: (0, 0.06), 67: (0, 0.055), 57: (0, 0.055),
                       58: (0, 0.055), 59: (0, 0.03), 50: (0, -0.015), 51: (0, -0.015)},
    "AU26 jaw drop": {66: (0, 0.21), 67: (0, 0.19), 57: (0, 0.22), 58: (0, 0.22), 59: (0.01, 0.16), 48: (0.02, 0.07),
                      60: (0.02, 0.07), 8: (0, 0.22), 7: (0, 0.21), 6: (0, 0.18), 5: (0, 0.13), 4: (0, 0.06),
                      3: (0, 0.02)},
    "AU43 eyes closed": {37: (0, 0.12), 38: (0, 0.12), 40: (0, 0.003), 41: (0, 0.003)},
}  # fmt: skip

UNIT_NAMES: tuple[str, ...] = tuple(_UNITS)
UNIT_NUMBERS: dict[int, int] = {int(name.split()[0][2:]): i for i, name in enumerate(_UNITS)}
"""Number of the action unit to its column."""


def _actions() -> Tensor:
    actions = torch.zeros(2, len(_UNITS), 68, 3, dtype=torch.float64)
    for column, left in enumerate(_UNITS.values()):
        whole = _both_sides({i: (dx, dy, 0.0) for i, (dx, dy) in left.items()})
        on_left = (MEAN_SHAPE[:, 0] < -1e-9)[:, None]
        middle = (MEAN_SHAPE[:, 0].abs() <= 1e-9)[:, None]
        actions[0, column] = torch.where(on_left, whole, torch.where(middle, whole / 2, 0.0))
        actions[1, column] = torch.where(on_left, 0.0, torch.where(middle, whole / 2, whole))
    return actions


ACTIONS: Float64[Tensor, "2 18 68 3"] = _actions()
"""Displacement of every point by each action unit at strength 1, for the left and the right half."""


def face_points(
    identity: Float64[Tensor, "N 14"], action: Float64[Tensor, "N 2 18"]
) -> Float64[Tensor, "N 68 3"]:
    """The 68 points of each face in space, before the head is turned.

    Parameters
    ----------
    identity : Tensor, [N, 14]
        Weights of :data:`MODES`, in standard deviations.
    action : Tensor, [N, 2, 18]
        Strength of each action unit, left and right half; 0 at rest, 1 at full strength.

    Returns
    -------
    Tensor, float64, [N, 68, 3]

    Examples
    --------
    >>> rest = face_points(torch.zeros(1, 14).double(), torch.zeros(1, 2, 18).double())
    >>> torch.equal(rest[0], MEAN_SHAPE)
    True
    """
    device = identity.device
    points = MEAN_SHAPE.to(device).expand(len(identity), 68, 3)
    # One term after the other, not a matrix product: its order of summation may depend on the batch size,
    # and a face must be the same bit for bit in any batch.
    for weight, field in zip(identity.unbind(1), MODES.to(device), strict=True):
        points = points + weight[:, None, None] * field
    for weight, field in zip(action.flatten(1).unbind(1), ACTIONS.to(device).flatten(0, 1), strict=True):
        points = points + weight[:, None, None] * field
    # Lids and lips can meet but not cross.
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65)):
        middle = (points[:, upper, 1] + points[:, lower, 1]) / 2
        crossed = points[:, upper, 1] > points[:, lower, 1]
        for i in (upper, lower):
            points[:, i, 1] = torch.where(crossed, middle, points[:, i, 1])
    return points


def rotate(
    points: Float64[Tensor, "N P 3"],
    pose: Float64[Tensor, "N 3"],
    pivot: tuple[float | int, float | int, float | int],
) -> Float64[Tensor, "N P 3"]:
    """Turn the head about ``pivot``: first yaw, then pitch, then roll.

    Parameters
    ----------
    points : Tensor, [N, P, 3]
    pose : Tensor, [N, 3]
        Radians.  Positive yaw turns the face to the right of the picture, positive pitch lifts the chin,
        positive roll tilts the head clockwise as seen.
    pivot : (float, float, float)

    Returns
    -------
    Tensor, [N, P, 3]

    Examples
    --------
    >>> nose = torch.tensor([[[0.0, 0.0, 1.0]]]).double()
    >>> rotate(nose, torch.tensor([[0.5, 0.0, 0.0]]).double(), (0, 0, 0))[0, 0, 0] > 0
    tensor(True)
    """
    (cos_yaw, cos_pitch, cos_roll), (sin_yaw, sin_pitch, sin_roll) = (
        [value[:, None] for value in function.unbind(1)] for function in (pose.cos(), pose.sin())
    )
    x, y, z = (points[..., i] - pivot[i] for i in range(3))
    x, z = cos_yaw * x + sin_yaw * z, cos_yaw * z - sin_yaw * x
    y, z = cos_pitch * y - sin_pitch * z, cos_pitch * z + sin_pitch * y
    x, y = cos_roll * x - sin_roll * y, cos_roll * y + sin_roll * x
    return torch.stack((x + pivot[0], y + pivot[1], z + pivot[2]), -1)
