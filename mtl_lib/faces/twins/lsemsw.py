"""Rendered faces in our layout of LSEMSW (:mod:`mtl_lib.faces.lsemsw`)."""

import csv
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mtl_lib.faces.lsemsw import COLUMNS as _COLUMNS
from mtl_lib.faces.lsemsw import FRACTIONS, LSEMSW
from mtl_lib.faces.states import PATTERNS
from mtl_lib.faces.twins.common import encoded, part_counts, put, write_twin
from mtl_lib.faces.twins.emotions import Shot, draw_shots, enough_pixels, shuffled, strengths

TITLES = 200
"""Films and series in the real set, at least."""


class _Frame(NamedTuple):
    state: str
    run: int
    title: int
    person: int | None
    frame: int
    intensity: float


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | None = None,
    seed: int = 0,
    pixels: int = 96,
    intensity: tuple[float | int, float | int] = (0.2, 0.5),
    progress: bool = False,
) -> Path:
    """Write rendered film frames, subtle and with the class frequencies of the paper's Table 2.

    As in the real set, several pictures are frames of one shot, five frames apart and nearly the same; an actor
    is in one film, some in two; some people are unknown.  The folders are a random 80, 10 and 10 %, so near
    copies lie on both sides of it.

    Parameters
    ----------
    folder : path-like
        New or empty.
    size : int or "full", optional
        Pictures in all; by default 12 of each state; ``"full"``: 175,679, which takes a quarter of an hour or more.
    seed : int
    pixels : int
        Side of the pictures.
    intensity : (float, float)
        Of the states: 0.2 to 0.5 is subtle, 1 is posed.
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
    ...     made = write(f"{folder}/lsemsw", size=40, pixels=24)
    ...     LSEMSW(folder).load("test", size=24)[0].classes[9]
    'Thinking'
    """
    enough_pixels(pixels)
    counts = part_counts(LSEMSW.PUBLISHED_CLASSES, size, dict.fromkeys(LSEMSW.CLASSES, 12))
    frames = _plan(counts, intensity, seed)
    parts = _parts(len(frames), seed)

    def fill(root: Path) -> None:
        shots = (
            Shot(one.state, one.run, -1 - one.run if one.person is None else one.person, one.intensity)
            for one in frames
        )
        drawn = draw_shots(
            shots, pixels=pixels, patterns=PATTERNS, style="film", gap=1.0, pose=1.0, occlusion=None, missing=1 / 6,
            seed=seed, progress=progress, total=len(frames),
        )  # fmt: skip
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        for one, part, face in zip(frames, parts, drawn, strict=True):
            title, person = f"title-{one.title:03d}", "" if one.person is None else f"actor-{one.person:04d}"
            name = f"{part}/{one.state}/{title}_{one.run:06d}_{one.frame:06d}.jpg"
            put(root, name, encoded(Image.fromarray(face.pixels), "JPEG"))
            table.writerow((name, one.state, title, person, one.frame))
        put(root, "annotations.csv", text.getvalue().encode())

    return write_twin(folder, LSEMSW.NAME, {p: parts.count(p) for p in LSEMSW.PARTS}, seed, fill)


def _plan(counts: dict[str, int], intensity: tuple, seed: int) -> list[_Frame]:
    """The frames, film by film: shots of 1 to 4 pictures, somebody in each, a state in each."""
    total = sum(counts.values())
    titles = min(TITLES, max(12, total // 30))
    cast = 6
    rng = np.random.default_rng(seed)
    runs = []
    for state, count in counts.items():
        while count > 0:
            length = min(count, int(rng.integers(1, 5)))
            runs.append((state, length))
            count -= length
    runs = shuffled(runs, seed)
    peaks = strengths(range(len(runs)), intensity, seed)
    clock = [0] * titles
    frames = []
    for run, (state, length) in enumerate(runs):
        title = run % titles
        actor = int(rng.integers(cast))
        # The first of a cast is also in the next film; the last is an extra whose name nobody knows.
        person = {0: (title // 2) * 2 * cast, cast - 1: None}.get(actor, title * cast + actor)
        clock[title] += int(rng.integers(20, 400))
        for k in range(length):
            strength = max(0.0, min(1.5, peaks[run] * (1 + 0.1 * (k - (length - 1) / 2))))
            frames.append(_Frame(state, run, title, person, clock[title], strength))
            clock[title] += 5
    return frames


def _parts(count: int, seed: int) -> list[str]:
    parts = ["train"] * count
    order = shuffled(range(count), seed + 1)
    ends = [round(FRACTIONS[1] * count), round((FRACTIONS[1] + FRACTIONS[2]) * count)]
    for i in order[: ends[0]]:
        parts[i] = "validation"
    for i in order[ends[0] : ends[1]]:
        parts[i] = "test"
    return parts
