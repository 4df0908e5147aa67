"""The two open sets by name, and what is in a copy of them beside what their repositories hold."""

import os
from collections.abc import Callable

from mtl_lib.errors import ConfigError
from mtl_lib.faces import expressions, keypoints
from mtl_lib.faces.base import FaceSet
from mtl_lib.faces.reports import SetReport

READERS: dict[str, Callable[..., tuple[FaceSet, SetReport]]] = {
    expressions.FOLDER: expressions.load_expressions,
    keypoints.FOLDER: keypoints.load_keypoints,
}
"""Name, which is that of the folder and of the repository, to the function that reads the set."""


def load_open(
    name: str,
    root: str | os.PathLike,
    *,
    size: int = 96,
    cache: str | os.PathLike | None = None,
    damaged: str = "refuse",
) -> tuple[FaceSet, SetReport]:
    """Read one of the open sets.

    Parameters
    ----------
    name : str
        From :data:`READERS`.
    root : path-like
        The set's folder, or the one that holds it.
    size, cache, damaged
        As for :func:`mtl_lib.faces.expressions.load_expressions`.

    Raises
    ------
    ConfigError
        If no open set has this name.
    DataError
        If it is not there, or a file of it is damaged.

    Examples
    --------
    >>> try:
    ...     load_open("faces", ".")
    ... except ConfigError as error:
    ...     print(error)
    there is no open set 'faces'; there are facial_expressions, P1_Facial_Keypoints
    """
    if name not in READERS:
        raise ConfigError(f"there is no open set {name!r}; there are {', '.join(READERS)}")
    return READERS[name](root, size=size, cache=cache, damaged=damaged)


def check_open(
    name: str, root: str | os.PathLike, *, cache: str | os.PathLike | None = None
) -> tuple[FaceSet, SetReport]:
    """Look at every picture of an open set, and count its rows and files beside the published numbers.

    A damaged or missing picture is counted and left out.  Which rows a copy lacks altogether cannot be said,
    only how many: the repositories publish no list besides the table itself.

    Parameters
    ----------
    name, root, cache
        As for :func:`load_open`.

    Returns
    -------
    FaceSet, SetReport
        The faces that are sound, and the account; its ``counts`` are found and published numbers.

    Raises
    ------
    ConfigError, DataError
        As for :func:`load_open`; of damage, only a table's.
    """
    from mtl_lib.faces.fetch import (  # brings pooch and requests, which reading does not need
        OPEN_SETS,
        counted,
    )

    faces, report = load_open(name, root, cache=cache, damaged="leave out")
    [source] = [source for source in OPEN_SETS if source.folder == name]
    report.counts |= {
        what: (found or 0, number) for what, (found, number) in counted(report.folder, source).items()
    }
    return faces, report
