"""Turning a picture so that the eyes are level, before the face is cut out.

The paper's expression pictures are "aligned and cropped" without a word on how.  The usual reading is a
similarity that puts five detected points in fixed places.  Turn, shift and scale are all that a similarity
can do; shift and scale are the crop's part (:mod:`mtl_lib.faces.crops`), the turn is done here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mtl_lib.errors import DataError
from mtl_lib.faces.entries import Entry


def eye_line(points: Float[Tensor, "68 2"]) -> tuple[float, float, float]:
    """How far the line through the eyes is turned, and its middle.

    Parameters
    ----------
    points : Tensor, [68, 2]
        In the usual order of 68 points (eyes 36 to 41 and 42 to 47).

    Returns
    -------
    turn : float
        Radians, positive if the eye on the right of the picture is lower.
    x, y : float
        Middle of the eyes, in pixels.

    Raises
    ------
    DataError
        If the points cannot be in that order: the eyes change sides, or lie below the mouth.

    Examples
    --------
    >>> from mtl_lib.faces.shape import MEAN_SHAPE
    >>> round(eye_line(MEAN_SHAPE[:, :2].float())[0], 6)
    0.0
    """
    left, right, mouth = (points[a:b].mean(0) for a, b in ((36, 42), (42, 48), (48, 68)))
    across, down = (right - left).tolist(), (mouth - (left + right) / 2).tolist()
    # The mouth is on the right-hand side of somebody who walks along the eyes from left to right.
    if across[0] <= 0 or across[0] * down[1] - across[1] * down[0] <= 0:
        raise DataError(
            "the eyes (points 37 to 48) and the mouth (49 to 68) are not where they belong in a face; the 68 "
            "points are in another order, or damaged"
        )
    x, y = ((left + right) / 2).tolist()
    return math.atan2(across[1], across[0]), x, y


def turn_points(
    points: Float[Tensor, "*N 2"], turn: float | int, x: float | int, y: float | int
) -> Float[Tensor, "*N 2"]:
    """Points turned about ``(x, y)`` by ``-turn``, so that a line at angle ``turn`` becomes level.

    ``-turn`` in place of ``turn`` goes back.

    Examples
    --------
    >>> turn_points(torch.tensor([[1.0, 1.0]]), math.pi / 4, 0, 0).round(decimals=4)
    tensor([[1.4142, 0.0000]])
    """
    cos, sin = math.cos(turn), math.sin(turn)
    dx, dy = points[..., 0] - x, points[..., 1] - y
    return torch.stack((cos * dx + sin * dy + x, cos * dy - sin * dx + y), -1)


def turn_picture(
    picture: UInt8[np.ndarray, "H W"], turn: float | int, x: float | int, y: float | int
) -> UInt8[np.ndarray, "H W"]:
    """The picture turned as :func:`turn_points` turns points; the border is repeated beyond the edge.

    Examples
    --------
    >>> flat = np.full((6, 8), 7, np.uint8)
    >>> bool((turn_picture(flat, 0.3, 4, 3) == 7).all())
    True
    """
    if turn == 0:
        return picture
    height, width = picture.shape
    margin = max(height, width) // 2
    wide = Image.fromarray(np.pad(picture, margin, mode="edge"))
    cos, sin = math.cos(turn), math.sin(turn)
    # Pillow asks where each pixel of the result comes from, in coordinates from the edge (half a pixel more).
    px, py = x + 0.5 + margin, y + 0.5 + margin
    source = (cos, -sin, px - cos * px + sin * py, sin, cos, py - sin * px - cos * py)
    turned = wide.transform(wide.size, Image.Transform.AFFINE, source, Image.Resampling.BILINEAR)
    return np.asarray(turned)[margin : margin + height, margin : margin + width]


@dataclass(frozen=True, eq=False)
class TurnedEntry(Entry):
    """A face whose picture is turned when it is read; ``points`` and ``box`` are those after the turn.

    Parameters
    ----------
    turn : float
        Radians, about ``x, y``; see :func:`turn_picture`.
    x, y : float
        In pixels of the picture.
    """

    turn: float = 0.0
    x: float = 0.0
    y: float = 0.0

    def read(self) -> tuple[np.ndarray, bytes]:
        """Return the turned picture in gray, uint8 [height, width], and a digest of the file."""
        gray, code = super().read()
        return turn_picture(gray, self.turn, self.x, self.y), code
