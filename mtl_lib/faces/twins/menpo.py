"""Rendered faces in the layout of Menpo 2D; the reader is :mod:`mtl_lib.faces.menpo`.

One flat folder with both kinds of faces, and a test release beside it.  The renderer turns heads by up to 38
degrees, so what stands for a profile is a half profile, with 39 of its 68 points: enough to try a reader with.
The names of the real pictures are not imitated.
"""

import os
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from mtl_lib.faces.menpo import PROFILES
from mtl_lib.faces.pts import pts_text
from mtl_lib.faces.twins.common import Drawn, draw_faces, encoded, in_colour, part_counts, put, write_twin
from mtl_lib.faces.twins.scenes import photograph

SMALL = {"train": 12, "profile": 4, "test": 6}
FULL = {"train": 5658, "profile": PROFILES, "test": 5335}

_PROFILE_POINTS = [*range(0, 13), *range(17, 22), *range(27, 34), *range(36, 42), *range(48, 56)]


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | None = None,
    seed: int = 0,
    pixels: int = 96,
    progress: bool = False,
) -> Path:
    """Write a rendered twin of Menpo.

    Parameters
    ----------
    folder : path-like
        A new or an empty folder; it will hold ``menpo_train_release`` and ``testset``.
    size : int, "full" or None
        Faces in all; ``"full"``: as many as published, 12,899; None: 22.
    seed, pixels, progress
        As for :func:`mtl_lib.faces.twins.three_hundred_w.write`.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    ConfigError
        If the folder holds something, or the size is none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in write(f"{folder}/menpo", pixels=48).iterdir())
    ['RENDERED_TWIN.json', 'menpo_train_release', 'testset']
    """
    counts = part_counts(FULL, size, SMALL)

    def fill(target: Path) -> None:
        bar = tqdm(total=sum(counts.values()), unit=" faces", disable=not progress)
        first = 0
        for part, count in counts.items():
            # Own people for profiles and test: numbers go on from part to part.
            for face in draw_faces(
                count, pixels=pixels, pose=3.0 if part == "profile" else 1.0, seed=seed, first=first
            ):
                _write_face(target, part, face, first + face.number, seed)
                bar.update()
            first += count
        bar.close()

    return write_twin(folder, "menpo", counts, seed, fill)


def _write_face(target: Path, part: str, face: Drawn, number: int, seed: int) -> None:
    picture, [points] = photograph([face], seed + number, beyond=number % 13 == 5)
    if part == "profile":
        points = points[_PROFILE_POINTS]
    # Names alternate so that the kinds are mixed in the flat folder.
    where = "testset/semifrontal" if part == "test" else "menpo_train_release"
    stem = f"image{face.number:05d}{'p' if part == 'profile' else ''}"
    image = in_colour(picture, number) if number % 8 else Image.fromarray(picture)
    put(target, f"{where}/{stem}.jpg", encoded(image, "JPEG"))
    put(target, f"{where}/{stem}.pts", pts_text(points).encode())
