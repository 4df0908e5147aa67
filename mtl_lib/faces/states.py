"""The 13 mental states of the paper's Table 2 as patterns of facial actions, gaze and head pose.

These are *stage directions*, put together from what the facial-action literature reports for the basic
emotions and from acting conventions for the others.  They make a task in which landmarks carry information
about a state.  They are not a theory of what people feel, and a real face in one of these states may show
none of them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from mtl_lib.faces.shape import UNIT_NUMBERS

STATES: tuple[str, ...] = (
    "Happy", "Anxious", "Sad", "Scared", "Angry", "Hesitant", "Indifferent", "Surprised", "Arrogant", "Thinking",
    "Helpless", "Suspicious", "Questioning",
)  # fmt: skip
"""In the order of the paper's Table 2."""

TABLE_2: dict[str, int] = dict(zip(STATES, (
    22_378, 11_776, 10_392, 12_190, 9_014, 7_365, 12_314, 13_712, 11_240, 31_645, 10_699, 12_666, 10_288,
), strict=True))  # fmt: skip
"""Pictures of each state in LSEMSW (Hu et al. 2018, Table 2): 175,679 in all, 18 % of them *Thinking*."""


class Pattern(NamedTuple):
    """A state at full strength.

    ``both``, ``left`` and ``right`` map action units to strengths; ``gaze`` is (right, down) in units of the
    iris's largest travel; ``pose`` is (yaw, pitch, roll) in degrees.  Patterns with a side are mirrored for
    half of the faces.
    """

    both: dict[int, float]
    left: dict[int, float] = {}
    right: dict[int, float] = {}
    gaze: tuple[float, float] = (0.0, 0.0)
    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)


PATTERNS: dict[str, Pattern] = {
    "Happy": Pattern({6: 1.0, 12: 1.0, 25: 0.8}),
    "Anxious": Pattern({1: 0.7, 4: 0.5, 5: 0.4, 20: 0.7, 25: 0.3}, gaze=(0.6, 0.1), pose=(-5, 0, 0)),
    "Sad": Pattern({1: 1.0, 4: 0.5, 15: 1.0, 17: 0.6, 43: 0.3}, gaze=(0, 0.6), pose=(0, -9, 4)),
    "Scared": Pattern({1: 1.0, 2: 0.8, 4: 0.5, 5: 1.0, 20: 1.0, 25: 0.8, 26: 0.4}),
    "Angry": Pattern({4: 1.2, 5: 0.4, 7: 0.8, 9: 0.4, 24: 1.0}, pose=(0, -5, 0)),
    "Hesitant": Pattern({14: 0.5, 24: 0.7, 43: 0.2}, {1: 0.5}, {12: 0.3}, gaze=(-0.7, 0.5), pose=(5, -3, 6)),
    "Indifferent": Pattern({43: 0.45, 15: 0.35, 17: 0.2}, gaze=(0.2, 0.1), pose=(0, 3, 0)),
    "Surprised": Pattern({1: 1.0, 2: 1.0, 5: 0.8, 25: 0.7, 26: 0.9}),
    "Arrogant": Pattern({43: 0.4, 17: 0.5, 24: 0.3}, {2: 0.7, 14: 0.8, 12: 0.4}, gaze=(0.1, 0.4), pose=(-5, 13, -4)),
    "Thinking": Pattern({4: 0.5, 18: 0.7, 7: 0.3}, {2: 0.3}, gaze=(0.8, -0.8), pose=(6, 5, -5)),
    "Helpless": Pattern({1: 1.1, 15: 0.7, 20: 0.6, 25: 0.4, 26: 0.15}, gaze=(0, -0.5), pose=(0, 4, 7)),
    "Suspicious": Pattern({7: 1.1, 4: 0.5, 24: 0.3}, {4: 0.5}, {14: 0.7, 2: 0.3}, gaze=(-0.9, 0), pose=(9, -2, 0)),
    "Questioning": Pattern({25: 0.6, 5: 0.2}, {2: 1.1, 1: 0.7}, {4: 0.7, 7: 0.3}, gaze=(0, 0), pose=(0, 2, 9)),
}  # fmt: skip
"""What each state looks like when it is posed (strength 1)."""


def pattern_tensors(
    patterns: Mapping[str, Pattern] = PATTERNS,
) -> tuple[Float64[Tensor, "K 2 18"], Float64[Tensor, "K 2"], Float64[Tensor, "K 3"]]:
    """Actions (left and right), gaze and pose (radians) of every pattern, in the order of the mapping.

    Examples
    --------
    >>> actions, gaze, pose = pattern_tensors()
    >>> actions[STATES.index("Happy"), :, UNIT_NUMBERS[12]]
    tensor([1., 1.], dtype=torch.float64)
    """
    actions = torch.zeros(len(patterns), 2, len(UNIT_NUMBERS), dtype=torch.float64)
    gaze = torch.zeros(len(patterns), 2, dtype=torch.float64)
    pose = torch.zeros(len(patterns), 3, dtype=torch.float64)
    for row, pattern in enumerate(patterns.values()):
        for side, own in enumerate((pattern.left, pattern.right)):
            for unit, strength in (*pattern.both.items(), *own.items()):
                actions[row, side, UNIT_NUMBERS[unit]] += strength
        gaze[row] = torch.tensor(pattern.gaze)
        pose[row] = torch.deg2rad(torch.tensor(pattern.pose))
    return actions, gaze, pose
