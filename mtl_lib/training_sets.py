"""Fewer training faces, and the control whose landmarks teach nothing: what experiments do to a training set.

Validation and test people are never touched, so that all runs of a split are measured on the same faces.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mtl_lib.errors import ConfigError
from mtl_lib.faces.base import FaceSet


def at_most_per_class(faces: FaceSet, count: int, generator: torch.Generator) -> FaceSet:
    """Return at most ``count`` faces of every class, drawn at random, in their old order.

    Parameters
    ----------
    faces : FaceSet
        With labels.
    count : int
        Largest number per class; a smaller class stays whole.
    generator : torch.Generator
        On the CPU.

    Examples
    --------
    >>> images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    >>> faces = FaceSet(images, torch.tensor([0, 1, 0, 0, 1]), ("a", "b"), None, tuple("vwxyz"), "toy")
    >>> at_most_per_class(faces, 2, torch.Generator().manual_seed(0)).counts()
    {'a': 2, 'b': 2}
    """
    order = torch.randperm(len(faces), generator=generator)
    labels = faces.labels.cpu()[order]
    chosen = [order[labels == k][:count] for k in range(len(faces.classes))]
    return faces.select(torch.cat(chosen).sort().values)


def at_most(faces: FaceSet, count: int, generator: torch.Generator) -> FaceSet:
    """Return ``count`` faces drawn at random, in their old order; all, if there are no more.

    Examples
    --------
    >>> images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    >>> faces = FaceSet(images, None, (), None, tuple("vwxyz"), "toy")
    >>> len(at_most(faces, 3, torch.Generator().manual_seed(0))), len(at_most(faces, 9, torch.Generator()))
    (3, 5)
    """
    return faces.select(torch.randperm(len(faces), generator=generator)[:count].sort().values)


def shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows of ``values`` in an order in which no row stays in its place.

    Examples
    --------
    >>> rows = shuffled(torch.arange(6), torch.Generator().manual_seed(0))
    >>> sorted(rows.tolist()), bool((rows == torch.arange(6)).any())
    ([0, 1, 2, 3, 4, 5], False)
    """
    if len(values) < 2:
        raise ConfigError(f"{len(values)} face(s) cannot be shuffled; at least 2 are needed")
    order = torch.randperm(len(values), generator=generator)
    # One random cycle through all rows: each goes where the next one in the order was.
    result = torch.empty_like(values)
    result[order.to(values.device)] = values[order.roll(1).to(values.device)]
    return result


def prepare_training(
    train: Mapping[str, FaceSet],
    per_class: int | None,
    landmark_faces: int | None,
    shuffle_landmarks: bool,
    seed: int,
) -> dict[str, FaceSet]:
    """Return the training sets of a run, made smaller or shuffled as its settings say.

    Parameters
    ----------
    train : mapping of str to FaceSet
        By task name.
    per_class : int, optional
        At most so many faces of every expression.
    landmark_faces : int, optional
        At most so many faces with landmarks.
    shuffle_landmarks : bool
        Give every face another face's landmarks: the partner task keeps its difficulty and its gradients' size
        and loses what it could teach.  What sharing still gains is regularisation, not knowledge.
    seed : int
        Which faces, and which exchange.

    Returns
    -------
    dict of str to FaceSet
        By task name.

    Raises
    ------
    ConfigError
        If fewer than two faces are to be shuffled.
    """
    result = dict(train)
    for name, faces in train.items():
        # Own generators: what one task does must not change what the other draws.
        draw = torch.Generator().manual_seed(1_000_003 * seed + len(name))
        if name == "expression" and per_class is not None:
            result[name] = at_most_per_class(faces, per_class, draw)
        if name == "landmarks" and landmark_faces is not None:
            result[name] = at_most(faces, landmark_faces, draw)
    if shuffle_landmarks and "landmarks" in result:
        faces = result["landmarks"]
        draw = torch.Generator().manual_seed(1_000_003 * seed + 1)
        parts = {field: getattr(faces, field) for field in ("images", "labels", "classes", "persons", "name")}
        result["landmarks"] = FaceSet(
            landmarks=shuffled(faces.landmarks, draw), extra=dict(faces.extra), **parts
        )
    return result
