"""What is in front of the camera: the person, the expression, the pose, the light, the kind of picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mtl_lib.errors import ConfigError
from mtl_lib.faces.numbers import normal, uniform
from mtl_lib.faces.shape import MODE_NAMES, UNIT_NUMBERS, face_points
from mtl_lib.faces.states import PATTERNS, STATES, Pattern, pattern_tensors

STYLES = ("film", "wild")
"""``"film"``: dim, one-sided light, plain dark background, soft focus, grain.  ``"wild"``: bright, flat light,
busy background, sharper, heads turned further, now and then something in front of the face."""

_PERSON, _IMAGE, _ACTION = 1, 2, 3  # streams of random numbers


@dataclass(frozen=True)
class Scene:
    """Everything that the renderer draws, one row per face.

    Parameters
    ----------
    points : Tensor, float64, [N, 68, 3]
        Landmarks in space, head straight.
    pose : Tensor, [N, 3]
        Yaw, pitch, roll in radians.
    gaze : Tensor, [N, 2]
        Right, down; 1 is the iris's largest travel.
    action : Tensor, [N, 2, 18]
        Strength of the action units, left and right (they also make wrinkles).
    look : dict of str to Tensor, [N]
        Skin, hair, light, camera; see the code of :func:`sample_scene` for the list.
    index : Tensor, int64, [N]
        The face's number.
    seed : int
    """

    points: Float64[Tensor, "N 68 3"]
    pose: Float64[Tensor, "N 3"]
    gaze: Float64[Tensor, "N 2"]
    action: Float64[Tensor, "N 2 18"]
    look: dict[str, Tensor]
    index: Int64[Tensor, " N"]
    seed: int

    def __len__(self) -> int:
        return len(self.points)


class _Numbers:
    """Hands out named columns of a table of random numbers."""

    def __init__(self, seed: int, index: Tensor, stream: int, columns: int = 64):
        self.table, self.next = uniform(seed, index, columns, stream), 0

    def uniform(self, low: float | int = 0.0, high: float | int = 1.0) -> Tensor:
        self.next += 1
        return low + (high - low) * self.table[:, self.next - 1]

    def normal(self) -> Tensor:
        return torch.special.ndtri(self.uniform())


def sample_scene(
    index: Int64[Tensor, " N"],
    *,
    state: Int64[Tensor, " N"] | None = None,
    patterns: Mapping[str, Pattern] = PATTERNS,
    intensity: float | int | Float64[Tensor, " N"] = 0.5,
    person: Int64[Tensor, " N"] | None = None,
    style: str = "film",
    gap: float | int = 1.0,
    pose: float | int = 1.0,
    occlusion: float | int | None = None,
    missing: float | int = 1 / 6,
    seed: int = 0,
) -> Scene:
    """Choose people, expressions, heads, light and cameras for the faces numbered ``index``.

    Parameters
    ----------
    index : Tensor, int64, [N]
        The faces' numbers; with ``seed`` they decide everything that is not given below.
    state : Tensor, int64, [N], optional
        Which of ``patterns``, in their order; without it, no state is shown.
    patterns : mapping of str to Pattern
        By default the 13 mental states; :mod:`mtl_lib.faces.basic_emotions` has others.
    intensity : float or Tensor, [N]
        0: the state leaves no trace; 0.2 to 0.5: subtle; 1: posed.
    person : Tensor, int64, [N], optional
        Who is shown; by default each face is somebody else.
    style : {"film", "wild"}
    gap : float
        How far the two styles lie apart: at 0 they are one, at 1 as far as film frames and snapshots.
    pose : float
        Spread of head poses, as a multiple of the style's own.
    occlusion : float, optional
        Probability that something covers part of the face; the default depends on the style.
    missing : float
        Probability that a face leaves out an action unit of its pattern.
    seed : int

    Returns
    -------
    Scene

    Raises
    ------
    ConfigError
        If the style is unknown or a setting is outside its range.

    Examples
    --------
    >>> len(sample_scene(torch.arange(5), style="wild"))
    5
    """
    if style not in STYLES:
        raise ConfigError(f"the style is {style!r}; it must be one of {', '.join(STYLES)}")
    if not 0 <= gap <= 2:
        raise ConfigError(f"the style gap is {gap}; it must lie between 0 and 2")
    if occlusion is not None and not 0 <= occlusion <= 1:
        raise ConfigError(f"occlusion is {occlusion}; a probability lies between 0 and 1")
    count, device = len(index), index.device
    if not 0 <= missing <= 1:
        raise ConfigError(f"missing is {missing}; a probability lies between 0 and 1")
    person = index if person is None else person
    intensity = torch.as_tensor(intensity, dtype=torch.float64, device=device).expand(count)
    if bool((intensity < 0).any()) or bool((intensity > 1.5).any()):
        raise ConfigError("an intensity is outside 0 .. 1.5")

    action, gaze, turn = _behaviour(index, state, patterns, intensity, missing, seed)
    tilt = gap if style == "wild" else -gap  # -1 film, +1 wild, 0 between
    look = _person_look(person, seed) | _picture_look(index, tilt, occlusion, seed)
    identity = 0.75 * normal(seed, person, len(MODE_NAMES), _PERSON + 10)
    wobble = normal(seed, index, 3, _IMAGE + 10)
    spread = pose * torch.deg2rad(torch.tensor([11 + 4.0 * tilt, 6 + 1.5 * tilt, 5 + 2.0 * tilt])).to(wobble)
    turn = (turn + spread * wobble.clamp(-2, 2)).clamp(-math.radians(38), math.radians(38))
    return Scene(face_points(identity, action), turn, gaze, action, look, index, seed)


def _behaviour(
    index: Tensor,
    state: Tensor | None,
    patterns: Mapping[str, Pattern],
    intensity: Tensor,
    missing: float | int,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Action units, gaze and head pose: the state's pattern as this face shows it, and what it does besides."""
    count, units = len(index), len(UNIT_NUMBERS)
    random = uniform(seed, index, 4 * units + 8, _ACTION)
    action = torch.zeros(count, 2, units, dtype=torch.float64, device=index.device)
    gaze, turn = action.new_zeros(count, 2), action.new_zeros(count, 3)
    if state is not None:
        actions, gazes, poses = (t.to(index.device)[state] for t in pattern_tensors(patterns))
        mirror = random[:, -1] < 0.5
        actions = torch.where(mirror[:, None, None], actions.flip(1), actions)
        sign = torch.where(mirror, -1.0, 1.0)
        # Nobody shows the whole pattern: each unit has its own strength, and some are missing.
        own = 0.5 + random[:, :units]
        own = own * (random[:, units : 2 * units] > missing)
        action = intensity[:, None, None] * actions * own[:, None]
        gaze = intensity[:, None] * gazes * torch.stack((sign, torch.ones_like(sign)), 1)
        turn = intensity[:, None] * poses * torch.stack((sign, torch.ones_like(sign), sign), 1)
    # Whatever the state, faces move: a unit in four is slightly on, people talk, smile politely and blink.
    stray = (random[:, 2 * units : 3 * units] - 0.75).clamp(min=0) * 1.2
    lean = 2 * random[:, 3 * units : 4 * units] - 1
    action = action + torch.stack((stray * (1 - 0.4 * lean), stray * (1 + 0.4 * lean)), 1)
    talk, smile, blink = random[:, -2], random[:, -3], random[:, -4]
    for unit, amount in (
        (25, (talk - 0.6).clamp(min=0) * 2.0),
        (26, (talk - 0.75).clamp(min=0) * 1.6),
        (12, (smile - 0.75).clamp(min=0) * 1.6),
        (43, (blink - 0.85).clamp(min=0) * 3.0),
    ):
        action[:, :, UNIT_NUMBERS[unit]] += amount[:, None]
    stray_gaze = torch.special.ndtri(random[:, -6:-4]) * 0.35
    return action.clamp(0, 1.6), (gaze + stray_gaze).clamp(-1.1, 1.1), turn


