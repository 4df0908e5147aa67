"""A set of face pictures with what is known about each: expression, landmarks, person."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from mtl_lib.errors import DataError


@dataclass(frozen=True, repr=False, eq=False)
class FaceSet:
    """Faces of one size in memory, ready for a network.

    Parameters
    ----------
    images : Tensor, uint8, [N, 1, S, S]
        Gray pictures.
    labels : Tensor, int64, [N], or None
        Index into ``classes``.
    classes : tuple of str
        Names of the classes; empty without labels.
    landmarks : Tensor, float32, [N, 68, 2], or None
        ``(x, y)`` in pixels of the crop, pixel centres at integers, counted from 0.
    persons : tuple of str
        Who is shown; the same person has the same name in every set.
    name : str
        For messages and tables.
    extra : mapping of str to Tensor, [N, ...]
        Anything else that is known of each face, such as ``"crop"`` (see :mod:`mtl_lib.faces.crops`) or the
        renderer's ``"intensity"``.

    Raises
    ------
    DataError
        If the parts do not fit one another.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 1]), ("calm", "glad"),
    ...                 None, ("Ann", "Ann", "Bo"), "toy")
    >>> faces
    FaceSet 'toy': 3 faces of 2 persons, 8x8 pixels; calm 1, glad 2; no landmarks
    >>> faces.select([2]).persons
    ('Bo',)
    """

    images: UInt8[Tensor, "N 1 S S"]
    labels: Int64[Tensor, " N"] | None
    classes: tuple[str, ...]
    landmarks: Float[Tensor, "N 68 2"] | None
    persons: tuple[str, ...]
    name: str
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self):
        count = len(self.images)
        parts = {"labels": self.labels, "landmarks": self.landmarks, "persons": self.persons, **self.extra}
        for part, value in parts.items():
            if value is not None and len(value) != count:
                raise DataError(f"face set {self.name!r} has {count} pictures but {len(value)} {part}")
        if self.labels is not None and count:
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"face set {self.name!r} has labels {low}..{high} for {len(self.classes)} classes"
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.images.shape[-1]

    def select(self, index: Sequence[int] | Tensor) -> "FaceSet":
        """The faces at ``index``, in that order.

        Parameters
        ----------
        index : sequence of int, or Tensor (int64 positions or a boolean mask)

        Returns
        -------
        FaceSet

        Examples
        --------
        >>> faces = FaceSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a", "b", "c"), "toy")
        >>> faces.select(torch.tensor([True, False, True])).persons
        ('a', 'c')
        """
        index = torch.as_tensor(index, device=self.images.device)
        index = index.nonzero()[:, 0] if index.dtype == torch.bool else index.long()
        return replace(
            self,
            images=self.images[index],
            labels=None if self.labels is None else self.labels[index],
            landmarks=None if self.landmarks is None else self.landmarks[index],
            persons=tuple(self.persons[i] for i in index.tolist()),
            extra={key: value[index] for key, value in self.extra.items()},
        )

    def to(self, device: torch.device | str) -> "FaceSet":
        """The same set with its tensors on ``device``.

        Examples
        --------
        >>> FaceSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a",), "toy").to("cpu").size
        8
        """
        return replace(
            self,
            images=self.images.to(device),
            labels=None if self.labels is None else self.labels.to(device),
            landmarks=None if self.landmarks is None else self.landmarks.to(device),
            extra={key: value.to(device) for key, value in self.extra.items()},
        )

    def counts(self) -> dict[str, int]:
        """Number of faces per class, every class named, in the order of ``classes``.

        Returns
        -------
        dict of str to int
            Empty without labels.

        Examples
        --------
        >>> FaceSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.tensor([1]), ("a", "b"), None, ("x",),
        ...         "toy").counts()
        {'a': 0, 'b': 1}
        """
        if self.labels is None:
            return {}
        tally = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, tally, strict=True))

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {count}" for name, count in self.counts().items()) or "no labels"
        points = "68 landmarks each" if self.landmarks is not None else "no landmarks"
        return (
            f"FaceSet {self.name!r}: {len(self)} faces of {len(set(self.persons))} persons, "
            f"{self.size}x{self.size} pixels; {parts}; {points}"
        )


def joined(sets: Sequence[FaceSet], name: str) -> FaceSet:
    """Several sets of one kind as one, in the order given.

    Parameters
    ----------
    sets : sequence of FaceSet
        At least one, all with the same classes, size and kind of knowledge.  Of ``extra`` what all have is kept.
    name : str
        Of the result.

    Raises
    ------
    DataError
        If they do not go together.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a", "b"), "toy")
    >>> len(joined([faces, faces], "twice"))
    4
    """
    first = sets[0]
    for faces in sets[1:]:
        alike = (
            faces.classes == first.classes
            and faces.size == first.size
            and (faces.landmarks is None) == (first.landmarks is None)
            and (faces.labels is None) == (first.labels is None)
        )
        if not alike:
            raise DataError(
                f"the sets {first.name!r} and {faces.name!r} differ in what they hold and cannot be joined"
            )
    keys = [key for key in first.extra if all(key in faces.extra for faces in sets)]
    return FaceSet(
        torch.cat([faces.images for faces in sets]),
        None if first.labels is None else torch.cat([faces.labels for faces in sets]),
        first.classes,
        None if first.landmarks is None else torch.cat([faces.landmarks for faces in sets]),
        tuple(person for faces in sets for person in faces.persons),
        name,
        {key: torch.cat([faces.extra[key] for faces in sets]) for key in keys},
    )


def images_per_person(persons: Sequence[str]) -> str:
    """One line on how pictures are spread over people.

    Examples
    --------
    >>> images_per_person(["a", "a", "a", "b"])
    '2 persons; pictures per person: median 2, largest 3 (a), 1 with a single picture'
    """
    if not persons:
        return "0 persons"
    tally = Counter(persons)
    numbers = sorted(tally.values())
    middle = numbers[len(numbers) // 2] if len(numbers) % 2 else sum(numbers[len(numbers) // 2 - 1 :][:2]) / 2
    who, most = max(tally.items(), key=lambda item: (item[1], item[0]))
    single = sum(n == 1 for n in numbers)
    return (
        f"{len(tally)} persons; pictures per person: median {middle:g}, largest {most} ({who}), "
        f"{single} with a single picture"
    )
