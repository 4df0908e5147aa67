"""The mark of rendered faces that lie in the layout of a real data set, so that nobody takes them for it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from mtl_lib.atomic import write_text
from mtl_lib.errors import DataError

MARK = "RENDERED_TWIN.json"
"""Name of the file, in the set's own folder."""

_NOTICE = (
    "The faces in this folder are drawn by mtl_lib in the layout of the data set named below. They show nobody, "
    "they are not that data set, and nothing measured on them says anything about it."
)


def write_mark(folder: str | os.PathLike, name: str, counts: Mapping[str, int], seed: int) -> Path:
    """Mark a folder as holding rendered faces.

    Parameters
    ----------
    folder : path-like
    name : str
        The set whose layout it has, as on the command line.
    counts : mapping of str to int
        Faces in each part, for checks.
    seed : int
        Of the renderer.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_mark(folder, "300w", {"train": 5}, seed=0)
    ...     read_mark(folder, "300w")["counts"]
    {'train': 5}
    """
    about = {"notice": _NOTICE, "twin_of": name, "seed": seed, "counts": dict(counts)}
    return write_text(Path(folder) / MARK, json.dumps(about, indent=2) + "\n")


def read_mark(folder: str | os.PathLike, name: str) -> dict | None:
    """What the mark of a folder, or of the one above it, says; None if there is none.

    Raises
    ------
    DataError
        If the mark is damaged or names another set.

    Examples
    --------
    >>> read_mark(".", "300w") is None
    True
    """
    path = Path(folder) / MARK
    if not path.is_file():
        # Sets with a folder within the folder may be read from there; the mark lies at the top.
        above = Path(folder).absolute().parent
        return read_mark(above, name) if _is_of(above / MARK, name) else None
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        counts = {str(part): int(count) for part, count in about["counts"].items()}
        of = str(about["twin_of"])
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        raise DataError(
            f"the mark of a rendered twin is damaged ({type(error).__name__}); the faces here are drawn, not "
            "photographs: write the twin again with `mtl data prepare --twin`",
            path,
        ) from None
    if of != name:
        raise DataError(
            f"these are rendered faces in the layout of {of!r}, not of {name!r}; name --set {of}", path
        )
    return {**about, "counts": counts}


def _is_of(mark: Path, name: str) -> bool:
    try:
        return json.loads(mark.read_text(encoding="utf-8"))["twin_of"] == name
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
