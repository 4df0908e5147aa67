"""One picture in, the same picture with landmarks and expressions out; :mod:`mtl_lib.own_pictures` does whole folders."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from mtl_lib import atomic
from mtl_lib.errors import ConfigError, DataError
from mtl_lib.evaluate import TrainedModel, predict
from mtl_lib.faces.crops import cut, to_original
from mtl_lib.faces.reading import read_gray
from mtl_lib.landmarks import GROUPS

CLOSED = ("left_eye", "right_eye", "outer_lips", "inner_lips")  # outlines that end where they begin
LEAST_SIDE = 480  # smaller pictures are enlarged before anything is drawn on them


ORIENTATION = 274  # the EXIF tag that says how a camera was held
TURNS = {
    2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose, 6: lambda a: np.rot90(a, 3),
    7: lambda a: np.rot90(a, 2).T, 8: np.rot90,
}  # fmt: skip


@dataclass(frozen=True)
class Face:
    """A face that was looked at.

    Parameters
    ----------
    crop : (float, float, float)
        Left, top and side of the square, in pixels of the picture.
    source : str
        Where it is from: "given", "detected" or "whole picture".
    ranking : list of (str, float)
        Expressions with their probabilities, most probable first; empty if the run has no such task.
    landmarks : ndarray, [68, 2], or None
        In pixels of the picture; None if the run has no such task.
    """

    crop: tuple[float, float, float]
    source: str
    ranking: list[tuple[str, float]]
    landmarks: Float[np.ndarray, "68 2"] | None


@dataclass(frozen=True)
class PicturePrediction:
    """What was found in a picture, and where the drawing of it is.

    Parameters
    ----------
    picture, drawing : pathlib.Path
        The picture read and the PNG written.
    faces : list of Face
        At least one.
    """

    picture: Path
    drawing: Path
    faces: list[Face]

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """The first face's expressions."""
        return self.faces[0].ranking

    def __str__(self) -> str:
        lines = []
        for number, face in enumerate(self.faces, 1):
            shown = ", ".join(f"{name} {100 * p:.0f} %" for name, p in face.ranking[:3]) or "landmarks"
            which = f", face {number}" if len(self.faces) > 1 else ""
            lines.append(f"{self.picture}{which} ({face.source}): {shown}")
        return "\n".join(lines) + f" -> {self.drawing}"


def predict_picture(
    model: TrainedModel,
    picture: str | os.PathLike,
    out: str | os.PathLike,
    box: tuple[int, int, int, int] | None = None,
    *,
    squares: Sequence[tuple[float, float, float]] = (),
    source: str = "given",
    name: str | None = None,
) -> PicturePrediction:
    """Find expression and landmarks of the faces in a picture, and draw them.

    The networks were trained on crops; they do not search for a face.  Without a box the largest square in
    the middle of the picture is taken for one.

    Parameters
    ----------
    model : TrainedModel
        From :func:`mtl_lib.evaluate.load_run`.
    picture : path-like
        A picture file of any kind; its gray values are used, turned as the camera says it was held.
    out : path-like
        Folder for the drawing, ``<name of the picture>.png``.
    box : (left, top, right, bottom), optional
        The face's box in pixels.
    squares : sequence of (left, top, side), optional
        Several faces, instead of a box.
    source : str, optional
        Where box or squares are from, in a word or two.
    name : str, optional
        Another name for the drawing, without its ending.

    Returns
    -------
    PicturePrediction
        What was found, and the path of the drawing.

    Raises
    ------
    DataError
        If the picture cannot be read, or the box does not lie on it.
    ConfigError
        If the drawing would be written over the picture.
    """
    picture, out = Path(picture), Path(out)
    path = out / f"{name or picture.stem}.png"
    if path.exists() and picture.exists() and path.samefile(picture):
        raise ConfigError(
            f"{picture}: the drawing would be written over the picture; name another folder with --out"
        )
    gray = read_upright(picture)
    crops = list(squares) or [square(gray.shape, box, picture)]
    where = source if box is not None or squares else "whole picture"
    pixels = model.config.pixels
    # One face at a time: a face's numbers must not depend on who else is in the picture.
    faces = []
    for crop in crops:
        found = predict(model, torch.from_numpy(cut(gray, crop, pixels).copy())[None, None])
        ranking = []
        if found.probabilities is not None:
            pairs = zip(found.classes, found.probabilities[0].tolist(), strict=True)
            ranking = sorted(pairs, key=lambda pair: -pair[1])
        points = None
        if found.landmarks is not None:
            points = to_original(found.landmarks, torch.tensor([crop]), pixels)[0].numpy()
        faces.append(Face(tuple(float(v) for v in crop), where, ranking, points))
    _write(draw(gray, faces), path)
    return PicturePrediction(picture, path, faces)


