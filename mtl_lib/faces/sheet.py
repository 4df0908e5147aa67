"""A contact sheet: many faces of a set in one picture, with their landmarks and labels."""

import io

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mtl_lib.errors import ConfigError
from mtl_lib.faces.base import FaceSet

_MARGIN = 6
_POINT = (255, 196, 0)
_LABEL_HEIGHT = 16


def contact_sheet(
    faces: FaceSet, count: int = 40, *, seed: int = 0, side: int = 144, columns: int = 8
) -> Image.Image:
    """Draw some faces of a set side by side.

    With labels, as many of each class as fit, class by class; without, at random.

    Parameters
    ----------
    faces : FaceSet
    count : int
        How many at most.
    seed : int
        Of the choice.
    side : int
        Side of a face on the sheet in pixels.
    columns : int

    Returns
    -------
    PIL.Image.Image
        In colour; landmarks are dots, labels stand below the faces.

    Raises
    ------
    ConfigError
        If the number of faces or columns is below 1.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a", "b", "c"), "toy")
    >>> contact_sheet(faces, columns=2, side=20).size
    (58, 58)
    """
    if count < 1 or columns < 1:
        raise ConfigError(f"a sheet of {count} faces in {columns} columns is empty; both must be at least 1")
    chosen = faces.select(_choice(faces, count, seed))
    labelled = chosen.labels is not None
    columns = min(columns, len(chosen))
    cell = side + _MARGIN, side + _MARGIN + (_LABEL_HEIGHT if labelled else 0)
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for i in range(len(chosen)):
        x, y = _MARGIN + i % columns * cell[0], _MARGIN + i // columns * cell[1]
        tile = Image.fromarray(chosen.images[i, 0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
        if chosen.landmarks is not None:
            tile = _with_points(tile, chosen.landmarks[i].numpy(), side / chosen.size)
        sheet.paste(tile, (x, y))
        if labelled:
            pen.text(
                (x + 1, y + side + 1), chosen.classes[int(chosen.labels[i])], fill=(20, 20, 20), font=font
            )
    return sheet


def sheet_png(sheet: Image.Image) -> bytes:
    """The sheet as the bytes of a PNG file.

    Examples
    --------
    >>> sheet_png(Image.new("RGB", (2, 2)))[:4]
    b'\\x89PNG'
    """
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _choice(faces: FaceSet, count: int, seed: int) -> torch.Tensor:
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(seed))
    if faces.labels is None:
        return order[:count].sort().values
    # Rank of each face within its class, in random order: the first of every class, then the second, ...
    labels = faces.labels[order]
    rank = torch.empty_like(labels)
    for label in range(len(faces.classes)):
        mine = (labels == label).nonzero()[:, 0]
        rank[mine] = torch.arange(len(mine))
    chosen = order[rank.argsort(stable=True)[:count]]
    return chosen[faces.labels[chosen].argsort(stable=True)]


def _with_points(tile: Image.Image, points: np.ndarray, scale: float) -> Image.Image:
    tile = tile.convert("RGB")
    pen = ImageDraw.Draw(tile)
    radius = max(1.0, tile.width / 130)
    for x, y in (points + 0.5) * scale - 0.5:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_POINT)
    return tile
