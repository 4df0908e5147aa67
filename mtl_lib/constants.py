"""Numbers from the program on a device: copied there once, not in every step.

A tensor made from Python numbers, or moved from the CPU, makes the host wait until a GPU has done all that it
was given before.  In a training step that happens to a handful of constants: weights of a norm, the permutation
that mirrors landmarks, class weights.  They are made at their first use and kept.
"""

import functools

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


@functools.lru_cache(maxsize=256)
def _kept(numbers: tuple[float | int, ...], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    with torch.inference_mode(False):  # else autograd could not use it later
        return torch.tensor(numbers, dtype=dtype, device=device)


def constant(
    numbers: tuple[float | int, ...], dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Tensor:
    """A vector of numbers on a device.  The same arguments give the same tensor, so it must not be changed.

    Parameters
    ----------
    numbers : tuple of float or int
        Its entries.
    dtype : torch.dtype
        Its type.
    device : torch.device or str
        Where it is kept.

    Returns
    -------
    Tensor
        ``[len(numbers)]``.

    Examples
    --------
    >>> constant((1.0, 2.0), torch.float32)
    tensor([1., 2.])
    >>> constant((1.0, 2.0), torch.float32) is constant((1.0, 2.0), torch.float32)
    True
    """
    if torch.compiler.is_compiling():  # a compiled graph keeps its constants itself
        return torch.tensor(numbers, dtype=dtype, device=device)
    return _kept(numbers, dtype, device)


class Copies:
    """Copies of tensors on other devices or in other types, each made once as long as the tensor is not changed.

    Examples
    --------
    >>> copies, mean = Copies(), torch.zeros(2)
    >>> copies.of(mean, torch.device("cpu"), torch.float32) is mean  # nothing to be copied
    True
    >>> double = copies.of(mean, torch.device("cpu"), torch.float64)
    >>> copies.of(mean, torch.device("cpu"), torch.float64) is double
    True
    >>> copies.of(mean.add_(1), torch.device("cpu"), torch.float64)
    tensor([1., 1.], dtype=torch.float64)
    """

    def __init__(self):
        self._made: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def of(self, tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The tensor itself if it is what is asked for, else its copy.

        Parameters
        ----------
        tensor : Tensor
            Of which a copy is wanted.
        device : torch.device
            Where.
        dtype : torch.dtype
            In which type.

        Returns
        -------
        Tensor
            Not to be changed.
        """
        if tensor.device == device and tensor.dtype == dtype:
            return tensor
        version = None if tensor.is_inference() else tensor._version
        known = self._made.setdefault(tensor, {})
        if known.get((device, dtype), (None, None))[0] != version or (device, dtype) not in known:
            with torch.inference_mode(False):
                known[device, dtype] = (version, tensor.detach().to(device, dtype))
        return known[device, dtype][1]