def read_upright(picture: str | os.PathLike) -> UInt8[np.ndarray, "H W"]:
    """Read a picture's gray values the way up that its camera recorded; telephones store pictures lying down.

    Parameters
    ----------
    picture : path-like

    Raises
    ------
    DataError
        If the picture cannot be read.
    """
    gray = read_gray(picture)
    with Image.open(picture) as image:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    return gray if turn is None else np.ascontiguousarray(turn(gray))


def square(
    shape: tuple[int, int], box: tuple[int, int, int, int] | None, picture: Path
) -> tuple[float, float, float]:
    """The square to look at, (left, top, side): about the box, or the largest in the middle of the picture.

    Examples
    --------
    >>> square((100, 140), None, Path("a.png"))
    (20.0, 0.0, 100.0)
    >>> square((100, 140), (10, 10, 30, 50), Path("a.png"))
    (0.0, 10.0, 40.0)
    """
    height, width = shape
    if box is None:
        side = float(min(height, width))
        return (width - side) / 2, (height - side) / 2, side
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise DataError(
            f"the box {box} does not lie on the picture of {width}x{height} pixels; give left top right bottom",
            picture,
        )
    side = float(max(right - left, bottom - top))
    return (left + right - side) / 2, (top + bottom - side) / 2, side


def draw(gray: UInt8[np.ndarray, "H W"], faces: Sequence[Face]) -> Image.Image:
    """The picture with every face's 68 points joined to the outlines they stand for, and expressions below.

    Parameters
    ----------
    gray : ndarray, uint8, [H, W]
    faces : sequence of Face
        The square that was looked at is drawn too; if there are several, they are numbered.
    """
    factor = max(1, -(-LEAST_SIDE // min(gray.shape)))
    height, width = (factor * side for side in gray.shape)
    several = len(faces) > 1
    lines = [
        (f"{number}: " if several else "") + f"{name}  {100 * p:.0f} %"
        for number, face in enumerate(faces, 1)
        for name, p in face.ranking[: 1 if several else 3]
    ]
    canvas = Image.new("RGB", (width, height + (4 + 20 * len(lines) if lines else 0)), "white")
    canvas.paste(Image.fromarray(gray).resize((width, height), Image.Resampling.BICUBIC))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    thick = max(1, min(width, height) // 320)
    for number, face in enumerate(faces, 1):
        left, top, side = (factor * v for v in face.crop)
        pen.rectangle((left, top, left + side - 1, top + side - 1), outline=(230, 159, 0), width=thick)
        if several:
            pen.text((left + 4, top + 2), str(number), (230, 159, 0), font)
        if face.landmarks is not None:
            # A pixel's centre is half a pixel in, in the large picture as in the small one.
            places = [tuple((p + 0.5) * factor - 0.5) for p in face.landmarks]
            for name, curve in GROUPS.items():
                outline = [*curve, curve[0]] if name in CLOSED else curve
                pen.line([places[i] for i in outline], fill=(86, 180, 233), width=thick)
            for x, y in places:
                r = 1.5 * thick
                pen.ellipse((x - r, y - r, x + r, y + r), fill=(213, 94, 0))
    for row, line in enumerate(lines):
        pen.text((8, height + 3 + 20 * row), line, "black", font)
    return canvas


def _write(image: Image.Image, path: Path) -> None:
    data = io.BytesIO()
    image.save(data, format="PNG")
    atomic.write_bytes(path, data.getvalue())
