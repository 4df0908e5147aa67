"""Tensors laid out as matrices: named axes, mode unfoldings, Tensor-Train unfoldings, and the way back.

The paper stacks the kernels of T networks into one tensor with the axes **H, W, C, M, T**: height and
width of the kernel, input channels, filters, tasks.  PyTorch keeps the kernels of T networks as
``[T, M, C, H, W]``.  :func:`paper_order` and :func:`torch_order` go from one to the other without a copy.

Every matrix made here holds each entry of the tensor exactly once.  The singular values of a mode
unfolding do not depend on the order of its columns, so any consistent order is right; those of a
Tensor-Train unfolding do depend on the order of the *axes*.
"""

import math
from collections.abc import Sequence

from jaxtyping import Shaped
from torch import Tensor

from mtl_lib.arguments import any_tensor, sizes, whole
from mtl_lib.errors import ConfigError

PAPER_AXES = ("H", "W", "C", "M", "T")
"""The axes of a stacked convolution kernel, in the order of the paper."""


def _checked_mode(mode: int, axes: int) -> int:
    """Mode as a number from 0; `ConfigError` where the tensor has no such axis."""
    mode = whole(mode, "mode")
    if not -axes <= mode < axes:
        raise ConfigError(
            f"mode is {mode}, but a tensor with {axes} axes has the modes 0 to {axes - 1} (or -{axes} to -1)"
        )
    return mode % axes


def _checked_split(k: int, axes: int) -> int:
    """Number of leading axes that become rows; `ConfigError` where one side would have none."""
    k = whole(k, "k")
    if not 1 <= k <= axes - 1:
        raise ConfigError(
            f"k is {k}, but the first k of {axes} axes become rows and the rest columns: "
            f"k may be 1 to {axes - 1}"
        )
    return k


def unfold(x: Shaped[Tensor, "..."], mode: int) -> Shaped[Tensor, "rows columns"]:
    """Mode unfolding, :math:`W_{(i)}` of the paper's Eq. (1): one axis is the rows, the others the columns.

    The columns run over the remaining axes in their order in the tensor, the last one fastest
    (TensorLy's convention).  `mode` counts from 0, the paper's *i* from 1.

    Parameters
    ----------
    x : Tensor
        At least one axis.
    mode : int
        The axis that becomes the rows; -1 is the last, in this package the task axis.

    Returns
    -------
    Tensor
        ``[x.shape[mode], x.numel() / x.shape[mode]]``; a view where the layout in memory allows it.

    Raises
    ------
    ConfigError
        If `x` is no tensor, or `mode` no axis of it.

    Examples
    --------
    >>> import torch
    >>> x = torch.arange(6).reshape(1, 2, 3)
    >>> unfold(x, 2)
    tensor([[0, 3],
            [1, 4],
            [2, 5]])
    """
    mode = _checked_mode(mode, any_tensor(x, "x").ndim)
    rows = x.shape[mode]
    columns = math.prod(x.shape[:mode]) * math.prod(x.shape[mode + 1 :])
    return x.movedim(mode, 0).reshape(rows, columns)


def fold(m: Shaped[Tensor, "rows columns"], mode: int, shape: Sequence[int]) -> Shaped[Tensor, "..."]:
    """Inverse of :func:`unfold`.

    Parameters
    ----------
    m : Tensor
        ``[shape[mode], the product of the other sizes]``.
    mode : int
        The axis that the rows were.
    shape : sequence of int
        Shape of the tensor to make.

    Returns
    -------
    Tensor
        Of the given shape.

    Raises
    ------
    ConfigError
        If `shape` has no such axis, or `m` is not an unfolding of a tensor of that shape.

    Examples
    --------
    >>> import torch
    >>> x = torch.arange(24).reshape(2, 3, 4)
    >>> bool((fold(unfold(x, 1), 1, x.shape) == x).all())
    True
    """
    shape = sizes(shape)
    mode = _checked_mode(mode, len(shape))
    others = shape[:mode] + shape[mode + 1 :]
    expected = (shape[mode], math.prod(others))
    if tuple(any_tensor(m, "m").shape) != expected:
        raise ConfigError(
            f"the matrix has the shape {tuple(m.shape)}, but unfolding a tensor of shape {shape} "
            f"along mode {mode} gives {expected}"
        )
    return m.reshape((shape[mode], *others)).movedim(0, mode)


