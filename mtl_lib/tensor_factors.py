r"""A stack of tasks as a product of factors: truncated SVD (LAF), Tucker's decomposition, and the tensor train.

The tensors have the paper's order of axes, the tasks on the last.  :func:`decompose` finds factors of the least ranks
that keep a relative error, :func:`compose` multiplies them out, for one task at a time if need be.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.errors import ConfigError
from mtl_lib.unfolded_norms import checked_kind


def _left(matrix: Float[Tensor, "m n"], lost: Tensor) -> Float[Tensor, "m r"]:
    """The fewest left singular vectors outside whose span at most ``lost`` of the squared entries lies."""
    tall = matrix.shape[0] > matrix.shape[1]
    gram = matrix.T @ matrix if tall else matrix @ matrix.T
    values, vectors = torch.linalg.eigh(gram)
    tails = values.clamp_min(0).cumsum(0)  # in ascending order: what is lost with the first i + 1
    dropped = min(int((tails <= lost).sum()), len(values) - 1)
    vectors = vectors[:, dropped:].flip(1)
    return torch.linalg.qr(matrix @ vectors).Q if tall else vectors


@torch.no_grad()
def decompose(x: Float[Tensor, "..."], kind: str, tolerance: float | int) -> list[Tensor]:
    r"""Factors of a tensor, of the least ranks that a truncation in turn finds for a relative error.

    LAF: truncated SVD of the last mode; Tucker: higher-order SVD; TT: the TT-SVD.  The squared errors of the N (or
    N - 1) truncations add up at most, so that each may take its share of :math:`\epsilon^2 \lVert \mathcal W \rVert_F^2`.

    Parameters
    ----------
    x : Tensor
        At least two axes, the tasks on the last (the paper's order).
    kind : {"laf", "tucker", "tt"}
        Which decomposition.
    tolerance : float
        :math:`\epsilon`: :math:`\lVert \mathcal W - \hat{\mathcal W} \rVert_F \le \epsilon \lVert \mathcal W \rVert_F`.

    Returns
    -------
    list of Tensor
        laf: B ``[K, D_1, ...]`` and S ``[T, K]``; tucker: core, then ``U_i [D_i, r_i]``; tt: ``G_k [r_{k-1}, D_k,
        r_k]`` with 1 at both ends.

    Raises
    ------
    ConfigError
        For another kind, or a tolerance outside [0, 1).

    Examples
    --------
    >>> x = torch.ones(2, 3, 4)
    >>> [tuple(f.shape) for f in decompose(x, "tt", 0.1)]
    [(1, 2, 1), (1, 3, 1), (1, 4, 1)]
    """
    kind = checked_kind(kind)
    if not 0 <= tolerance < 1:
        raise ConfigError(f"the tolerance is {tolerance}; a relative error must be at least 0 and below 1")
    rest = x.detach().double()
    truncations = {"laf": 1, "tucker": x.ndim, "tt": x.ndim - 1}[kind]
    # The floor keeps rounding from counting as rank.
    lost = rest.square().sum() * max(tolerance**2 / truncations, 1e-24)
    if kind == "tt":
        factors, rank = [], 1
        for size in x.shape[:-1]:
            matrix = rest.reshape(rank * size, -1)
            left = _left(matrix, lost)
            factors.append(left.view(rank, size, -1))
            rest, rank = left.T @ matrix, left.shape[1]
        factors.append(rest.reshape(rank, x.shape[-1], 1))
    else:
        axes = range(x.ndim) if kind == "tucker" else [x.ndim - 1]
        sides = []
        for axis in axes:
            left = _left(rest.movedim(axis, 0).flatten(1), lost)
            sides.append(left)
            rest = torch.tensordot(rest, left, dims=([axis], [0])).movedim(-1, axis)
        factors = [rest, *sides] if kind == "tucker" else [rest.movedim(-1, 0), *sides]
    return [factor.to(x.dtype).contiguous() for factor in factors]


def compose(factors: Sequence[Tensor], kind: str, task: int | None = None) -> Float[Tensor, "..."]:
    """Multiply factors out: the whole tensor, or one task's slice of it (with a last axis of 1).

    Parameters
    ----------
    factors : sequence of Tensor
        From :func:`decompose`.
    kind : {"laf", "tucker", "tt"}
        Which decomposition.
    task : int, optional
        The slice; much cheaper than the whole.

    Examples
    --------
    >>> x = torch.arange(24.0).view(2, 3, 4)
    >>> for kind in ("laf", "tucker", "tt"):
    ...     factors = decompose(x, kind, 0.0)
    ...     print(torch.allclose(compose(factors, kind), x, atol=1e-4), compose(factors, kind, 1).shape)
    True torch.Size([2, 3, 1])
    True torch.Size([2, 3, 1])
    True torch.Size([2, 3, 1])
    """
    which = slice(None) if task is None else slice(task, task + 1)
    if kind == "laf":
        basis, mixing = factors
        return torch.tensordot(basis, mixing[which], dims=([0], [1]))
    if kind == "tucker":
        result, *sides = factors
        sides = [*sides[:-1], sides[-1][which]]
        for axis in reversed(
            range(len(sides))
        ):  # the tasks first: one slice makes all that follows T times smaller
            result = torch.tensordot(result, sides[axis], dims=([axis], [1])).movedim(-1, axis)
        return result
    links = [*factors[:-1], factors[-1][:, which]]
    if task is not None and len(links) > 2:  # of the last but one only what the task takes
        links[-2:] = [torch.tensordot(links[-2], links[-1], dims=1).flatten(1, 2)]
    result = links[0][0]
    for link in links[1:]:
        result = torch.tensordot(result, link, dims=1)
    result = result[..., 0]
    return result if task is None or len(factors) < 3 else result.unsqueeze(-1)
