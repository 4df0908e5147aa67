"""The matrices behind a tensor trace norm: which unfoldings a kind sums, their norms and sub-gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mtl_lib.arguments import at_least_zero, several
from mtl_lib.errors import ConfigError
from mtl_lib.polar import Method, value_and_polar
from mtl_lib.unfold import fold, tt_fold, tt_unfold, unfold

KINDS = ("laf", "tucker", "tt")


def checked_kind(kind: str) -> str:
    """`ConfigError` for a kind that does not exist."""
    if kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; it may be one of {', '.join(KINDS)}")
    return kind


def checked_weights(weights: Sequence[float | int]) -> list[float]:
    """The weights as floats; `ConfigError` unless every one is a number, at least 0 and finite."""
    found = several(weights, "weights", "numbers, one per unfolding")
    return [at_least_zero(weight, f"weights[{i}]") for i, weight in enumerate(found)]


def weights_for(kind: str, axes: int, weights: Sequence[float | int] | None) -> list[float]:
    """One weight per unfolding; `ConfigError` for a wrong count or value."""
    if axes < 2:
        raise ConfigError(
            f"a tensor trace norm needs at least two axes, the last one for the tasks; given: {axes}"
        )
    count = {"laf": 1, "tucker": axes, "tt": axes - 1}[kind]
    if weights is None:
        return [1.0] * count
    if len(several(weights, "weights", "numbers, one per unfolding")) != count:
        raise ConfigError(
            f"weights has {len(weights)} entries, but {kind!r} on a tensor with {axes} axes sums {count} "
            f"unfolding{'s' if count > 1 else ''}: give {count}, or None for equal weights"
        )
    return checked_weights(weights)


def _unfoldings(x: Tensor, kind: str) -> list[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """The matrices of a kind, each with the function that folds a matrix like it back."""
    axes, shape = x.ndim, x.shape
    if kind == "laf":
        return [(unfold(x, -1), lambda m: fold(m, -1, shape))]
    if kind == "tucker":
        return [(unfold(x, i), lambda m, i=i: fold(m, i, shape)) for i in range(axes)]
    return [(tt_unfold(x, k), lambda m, k=k: tt_fold(m, k, shape)) for k in range(1, axes)]


def weighted_terms(
    x: Tensor, kind: str, weights: Sequence[float | int], method: Method, null: str, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Unweighted trace norms of the unfoldings, one after the other, and the weighted sum of their polar factors.

    The way for every method, type and device; :mod:`mtl_lib.joint` is the faster one where it serves.
    """
    values = []
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    gradient = torch.zeros(x.shape, dtype=dtype, device=x.device) if want_gradient else None
    for weight, (matrix, back) in zip(weights, _unfoldings(x.detach(), kind), strict=True):
        # The closed form is for one unfolding with two rows; the others of the same tensor go by `gram`.
        own = "gram" if method == "closed" and min(matrix.shape) != 2 else method
        value, polar = value_and_polar(matrix.to(dtype), own, null, value_only=not want_gradient)
        values.append(value)
        if gradient is not None and polar is not None:
            gradient.add_(back(polar), alpha=weight)
    return torch.stack(values), gradient
