r"""Trace norms of a matrix whose shorter side is long: one Gram matrix, one eigendecomposition, two products.

Centring and scaling (:mod:`mtl_lib.gram`) are for a handful of tasks.  Unfoldings along filters or channels
have a shorter side of 64 to 1024; with :math:`MM^\top = Q \Lambda Q^\top` in float64,

.. math:: \|M\|_* = \sum_i \sqrt{\lambda_i}, \qquad U V^\top = Q \Lambda^{-1/2} Q^\top M .

An eigenvalue is known to about ``eps * k * lambda_max``.  So singular values above 3e-5 of the largest come
out with 7 digits.  Where there are smaller ones, the projection of the matrix on their eigenvectors says
whether they are zero, and if they are not, a float64 SVD replaces the whole computation.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mtl_lib.gram import EPS, Factor, without_poison

BLOCK = 2**20
"""Float64 numbers in one block of columns on the CPU."""

RELIABLE = 1e-9
"""Eigenvalues of the Gram matrix above this part of the largest give singular values to 7 digits."""


def _by_svd(m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular values, left vectors and polar mixing from the float64 SVD."""
    left, sigma, _ = torch.linalg.svd(m.double(), full_matrices=False)
    kept = sigma > 1e-9 * sigma[..., :1]  # below, the mixing would amplify float64's own rounding
    inverse = torch.where(kept, 1 / torch.where(kept, sigma, 1), 0)
    return sigma * kept, left, (left * inverse.unsqueeze(-2)) @ left.mT


def gram_matrix(m: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch k k"]:
    """``m @ m.T`` summed in float64, by blocks of columns on the CPU.

    Examples
    --------
    >>> gram_matrix(torch.ones(2, 3))
    tensor([[3., 3.],
            [3., 3.]], dtype=torch.float64)
    """
    k, n = m.shape[-2:]
    width = n if m.device.type != "cpu" else max(k, BLOCK * k // max(1, m.numel() // max(1, n)) // max(1, k))
    result = m.new_zeros((*m.shape[:-1], k), dtype=torch.float64)
    for start in range(0, n, max(1, width)):
        block = m[..., start : start + width].double()
        result += block @ block.mT
    return result


def finish(
    g: Float64[Tensor, "*batch k k"], poison: Float64[Tensor, "*batch"], rows: Callable[[], Tensor]
) -> Factor:
    """Factor from the Gram matrix; the rows are asked for only where it leaves doubt.

    Parameters
    ----------
    g : Tensor
        ``[..., k, k]`` in float64, finite.
    poison : Tensor
        ``[...]``: 0, and NaN where the rows are not finite.
    rows : callable
        Returns the matrix ``[..., k, n]``.

    Returns
    -------
    Factor
        In the rows' own basis (``centred`` is False).

    Examples
    --------
    >>> m = torch.diag(torch.tensor([3.0, 0.0, 4.0]))
    >>> factor = finish(gram_matrix(m), torch.zeros((), dtype=torch.float64), lambda: m)
    >>> factor.sigma.sum().item()
    7.0
    """
    k = g.shape[-1]
    values, left = torch.linalg.eigh(g)
    largest = values[..., -1:].clamp_min(0)
    kept = (values > RELIABLE * largest) & (values > 0)
    root = torch.where(kept, values, 1).sqrt()
    # eigh waits for the device anyway, so these questions cost no further synchronisation worth counting.
    if bool((~kept & (largest > 0)).any()):
        m = torch.where(poison.isfinite()[..., None, None], rows(), 0)
        # The least rows on the eigenvectors that look empty: are they?
        doubtful = ((left * ~kept.unsqueeze(-2)).mT @ m.double()).norm(dim=-1)
        if bool((doubtful > 4 * k * EPS * largest.sqrt()).any()):
            sigma, left, polar = _by_svd(m)
            poison = poison.unsqueeze(-1)
            return Factor(sigma + poison, left, polar + poison.unsqueeze(-1), centred=False)
    polar = (left * (kept / root).unsqueeze(-2)) @ left.mT
    poison = poison.unsqueeze(-1)
    return Factor(kept * root + poison, left, polar + poison.unsqueeze(-1), centred=False)


def decompose_large(m: Float[Tensor, "*batch k n"]) -> Factor:
    """Singular values, left singular vectors and polar mixing of a wide matrix with many rows.

    Parameters
    ----------
    m : Tensor
        ``[..., k, n]`` with k at most n.  Squares of its entries must lie inside float64's range.

    Returns
    -------
    Factor
        In the rows' own basis (``centred`` is False).

    Examples
    --------
    >>> factor = decompose_large(torch.eye(40))
    >>> round(factor.sigma.sum().item(), 9)
    40.0
    """
    g, poison = without_poison(gram_matrix(m))
    return finish(g, poison, lambda: m)
