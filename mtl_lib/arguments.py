"""What the functions on tensors take; anything else is refused, with what was given and what is allowed.

A matrix of integers would be computed in float32 and its polar factor rounded to zeros, a complex one would lose its
imaginary part, and a list fails somewhere inside with a message about something else.  Every check looks at types,
shapes and numbers that the host has: none reads an entry of a tensor on another device, so none waits for one.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from mtl_lib.errors import ConfigError

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of the entries that trace norms and their sub-gradients are computed of."""


def described(value: Any) -> str:
    """What was given, in a few words.

    Examples
    --------
    >>> described(torch.zeros(2, 3)), described([1.0]), described(None)
    ('a torch.Tensor of shape (2, 3)', '[1.0] (list)', 'None')
    """
    if value is None:
        return "None"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        kind = type(value)
        return f"a {kind.__module__.split('.')[0]}.{kind.__name__} of shape {tuple(value.shape)}"
    words = " ".join(repr(value).split())
    return f"{words if len(words) <= 40 else words[:37] + '...'} ({type(value).__name__})"


def any_tensor(value: Any, name: str) -> Tensor:
    """The value itself; `ConfigError` unless it is a tensor.

    Examples
    --------
    >>> any_tensor(torch.zeros(2), "x")
    tensor([0., 0.])
    """
    if not isinstance(value, Tensor):
        raise ConfigError(
            f"{name} is {described(value)}; it must be a torch.Tensor (torch.as_tensor makes one of an array or list)"
        )
    return value


def floating(value: Any, name: str) -> Tensor:
    """The value itself; `ConfigError` unless it is a dense tensor of a type in :data:`FLOATING`.

    Examples
    --------
    >>> try:
    ...     floating(torch.tensor([1, 2]), "x")
    ... except ConfigError as error:
    ...     print(str(error)[:33])
    x holds torch.int64; it must hold
    """
    tensor = any_tensor(value, name)
    if tensor.dtype not in FLOATING:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOATING)
        hint = (
            "its real part would be another matrix" if tensor.is_complex() else "convert it, say by .double()"
        )
        raise ConfigError(f"{name} holds {tensor.dtype}; it must hold one of {allowed} ({hint})")
    if tensor.layout != torch.strided:
        raise ConfigError(f"{name} has the layout {tensor.layout}; it must be dense (see .to_dense())")
    return tensor


def of_matrices(function: Callable) -> Callable:
    """A function whose first argument `m` is a matrix or a batch of them, with that argument checked.

    Examples
    --------
    >>> of_matrices(lambda m: m.shape)(torch.zeros(2, 3))
    torch.Size([2, 3])
    """

    @functools.wraps(function)
    def inner(m, *args, **named):
        if floating(m, "m").ndim < 2:
            raise ConfigError(
                f"m has the shape {tuple(m.shape)}; a matrix, or a batch of matrices, has at least two axes"
            )
        return function(m, *args, **named)

    return inner


def at_least_zero(value: Any, name: str) -> float:
    """A number as a float; `ConfigError` unless it is one, at least 0 and finite.

    Parameters
    ----------
    value : number, or tensor with one entry
        True and False are no numbers here.
    name : str
        What to call it.

    Examples
    --------
    >>> at_least_zero(1, "gamma")
    1.0
    """
    single = isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
    boolean = isinstance(value, bool) or (single and value.dtype == torch.bool)
    if boolean or not (single or isinstance(value, int | float | Real)):
        raise ConfigError(f"{name} is {described(value)}; it must be a number, at least 0 and finite")
    found = float(value)
    if not 0 <= found < math.inf:
        raise ConfigError(f"{name} is {found if single else value}; it must be at least 0 and finite")
    return found


def whole(value: Any, name: str) -> int:
    """A whole number as an int, from whatever can be an index; `ConfigError` otherwise.

    Examples
    --------
    >>> whole(torch.tensor(2), "mode")
    2
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} is {described(value)}; it must be a whole number") from None


def sizes(shape: Any, name: str = "shape") -> tuple[int, ...]:
    """The sizes of a tensor to make; `ConfigError` unless they are whole numbers, at least 0.

    Examples
    --------
    >>> sizes([2, 3])
    (2, 3)
    """
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise ConfigError(
            f"{name} is {described(shape)}; it must be a sequence of sizes, such as (3, 3, 64, 128, 2)"
        )
    found = tuple(whole(size, f"a size in {name}") for size in shape)
    if min(found, default=0) < 0:
        raise ConfigError(f"{name} is {found}; no size can be below 0")
    return found


def several(values: Any, name: str, what: str) -> Any:
    """The values themselves; `ConfigError` unless they are a sequence or a tensor with at least one axis.

    Examples
    --------
    >>> several([1.0, 2.0], "weights", "numbers")
    [1.0, 2.0]
    """
    listed = hasattr(values, "__len__") and hasattr(values, "__getitem__") and getattr(values, "ndim", 1) > 0
    if not listed or isinstance(values, str | bytes | Mapping):
        raise ConfigError(f"{name} is {described(values)}; it must be a sequence of {what}")
    return values


def layers(stacks: Any) -> Mapping:
    """The stacks themselves; `ConfigError` unless they are a mapping.

    Examples
    --------
    >>> layers({})
    {}
    """
    if not isinstance(stacks, Mapping):
        raise ConfigError(
            f"the stacks are {described(stacks)}; they must be a mapping from layers to their T tasks' weights, "
            "such as {'conv1': [w1, w2]}"
        )
    return stacks
