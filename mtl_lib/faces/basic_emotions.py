"""The basic emotions as posed patterns of facial actions, for twins of the sets that label them.

CK+, Oulu-CASIA, FER2013, RAF-DB and AffectNet name six to eight emotions; the renderer's own vocabulary is the
paper's 13 mental states (:mod:`mtl_lib.faces.states`).  Each pattern here holds the action units that the
makers of CK+ require for its label [1]_ (Table 1 there: anger 23 or 24, contempt 14, disgust 9 or 10, fear 1+2+4,
happiness 12, sadness 1+4+15 or 11, surprise 1+2 or 5) and those that the actors of that set often add.  As
with the states, these are stage directions, not a claim about what a face in such a mood looks like.

References
----------
.. [1] P. Lucey, J. F. Cohn, T. Kanade, J. Saragih, Z. Ambadar, I. Matthews, "The Extended Cohn-Kanade Dataset
   (CK+): A complete dataset for action unit and emotion-specified expression", CVPR workshops, 2010.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from mtl_lib.errors import ConfigError
from mtl_lib.faces.render import render
from mtl_lib.faces.scene import sample_scene
from mtl_lib.faces.shape import UNIT_NUMBERS
from mtl_lib.faces.states import Pattern

EMOTION_PATTERNS: dict[str, Pattern] = {
    "neutral": Pattern({}),
    "anger": Pattern({4: 1.2, 5: 0.3, 7: 0.8, 17: 0.4, 24: 1.1}, pose=(0, -4, 0)),
    "contempt": Pattern({24: 0.2}, {14: 1.4, 12: 0.5, 2: 0.2}, pose=(-3, 5, -2)),
    "disgust": Pattern({9: 1.5, 10: 1.0, 4: 0.6, 7: 0.8, 17: 0.4}, pose=(0, 3, 0)),
    "fear": Pattern({1: 1.1, 2: 0.7, 4: 0.7, 5: 1.1, 20: 1.2, 25: 0.8, 26: 0.25}),
    "happiness": Pattern({6: 1.0, 12: 1.2, 25: 0.9}),
    "sadness": Pattern({1: 1.1, 4: 0.7, 15: 1.3, 17: 0.7, 43: 0.2}, gaze=(0, 0.4), pose=(0, -5, 2)),
    "surprise": Pattern({1: 1.1, 2: 1.1, 5: 1.0, 25: 0.8, 26: 1.1}),
}
"""What each emotion looks like when it is posed (strength 1)."""

EMOTIONS: tuple[str, ...] = tuple(EMOTION_PATTERNS)


def emotion_units(emotion: str) -> dict[int, float]:
    """The action units of a pattern and their strengths, both sides taken together (the stronger one counts).

    Raises
    ------
    ConfigError
        If the emotion is unknown.

    Examples
    --------
    >>> emotion_units("happiness")
    {6: 1.0, 12: 1.2, 25: 0.9}
    """
    if emotion not in EMOTION_PATTERNS:
        raise ConfigError(f"no emotion is called {emotion!r}; there are {', '.join(EMOTIONS)}")
    pattern = EMOTION_PATTERNS[emotion]
    units = dict.fromkeys((*pattern.both, *pattern.left, *pattern.right), 0.0)
    for unit in units:
        sides = (pattern.left.get(unit, 0.0), pattern.right.get(unit, 0.0))
        units[unit] = pattern.both.get(unit, 0.0) + max(sides)
    assert all(unit in UNIT_NUMBERS for unit in units)
    return dict(sorted(units.items()))


def render_emotions(
    emotions: Sequence[str],
    *,
    patterns: Mapping[str, Pattern] = EMOTION_PATTERNS,
    index: Int64[Tensor, " N"] | None = None,
    intensity: float | int | Float64[Tensor, " N"] = 1.0,
    person: Int64[Tensor, " N"] | None = None,
    style: str = "film",
    gap: float | int = 0.0,
    pose: float | int = 0.4,
    occlusion: float | int | None = 0.0,
    missing: float | int = 0.0,
    framing: float | int = 1.0,
    seed: int = 0,
    size: int = 96,
) -> tuple[UInt8[Tensor, "N 1 size size"], Float[Tensor, "N 68 2"]]:
    """Draw faces that pose the named emotions; by default as in a laboratory: heads nearly straight, nothing left out.

    Frames of one sequence are one ``index`` at a rising ``intensity``: everything but the emotion stays.

    Parameters
    ----------
    emotions : sequence of str
        One for each face, by its name in ``patterns``.
    patterns : mapping of str to Pattern
        By default those of :data:`EMOTIONS`.
    index : Tensor, int64, [N], optional
        The faces' numbers; by default 0 to N - 1.
    intensity, person, style, gap, pose, occlusion, missing, seed
        As for :func:`mtl_lib.faces.scene.sample_scene`.
    framing : float
        Side of the picture as a multiple of the usual close-up's.
    size : int
        Side of the pictures in pixels.

    Returns
    -------
    images : Tensor, uint8, [N, 1, size, size]
    landmarks : Tensor, float32, [N, 68, 2]

    Raises
    ------
    ConfigError
        If an emotion is unknown or a setting is out of range.

    Examples
    --------
    >>> images, points = render_emotions(["fear", "surprise"], size=32)
    >>> images.shape, points.shape
    (torch.Size([2, 1, 32, 32]), torch.Size([2, 68, 2]))
    """
    unknown = sorted(set(emotions) - set(patterns))
    if unknown:
        raise ConfigError(f"no emotion is called {unknown[0]!r}; there are {', '.join(patterns)}")
    names = list(patterns)
    scene = sample_scene(
        torch.arange(len(emotions)) if index is None else index,
        state=torch.tensor([names.index(name) for name in emotions], dtype=torch.int64),
        patterns=patterns,
        intensity=intensity,
        person=person,
        style=style,
        gap=gap,
        pose=pose,
        occlusion=occlusion,
        missing=missing,
        seed=seed,
    )
    look = {**scene.look, "frame size": scene.look["frame size"] * framing}
    return render(replace(scene, look=look), size)
