"""Face sets from the renderer: the embedded data of the book."""

from collections.abc import Mapping

from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.rendered import PICTURES_PER_PERSON, rendered_faces

__all__ = ["PICTURES_PER_PERSON", "synthetic_set"]


def synthetic_set(
    count: int,
    *,
    style: str = "film",
    labelled: bool = True,
    landmarks: bool = True,
    intensity: tuple[float | int, float | int] = (0.2, 0.8),
    frequencies: Mapping[str, float | int] | None = None,
    gap: float | int = 1.0,
    size: int = 96,
    seed: int = 0,
    first: int = 0,
    first_person: int = 0,
    name: str | None = None,
) -> FaceSet:
    """Render a set of faces into memory; :mod:`mtl_lib.faces.rendered` has sets that are drawn on the fly.

    Parameters
    ----------
    count : int
        How many.
    style : {"film", "wild"}
        See :data:`mtl_lib.faces.scene.STYLES`.
    labelled : bool
        Whether the 13 mental states are given as labels (they are shown in any case).
    landmarks : bool
        Whether the 68 landmarks are given.
    intensity : (float, float)
        Each face's intensity is drawn evenly from this range: 0.2 to 0.5 is subtle, 1 is posed.
    frequencies : mapping of str to number, optional
        How often each state is shown, such as :data:`~mtl_lib.faces.states.TABLE_2`; by default all equally.
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
    return rendered_faces(
        count, style=style, labelled=labelled, landmarks=landmarks, intensity=intensity, frequencies=frequencies,
        gap=gap, size=size, seed=seed, first=first, first_person=first_person, name=name,
    ).load()  # fmt: skip