def _person_look(person: Tensor, seed: int) -> dict[str, Tensor]:
    """Appearance that a person keeps from picture to picture; reflectances between 0 and 1."""
    draw = _Numbers(seed, person, _PERSON)
    skin = draw.uniform(0.30, 0.80)
    grey = draw.uniform() > 0.85
    dark_hair = draw.uniform(0.02, 0.16) + draw.uniform(0, 0.30) * (skin > 0.5) * (draw.uniform() > 0.6)
    hair = torch.where(grey, draw.uniform(0.3, 0.6), dark_hair)
    long_hair = draw.uniform() > 0.5
    male = ~long_hair
    beard_kind = draw.uniform()
    return {
        "skin": skin,
        "hair": hair,
        "long hair": long_hair.double() * draw.uniform(0.4, 1.0),
        "hairline": torch.where(
            male & (draw.uniform() > 0.75), draw.uniform(-1.5, -1.1), draw.uniform(-1.05, -0.78)
        ),
        "parting": draw.uniform(-0.5, 0.5),
        "fringe": draw.uniform(-0.25, 0.25),
        "brow": (0.8 * hair + 0.2 * skin) * draw.uniform(0.5, 1.0),
        "brow width": draw.uniform(0.025, 0.052),
        "iris": draw.uniform(0.08, 0.42),
        "lips": draw.uniform(0.60, 0.88),
        "lashes": draw.uniform(0.55, 0.95),
        "beard": ((male & (beard_kind > 0.6)).double() * draw.uniform(0.15, 0.75)),
        "moustache": ((male & (beard_kind > 0.78)).double() * draw.uniform(0.4, 0.9)),
        "age": draw.uniform() ** 1.5,
        "glasses": (draw.uniform() > 0.85).double(),
        "teeth": draw.uniform(0.75, 0.95),
    }


