"""Cross-validation folds over the people of one set.

:mod:`mtl_lib.faces.splits` cuts several sets once and jointly; here one set is cut into ``k`` parts, each of
which is the test part once, as the papers on CK+ and Oulu-CASIA do.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.faces.base import FaceSet

WAYS = ("stratified", "every", "image")


class Fold(NamedTuple):
    """Positions of the training and the test faces of one fold, sorted.

    Parameters
    ----------
    train, test : Tensor, int64
        Positions in the set; together they are all of it.
    """

    train: Int64[Tensor, " A"]
    test: Int64[Tensor, " B"]


def folds(faces: FaceSet, k: int, way: str = "stratified", seed: int = 0) -> list[Fold]:
    """Cut a labelled set into ``k`` test parts.

    Parameters
    ----------
    faces : FaceSet
        With labels.
    k : int
        Number of folds, at least 2.
    way : {"stratified", "every", "image"}
        ``"stratified"``: whole persons, dealt so that every fold has about the same classes
        (:class:`sklearn.model_selection.StratifiedGroupKFold`).  ``"every"``: persons sorted by name, every
        ``k``-th to the same fold; nothing is random.  ``"image"``: single pictures at random, class by class.
        The last one puts pictures of one person on both sides: it is there to show how much that flatters.
    seed : int
        Other folds; ``"every"`` does not depend on it.

    Returns
    -------
    list of Fold

    Raises
    ------
    ConfigError
        If ``k`` or ``way`` is not possible.
    DataError
        If the set has no labels or fewer persons than folds, or some class is missing from a training part.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1] * 3), ("calm", "glad"),
    ...                 None, ("a", "a", "b", "b", "c", "c"), "toy")
    >>> [fold.test.tolist() for fold in folds(faces, 3, "every")]
    [[0, 1], [2, 3], [4, 5]]
    """
    if way not in WAYS:
        raise ConfigError(f"folds are made {way!r}; it must be one of {', '.join(WAYS)}")
    if k < 2:
        raise ConfigError(f"{k} folds; at least 2 are needed, one to test on and one to learn from")
    if faces.labels is None:
        raise DataError(f"face set {faces.name!r} has no labels, so its folds cannot be stratified or tested")
    labels = faces.labels.cpu().numpy()
    people = sorted(set(faces.persons))
    if way != "image" and len(people) < k:
        raise DataError(f"{len(people)} persons in {faces.name!r} cannot be cut into {k} folds; take fewer")
    if way == "every":
        number = {person: i % k for i, person in enumerate(people)}
        fold_of = np.array([number[person] for person in faces.persons])
    else:
        fold_of = _dealt(labels, faces.persons, k, way, seed, faces.name)
    parts = []
    for i in range(k):
        test = fold_of == i
        _check(labels, test, faces, i, k)
        parts.append(Fold(torch.from_numpy(np.flatnonzero(~test)), torch.from_numpy(np.flatnonzero(test))))
    return parts


def _dealt(labels: np.ndarray, persons: Sequence[str], k: int, way: str, seed: int, name: str) -> np.ndarray:
    settings = dict(n_splits=k, shuffle=True, random_state=seed)
    if way == "image":
        parts = StratifiedKFold(**settings).split(labels, labels)
    else:
        parts = StratifiedGroupKFold(**settings).split(labels, labels, groups=persons)
    rarest = int(np.bincount(labels)[np.unique(labels)].min())
    if rarest < k:
        # scikit-learn only warns, and some training part might then lack the class.
        raise DataError(
            f"the rarest class of {name!r} has {rarest} faces, too few for {k} folds; take fewer, or "
            "leave the class out"
        )
    fold_of = np.empty(len(labels), dtype=int)
    for i, (_, test) in enumerate(parts):
        fold_of[test] = i
    return fold_of


def _check(labels: np.ndarray, test: np.ndarray, faces: FaceSet, number: int, k: int) -> None:
    if not test.any():
        raise DataError(f"fold {number + 1} of {k} of {faces.name!r} has no test face; take fewer folds")
    unseen = sorted(set(np.unique(labels)) - set(np.unique(labels[~test])))
    if unseen:
        names = ", ".join(faces.classes[i] for i in unseen)
        raise DataError(
            f"fold {number + 1} of {k} of {faces.name!r} would learn without {names}: all its faces are of "
            "the test persons; take other folds, or leave the class out"
        )
