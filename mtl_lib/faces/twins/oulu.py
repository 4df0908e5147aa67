"""Rendered faces in the layout of Oulu-CASIA (:mod:`mtl_lib.faces.oulu`)."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mtl_lib.errors import ConfigError
from mtl_lib.faces.align import eye_line, turn_picture, turn_points
from mtl_lib.faces.crops import cut, landmark_box
from mtl_lib.faces.oulu import IMAGINGS, LIGHTINGS, OuluCASIA
from mtl_lib.faces.twins.common import Drawn, encoded, in_colour, put, write_twin
from mtl_lib.faces.twins.emotions import Shot, draw_shots, enough_pixels, strengths

_BRIGHT = {"Strong": 1.0, "Weak": 0.5, "Dark": 0.2}
FOLDERS = ("PreProcess_Img", "PreProcessImg", "PreProcess")


def write(
    folder: str | os.PathLike,
    *,
    size: int | str | None = None,
    seed: int = 0,
    pixels: int = 240,
    frames: int = 4,
    intensity: tuple[float | int, float | int] = (0.8, 1.2),
    imagings: Sequence[str] = ("VL",),
    lightings: Sequence[str] = ("Strong",),
    cropped: str | None = "PreProcess_Img",
    original: str | None = "OriginalImg",
    progress: bool = False,
) -> Path:
    """Write rendered sequences as Oulu-CASIA has them.

    Quirks that are written too: the makers' crops beside the frames as filmed; one sequence of
    ``VL_Acropped/Strong`` is empty; a Windows ``Thumbs.db``.

    Parameters
    ----------
    folder : path-like
        New or empty.
    size : int or "full", optional
        Faces at one lighting, 18 for each person (the last three frames of six sequences); by default 10 people,
        ``"full"``: 80.
    seed : int
    pixels : int
        Height of the frames as filmed, the real ones have 240 (and 320 across); the crops have 0.4 of it.
    frames : int
        In each sequence, at least 3.
    intensity : (float, float)
        Of the last frame.
    imagings, lightings : sequence of str
        Which of ``VL``, ``NI`` and of ``Strong``, ``Weak``, ``Dark`` to write; the faces are the same.
    cropped : {"PreProcess_Img", "PreProcessImg", "PreProcess"}, optional
        Name of the folder of crops; None: without.
    original : {"OriginalImg", ""}, optional
        Name of the folder of frames as filmed, ``""``: at the top; None: without.
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
    ...     made = write(f"{folder}/oulu", size=18, pixels=24, frames=3)
    ...     OuluCASIA(folder).load(size=24)[0].counts()
    {'anger': 3, 'disgust': 3, 'fear': 0, 'happiness': 3, 'sadness': 3, 'surprise': 3}
    """
    enough_pixels(pixels)
    if frames < 3:
        raise ConfigError(f"{frames} frames in a sequence; the last three are used, so give at least 3")
    _allowed("imagings", imagings, IMAGINGS)
    _allowed("lightings", lightings, LIGHTINGS)
    if (
        cropped not in (*FOLDERS, None)
        or original not in ("OriginalImg", "", None)
        or cropped is original is None
    ):
        raise ConfigError(
            f"the folders are {cropped!r} and {original!r}; see the documentation for those known"
        )
    people = _people(size)
    labels = OuluCASIA.CLASSES
    empty = (seed % people, "fear")
    peaks = strengths(range(people * len(labels)), intensity, seed)
    shots = [
        Shot(label, person * len(labels) + i, person, peaks[person * len(labels) + i] * k / (frames - 1))
        for person in range(people)
        for i, label in enumerate(labels)
        for k in range(frames)
    ]
    counts = {}
    for imaging in imagings:
        for lighting in lightings:
            sequences = people * len(labels)
            if original is not None:
                counts[f"original/{imaging}/{lighting}"] = sequences
            if cropped is not None:
                counts[f"cropped/{imaging}/{lighting}"] = sequences - (
                    (imaging, lighting) == ("VL", "Strong")
                )

    def fill(root: Path) -> None:
        drawn = draw_shots(
            shots, pixels=round(pixels * 4 / 3), framing=1.7, seed=seed, progress=progress, total=len(shots)
        )
        for shot, face in zip(shots, drawn, strict=True):
            place = f"P{shot.person + 1:03d}/{shot.emotion.capitalize()}"
            name = f"{face.number % frames:03d}.jpeg"
            small = _crop(face, round(0.4 * pixels))
            top = (face.pixels.shape[0] - pixels) // 2
            for imaging in imagings:
                for lighting in lightings:
                    if original is not None:
                        wide = face.pixels[top : top + pixels]
                        base = f"{original}/{imaging}".lstrip("/")
                        put(root, f"{base}/{lighting}/{place}/{name}", _lit(wide, imaging, lighting, shot))
                    if cropped is None:
                        continue
                    base = f"{cropped}/{imaging}_Acropped/{lighting}"
                    if (imaging, lighting) == ("VL", "Strong") and (shot.person, shot.emotion) == empty:
                        (root / base / place).mkdir(parents=True, exist_ok=True)
                    else:
                        put(root, f"{base}/{place}/{name}", _lit(small, imaging, lighting, shot))
        for imaging in imagings if cropped is not None else ():
            put(root, f"{cropped}/{imaging}_Acropped/{lightings[0]}/P001/Anger/Thumbs.db", b"\0")

    return write_twin(folder, OuluCASIA.NAME, counts, seed, fill)


def _allowed(what: str, given: Sequence[str], names: Sequence[str]) -> None:
    if not given or set(given) - set(names):
        raise ConfigError(f"{what} are {tuple(given)}; they must be some of {', '.join(names)}")


def _people(size: int | str | None) -> int:
    if size is None:
        return 10
    if size == "full":
        return OuluCASIA.SUBJECTS
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"the size of a twin is {size!r}; it must be a number of faces or 'full'")
    return max(1, round(size / (3 * len(OuluCASIA.CLASSES))))


def _crop(face: Drawn, side: int) -> UInt8[np.ndarray, "S S"]:
    """The face upright and close, as the makers' crops are."""
    turn, x, y = eye_line(face.points)
    points = turn_points(face.points, turn, x, y)
    return cut(turn_picture(face.pixels, turn, x, y), tuple(landmark_box(points, 0.08).tolist()), side)


def _lit(gray: UInt8[np.ndarray, "H W"], imaging: str, lighting: str, shot: Shot) -> bytes:
    """The frame at a lighting: near-infrared lamps do not care, other light fades into noise."""
    values = gray.astype(np.float32)
    if imaging == "NI":
        return encoded(Image.fromarray((40 + 0.8 * values).clip(0, 255).astype(np.uint8)), "JPEG")
    if _BRIGHT[lighting] < 1:
        chance = np.random.default_rng((shot.number, round(1000 * shot.intensity)))
        values = _BRIGHT[lighting] * values + chance.normal(0, 3, gray.shape)
    return encoded(in_colour(values.clip(0, 255).astype(np.uint8), shot.person), "JPEG")
