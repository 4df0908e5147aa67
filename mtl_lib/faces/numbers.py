"""Random numbers that depend on a counter only: the same for any batch size, order, worker or device."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9


def _mix(x: Tensor) -> Tensor:
    """One round of an integer hash on 32 bits (multiply and fold, a bijection with full avalanche)."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK  # the product wraps around at 64 bits; its low 32 bits are right
    return x ^ (x >> 16)


def _key(seed: int, index: Tensor, stream: int, salt: int) -> Tensor:
    key = _mix((index & _MASK) + salt & _MASK)
    for word in (index >> 32 & _MASK, seed & _MASK, seed >> 32 & _MASK, stream & _MASK):
        key = _mix((key * 31 + word + salt) & _MASK)
    return key


def uniform(seed: int, index: Int64[Tensor, " N"], count: int, stream: int = 0) -> Float64[Tensor, "N count"]:
    """Uniform numbers in (0, 1), a function of ``(seed, index, stream)`` and their position alone.

    An ordinary generator hands out numbers in turn, so what face 7 looks like would depend on how many
    faces were drawn before it.  Here the numbers are a hash of their own address.

    Parameters
    ----------
    seed : int
    index : Tensor, int64, [N]
        Which face (or which person).
    count : int
        How many numbers for each.
    stream : int
        Separate sets of numbers for separate purposes.

    Returns
    -------
    Tensor, float64, [N, count]

    Examples
    --------
    >>> both = uniform(0, torch.tensor([3, 7]), 4)
    >>> torch.equal(both[1:], uniform(0, torch.tensor([7]), 4))
    True
    """
    place = torch.arange(count, device=index.device) * _GOLDEN & _MASK
    # Two keys of 32 bits: with one, 176 thousand faces would hold a few pairs of twins.
    first, second = _key(seed, index, stream, 0x1B56C4E9), _key(seed, index, stream, 0x7F4A7C15)
    bits = _mix(_mix((first[:, None] + place) & _MASK) ^ second[:, None])
    return (bits.double() + 0.5) / 2.0**32


def normal(seed: int, index: Int64[Tensor, " N"], count: int, stream: int = 0) -> Float64[Tensor, "N count"]:
    """Standard normal numbers, addressed like :func:`uniform`.

    Examples
    --------
    >>> normal(0, torch.arange(1000), 10).std().round(decimals=1).item()
    1.0
    """
    return torch.special.ndtri(uniform(seed, index, count, stream))


def grain(seed: int, index: Int64[Tensor, " N"], count: int, stream: int = 0) -> Float[Tensor, "N count"]:
    """Noise of mean 0 and standard deviation 1 for the pixels of each picture, one cheap hash per pixel.

    Examples
    --------
    >>> noise = grain(0, torch.arange(2), 10_000)
    >>> noise.std(1).round(decimals=1)
    tensor([1., 1.])
    """
    place = torch.arange(count, device=index.device) * _GOLDEN & _MASK
    bits = _mix((_key(seed, index, stream, 0x2545F491)[:, None] + place) & _MASK)
    return (bits.float() - 2.0**31) * (12**0.5 / 2.0**32)
