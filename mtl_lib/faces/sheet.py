"""A contact sheet: many faces of a set in one picture, with their landmarks and labels, augmented if wanted."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mtl_lib.errors import ConfigError
from mtl_lib.faces.base import FaceSet
from mtl_lib.transforms import augment

_OFF: Mapping[str, Any] = {
    "flip": 0, "rotation": 0, "scale": (1.0, 1.0), "shift": 0, "crop": 1, "noise": 0,
}  # fmt: skip
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "as it is": _OFF,
    "mirrored": {**_OFF, "flip": 1},
    "turned": {**_OFF, "rotation": 30},
    "smaller": {**_OFF, "scale": (0.8, 0.8)},
    "larger": {**_OFF, "scale": (1.2, 1.2)},
    "shifted": {**_OFF, "shift": 0.08},
    "cropped": {**_OFF, "crop": 0.8},
    "noise": {**_OFF, "noise": 0.02},
    "as in training": {},
}
"""Settings of :func:`mtl_lib.transforms.augment`: each augmentation alone, then its defaults, all at once."""

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
        sheet.paste(_tile(chosen, i, side), (x, y))
        if labelled:
            pen.text(
                (x + 1, y + side + 1), chosen.classes[int(chosen.labels[i])], fill=(20, 20, 20), font=font
            )
    return sheet


def augmented(faces: FaceSet, seed: int = 0) -> Iterator[tuple[str, FaceSet]]:
    """Every augmentation of training, applied to all faces of a set.

    Parameters
    ----------
    faces : FaceSet
        With landmarks or without.
    seed : int
        Of the random amounts.

    Yields
    ------
    str, FaceSet
        The name from :data:`LOOKS`, and the faces: pixels and landmarks moved alike.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a",), "toy")
    >>> [name for name, _ in augmented(faces)][:3]
    ['as it is', 'mirrored', 'turned']
    """
    for name, settings in LOOKS.items():
        images, landmarks = augment(
            faces.images, faces.landmarks, torch.Generator().manual_seed(seed), **settings
        )
        pixels = (255 * images).round().clamp(0, 255).to(torch.uint8)
        yield name, replace(faces, images=pixels, landmarks=landmarks)


def augmentation_sheet(faces: FaceSet, count: int = 40, *, seed: int = 0, side: int = 144) -> Image.Image:
    """Draw some faces of a set, a row for each: as it is, then under every augmentation of :data:`LOOKS`.

    Parameters
    ----------
    faces : FaceSet
    count : int
        How many at most.
    seed : int
        Of the choice, and of the random amounts.
    side : int
        Side of a face on the sheet in pixels.

    Returns
    -------
    PIL.Image.Image
        In colour; landmarks are dots, the augmentations' names stand above, labels below the first face of a row.

    Raises
    ------
    ConfigError
        If the number of faces is below 1.

    Examples
    --------
    >>> faces = FaceSet(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), None, (), None, ("a", "b", "c"), "toy")
    >>> augmentation_sheet(faces, side=20).size
    (240, 100)
    """
    if count < 1:
        raise ConfigError(f"a sheet of {count} faces is empty; give at least 1")
    chosen = faces.select(_choice(faces, count, seed))
    labelled = chosen.labels is not None
    across, down = side + _MARGIN, side + _MARGIN + (_LABEL_HEIGHT if labelled else 0)
    top = _LABEL_HEIGHT + _MARGIN
    sheet = Image.new("RGB", (len(LOOKS) * across + _MARGIN, top + len(chosen) * down), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for column, (name, look) in enumerate(augmented(chosen, seed)):
        x = _MARGIN + column * across
        pen.text((x + 1, 3), name, fill=(20, 20, 20), font=font)
        for row in range(len(look)):
            y = top + row * down
            sheet.paste(_tile(look, row, side), (x, y))
            if labelled and not column:
                label = chosen.classes[int(chosen.labels[row])]
                pen.text((x + 1, y + side + 1), label, fill=(20, 20, 20), font=font)
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


def _tile(faces: FaceSet, i: int, side: int) -> Image.Image:
    tile = Image.fromarray(faces.images[i, 0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
    if faces.landmarks is not None:
        tile = _with_points(tile, faces.landmarks[i].numpy(), side / faces.size)
    return tile


def _with_points(tile: Image.Image, points: np.ndarray, scale: float) -> Image.Image:
    tile = tile.convert("RGB")
    pen = ImageDraw.Draw(tile)
    radius = max(1, round(tile.width / 130))
    # Rounded: Pillow cuts fractions off, which would draw every dot too far up and to the left.
    for x, y in np.rint((points + 0.5) * scale - 0.5).astype(int).tolist():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_POINT)
    return tile
