"""Splits in which nobody is in two parts, over several sets at once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.rendered import RenderedFaces


def split_by_person(
    sets: Sequence[FaceSet | RenderedFaces], fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> list[tuple[Tensor, ...]]:
    """Split several sets jointly so that each person falls into one part only.

    A person who occurs in two sets goes to the same part of both: a network that shares what it learns
    between the tasks would otherwise meet its test faces in the other task's training set.

    People are dealt out greedily, those with the rarest pictures first, each to the part that lacks most of
    what they bring (pictures per set and class, counted as a share of that class).  So the parts have about
    the fractions asked for, overall and within each class, as far as whole persons allow.

    Parameters
    ----------
    sets : sequence of FaceSet or RenderedFaces
        Equal names in ``persons`` mean equal people, across sets too.
    fractions : sequence of float
        Sizes of the parts; they sum to 1.
    seed : int
        Of the order among people who bring equally much, and of choices among equally needy parts.  Where all bring
        nearly the same, as in a rendered set, two seeds can put most people into the same parts: draw other people
        instead.

    Returns
    -------
    list of tuple of Tensor, int64
        For each set, the sorted positions of each part.

    Raises
    ------
    ConfigError
        If the fractions are not positive or do not sum to 1.
    DataError
        If there are fewer persons than parts.

    Examples
    --------
    >>> images = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    >>> faces = FaceSet(images, None, (), None, ("a", "a", "b", "b", "c", "c"), "toy")
    >>> [(train, test)] = split_by_person([faces], (0.67, 0.33))
    >>> len(train), len(test), {faces.persons[i] for i in train} & {faces.persons[i] for i in test}
    (4, 2, set())
    """
    fractions = np.asarray(fractions, dtype=float)
    if fractions.ndim != 1 or not len(fractions) or (fractions <= 0).any() or abs(fractions.sum() - 1) > 1e-6:
        raise ConfigError(f"the fractions are {fractions.tolist()}; they must be positive and sum to 1")
    people = sorted({person for faces in sets for person in faces.persons})
    if len(people) < len(fractions):
        raise DataError(f"{len(people)} persons cannot be split into {len(fractions)} parts by person")
    row = {person: i for i, person in enumerate(people)}

    # One column per set and class: how many such pictures each person brings.
    owners = [np.array([row[person] for person in faces.persons], dtype=int) for faces in sets]
    columns = []
    for faces, owner in zip(sets, owners, strict=True):
        kinds = np.zeros(len(faces), int) if faces.labels is None else faces.labels.cpu().numpy()
        table = np.zeros((len(people), max(1, len(faces.classes))))
        np.add.at(table, (owner, kinds), 1)
        columns.append(table[:, table.sum(0) > 0])
    brings = np.concatenate(columns, 1)
    brings /= brings.sum(0)  # shares, so that a rare class weighs as much as a common one

    rng = np.random.default_rng(seed)
    weight = brings.sum(1)
    order = rng.permutation(len(people))
    order = order[np.argsort(-weight[order], kind="stable")]
    lacking = fractions[:, None] * np.ones(brings.shape[1])
    part_of = np.empty(len(people), dtype=int)
    for position, person in enumerate(order):
        # What remains to be filled, relative to the part's size: a small part is as needy as a large one.
        need = (brings[person] * lacking / fractions[:, None]).sum(1)
        empty = np.bincount(part_of[order[:position]], minlength=len(fractions)) == 0
        left = len(people) - position
        if empty.sum() >= left:  # the last persons go where nobody is yet
            need[~empty] = -np.inf
        best = np.flatnonzero(need >= need.max() - 1e-12)
        part = int(rng.choice(best, p=fractions[best] / fractions[best].sum()))
        part_of[person] = part
        lacking[part] -= brings[person]
    return [
        tuple(torch.from_numpy(np.flatnonzero(part_of[owner] == part)) for part in range(len(fractions)))
        for owner in owners
    ]


def split_faces(
    sets: Sequence[FaceSet], fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Split sets into train, validation and test: as their owners say where they do, else by person.

    A set with ``extra["role"]`` (0 train, 1 validation, 2 test) keeps its owner's test faces as they are; where the
    owner keeps those back and hands out validation faces only, these are the test.  If no validation faces are left,
    some are split off the training faces, by person, in the ratio of the first two fractions.  All other sets are split jointly, see :func:`split_by_person`.

    Parameters
    ----------
    sets, seed
        As for :func:`split_by_person`.
    fractions : sequence of three floats
        Train, validation, test.

    Returns
    -------
    list of (Tensor, Tensor, Tensor), int64
        For each set, the sorted positions of each part.

    Raises
    ------
    ConfigError, DataError
        As :func:`split_by_person`; also if an owner's training or test part is empty.

    Examples
    --------
    >>> images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    >>> role = torch.tensor([0, 0, 2, 0, 2])
    >>> faces = FaceSet(images, None, (), None, ("a", "b", "c", "d", "e"), "toy", {"role": role})
    >>> [(train, validation, test)] = split_faces([faces])
    >>> len(train), len(validation), test.tolist()
    (2, 1, [2, 4])
    """
    free = [i for i, faces in enumerate(sets) if "role" not in faces.extra]
    jointly = split_by_person([sets[i] for i in free], fractions, seed) if free else []
    found: dict[int, tuple[Tensor, ...]] = dict(zip(free, jointly, strict=True))
    for i, faces in enumerate(sets):
        if i in found:
            continue
        train, validation, test = ((faces.extra["role"].cpu() == role).nonzero()[:, 0] for role in range(3))
        if not len(test):
            validation, test = test, validation
        if not len(train) or not len(test):
            raise DataError(
                f"the set {faces.name!r} has {len(train)} faces to train on and {len(test)} to test on; load all its parts"
            )
        if not len(validation):
            whole = fractions[0] + fractions[1]
            shares = fractions[0] / whole, fractions[1] / whole
            [(first, second)] = split_by_person([faces.select(train)], shares, seed)
            train, validation = train[first], train[second]
        found[i] = (train, validation, test)
    return [found[i] for i in range(len(sets))]
