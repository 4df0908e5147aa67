"""One picture in, the same picture with landmarks and expression out."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mtl_lib import atomic
from mtl_lib.errors import DataError
from mtl_lib.evaluate import TrainedModel, predict
from mtl_lib.faces.crops import cut, to_original
from mtl_lib.faces.reading import read_gray
from mtl_lib.landmarks import GROUPS

CLOSED = ("left_eye", "right_eye", "outer_lips", "inner_lips")  # outlines that end where they begin
LEAST_SIDE = 480  # smaller pictures are enlarged before anything is drawn on them


@dataclass(frozen=True)
class PicturePrediction:
    """What was found in a picture, and where the drawing of it is.

    Attributes
    ----------
    picture, drawing : pathlib.Path
        The picture read and the PNG written.
    ranking : list of (str, float)
        Expressions with their probabilities, most probable first; empty if the run has no such task.
    """

    picture: Path
    drawing: Path
    ranking: list[tuple[str, float]]

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {100 * p:.0f} %" for name, p in self.ranking[:3])
        return f"{self.picture}: {shown or 'landmarks'} -> {self.drawing}"


def predict_picture(
    model: TrainedModel,
    picture: str | os.PathLike,
    out: str | os.PathLike,
    box: tuple[int, int, int, int] | None = None,
) -> PicturePrediction:
    """Find expression and landmarks of the face in a picture, and draw them.

    The networks were trained on crops; they do not search for a face.  Without a box the largest square in
    the middle of the picture is taken for one.

    Parameters
    ----------
    model : TrainedModel
        From :func:`mtl_lib.evaluate.load_run`.
    picture : path-like
        A picture file of any kind; its gray values are used.
    out : path-like
        Folder for the drawing, ``<name of the picture>.png``.
    box : (left, top, right, bottom), optional
        The face's box in pixels.

    Returns
    -------
    PicturePrediction
        Ranking and the path of the drawing.

    Raises
    ------
    DataError
        If the picture cannot be read, or the box does not lie on it.
    """
    picture, out = Path(picture), Path(out)
    gray = read_gray(picture)
    crop = square(gray.shape, box, picture)
    pixels = model.config.pixels
    face = torch.from_numpy(cut(gray, crop, pixels).copy())[None, None]
    found = predict(model, face)
    ranking = []
    if found.probabilities is not None:
        pairs = zip(found.classes, found.probabilities[0].tolist(), strict=True)
        ranking = sorted(pairs, key=lambda pair: -pair[1])
    points = None
    if found.landmarks is not None:
        points = to_original(found.landmarks, torch.tensor([crop]), pixels)[0].numpy()
    path = out / f"{picture.stem}.png"
    _write(draw(gray, points, ranking), path)
    return PicturePrediction(picture, path, ranking)


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


def draw(gray: np.ndarray, points: np.ndarray | None, ranking: list[tuple[str, float]]) -> Image.Image:
    """The picture with the 68 points joined to the outlines they stand for, and the expressions below."""
    factor = max(1, -(-LEAST_SIDE // min(gray.shape)))
    height, width = (factor * side for side in gray.shape)
    canvas = Image.new("RGB", (width, height + (64 if ranking else 0)), "white")
    canvas.paste(Image.fromarray(gray).resize((width, height), Image.Resampling.BICUBIC))
    pen = ImageDraw.Draw(canvas)
    if points is not None:
        # A pixel's centre is half a pixel in, in the large picture as in the small one.
        places = [tuple((p + 0.5) * factor - 0.5) for p in points]
        thick = max(1, min(width, height) // 320)
        for name, curve in GROUPS.items():
            outline = [*curve, curve[0]] if name in CLOSED else curve
            pen.line([places[i] for i in outline], fill=(86, 180, 233), width=thick)
        for x, y in places:
            r = 1.5 * thick
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(213, 94, 0))
    for row, (name, probability) in enumerate(ranking[:3]):
        pen.text(
            (8, height + 3 + 20 * row),
            f"{name}  {100 * probability:.0f} %",
            "black",
            ImageFont.load_default(16),
        )
    return canvas


def _write(image: Image.Image, path: Path) -> None:
    data = io.BytesIO()
    image.save(data, format="PNG")
    atomic.write_bytes(path, data.getvalue())
