"""A scene as a painter needs it: landmarks in pixels, lengths in pixels, looks ready to be multiplied."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mtl_lib.faces.camera import View
from mtl_lib.faces.scene import Scene
from mtl_lib.faces.shape import UNIT_NUMBERS


class Sitter:
    """A scene as the painter needs it: points in pixels, looks as ``[B, 1, 1]``, widths in pixels."""

    def __init__(self, scene: Scene, view: View):
        self.scene, self.view, self.size = scene, view, view.size
        self.points = view.landmarks
        self.unit = view.scale.float()  # pixels per unit of the face
        self.soft = 0.6
        self.look = {name: value.float()[:, None, None] for name, value in scene.look.items()}
        self.flat = {name: value.float() for name, value in scene.look.items()}
        self.action = scene.action.float()

    def length(self, value: float | int | Tensor) -> Tensor:
        """A length on the face (or one per face, [B, 1, 1]) in pixels, [B, 1, 1]."""
        return value * self.unit[:, None, None]

    def arrow(self, x: float | int, y: float | int) -> Tensor:
        """A displacement on the face in pixels, [B, 2]."""
        return torch.stack((x * self.unit, y * self.unit), 1)

    def unit_strength(self, *numbers: int, side: int | None = None) -> Tensor:
        """Summed strength of some action units, [B, 1, 1]; ``side`` 0 is left."""
        columns = [UNIT_NUMBERS[n] for n in numbers]
        chosen = self.action[:, :, columns].sum(-1)
        return (chosen.mean(1) if side is None else chosen[:, side])[:, None, None]

    def grid(self, pixels: int) -> tuple[Tensor, Tensor]:
        """Where the centres of a coarse ``pixels`` x ``pixels`` picture lie in the full one, [B, h, w] each."""
        step = self.size / pixels
        axis = (torch.arange(pixels, device=self.points.device) + 0.5) * step - 0.5
        shape = (len(self.points), pixels, pixels)
        return axis[None, None, :].expand(shape), axis[None, :, None].expand(shape)

    def head_frame(self, pixels: int) -> tuple[Tensor, Tensor]:
        """The same centres in units of the face about the middle of the head, roll undone."""
        x, y = self.grid(pixels)
        middle = self.view.project(torch.tensor([[0.0, -0.10, -0.30]]))[:, 0]
        x = (x - middle[:, 0, None, None]) / self.unit[:, None, None]
        y = (y - middle[:, 1, None, None]) / self.unit[:, None, None]
        roll = self.scene.pose[:, 2].float()[:, None, None]
        return roll.cos() * x + roll.sin() * y, roll.cos() * y - roll.sin() * x


def enlarge(coarse: Tensor, size: int) -> Tensor:
    """A smooth field to full resolution."""
    return F.interpolate(coarse[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def over(under: Tensor, alpha: Tensor, colour: Tensor) -> Tensor:
    """``colour`` laid over ``under``, ``alpha`` of it."""
    return torch.addcmul(under, alpha, colour - under)