def _picture_look(
    index: Tensor, tilt: float | int, occlusion: float | int | None, seed: int
) -> dict[str, Tensor]:
    """Light, camera and surroundings of one picture; ``tilt`` runs from -1 (film) to 1 (wild)."""
    draw = _Numbers(seed, index, _IMAGE)
    hidden = 0.06 + 0.06 * tilt if occlusion is None else occlusion
    spread = torch.exp(0.18 * draw.normal())
    return {
        "light x": draw.normal() * (0.75 - 0.25 * tilt),
        "light y": -0.55 + 0.3 * draw.normal(),
        "ambient": (0.46 + 0.12 * tilt + 0.08 * draw.normal()).clamp(0.18, 0.85),
        "exposure": (1.42 - 0.12 * tilt) * spread,
        "contrast": 1.0 - 0.14 * tilt + 0.08 * draw.normal(),
        "black": 0.03 + 0.025 * draw.uniform(),
        "backdrop": (0.34 + 0.18 * tilt + 0.16 * draw.normal()).clamp(0.03, 0.95),
        "backdrop slope x": 0.10 * draw.normal(),
        "backdrop slope y": 0.10 * draw.normal(),
        "clutter": (0.08 + 0.06 * tilt + 0.03 * draw.normal()).clamp(0, 0.5),
        "clutter turn": draw.uniform(0, math.pi),
        "clutter size": draw.uniform(1.2, 4.5),
        "clutter phase": draw.uniform(0, 2 * math.pi),
        "edge": draw.uniform(-1.2, 1.2),
        "cloth": draw.uniform(0.05, 0.9),
        "vignette": max(0.0, 0.18 - 0.16 * tilt) * draw.uniform(0.5, 1.5),
        "blur": ((0.75 - 0.30 * tilt) * torch.exp(0.3 * draw.normal())).clamp(0.15, 1.8),
        "grain": (0.011 - 0.005 * tilt) * torch.exp(0.3 * draw.normal()),
        "specular": (0.10 + 0.05 * tilt) * draw.uniform(0.2, 1.8),
        "frame x": 0.03 * draw.normal().clamp(-2, 2),
        "frame y": 0.03 * draw.normal().clamp(-2, 2),
        "frame size": torch.exp(0.05 * draw.normal().clamp(-2, 2)),
        "hidden": (draw.uniform() < hidden).double(),
        "hidden turn": draw.uniform(0, 2 * math.pi),
        "hidden depth": draw.uniform(0.55, 1.0),
        "hidden shade": draw.uniform(0.05, 0.8),
    }


def balanced_states(count: int, seed: int, classes: Sequence[str] = STATES) -> Int64[Tensor, " N"]:
    """One state per face, each equally often (to within one), in an order fixed by ``seed``.

    Examples
    --------
    >>> torch.bincount(balanced_states(26, seed=0)).tolist()
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    order = uniform(seed, torch.arange(count), 1, stream=9)[:, 0].argsort(stable=True)
    return order % len(classes)


def states_in_proportion(count: int, seed: int, weights: Mapping[str, float | int]) -> Int64[Tensor, " N"]:
    """One state per face, as often as ``weights`` says (to within one), in an order fixed by ``seed``.

    What is left over after rounding down goes to the states with the largest remainders, so that the numbers
    add up and nothing is drawn by chance but the order.

    Parameters
    ----------
    count : int
    seed : int
    weights : mapping of str to number
        Relative frequency of each of :data:`~mtl_lib.faces.states.STATES`; those not named do not occur.

    Returns
    -------
    Tensor, int64, [N]

    Raises
    ------
    ConfigError
        If a name is no state, a weight is negative, or all are zero.

    Examples
    --------
    >>> torch.bincount(states_in_proportion(10, 0, {"Happy": 3, "Sad": 1})).tolist()  # 7.5 and 2.5
    [8, 0, 2]
    """
    if unknown := sorted(set(weights) - set(STATES)):
        raise ConfigError(f"{', '.join(map(repr, unknown))}: no such state; they are {', '.join(STATES)}")
    share = torch.tensor([float(weights.get(state, 0)) for state in STATES], dtype=torch.float64)
    if bool((share < 0).any()) or not float(share.sum()) > 0:
        raise ConfigError("the frequencies of states must not be negative, and not all zero")
    exact = count * share / share.sum()
    whole = exact.floor().long()
    left_over = (whole - exact).argsort(stable=True)[: count - int(whole.sum())]
    whole[left_over] += 1
    states = torch.empty(count, dtype=torch.int64)
    order = uniform(seed, torch.arange(count), 1, stream=9)[:, 0].argsort(stable=True)
    states[order] = torch.repeat_interleave(torch.arange(len(STATES)), whole)
    return states
