"""Rendered faces in the layout of FER2013 (:mod:`mtl_lib.faces.fer2013`)."""

import os
from pathlib import Path

from mtl_lib.errors import ConfigError
from mtl_lib.faces.fer2013 import COLUMNS, FER2013, SIDE, USAGES
from mtl_lib.faces.twins.common import part_counts, put, write_twin
from mtl_lib.faces.twins.emotions import draw_wild, one_each, shared_out


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | None = None,
    seed: int = 0,
    pixels: int = SIDE,
    intensity: tuple[float | int, float | int] = (0.5, 1.2),
    progress: bool = False,
) -> Path:
    """Write rendered faces as FER2013 has them: one table, each class as frequent as in the real one.

    Quirks that are written too: a picture that two parts share, one of a single gray value.

    Parameters
    ----------
    folder : path-like
        New or empty.
    size : int or "full", optional
        Faces in all; by default 70 and twice 14; ``"full"``: 35,887.
    seed : int
    pixels : int
        48, as the layout demands.
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
    ...     made = write(f"{folder}/fer", size=20)
    ...     FER2013(folder)
    ...     # doctest: +ELLIPSIS
    rendered twin of FER2013 in .../fer: train 17, validation 3, test 3 faces
    """
    if pixels != SIDE:
        raise ConfigError(f"pictures of {pixels} pixels; the layout of FER2013 has {SIDE}, no others")
    counts = part_counts(FER2013.PUBLISHED, size, {"train": 70, "validation": 14, "test": 14})
    labels = {
        part: shared_out(FER2013.PUBLISHED_CLASSES, count, seed + i)
        for i, (part, count) in enumerate(counts.items())
    }
    plan = [(part, label) for part in FER2013.PARTS for label in labels[part]]
    shots = one_each([label for _, label in plan], intensity, seed)
    first_test = len(plan) - counts["test"]

    def fill(root: Path) -> None:
        drawn = draw_wild(shots, pixels=SIDE, seed=seed, progress=progress)
        lines, first = [",".join(COLUMNS)], ""
        for i, ((part, label), face) in enumerate(zip(plan, drawn, strict=True)):
            values = " ".join(map(str, face.pixels.flatten().tolist()))
            if i == 0:
                first = values
            elif i == 1 and len(plan) > 40:
                values = " ".join(["0"] * SIDE**2)
            # Only where the labels agree: the real set's doubles are the same face with the same label.
            elif i >= first_test and label == plan[0][1] and first:
                values, first = first, ""
            lines.append(f"{FER2013.CLASSES.index(label)},{values},{USAGES[part]}")
        put(root, "fer2013.csv", ("\n".join(lines) + "\n").encode())

    return write_twin(folder, FER2013.NAME, counts, seed, fill)
