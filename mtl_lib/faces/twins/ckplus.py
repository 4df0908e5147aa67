"""Rendered faces in the layout of CK+ (:mod:`mtl_lib.faces.ckplus`)."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mtl_lib.errors import ConfigError
from mtl_lib.faces.basic_emotions import emotion_units
from mtl_lib.faces.ckplus import CKPlus
from mtl_lib.faces.twins.common import Drawn, encoded, in_colour, part_counts, put, write_twin
from mtl_lib.faces.twins.emotions import Shot, draw_shots, enough_pixels, shuffled, strengths

SUBJECTS, LABELLED_SUBJECTS, SEQUENCES = 123, 118, 593
_LATE = (501, 502, 503, 504, 505, 506, 895, 999)
"""The set's last subjects have numbers like these; their frames are in colour."""


class _Sequence(NamedTuple):
    subject: str
    number: str
    person: int
    emotion: str
    labelled: bool


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | None = None,
    seed: int = 0,
    pixels: int = 147,
    frames: int = 5,
    intensity: tuple[float | int, float | int] = (0.8, 1.2),
    in_archives: bool = False,
    progress: bool = False,
) -> Path:
    """Write rendered sequences as CK+ has them.

    Quirks of the real set that are written too: sequences without a label (their folder in ``Emotion`` is empty),
    people with none that is labelled, frames of two heights, gray and colour frames, numbers as
    ``3.0000000e+00``, a stray ``.DS_Store``.

    Parameters
    ----------
    folder : path-like
        New or empty.
    size : int or "full", optional
        Labelled sequences in all; by default 5 of each of the 7 classes.  ``"full"``: the published 327 of 118
        people, among 593 sequences of 123.
    seed : int
    pixels : int
        Height of the frames; the real ones have 490 or 480, which takes some five pictures a second to draw.
    frames : int
        In each sequence, at least 2; the real ones have 10 to 60.
    intensity : (float, float)
        Of the last frame.
    in_archives : bool
        Write ``Emotion_labels/Emotion`` and so on, as those have it who unpack each archive into its own folder.
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
    ...     made = write(f"{folder}/ck", size=7, pixels=24, frames=2)
    ...     CKPlus(folder).load(size=24)[0].counts()["contempt"]
    1
    """
    enough_pixels(pixels)
    if frames < 2:
        raise ConfigError(f"{frames} frames in a sequence; give at least 2, a neutral one and the strongest")
    counts = part_counts(CKPlus.PUBLISHED_CLASSES, size, dict.fromkeys(CKPlus.CLASSES, 5))
    plan = _plan(counts, seed)
    peaks = strengths(range(len(plan)), intensity, seed)
    shots = [
        Shot(one.emotion, i, one.person, (peaks[i] if one.labelled else 0.4 * peaks[i]) * k / (frames - 1))
        for i, one in enumerate(plan)
        for k in range(frames)
    ]

    def fill(root: Path) -> None:
        # Frames are 640 wide: a square of that side is drawn, and its middle rows are kept.
        side = round(pixels * 640 / 490)
        drawn = draw_shots(shots, pixels=side, framing=1.6, seed=seed, progress=progress, total=len(shots))
        for shot, face in zip(shots, drawn, strict=True):
            _put_frame(
                root, plan[shot.number], shot.number, face, face.number % frames + 1, pixels, in_archives
            )
        for i, one in enumerate(plan):
            _put_labels(root, one, peaks[i], frames, in_archives)
        put(root, f"{_where('cohn-kanade-images', in_archives)}/.DS_Store", b"\0")
        put(root, f"{_where('Emotion', in_archives)}/{plan[0].subject}/.DS_Store", b"\0")

    return write_twin(folder, CKPlus.NAME, {"all": sum(counts.values())}, seed, fill)


def _plan(counts: dict[str, int], seed: int) -> list[_Sequence]:
    """Who shows what: nobody the same labelled emotion twice, as far as there are enough people."""
    labelled = [name for name in CKPlus.CLASSES for _ in range(counts[name])]
    total = round(len(labelled) * SEQUENCES / sum(CKPlus.PUBLISHED_CLASSES.values()))
    people = max(round(len(labelled) * SUBJECTS / sum(CKPlus.PUBLISHED_CLASSES.values())), 3)
    shown = min(max(round(people * LABELLED_SUBJECTS / SUBJECTS), 2), people - 1)
    rng = np.random.default_rng(seed)
    late = _LATE if people > 2 * len(_LATE) else _LATE[-1:]
    early = np.sort(rng.choice(np.arange(5, 161), people - len(late), replace=False))
    subjects = [f"S{number:03d}" for number in (*early, *late)]
    order = shuffled(range(people), seed + 1)
    rest = [CKPlus.CLASSES[i % 7] for i in range(total - len(labelled))]
    rows = [(order[i % shown], name, True) for i, name in enumerate(labelled)]
    # The unlabelled ones go to those first who have no others.
    rows += [(order[(i + shown) % people], name, False) for i, name in enumerate(rest)]
    plan, taken = [], [0] * people
    for person, emotion, has_label in shuffled(rows, seed + 2):
        taken[person] += 1
        plan.append(_Sequence(subjects[person], f"{taken[person]:03d}", person, emotion, has_label))
    return sorted(plan)


def _where(kind: str, in_archives: bool) -> str:
    archive = {
        "cohn-kanade-images": "extended-cohn-kanade-images",
        "Emotion": "Emotion_labels",
        "FACS": "FACS_labels",
    }
    return f"{archive.get(kind, kind)}/{kind}" if in_archives else kind


def _put_frame(
    root: Path, one: _Sequence, place: int, face: Drawn, frame: int, pixels: int, in_archives: bool
) -> None:
    side = face.pixels.shape[0]
    height = pixels if place % 4 else round(pixels * 480 / 490)
    top = (side - height) // 2
    gray = face.pixels[top : top + height]
    colour = int(one.subject[1:]) in _LATE
    picture = in_colour(gray, one.person) if colour else Image.fromarray(gray)
    stem = f"{one.subject}/{one.number}/{one.subject}_{one.number}_{frame:08d}"
    put(root, f"{_where('cohn-kanade-images', in_archives)}/{stem}.png", encoded(picture, "PNG"))
    lines = "".join(f"   {x:.7e}   {y - top:.7e}\n" for x, y in face.points.tolist())
    put(root, f"{_where('Landmarks', in_archives)}/{stem}_landmarks.txt", lines.encode())


def _put_labels(root: Path, one: _Sequence, peak: float, frames: int, in_archives: bool) -> None:
    stem = f"{one.subject}/{one.number}/{one.subject}_{one.number}_{frames:08d}"
    emotion = root / _where("Emotion", in_archives)
    (emotion / one.subject / one.number).mkdir(parents=True, exist_ok=True)
    if one.labelled:
        put(emotion, f"{stem}_emotion.txt", f"   {CKPlus.CLASSES.index(one.emotion) + 1:.7e}\n".encode())
    lines = []
    for i, (unit, strength) in enumerate(emotion_units(one.emotion).items()):
        degree = 0 if i % 3 == 2 else min(5, max(1, round(4 * strength * peak)))
        lines.append(f"   {unit:.7e}   {degree:.7e}\n")
    put(root / _where("FACS", in_archives), f"{stem}_facs.txt", "".join(lines).encode())
