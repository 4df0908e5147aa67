r"""Gram matrix and polar mixing of an unfolding given in pieces, one per task, in float32 where that is enough.

The unfoldings along filters and channels carry nearly all of the arithmetic of the Tucker and TT norms.
Float32 products take half the time of float64 ones, and what they cost in accuracy is known: with
:math:`\kappa` the ratio of the largest to the smallest singular value, measured on ResNet-34's shapes,

* a Gram matrix of float32 products, summed in float64 over blocks of 512 columns, makes the spectral norm of
  the polar factor overshoot by up to :math:`1.7 \cdot 10^{-8} \kappa^2`;
* a float32 product of the mixing with the rows makes it overshoot by about :math:`2 \cdot 10^{-7}`, or
  :math:`5 \cdot 10^{-8} \kappa` where that is more.

So fresh layers (:math:`\kappa` of 3 to 10) need no float64, and layers that a trace norm or a long training has
drawn together do.  A Cholesky decomposition, a tenth of the time of an eigendecomposition, says which is which.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mtl_lib.errors import ConfigError
from mtl_lib.gram import in_full_precision, without_poison
from mtl_lib.large_gram import finish

PRECISIONS = ("accurate", "fast")
ROW_BLOCK = 128
"""Rows multiplied at a time: half of a symmetric product need not be computed."""

COLUMN_BLOCK = {torch.float32: 2**14, torch.float64: 2**17}
"""Numbers in a block of columns, divided by the number of rows: short sums in float32, few calls in float64."""


GRAM_FLOOR = 2.5e-2
"""Smallest eigenvalue, over the largest, down to which float32 products are enough for the Gram matrix."""

PRODUCT_FLOOR = {"accurate": 4e-3, "fast": 1e-3}
"""The same for the product of the mixing with the rows."""


def checked_precision(precision: str) -> str:
    """`ConfigError` for a precision that does not exist."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; it may be one of {', '.join(PRECISIONS)}")
    return precision


class Root(NamedTuple):
    """What the Gram matrix of an unfolding says.

    Attributes
    ----------
    value : Tensor
        The trace norm, a float64 scalar.
    mixing : Tensor
        ``[k, k]``, float64: its product with the rows is the minimum-norm polar factor.
    single : bool
        Whether that product may be computed in float32.
    """

    value: Tensor
    mixing: Tensor
    single: bool


def gram_of(
    pieces: Sequence[Float[Tensor, "r n"]], stacked: bool, dtype: torch.dtype
) -> Float64[Tensor, "k k"]:
    """Gram matrix of the rows of an unfolding, products in `dtype`, sums in float64.

    Parameters
    ----------
    pieces : sequence of Tensor
        T matrices ``[r, n]``.
    stacked : bool
        True: one above the other, k is T r.  False: side by side, k is r.
    dtype : torch.dtype
        float32 or float64.

    Returns
    -------
    Tensor
        ``[k, k]``.

    Examples
    --------
    >>> pieces = [torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]])]
    >>> gram_of(pieces, True, torch.float32)
    tensor([[1., 1.],
            [1., 5.]], dtype=torch.float64)
    >>> gram_of(pieces, False, torch.float32)
    tensor([[6.]], dtype=torch.float64)
    """
    r, n = pieces[0].shape
    k = r * len(pieces) if stacked else r
    g = torch.zeros(k, k, dtype=torch.float64, device=pieces[0].device)
    width = max(512, COLUMN_BLOCK[dtype] // max(1, r))
    for start in range(0, n, width):
        blocks = [piece[:, start : start + width].to(dtype) for piece in pieces]
        for t, block in enumerate(blocks):
            above = t * r if stacked else 0
            for other in range(t if stacked else 0):  # tasks against earlier tasks: all of the product
                g[above : above + r, other * r : (other + 1) * r] += block @ blocks[other].T
            for low in range(0, r, ROW_BLOCK):  # within a task: the lower half of it
                high = min(low + ROW_BLOCK, r)
                g[above + low : above + high, above : above + high] += block[low:high] @ block[:high].T
    for above in range(0, k, r):  # and the upper half, copied
        g[:above, above : above + r] = g[above : above + r, :above].T
        for low in range(above, above + r, ROW_BLOCK):
            high = min(low + ROW_BLOCK, above + r)
            g[above:low, low:high] = g[low:high, above:low].T
    return g


def well_conditioned(g: Float64[Tensor, "k k"], floor: float) -> bool:
    """Whether the smallest eigenvalue is at least `floor` times about the largest, by a Cholesky decomposition.

    Examples
    --------
    >>> [well_conditioned(torch.diag(torch.tensor([1.0, x]).double()), 1e-2) for x in (0.1, 1e-3)]
    [True, False]
    """
    vector = g.sum(1)
    for _ in range(4):  # power iteration: some per cent below the largest eigenvalue
        vector = g @ (vector / vector.norm())
    size = vector.norm()
    # Outside of this range squares of float32 numbers are rounded more coarsely, or are not there.
    if not bool((size > 1e-24) & (size < 1e34)):
        return False
    shifted = g.clone()
    shifted.diagonal().sub_(floor * size)
    return int(torch.linalg.cholesky_ex(shifted).info) == 0


def _without_dead_rows(g: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of zeros (dead filters) with the mean on their diagonal, and the trace norm that this adds.

    They meet no other row, so nothing else changes, and the matrix stays well conditioned.
    """
    diagonal = g.diagonal()
    dead = diagonal == 0
    mean = diagonal.sum() / (~dead).sum().clamp_min(1)
    return g + torch.diag(dead * mean), dead.sum() * mean.sqrt()


@in_full_precision
def root_of(pieces: Sequence[Float[Tensor, "r n"]], stacked: bool, precision: str = "accurate") -> Root:
    """Trace norm and polar mixing of an unfolding with many rows, from its Gram matrix.

    Parameters
    ----------
    pieces : sequence of Tensor
        T float32 matrices ``[r, n]``.
    stacked : bool
        As in :func:`gram_of`.
    precision : {"accurate", "fast"}
        "fast" also decomposes in float32 what float32 products are enough for: the overshoot is then some 5e-6.

    Returns
    -------
    Root

    Examples
    --------
    >>> root = root_of([torch.eye(40), torch.eye(40)], stacked=False)
    >>> round(root.value.item(), 6), root.single  # 40 singular values of the root of 2
    (56.568542, True)
    """
    g, extra = _without_dead_rows(gram_of(pieces, stacked, torch.float32))
    if well_conditioned(g, GRAM_FLOOR):
        small = torch.float32 if precision == "fast" else torch.float64
        scale = g.diagonal().max()  # float32 may not hold the entries themselves
        values, vectors = torch.linalg.eigh((g / scale).to(small))
        values, vectors = values.double() * scale, vectors.double()
        # The estimate of the largest eigenvalue was a little low.
        if bool(values[0] > 0.8 * GRAM_FLOOR * values[-1]):
            roots = values.sqrt()
            half = vectors / roots.sqrt()  # P = half half^T, a Gram matrix again
            return Root(roots.sum() - extra, gram_of([half], False, torch.float64), True)
    g, poison = without_poison(gram_of(pieces, stacked, torch.float64))

    def whole() -> Tensor:
        return torch.cat(list(pieces), 0 if stacked else 1)

    factor = finish(g, poison, whole)
    largest = factor.sigma.max()
    single = bool(((factor.sigma > 0) & (factor.sigma**2 < PRODUCT_FLOOR[precision] * largest**2)).sum() == 0)
    single = single and bool((largest > 1e-12) & (largest < 1e17))
    return Root(factor.sigma.sum(), factor.polar, single)
