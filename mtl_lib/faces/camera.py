"""From a head in space to places in the picture."""

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.faces.scene import Scene
from mtl_lib.faces.shape import rotate

PIVOT = (0.0, 0.0, -0.55)
"""The head turns about a point inside it, on the axis of the neck."""

BOX_MARGIN = 0.2
"""The landmarks' box is extended by this part of its side on each side, as in the paper (section 4.1)."""


class View:
    """One camera per face: projects points in space, keeps scale and position.

    The camera is far away (no perspective), and it is pointed as a face detector's box would be: the box of
    the landmarks, extended by :data:`BOX_MARGIN` on each side, made square, give or take a few percent.

    Parameters
    ----------
    scene : Scene
    size : int
        Side of the picture in pixels.

    Examples
    --------
    >>> from mtl_lib.faces.scene import sample_scene
    >>> View(sample_scene(torch.arange(2)), 96).landmarks.shape
    torch.Size([2, 68, 2])
    """

    def __init__(self, scene: Scene, size: int):
        self.pose, self.size = scene.pose, size
        flat = rotate(scene.points, scene.pose, PIVOT)[..., :2]
        low, high = flat.amin(1), flat.amax(1)
        side = (high - low).amax(1) * (1 + 2 * BOX_MARGIN) * scene.look["frame size"]
        self.scale = size / side  # pixels per unit of the face
        jitter = torch.stack((scene.look["frame x"], scene.look["frame y"]), 1) * side[:, None]
        self.centre = (low + high) / 2 + jitter
        self.landmarks: Float[Tensor, "N 68 2"] = self._to_pixels(flat)

    def _to_pixels(self, flat: Tensor) -> Tensor:
        # The picture's edges are at -1/2 and size - 1/2, because pixel centres are at integers.
        return ((flat - self.centre[:, None]) * self.scale[:, None, None] + self.size / 2 - 0.5).float()

    def project(self, points: Tensor) -> Float[Tensor, "N P 2"]:
        """Points [N, P, 3] or [P, 3] of the straight head to pixels.

        Examples
        --------
        >>> from mtl_lib.faces.scene import sample_scene
        >>> scene = sample_scene(torch.arange(2))
        >>> view = View(scene, 96)
        >>> torch.equal(view.project(scene.points), view.landmarks)
        True
        """
        points = points.to(self.pose).expand(len(self.pose), *points.shape[-2:])
        return self._to_pixels(rotate(points, self.pose, PIVOT)[..., :2])
