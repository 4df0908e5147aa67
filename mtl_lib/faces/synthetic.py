"""Face sets from the renderer: the embedded data of the book."""

import torch

from mtl_lib.errors import ConfigError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.numbers import uniform
from mtl_lib.faces.render import render
from mtl_lib.faces.scene import balanced_states, sample_scene
from mtl_lib.faces.states import STATES

PICTURES_PER_PERSON = 6


def synthetic_set(
    count: int,
    *,
    style: str = "film",
    labelled: bool = True,
    landmarks: bool = True,
    intensity: tuple[float | int, float | int] = (0.2, 0.8),
    gap: float | int = 1.0,
    size: int = 96,
    seed: int = 0,
    first: int = 0,
    first_person: int = 0,
    name: str | None = None,
) -> FaceSet:
    """Render a set of faces.

    Parameters
    ----------
    count : int
        How many.
    style : {"film", "wild"}
        See :data:`mtl_lib.faces.scene.STYLES`.
    labelled : bool
        Whether the 13 mental states are given as labels (they are shown in any case, equally often).
    landmarks : bool
        Whether the 68 landmarks are given.
    intensity : (float, float)
        Each face's intensity is drawn evenly from this range: 0.2 to 0.5 is subtle, 1 is posed.
    gap : float
        Size of the difference between the styles.
    size : int
        Side of the pictures in pixels.
    seed, first : int
        Face ``i`` of the set is face ``first + i`` of the infinite series that belongs to ``seed``.
    first_person : int
        People are numbered from here, about six pictures each; equal numbers (and seed) are equal people.
    name : str, optional

    Returns
    -------
    FaceSet
        With ``extra["intensity"]``, float32 [N], and ``extra["state"]``, int64 [N].

    Raises
    ------
    ConfigError
        If a number is out of range.

    Examples
    --------
    >>> synthetic_set(26, size=32)
    FaceSet 'synthetic film': 26 faces of 5 persons, 32x32 pixels; Happy 2, Anxious 2, Sad 2, Scared 2, \
Angry 2, Hesitant 2, Indifferent 2, Surprised 2, Arrogant 2, Thinking 2, Helpless 2, Suspicious 2, \
Questioning 2; 68 landmarks each
    """
    if count < 0:
        raise ConfigError(f"{count} faces cannot be rendered; the number must be at least 0")
    if not 0 <= intensity[0] <= intensity[1] <= 1.5:
        raise ConfigError(f"the intensity range is {intensity}; it must be (lowest, highest) within 0 .. 1.5")
    position = torch.arange(count)
    index = position + first
    state = balanced_states(count, seed + first)
    strength = intensity[0] + (intensity[1] - intensity[0]) * uniform(seed, index, 1, stream=21)[:, 0]
    people = -(-count // PICTURES_PER_PERSON)
    # Everybody has a picture (dealt in turn), and who shows what is a matter of chance.
    person = first_person + position % max(people, 1)
    scene = sample_scene(
        index, state=state, intensity=strength, person=person, style=style, gap=gap, seed=seed
    )
    images, points = render(scene, size)
    return FaceSet(
        images,
        state if labelled else None,
        STATES if labelled else (),
        points if landmarks else None,
        tuple(f"synthetic-{seed}-{i:06d}" for i in person.tolist()),
        name or f"synthetic {style}",
        {"intensity": strength.float(), "state": state},
    )