def tt_unfold(x: Shaped[Tensor, "..."], k: int) -> Shaped[Tensor, "rows columns"]:
    """Tensor-Train unfolding, :math:`W_{[k]}` of the paper's Eq. (3): the first `k` axes are the rows.

    Parameters
    ----------
    x : Tensor
        At least two axes.
    k : int
        How many leading axes become rows, 1 to ``x.ndim - 1``.

    Returns
    -------
    Tensor
        ``[D_1 ... D_k, D_{k+1} ... D_N]``; a view where the layout in memory allows it.

    Raises
    ------
    ConfigError
        If `x` is no tensor, or `k` would leave no rows or no columns.

    Examples
    --------
    >>> import torch
    >>> tt_unfold(torch.zeros(2, 3, 4), 2).shape
    torch.Size([6, 4])
    """
    k = _checked_split(k, any_tensor(x, "x").ndim)
    return x.reshape(math.prod(x.shape[:k]), math.prod(x.shape[k:]))


def tt_fold(m: Shaped[Tensor, "rows columns"], k: int, shape: Sequence[int]) -> Shaped[Tensor, "..."]:
    """Inverse of :func:`tt_unfold`.

    Parameters
    ----------
    m : Tensor
        ``[the product of the first k sizes, the product of the others]``.
    k : int
        How many leading axes the rows were.
    shape : sequence of int
        Shape of the tensor to make.

    Returns
    -------
    Tensor
        Of the given shape.

    Raises
    ------
    ConfigError
        If `k` does not fit `shape`, or `m` is not an unfolding of a tensor of that shape.

    Examples
    --------
    >>> import torch
    >>> x = torch.arange(24).reshape(2, 3, 4)
    >>> bool((tt_fold(tt_unfold(x, 2), 2, x.shape) == x).all())
    True
    """
    shape = sizes(shape)
    k = _checked_split(k, len(shape))
    expected = (math.prod(shape[:k]), math.prod(shape[k:]))
    if tuple(any_tensor(m, "m").shape) != expected:
        raise ConfigError(
            f"the matrix has the shape {tuple(m.shape)}, but splitting a tensor of shape {shape} "
            f"after {k} axes gives {expected}"
        )
    return m.reshape(shape)


def _order(axes: int) -> tuple[int, ...]:
    """Axes of a PyTorch stack in the order of the paper: the kernel's own axes, inputs, outputs, tasks."""
    first = min(axes, 3)
    return (*range(first, axes), *range(first - 1, -1, -1))


def paper_order(stack: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """From PyTorch's ``[T, M, C, *kernel]`` to the paper's ``(*kernel, C, M, T)``, as a view.

    Works for the stacked weights of a convolution of any dimension, of a linear layer
    (``[T, M, C]`` to ``(C, M, T)``) and of a vector (``[T, M]`` to ``(M, T)``).

    Parameters
    ----------
    stack : Tensor
        The T tasks' weights stacked along a new first axis; at least two axes.

    Returns
    -------
    Tensor
        The same memory with the axes in the paper's order; the task axis last.

    Raises
    ------
    ConfigError
        If it is no tensor, or there is only one axis, or none.

    Examples
    --------
    >>> import torch
    >>> stack = torch.zeros(2, 64, 3, 5, 7)  # T, M, C, H, W
    >>> dict(zip(PAPER_AXES, paper_order(stack).shape))
    {'H': 5, 'W': 7, 'C': 3, 'M': 64, 'T': 2}
    """
    if any_tensor(stack, "stack").ndim < 2:
        raise ConfigError(
            f"the stack has the shape {tuple(stack.shape)}; it needs a task axis and at least one more"
        )
    return stack.permute(_order(stack.ndim))


def torch_order(x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """From the paper's ``(*kernel, C, M, T)`` to PyTorch's ``[T, M, C, *kernel]``, as a view.

    Parameters
    ----------
    x : Tensor
        A stack in the paper's order; at least two axes.

    Returns
    -------
    Tensor
        The same memory, the task axis first; ``torch_order(x)[t]`` is the weight of task t.

    Raises
    ------
    ConfigError
        If it is no tensor, or there is only one axis, or none.

    Examples
    --------
    >>> import torch
    >>> torch_order(torch.zeros(5, 7, 3, 64, 2)).shape
    torch.Size([2, 64, 3, 5, 7])
    """
    if any_tensor(x, "x").ndim < 2:
        raise ConfigError(
            f"the stack has the shape {tuple(x.shape)}; it needs a task axis and at least one more"
        )
    axes = _order(x.ndim)
    return x.permute([axes.index(axis) for axis in range(x.ndim)])
