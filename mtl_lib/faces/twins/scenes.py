"""Rendered faces put into larger pictures, as in sets that are collected from photographs."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mtl_lib.faces.twins.common import Drawn


def photograph(
    faces: Sequence[Drawn], seed: int, beyond: bool = False
) -> tuple[UInt8[np.ndarray, "H W"], list[Float[Tensor, "68 2"]]]:
    """One picture that holds the faces side by side, of a size of its own.

    Parameters
    ----------
    faces : sequence of Drawn
        One or more, of equal size.
    seed : int
        Of the picture's size, its background and the faces' places.
    beyond : bool
        Cut the picture so narrow that the outermost face's landmarks reach beyond its border.

    Returns
    -------
    picture : numpy.ndarray, uint8, [H, W]
    points : list of Tensor, [68, 2]
        Each face's landmarks in pixels of the picture.

    Examples
    --------
    >>> from mtl_lib.faces.twins.common import draw_faces
    >>> picture, points = photograph(list(draw_faces(2, pixels=32)), seed=0)
    >>> picture.shape[1] > 64, len(points)
    (True, 2)
    """
    chance = np.random.default_rng(seed)
    side = faces[0].pixels.shape[0]
    left, right, above, below = (int(v) for v in chance.integers(side // 8, side * 3 // 4, 4))
    width, height = left + side * len(faces) + right, above + side + below
    ground = chance.integers(20, 220, (max(2, height // 24), max(2, width // 24)), dtype=np.uint8)
    canvas = np.asarray(
        Image.fromarray(ground).resize((width, height), Image.Resampling.BICUBIC), dtype=float
    )
    # The tile's own background fades into the picture's within a tenth of its side.
    ramp = np.minimum(1, (np.minimum(np.arange(side), np.arange(side)[::-1]) + 1) / (side / 10))
    weight = np.minimum(ramp[:, None], ramp[None, :])
    canvas = canvas.copy()
    points = []
    for place, face in enumerate(faces):
        x = left + side * place
        here = canvas[above : above + side, x : x + side]
        canvas[above : above + side, x : x + side] = weight * face.pixels + (1 - weight) * here
        points.append(face.points + torch.tensor([float(x), float(above)]))
    if beyond:
        cut = int(points[-1][:, 0].max()) - side // 12
        canvas = canvas[:, :cut]
    return canvas.round().astype(np.uint8), points
