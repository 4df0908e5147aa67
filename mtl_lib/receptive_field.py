"""Shapes, receptive fields and costs of a network's layers, and how much of its field a unit really uses.

A layer with kernel size k and stride s makes, of a map of side n padded by p,

    n' = (n + 2 p - k) // s + 1,    jump' = s jump,    field' = field + (k - 1) jump,
    start' = start + ((k - 1) / 2 - p) jump.

``jump`` is the distance in pixels between neighbouring units, ``field`` the side of the square of pixels that
can reach one unit, ``start`` the centre of the first unit's field (pixel centres at integers; padding makes
it, and parts of fields, lie outside of the picture).  Where a map ends before the picture does, because the
division leaves a rest, the field is an upper bound near that border.  Source: Araujo, Norris and Sim, *Computing receptive
fields of convolutional neural networks* (Distill, 2019), Eqs. (1) to (4).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl_lib.errors import ConfigError

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Layer:
    """One convolution, pool or fully connected layer of a network, and what its units see.

    Parameters
    ----------
    name : str
        Name of the module.
    kind : {"conv", "pool", "linear"}
        A fully connected layer is a convolution whose kernel covers the map.
    channels : (int, int)
        Channels in and out.
    kernel, stride : int
        Side of the kernel and distance of its positions, in units of the map before.
    side : int
        Side of the map that comes out.
    field, jump : int
        Side of a unit's receptive field and distance of neighbouring units, in pixels.
    start : float
        Centre of the first unit's field, in pixels.
    weights : int
        Numbers in the kernel, without bias.
    multiply_adds : int
        Multiplications (each with an addition) for one picture.
    """

    name: str
    kind: str
    channels: tuple[int, int]
    kernel: int
    stride: int
    side: int
    field: int
    jump: int
    start: float
    weights: int
    multiply_adds: int

    def reach(self, unit: int) -> tuple[float, float]:
        """Return the first and the last pixel coordinate that unit number ``unit`` of a row can see.

        Parameters
        ----------
        unit : int
            Counted from 0.

        Returns
        -------
        (float, float)
            Not cut at the border of the picture: below 0 is padding.
        """
        centre, half = self.start + unit * self.jump, (self.field - 1) / 2
        return centre - half, centre + half


def _square(module: nn.Module, value: int | tuple[int, ...]) -> int:
    values = {value} if isinstance(value, int) else set(value)
    if len(values) > 1:
        raise ConfigError(f"{type(module).__name__} has a window of unequal sides: {tuple(value)}")
    return values.pop()


def layers_of(model: nn.Module, size: int = 96, in_channels: int = 1) -> list[Layer]:
    """List the layers of a network that run one after the other, in the order in which they are called.

    Modules below one named ``downsample`` are left out: a shortcut's field lies inside that of the block around
    which it leads.

    Parameters
    ----------
    model : Module
        Called once, in evaluation mode, with a picture of zeros on its own device (``meta`` will do).
    size : int, optional
        Side of the picture.
    in_channels : int, optional
        Its channels.

    Returns
    -------
    list of Layer

    Raises
    ------
    ConfigError
        If a window is not square.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 8, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3))
    >>> for layer in layers_of(net):
    ...     print(layer.name, layer.kind, layer.side, layer.field, layer.jump, layer.start, layer.multiply_adds)
    0 conv 48 7 2 0.0 903168
    1 pool 24 11 4 0.0 0
    2 conv 22 19 4 4.0 278784
    """
    found: list[Layer] = []

    def note(name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        field, jump, start = (found[-1].field, found[-1].jump, found[-1].start) if found else (1, 1, 0.0)
        if isinstance(module, nn.Linear):
            before = found[-1].side if found and found[-1].kind != "linear" else 1
            kind, kernel, stride, padding, dilation, side = "linear", before, 1, 0, 1, 1
        else:
            kind = "conv" if isinstance(module, nn.Conv2d) else "pool"
            kernel, stride = _square(module, module.kernel_size), _square(module, module.stride)
            padding, dilation = (
                _square(module, module.padding),
                _square(module, getattr(module, "dilation", 1)),
            )
            side = y.shape[-1]
        reach = dilation * (kernel - 1)
        weights = 0 if kind == "pool" else module.weight.numel()
        channels = (x.shape[1], y.shape[1])
        if kind == "linear":
            channels = (x.shape[1] // kernel**2, y.shape[1])
        found.append(
            Layer(
                name, kind, channels, kernel, stride, side, field + reach * jump, jump * stride,
                start + (reach / 2 - padding) * jump, weights, weights * side * side,
            )
        )  # fmt: skip

    hooks = [
        module.register_forward_hook(lambda m, x, y, name=name: note(name, m, x[0], y))
        for name, module in model.named_modules()
        if isinstance(module, (*WINDOWED, nn.Linear)) and "downsample" not in name.split(".")
    ]
    parameter = next(model.parameters())
    training = model.training
    try:
        with torch.no_grad():
            shape = (1, in_channels, size, size)
            model.eval()(torch.zeros(shape, dtype=parameter.dtype, device=parameter.device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return found


def effective_field(
    model: nn.Module,
    layer: str,
    images: Float[Tensor, "N C H W"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "H W"]:
    """Measure how strongly each pixel moves the central unit of a layer: root mean square gradients.

    The network should be in evaluation mode: in training, batch norm's statistics connect every pixel of
    every picture with every unit.  Source: Luo et al., *Understanding the effective receptive field in deep
    convolutional neural networks* (2016), Section 2.

    Parameters
    ----------
    model : Module
        Any network; its gradients are left alone.
    layer : str
        Name of a module whose output is a map, [N, M, h, w].
    images : Tensor
        Over whose pictures and channels the mean is taken.
    generator : Generator, optional
        Source of the random mixture of the layer's M channels.

    Returns
    -------
    Tensor
        [H, W], scaled to sum 1; zeros if no pixel has an influence.

    Raises
    ------
    ConfigError
        If the network has no such layer, or its output is no map.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    >>> used = effective_field(net, "1", torch.randn(2, 1, 9, 9))
    >>> (used > 0).sum().item(), round(used.sum().item(), 4)
    (25, 1.0)
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise ConfigError(f"the network has no layer {layer!r}; it has, among others, {list(modules)[1:5]}")
    kept: list[Tensor] = []
    # A copy: an activation that works in place would overwrite what the layer gave.
    hook = modules[layer].register_forward_hook(lambda m, x, y: kept.append(y.clone()))
    images = images.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            model(images)
    finally:
        hook.remove()
    if not kept or kept[0].ndim != 4:
        raise ConfigError(f"the output of {layer!r} is no map with height and width")
    y = kept[0]
    mixture = torch.randn(y.shape[:2], generator=generator).to(y)
    centre = (y[:, :, y.shape[2] // 2, y.shape[3] // 2] * mixture).sum()
    (gradient,) = torch.autograd.grad(centre, images)
    used = gradient.square().mean(dim=(0, 1)).sqrt()
    return used / used.sum().clamp_min(torch.finfo(used.dtype).tiny)


def effective_side(used: Float[Tensor, "H W"]) -> float:
    """Side of the uniform square that spreads as far as a measured field: root of 12 times the variance.

    Parameters
    ----------
    used : Tensor
        Non-negative, as from :func:`effective_field`.

    Returns
    -------
    float
        In pixels, the mean over the two axes; at most the picture's side times the root of 3.

    Examples
    --------
    >>> square = torch.zeros(32, 32)
    >>> square[10:19, 4:13] = 1.0
    >>> round(effective_side(square), 3)
    9.0
    """
    variance = 0.0
    for axis in (0, 1):
        profile = used.double().sum(dim=1 - axis)
        share = profile / profile.sum()
        place = torch.arange(len(share), dtype=torch.float64, device=share.device)
        mean = (share * place).sum()
        # A pixel is itself a square of side 1, of variance 1/12.
        variance += ((share * (place - mean) ** 2).sum() + 1 / 12).item() / 2
    return math.sqrt(12 * variance)
