"""Cutting a face out of a picture, and finding the way back.

A crop is a square ``(left, top, side)`` in pixels of the original, measured from the picture's *edge* (the
first pixel covers 0 to 1), resized to ``size`` pixels.  Landmarks are measured from the first pixel's
*centre*; the half pixel between the two conventions is dealt with here and nowhere else.
"""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from mtl_lib.errors import DataError

MARGIN = 0.2
"""The paper's "extended with scale ratio 0.2", read as 0.2 of the box on each side: 98.7 % of faces then lie
wholly inside, 70.7 % at half of it."""


def landmark_box(points: Float[Tensor, "*N 68 2"], margin: float | int = MARGIN) -> Float[Tensor, "*N 3"]:
    """The square around a face: the landmarks' box, made square on its longer side, extended by ``margin``.

    Parameters
    ----------
    points : Tensor, [..., 68, 2]
        In pixels of the original.
    margin : float
        Extension on each side, as a part of the box's longer side.

    Returns
    -------
    Tensor, [..., 3]
        ``(left, top, side)``.  It may reach beyond the picture.

    Examples
    --------
    >>> points = torch.zeros(68, 2)
    >>> points[0], points[1] = torch.tensor([9.5, 4.5]), torch.tensor([19.5, 9.5])
    >>> points[2:] = points[0]
    >>> landmark_box(points)  # 10 wide, 2 more on each side
    tensor([ 8.0000,  0.5000, 14.0000])
    """
    low, high = points.amin(-2), points.amax(-2)
    side = (high - low).amax(-1) * (1 + 2 * margin)
    corner = (low + high) / 2 + 0.5 - side[..., None] / 2
    return torch.cat((corner, side[..., None]), -1)


def box_square(
    box: tuple[float | int, float | int, float | int, float | int], margin: float | int = MARGIN
) -> tuple[float, float, float]:
    """The square around a box that is given: :func:`landmark_box` for a detector's answer.

    Parameters
    ----------
    box : (left, top, right, bottom)
        In pixels of the original, pixel centres at integers as for landmarks.
    margin : float
        Extension on each side, as a part of the box's longer side.

    Returns
    -------
    (left, top, side)

    Raises
    ------
    DataError
        If the box has no extent.

    Examples
    --------
    >>> box_square((9.5, 4.5, 19.5, 9.5))
    (8.0, 0.5, 14.0)
    """
    left, top, right, bottom = (float(v) for v in box)
    if not (right > left and bottom > top and np.isfinite([left, top, right, bottom]).all()):
        raise DataError(
            f"the face's box (left {left:g}, top {top:g}, right {right:g}, bottom {bottom:g}) is empty"
        )
    side = max(right - left, bottom - top) * (1 + 2 * margin)
    return (left + right) / 2 + 0.5 - side / 2, (top + bottom) / 2 + 0.5 - side / 2, side


def to_crop(
    points: Float[Tensor, "N 68 2"], crop: Float[Tensor, "N 3"], size: int
) -> Float[Tensor, "N 68 2"]:
    """Landmarks in pixels of the original to pixels of the crop.

    Examples
    --------
    >>> points = torch.full((1, 68, 2), 9.5)
    >>> to_crop(points, torch.tensor([[5.0, 5.0, 10.0]]), 20)[0, 0]  # its middle
    tensor([9.5000, 9.5000])
    """
    return (points + 0.5 - crop[:, None, :2]) * (size / crop[:, None, 2:]) - 0.5


def to_original(
    points: Float[Tensor, "N 68 2"], crop: Float[Tensor, "N 3"], size: int
) -> Float[Tensor, "N 68 2"]:
    """Landmarks in pixels of the crop back to pixels of the original; undoes :func:`to_crop`.

    Examples
    --------
    >>> points, crop = torch.rand(1, 68, 2) * 50, torch.tensor([[5.0, -5.0, 10.0]])
    >>> torch.allclose(to_original(to_crop(points, crop, 96), crop, 96), points, atol=1e-4)
    True
    """
    return (points + 0.5) * (crop[:, None, 2:] / size) + crop[:, None, :2] - 0.5


def cut(picture: np.ndarray, crop: tuple[float, float, float], size: int) -> np.ndarray:
    """The pixels of a crop, with the picture's border repeated where the crop reaches beyond it.

    Clipping the square instead would stretch or shift the face; black padding would tell a network where
    the picture ended.

    Parameters
    ----------
    picture : numpy.ndarray, uint8, [height, width]
    crop : (left, top, side)
    size : int

    Returns
    -------
    numpy.ndarray, uint8, [size, size]

    Raises
    ------
    DataError
        If the crop does not touch the picture or has no extent.

    Examples
    --------
    >>> cut(np.arange(16, dtype=np.uint8).reshape(4, 4), (1.0, 1.0, 2.0), 2)
    array([[ 5,  6],
           [ 9, 10]], dtype=uint8)
    """
    left, top, side = (float(v) for v in crop)
    height, width = picture.shape
    if not side > 0 or left >= width or top >= height or left + side <= 0 or top + side <= 0:
        raise DataError(
            f"the face's square (left {left:.1f}, top {top:.1f}, side {side:.1f}) lies outside the picture "
            f"of {width}x{height} pixels; its landmarks are wrong"
        )
    before_x, before_y = max(0, int(np.ceil(-left))), max(0, int(np.ceil(-top)))
    after_x, after_y = max(0, int(np.ceil(left + side - width))), max(0, int(np.ceil(top + side - height)))
    if max(before_x, before_y, after_x, after_y) > 0:
        if max(before_x + after_x, before_y + after_y) > 20 * max(height, width):
            raise DataError(
                f"the face's square has a side of {side:.0f} pixels in a picture of {width}x{height}"
            )
        picture = np.pad(picture, ((before_y, after_y), (before_x, after_x)), mode="edge")
    left, top = left + before_x, top + before_y
    # Rounding must not push the box a hair beyond the padded picture, which Pillow refuses.
    right, bottom = min(left + side, picture.shape[1]), min(top + side, picture.shape[0])
    small = Image.fromarray(picture).resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
    )
    return np.asarray(small)


def whole_picture(height: int, width: int) -> tuple[float, float, float]:
    """The smallest square that holds a whole picture, about its middle.

    Examples
    --------
    >>> whole_picture(100, 80)
    (-10.0, 0.0, 100.0)
    """
    side = float(max(height, width))
    return (width - side) / 2, (height - side) / 2, side
