"""What the backbones have in common: He's initialisation, and checks of arguments and of the pictures' side."""

from typing import Literal

import torch
from torch import Tensor, nn

from mtl_lib.errors import ConfigError

Init = Literal["fan_in", "fan_out", "equal"]
"""Which count of connections scales He's normal initialisation, or that all kernels have one length."""

INITS = ("fan_in", "fan_out", "equal")


def check_init(init: str) -> None:
    """Refuse an unknown initialisation.

    Raises
    ------
    ConfigError
        If ``init`` is not one of :data:`INITS`.

    Examples
    --------
    >>> check_init("fan_in")
    """
    if init not in INITS:
        raise ConfigError(f"init is {init!r}; it must be 'fan_in', 'fan_out' or 'equal'")


def check_sizes(dropout: float | int, **counts: int) -> None:
    """Refuse counts below 1, and a probability of dropout outside [0, 1).

    Parameters
    ----------
    dropout : float
        Probability of leaving out a unit.
    **counts
        Channels, widths, units: by the name of the argument.

    Raises
    ------
    ConfigError
        If one is out of its range.

    Examples
    --------
    >>> check_sizes(0.5, width=64, hidden=4096)
    """
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name} is {count}; it must be at least 1")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout is {dropout}; it must be at least 0 and below 1")


def he_normal_(network: nn.Module, init: Init) -> None:
    """Draw new weights: He's normal initialisation for kernels, zero biases, 1 and 0 for batch norm.

    A weight has variance 2 / fan, which keeps the size of what runs forward (``fan_in``: the inputs of a unit,
    kernel area times input channels) or backward (``fan_out``: kernel area times filters) through a ReLU.
    The expected squared Frobenius norm of a kernel with C channels and M filters is therefore 2 M or 2 C.
    Source: He et al., *Delving deep into rectifiers* (2015), Eqs. (10) and (14).

    ``equal`` is a control, for networks whose every kernel batch norm follows (there it changes no output): drawn
    as with ``fan_in``, then scaled so that all kernels have the same Frobenius norm, the root of the mean square
    of those drawn.  A penalty that pulls equally hard at every layer then has no layer that it shrinks first.

    Parameters
    ----------
    network : Module
        Changed in place; draws from torch's global random numbers.
    init : {"fan_in", "fan_out", "equal"}
        Which fan, or one length for all.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layer = nn.Conv2d(8, 128, 3)
    >>> he_normal_(layer, "fan_in")
    >>> abs(layer.weight.square().sum().item() / (2 * 128) - 1) < 0.05
    True
    """
    kernels = []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            mode = "fan_in" if init == "equal" else init
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            kernels.append(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    if init == "equal":
        with torch.no_grad():
            lengths = torch.stack([kernel.norm() for kernel in kernels])
            for kernel, length in zip(kernels, lengths, strict=True):
                kernel.mul_(lengths.square().mean().sqrt() / length)


def check_pictures(x: Tensor, size: int | None) -> None:
    """Refuse pictures of another side than the network was built for.

    Parameters
    ----------
    x : Tensor
        Pictures, [N, C, H, W].
    size : int or None
        The side; None accepts any.

    Raises
    ------
    ConfigError
        If H or W is not ``size``.

    Examples
    --------
    >>> import torch
    >>> check_pictures(torch.zeros(1, 1, 96, 96), 96)
    """
    if size is not None and tuple(x.shape[-2:]) != (size, size):
        height, width = x.shape[-2:]
        raise ConfigError(
            f"the pictures are {height} x {width} and the network was built for {size} x {size};"
            f" resize them, or build it with size={height}"
        )
