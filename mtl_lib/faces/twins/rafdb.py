"""Rendered faces in the layout of RAF-DB (:mod:`mtl_lib.faces.rafdb`)."""

import os
from pathlib import Path

from mtl_lib.faces.rafdb import LABELS, RAFDB
from mtl_lib.faces.twins.common import encoded, in_colour, part_counts, put, write_twin
from mtl_lib.faces.twins.emotions import draw_wild, enough_pixels, one_each, shared_out


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | None = None,
    seed: int = 0,
    pixels: int = 100,
    intensity: tuple[float | int, float | int] = (0.5, 1.2),
    progress: bool = False,
) -> Path:
    """Write rendered faces as RAF-DB's basic part has them, each class as frequent as in the real one.

    Quirks that are written too: ``list_patition_label.txt``, five digits in training names and four in test
    names, pictures in colour.

    Parameters
    ----------
    folder : path-like
        New or empty.
    size : int or "full", optional
        Faces in all; by default 70 and 21; ``"full"``: 15,339.
    seed : int
    pixels : int
        Side of the pictures; the real ones have 100.
    intensity : (float, float)
    progress : bool

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If the folder holds something or a number is out of range.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write(f"{folder}/basic", size=20, pixels=24)
    ...     RAFDB(folder).load("test", size=24)[0].persons[0]
    'rafdb-test_0001'
    """
    enough_pixels(pixels)
    counts = part_counts(RAFDB.PUBLISHED, size, {"train": 70, "test": 21})
    plan = [
        (f"{part}_{i:0{digits}d}", label)
        for part, digits in (("train", 5), ("test", 4))
        for i, label in enumerate(shared_out(RAFDB.PUBLISHED_CLASSES[part], counts[part], seed), 1)
    ]
    shots = one_each([label for _, label in plan], intensity, seed)

    def fill(root: Path) -> None:
        drawn = draw_wild(shots, pixels=pixels, seed=seed, pose=0.8, progress=progress)
        for i, ((name, _), face) in enumerate(zip(plan, drawn, strict=True)):
            put(root, f"Image/aligned/{name}_aligned.jpg", encoded(in_colour(face.pixels, i), "JPEG"))
        lines = [f"{name}.jpg {RAFDB.CLASSES.index(label) + 1}\n" for name, label in plan]
        put(root, LABELS, "".join(lines).encode())

    return write_twin(folder, RAFDB.NAME, counts, seed, fill)
