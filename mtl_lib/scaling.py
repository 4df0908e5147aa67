"""Matrices of any size brought to entries of about one, and products that keep all their digits.

Squares of numbers around 1e-25 do not exist in float32, and neither do those of numbers around 1e25.
Dividing by a power of two first changes no digit, and the singular values are multiplied with it again.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def working_dtype(m: Tensor) -> torch.dtype:
    """Type of values that belong to a matrix: float64 for float64, float32 for anything less."""
    return torch.float64 if m.dtype == torch.float64 else torch.float32


def in_double(m: Tensor) -> Tensor:
    """The matrix in float64; in float32 where the device (Apple's MPS) has no float64."""
    return m.float() if m.device.type == "mps" else m.double()


def normalised(m: Float[Tensor, "*batch m n"]) -> tuple[Tensor, Tensor]:
    """The matrix with entries of less than two, and the power of two to multiply with.

    Parameters
    ----------
    m : Tensor
        ``[..., m, n]``, float32 or float64, with at least one entry.

    Returns
    -------
    scaled : Tensor
        ``[..., m, n]``; zero where the matrix holds an entry that is not finite.
    scale : Tensor
        ``[..., 1, 1]``; NaN there, so that everything multiplied with it says so.

    Examples
    --------
    >>> normalised(torch.tensor([[3.0, -6.0]]))
    (tensor([[ 0.7500, -1.5000]]), tensor([[4.]]))
    """
    largest = m.abs().amax((-2, -1), keepdim=True)
    usable = largest.isfinite() & (largest > 0)
    safe = torch.where(usable, largest, 1)
    # The largest entry over its own mantissa: a power of two, by a division without rounding, that exists
    # for the smallest denormal number and for the largest number alike (2**-149 to 2**127 in float32).
    scale = safe / (2 * torch.frexp(safe).mantissa)
    scaled = torch.where(largest.isfinite(), m / scale, 0)
    return scaled, scale + 0 * largest


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product that TF32 cannot touch."""
    return in_double(a) @ in_double(b)
