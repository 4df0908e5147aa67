"""Tensor trace norms for tasks with several indices, as sums and as mixtures of matrix norms.

With tasks indexed by :math:`(t_1, \\dots, t_m)` the weights are a tensor :math:`\\mathcal W` of shape
:math:`D \\times T_1 \\times \\dots \\times T_m`.  Its mode-k unfolding has one index as rows and all others as columns,
and two norms are made of the unfoldings' trace norms:

- the *overlapped* trace norm (Tomioka et al., 2011; Romera-Paredes et al., 2013),
  :math:`\\sum_k \\gamma_k \\lVert W_{(k)} \\rVert_*`: the **same** tensor is to have low rank in every mode;
- the *latent* trace norm (Tomioka and Suzuki, 2013),
  :math:`\\min_{W^{(1)} + W^{(2)} + \\dots = W} \\sum_k \\gamma_k \\lVert W^{(k)}_{(k)} \\rVert_*`: the tensor is a **mixture** of tensors
  each of low rank in one mode; *scaled* (Wimalawarne, Sugiyama and Tomioka, 2014) if :math:`\\gamma_k` has the
  factor :math:`n_k^{-1/2}`, :math:`n_k` the size of mode k.

In memory the tensor is still the matrix ``[D, T]``; its columns run over the task indices in C order, the last
index fastest.
"""

import math
from collections.abc import Sequence

import numpy as np

from mtl_lib.errors import ConfigError
from mtl_lib.linear_norm_sums import MixtureOfNorms, SumOfNorms, mode_trace_norm


def _checked_weights(weights, shape: tuple[int, ...], zero_allowed: bool) -> np.ndarray:
    modes = len(shape)
    weights = np.ones(modes) if weights is None else np.asarray(weights, dtype=np.float64)
    low = "at least 0, one of them above" if zero_allowed else "above 0"
    good = (
        weights.shape == (modes,)
        and np.isfinite(weights).all()
        and ((weights >= 0).all() and weights.any() if zero_allowed else (weights > 0).all())
    )
    if not good:
        raise ConfigError(
            f"weights is {weights.tolist()}, but a tensor of shape {shape} has {modes} modes (features first) "
            f"and needs as many weights, {low}"
        )
    return weights


def overlapped_trace_norm(
    shape: Sequence[int], weights: Sequence[float | int] | np.ndarray | None = None
) -> SumOfNorms:
    """Sum of the trace norms of all mode unfoldings, :math:`\\sum_k \\gamma_k \\lVert W_{(k)} \\rVert_*`.

    Parameters
    ----------
    shape : sequence of int
        ``(D, T_1, T_2, ...)``.
    weights : sequence of float, optional
        :math:`\\gamma_k`, features first; at least 0. By default all 1. A mode of weight 0 is left out.

    Returns
    -------
    SumOfNorms

    Raises
    ------
    ConfigError
        If the weights are not one per mode, or negative, or all zero.

    Examples
    --------
    >>> norm = overlapped_trace_norm((1, 2, 2))
    >>> round(norm.norm(np.array([[3.0, 0.0, 0.0, 4.0]])), 6)  # 5 + 7 + 7
    19.0
    """
    shape = tuple(int(size) for size in shape)
    weights = _checked_weights(weights, shape, zero_allowed=True)
    modes = tuple(mode for mode in range(len(shape)) if weights[mode] > 0)
    return SumOfNorms(
        tuple(mode_trace_norm(shape, mode, float(weights[mode])) for mode in modes), shape, modes
    )


def latent_trace_norm(
    shape: Sequence[int], weights: Sequence[float | int] | np.ndarray | None = None, scaled: bool = True
) -> MixtureOfNorms:
    """Mixture of tensors each of low rank in one mode, :math:`\\min \\sum_k \\gamma_k n_k^{-1/2} \\lVert W^{(k)}_{(k)} \\rVert_*`.

    Without the scale the mode of fewest rows wins too easily: a tensor of entries without any pattern has
    trace norms about :math:`\\sqrt{n_k}` times its Frobenius norm, and the smallest :math:`n_k` would always be cheapest.

    Parameters
    ----------
    shape : sequence of int
        ``(D, T_1, T_2, ...)``.
    weights : sequence of float, optional
        :math:`\\gamma_k`, features first, above 0. By default all 1.
    scaled : bool
        Multiply by :math:`n_k^{-1/2}`, the size of mode k (Wimalawarne et al., 2014).

    Returns
    -------
    MixtureOfNorms

    Raises
    ------
    ConfigError
        If the weights are not one per mode and above 0.

    Examples
    --------
    >>> norm = latent_trace_norm((1, 4, 9))
    >>> [round(1 / part.dual_norm(np.ones((1, 36)) / 6), 6) for part in norm.parts]  # the factors n_k^(-1/2)
    [1.0, 0.5, 0.333333]
    """
    shape = tuple(int(size) for size in shape)
    weights = _checked_weights(weights, shape, zero_allowed=False)
    if scaled:
        weights = weights / np.sqrt(shape)
    modes = tuple(range(len(shape)))
    return MixtureOfNorms(
        tuple(mode_trace_norm(shape, mode, float(weights[mode])) for mode in modes), shape, modes
    )


def checked_task_shape(task_shape, tasks: int) -> tuple[int, ...]:
    """The task shape as a tuple, ``(T,)`` for None; an error where its product is not the number of tasks.

    Parameters
    ----------
    task_shape : sequence of int, int or None
        Numbers of values of the task indices.
    tasks : int
        T.

    Returns
    -------
    tuple of int

    Raises
    ------
    ConfigError
        If `task_shape` is not made of positive integers whose product is `tasks`.

    Examples
    --------
    >>> checked_task_shape((3, 4), tasks=12)
    (3, 4)
    """
    if task_shape is None:
        return (tasks,)
    sizes = (task_shape,) if isinstance(task_shape, (int, np.integer)) else tuple(task_shape)
    whole = all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes)
    if not whole or math.prod(sizes) != tasks:
        raise ConfigError(
            f"task_shape is {task_shape}, but there are {tasks} tasks; it needs integers above 0 whose product is "
            f"{tasks}, such as ({tasks},), with the tasks in C order (the last index fastest)"
        )
    return tuple(int(size) for size in sizes)
