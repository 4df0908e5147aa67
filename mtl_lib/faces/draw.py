"""Drawing primitives: smooth curves, signed distances, windows into a batch of pictures.

Everything is element by element over ``[B, h, w]`` tensors, so the result for one face does not depend on
the batch it is drawn in, and runs on any device.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def smooth_curve(points: Float[Tensor, "B V 2"]) -> Float[Tensor, "B W 2"]:
    """An open curve through all points with one more between each two (four-point interpolation).

    The given points stay on the curve, so what is drawn along it passes exactly through the landmarks.

    Examples
    --------
    >>> line = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]])
    >>> smooth_curve(line)[0, :, 0]
    tensor([0.0000, 0.5000, 1.0000, 1.5000, 2.0000])
    """
    first = 2 * points[:, :1] - points[:, 1:2]
    last = 2 * points[:, -1:] - points[:, -2:-1]
    padded = torch.cat((first, points, last), 1)
    between = (9 * (padded[:, 1:-2] + padded[:, 2:-1]) - padded[:, :-3] - padded[:, 3:]) / 16
    count = points.shape[1]
    woven = torch.stack((points[:, :-1], between), 2).flatten(1, 2)
    assert woven.shape[1] == 2 * (count - 1)
    return torch.cat((woven, points[:, -1:]), 1)


def curve_distance(
    x: Float[Tensor, "B h w"], y: Float[Tensor, "B h w"], curve: Float[Tensor, "B V 2"]
) -> Float[Tensor, "B h w"]:
    """Distance of every pixel to an open curve, in the unit of ``x`` and ``y``.

    Parameters
    ----------
    x, y : Tensor, [B, h, w]
        Where the pixels are.
    curve : Tensor, [B, V, 2]

    Examples
    --------
    >>> line = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    >>> curve_distance(torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[3.0, 4.0]]]), line)
    tensor([[[3., 5.]]])
    """
    return _walk(x, y, curve, sides=False)[0].sqrt_()


def outline_distance(
    x: Float[Tensor, "B h w"], y: Float[Tensor, "B h w"], *parts: Float[Tensor, "B V 2"]
) -> tuple[Float[Tensor, "B h w"], ...]:
    """Signed distance to an outline made of open curves end to end, and the distance to each of them.

    Parameters
    ----------
    x, y : Tensor, [B, h, w]
    parts : Tensor, [B, V, 2]
        Each begins where the one before ends; the last ends where the first begins.

    Returns
    -------
    signed : Tensor, [B, h, w]
        Negative inside.
    distances : Tensor, [B, h, w] for each part

    Examples
    --------
    >>> up = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]]])
    >>> down = torch.tensor([[[2.0, 2.0], [0.0, 2.0], [0.0, 0.0]]])
    >>> at = torch.tensor([[[1.0, 5.0]]])
    >>> outline_distance(at, torch.ones_like(at), up, down)[0]
    tensor([[[-1.,  3.]]])
    """
    walks = [_walk(x, y, part, sides=True) for part in parts]
    nearest, inside = walks[0]
    for square, crossed in walks[1:]:
        nearest, inside = torch.minimum(nearest, square), inside ^ crossed
    distance = nearest.sqrt()
    return torch.where(inside, -distance, distance), *(square.sqrt_() for square, _ in walks)


def _walk(x: Tensor, y: Tensor, curve: Tensor, sides: bool) -> tuple[Tensor, Tensor | None]:
    """Squared distance to a curve; whether a ray to the left of each pixel crosses it an odd number of times."""
    px, py = curve[..., 0, None, None], curve[..., 1, None, None]
    nearest, odd = None, None
    ax, ay = x - px[:, 0], y - py[:, 0]  # each vertex serves two edges
    for i in range(curve.shape[1] - 1):
        ex, ey = px[:, i + 1] - px[:, i], py[:, i + 1] - py[:, i]
        length = (ex * ex + ey * ey).clamp_min(1e-12)
        along = torch.addcmul(ax * (ex / length), ay, ey / length).clamp_(0, 1)
        dx, dy = torch.addcmul(ax, along, ex, value=-1), torch.addcmul(ay, along, ey, value=-1)
        square = dx.mul_(dx).addcmul_(dy, dy)
        nearest = square if nearest is None else torch.minimum(nearest, square, out=nearest)
        by = y - py[:, i + 1]
        if sides:
            crosses = ((ay >= 0) != (by >= 0)) & (((ex * ay - ey * ax) > 0) != (ey > 0))
            odd = crosses if odd is None else odd.logical_xor_(crosses)
        ax, ay = x - px[:, i + 1], by
    return nearest, odd


def cover(distance: Float[Tensor, "B h w"], softness: float | int = 0.5) -> Float[Tensor, "B h w"]:
    """How much of each pixel lies inside an outline: 1 within, 0 beyond, a ramp of width ``2 * softness``.

    Examples
    --------
    >>> cover(torch.tensor([[[-3.0, 0.0, 3.0]]]))
    tensor([[[1.0000, 0.5000, 0.0000]]])
    """
    return (0.5 - distance / (2 * softness)).clamp_(0, 1)


def bell(
    x: Float[Tensor, "B h w"],
    y: Float[Tensor, "B h w"],
    centre: Float[Tensor, "B 2"],
    width: Float[Tensor, " B"],
    height: Float[Tensor, " B"],
) -> Float[Tensor, "B h w"]:
    """A smooth spot: 1 at the centre, falling off as a Gaussian with the given half-axes.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> bell(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), torch.zeros(1, 2), one, one)
    tensor([[[1.]]])
    """
    u = (x - centre[:, 0, None, None]) * (0.70710678 / width[:, None, None])
    v = (y - centre[:, 1, None, None]) * (0.70710678 / height[:, None, None])
    return torch.addcmul(u * u, v, v).neg_().exp_()


class Window:
    """A rectangle of each picture, at its own place in each, to draw in without touching the rest.

    Parameters
    ----------
    canvas : Tensor, [B, S, S]
        Changed by :meth:`put`.
    centre : Tensor, [B, 2]
        ``(x, y)`` in pixels.
    width, height : int
        In pixels.

    Examples
    --------
    >>> canvas = torch.zeros(1, 8, 8)
    >>> window = Window(canvas, torch.tensor([[4.0, 4.0]]), 3, 3)
    >>> window.put(torch.ones(1, 3, 3))
    >>> canvas.sum()
    tensor(9.)
    """

    def __init__(self, canvas: Float[Tensor, "B S S"], centre: Float[Tensor, "B 2"], width: int, height: int):
        batch, size = canvas.shape[0], canvas.shape[-1]
        width, height = min(width, size), min(height, size)
        left = (centre[:, 0].round().long() - width // 2).clamp(0, size - width)
        top = (centre[:, 1].round().long() - height // 2).clamp(0, size - height)
        column = left[:, None] + torch.arange(width, device=canvas.device)
        line = top[:, None] + torch.arange(height, device=canvas.device)
        self.canvas = canvas
        self.index: tuple[Int64[Tensor, ...], ...] = (
            torch.arange(batch, device=canvas.device)[:, None, None],
            line[:, :, None],
            column[:, None, :],
        )
        shape = (batch, height, width)
        self.x = column[:, None, :].to(canvas).expand(shape)
        self.y = line[:, :, None].to(canvas).expand(shape)

    def get(self, source: Float[Tensor, "B S S"] | None = None) -> Float[Tensor, "B h w"]:
        """The pixels now there (of another picture of the same size, if given)."""
        return (self.canvas if source is None else source)[self.index]

    def put(self, patch: Float[Tensor, "B h w"]) -> None:
        """Replace them."""
        self.canvas[self.index] = patch
