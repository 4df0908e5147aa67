"""Rendered faces in the layout of 300-W; the reader is :mod:`mtl_lib.faces.three_hundred_w`.

The layout's oddities are there: two faces in one picture, which then lies there twice; a space in one ``ibug``
name; a file of boxes for ``ibug`` that goes on with names from ``afw``; boxes of a detector that are not quite
right; pictures of any size, in colour and gray, PNG with an alpha channel; landmarks beyond the border.  Which
pictures of the real set are gray or have an alpha channel is not imitated, only that readers must cope.  The
challenging part, ``ibug``, shows heads that are turned further.
"""

import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.io import savemat
from torch import Tensor
from tqdm import tqdm

from mtl_lib.errors import ConfigError
from mtl_lib.faces.pts import pts_text
from mtl_lib.faces.three_hundred_w import FACES, SOURCES
from mtl_lib.faces.twins.common import Drawn, draw_faces, encoded, in_colour, part_counts, put, write_twin
from mtl_lib.faces.twins.scenes import photograph

SMALL = {"afw": 6, "helen/trainset": 6, "lfpw/trainset": 6, "helen/testset": 4, "lfpw/testset": 4, "ibug": 5}
"""Faces in each folder of a small twin."""

SPACED = "image_092 _01"
"""The one name with a space in it."""

CHALLENGE = 1.8
"""Spread of the head's pose in ``ibug``, as a multiple of that in the other folders."""


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | Mapping[str, int] | None = None,
    seed: int = 0,
    pixels: int = 96,
    progress: bool = False,
) -> Path:
    """Write a rendered twin of 300-W.

    Parameters
    ----------
    folder : path-like
        A new or an empty folder; it becomes the one with ``afw``, ``helen``, ``ibug`` and ``lfpw``.
    size : int, "full", mapping or None
        Faces in all; ``"full"``: as many as published, 3,837; None: 31.  A mapping says how many lie in each folder.
    seed : int
        Of the renderer.
    pixels : int
        Side of a face's tile in the picture.
    progress : bool
        Whether to show a progress bar on stderr.

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
    ...     sorted(path.name for path in write(f"{folder}/300w", pixels=48).iterdir())
    ['Bounding_Boxes', 'RENDERED_TWIN.json', 'afw', 'helen', 'ibug', 'lfpw']
    """
    counts = _counts(size)
    parts = {part: sum(counts[source] for source in sources) for part, sources in SOURCES.items()}

    def fill(target: Path) -> None:
        total = sum(counts.values())
        drawn = iter(tqdm(_drawn(counts, pixels, seed), total=total, unit=" faces", disable=not progress))
        rows = {}
        for source, count in counts.items():
            faces = itertools.islice(drawn, count)
            rows[source] = _write_source(target, source, count, faces, seed)
        for source in counts:
            # The real file for ibug goes on with names that belong to afw.
            extra = rows["afw"][: max(0, FACES["afw"] - FACES["ibug"])] if source == "ibug" else []
            put(
                target,
                f"Bounding_Boxes/bounding_boxes_{source.replace('/', '_')}.mat",
                _mat(rows[source] + extra),
            )

    return write_twin(folder, "300w", parts, seed, fill)


def _counts(size: int | str | Mapping[str, int] | None) -> dict[str, int]:
    if not isinstance(size, Mapping):
        return part_counts(FACES, size, SMALL)
    if set(size) != set(FACES) or min(size.values()) < 1:
        raise ConfigError(
            f"the size of a twin is {dict(size)}; name each of {', '.join(FACES)} with one face or more"
        )
    return {source: size[source] for source in FACES}


def _drawn(counts: Mapping[str, int], pixels: int, seed: int) -> Iterator[Drawn]:
    """The faces of all folders in turn, numbered through."""
    first = 0
    for source, count in counts.items():
        pose = CHALLENGE if source == "ibug" else 1.0
        for face in draw_faces(count, pixels=pixels, pose=pose, seed=seed, first=first):
            yield replace(face, number=first + face.number)
        first += count


Row = tuple[str, Float[np.ndarray, "4"], Float[np.ndarray, "4"]]


def _write_source(target: Path, source: str, count: int, faces: Iterator[Drawn], seed: int) -> list[Row]:
    """Write one folder's pictures and landmarks; returns its rows for the file of boxes."""
    rows: list[Row] = []
    while len(rows) < count:
        first = len(rows)
        # In afw and helen every fifth picture shows two people and lies there once for each.
        several = source.startswith(("afw", "helen")) and first % 5 == 1 and first + 1 < count
        together = [next(faces) for _ in range(2 if several else 1)]
        number = together[0].number
        picture, points = photograph(together, seed + number, beyond=number % 11 == 3)
        ending, kind = (".png", "PNG") if source.startswith("lfpw") else (".jpg", "JPEG")
        data = encoded(_mode(picture, number, kind), kind)
        for place, shape in enumerate(points):
            stem = _stem(source, first, place)
            put(target, f"{source}/{stem}{ending}", data)
            put(target, f"{source}/{stem}.pts", pts_text(shape).encode())
            rows.append((stem + ending, *_boxes(shape, seed + number + place)))
    return rows


def _stem(source: str, first: int, place: int) -> str:
    if source.startswith("lfpw"):
        return f"image_{first + 1:04d}"
    if source == "ibug":
        number = first + 3 if first + 3 < 92 else first + 4  # 92 is the one with the space
        return SPACED if first == 3 else f"image_{number:03d}_1"
    return f"{1_000_000_000 + 37 * first}_{place + 1}"


def _mode(picture: UInt8[np.ndarray, "H W"], number: int, kind: str) -> Image.Image:
    if number % 9 == 4:
        return Image.fromarray(picture)
    colour = in_colour(picture, number)
    if kind == "PNG" and number % 3 == 0:
        return colour.convert("RGBA")
    return colour


def _boxes(shape: Float[Tensor, "68 2"], seed: int) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "4"]]:
    """A detector's box and the true one, counted from 1."""
    truth = np.concatenate([shape.amin(0).numpy(), shape.amax(0).numpy()]).astype(float) + 1
    extent = np.tile(truth[2:] - truth[:2], 2)
    return truth + np.random.default_rng(seed).uniform(-0.07, 0.07, 4) * extent, truth


def _mat(rows: Sequence[Row]) -> bytes:
    cells = np.empty((1, len(rows)), dtype=object)
    for i, (name, detector, truth) in enumerate(rows):
        cells[0, i] = {"imgName": name, "bb_detector": detector[None], "bb_ground_truth": truth[None]}
    buffer = io.BytesIO()
    savemat(buffer, {"bounding_boxes": cells})
    return buffer.getvalue()
