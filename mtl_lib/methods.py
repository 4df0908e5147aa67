r"""By which method a trace norm is computed: the names, the settings, and what ``auto`` stands for.

A method is one of the names in :data:`METHODS`, or an instance of :class:`mtl_lib.randomized.Randomized` or
:class:`mtl_lib.newton_schulz.NewtonSchulz`, for other settings than theirs by default.
"""

import torch
from torch import Tensor

from mtl_lib.errors import ConfigError
from mtl_lib.newton_schulz import NewtonSchulz
from mtl_lib.randomized import Randomized

METHODS = ("auto", "svd", "randomized", "gram", "closed", "newton_schulz")
NULLS = ("minimum", "full")
SMALL_SIDE = 32
"""Longest shorter side that goes the centred and scaled way of `mtl_lib.gram`; cuSOLVER's batches end there too."""

Method = str | Randomized | NewtonSchulz


def known_method(method: Method) -> Method:
    """The method itself; `ConfigError` for one that does not exist.

    Examples
    --------
    >>> known_method("gram"), known_method("randomized")
    ('gram', 'randomized')
    """
    if not isinstance(method, Randomized | NewtonSchulz) and method not in METHODS:
        raise ConfigError(
            f"method is {method!r}; it may be one of {', '.join(METHODS)}, "
            "or Randomized(...) or NewtonSchulz(...) with settings"
        )
    return method


def checked_method(method: Method, side: int, like: Tensor, values: bool = False) -> Method:
    """The method to use for matrices of a shorter side, ``auto`` resolved and settings filled in.

    Parameters
    ----------
    method : str, Randomized or NewtonSchulz
        What was asked for.
    side : int
        Length of the shorter side.
    like : Tensor
        A tensor with the type and on the device of the matrix.
    values : bool
        Whether the singular values themselves are needed, which ``newton_schulz`` never sees.

    Returns
    -------
    str, Randomized or NewtonSchulz
        One of "svd", "gram", "closed", or settings.

    Raises
    ------
    ConfigError
        For a method that does not exist or does not fit.

    Examples
    --------
    >>> checked_method("auto", 2, torch.zeros(2, 9)), checked_method("auto", 3, torch.zeros(3, 9))
    ('closed', 'gram')
    >>> checked_method("newton_schulz", 2, torch.zeros(2, 9))
    NewtonSchulz(steps=18)
    """
    known_method(method)
    if method == "closed" and side != 2:
        raise ConfigError(
            f"method 'closed' is for matrices with two rows or two columns, and this one's shorter side is {side}; "
            "use 'gram' or 'auto'"
        )
    if method == "randomized":
        return Randomized()
    if method == "newton_schulz" or isinstance(method, NewtonSchulz):
        if values:
            raise ConfigError(
                "method 'newton_schulz' finds the polar factor without ever knowing a singular value; "
                "for singular values, their number or their threshold use 'auto', 'svd', 'gram', or 'randomized'"
            )
        return NewtonSchulz() if method == "newton_schulz" else method
    if method != "auto":
        return method
    if like.dtype == torch.float64 or like.device.type == "mps":
        return "svd"
    if side == 2:
        return "closed"
    if side > SMALL_SIDE and like.device.type == "cuda" and not values:
        return NewtonSchulz()  # eigh takes long matrices one by one there, and waits for each of them
    return "gram"


def penalty_null(null: str, method: Method) -> str:
    """The choice of null space for a penalty; `ConfigError` where its method, not yet resolved, cannot make it.

    Examples
    --------
    >>> penalty_null("full", "auto"), penalty_null("minimum", "randomized")
    ('full', 'minimum')
    """
    named = {"randomized": Randomized(), "newton_schulz": NewtonSchulz()}
    return checked_null(null, named.get(method, method) if isinstance(method, str) else method)


def checked_null(null: str, method: Method = "svd") -> str:
    """`ConfigError` unless the choice of null space exists, and for this (resolved) method."""
    if null not in NULLS:
        raise ConfigError(f"null is {null!r}; it may be one of {', '.join(NULLS)}")
    if null == "full" and not isinstance(method, str):
        raise ConfigError(
            f"null is 'full', but {method} finds no singular vectors of the null space; it may be 'minimum', "
            "or the method 'svd', 'gram' or 'closed'"
        )
    return null
