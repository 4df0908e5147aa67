"""Rendered faces in the layouts of AffectNet's two releases (:mod:`mtl_lib.faces.affectnet`)."""

import io
import os
from pathlib import Path

import numpy as np

from mtl_lib.errors import ConfigError
from mtl_lib.faces.affectnet import COLUMNS, NO_EXPRESSION, AffectNet
from mtl_lib.faces.twins.common import Drawn, encoded, in_colour, part_counts, put, write_twin
from mtl_lib.faces.twins.emotions import Shot, draw_wild, enough_pixels, one_each, shared_out

_VALENCE = {
    "neutral": 0.0, "happiness": 0.8, "sadness": -0.7, "surprise": 0.1, "fear": -0.4, "disgust": -0.6, "anger": -0.6,
    "contempt": -0.5,
}  # fmt: skip
_AROUSAL = {
    "neutral": 0.0, "happiness": 0.3, "sadness": -0.3, "surprise": 0.8, "fear": 0.8, "disgust": 0.3, "anger": 0.7,
    "contempt": 0.1,
}  # fmt: skip
"""Where each emotion roughly lies in the plane of pleasure and activation, so that the columns hold something."""


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | None = None,
    seed: int = 0,
    pixels: int = 128,
    release: str = "full",
    intensity: tuple[float | int, float | int] = (0.4, 1.2),
    progress: bool = False,
) -> Path:
    """Write rendered faces as AffectNet has them, each class as frequent as in the real training part.

    Quirks that are written too.  Full: lines labelled none, uncertain and no face, the last without a box; a
    validation table without column names; pictures in folders by number.  Mini: labels as strings in ``.npy``
    files, numbers with gaps.

    Parameters
    ----------
    folder : path-like
        New or empty.
    size : int or "full", optional
        Faces in all; by default 80 and 24; ``"full"``: 291,651.
    seed : int
    pixels : int
        Side of the faces; the mini release has 224.
    release : {"full", "mini"}
    intensity : (float, float)
    progress : bool

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If the folder holds something or a choice does not exist.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write(f"{folder}/affectnet", size=20, pixels=24, release="mini")
    ...     AffectNet(folder).release
    'mini'
    """
    enough_pixels(pixels)
    if release not in ("full", "mini"):
        raise ConfigError(f"the release is {release!r}; it must be 'full' or 'mini'")
    counts = part_counts(AffectNet.PUBLISHED, size, {"train": 80, "validation": 24})
    plan = [(part, label) for part in AffectNet.PARTS for label in _labels(part, counts[part], seed)]
    shots = one_each([label for _, label in plan], intensity, seed)

    def fill(root: Path) -> None:
        drawn = draw_wild(
            shots, pixels=pixels, seed=seed, framing=1.3 if release == "full" else 1.0, progress=progress
        )
        lines: dict[str, list[str]] = {part: [] for part in AffectNet.PARTS}
        for (part, label), shot, face in zip(plan, shots, drawn, strict=True):
            (_put_mini if release == "mini" else _put_full)(root, part, label, shot, face, lines[part])
        if release == "full":
            _put_tables(root, lines)

    return write_twin(folder, AffectNet.NAME, counts, seed, fill)


def _labels(part: str, count: int, seed: int) -> list[str]:
    frequencies = AffectNet.PUBLISHED_CLASSES if part == "train" else dict.fromkeys(AffectNet.CLASSES, 500)
    return shared_out(frequencies, count, seed)


def _affect(label: str, shot: Shot) -> tuple[float, float]:
    scale = min(1.0, shot.intensity)
    return round(_VALENCE[label] * scale, 6), round(_AROUSAL[label] * scale, 6)


def _put_full(root: Path, part: str, label: str, shot: Shot, face: Drawn, lines: list[str]) -> None:
    name = f"{shot.number // 50 + 1}/{part[:2]}{shot.number:06x}.jpg"
    put(root, f"Manually_Annotated_Images/{name}", encoded(in_colour(face.pixels, shot.number), "JPEG"))
    low, high = face.points.amin(0).floor().int().tolist(), face.points.amax(0).ceil().int().tolist()
    points = ";".join(f"{value:.2f}" for value in face.points.flatten().tolist())
    box = (*low, high[0] - low[0] + 1, high[1] - low[1] + 1)
    code = AffectNet.CLASSES.index(label)
    lines.append(",".join(map(str, (name, *box, points, code, *_affect(label, shot)))))


def _put_mini(root: Path, part: str, label: str, shot: Shot, face: Drawn, lines: list[str]) -> None:
    base, stem = {"train": "train_set", "validation": "val_set"}[part], 3 * shot.number
    put(root, f"{base}/images/{stem}.jpg", encoded(in_colour(face.pixels, shot.number), "JPEG"))
    valence, arousal = _affect(label, shot)
    values = {
        "exp": np.array(str(AffectNet.CLASSES.index(label))),
        "val": np.array(str(valence)),
        "aro": np.array(str(arousal)),
        "lnd": face.points.flatten().numpy().astype(np.float64),
    }
    for kind, value in values.items():
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=False)
        put(root, f"{base}/annotations/{stem}_{kind}.npy", buffer.getvalue())


def _put_tables(root: Path, lines: dict[str, list[str]]) -> None:
    blank = encoded(in_colour(np.full((24, 24), 90, np.uint8), 0), "JPEG")
    for code in NO_EXPRESSION:
        name = f"1/none{code}.jpg"
        put(root, f"Manually_Annotated_Images/{name}", blank)
        box = ("NULL",) * 5 if code == 10 else (2, 2, 20, 20, "")
        lines["train"].append(",".join(map(str, (name, *box, code, -2, -2))))
    put(root, "training.csv", "\n".join([",".join(COLUMNS), *lines["train"], ""]).encode())
    put(root, "validation.csv", "\n".join([*lines["validation"], ""]).encode())
