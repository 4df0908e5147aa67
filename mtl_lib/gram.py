r"""Trace norms of a matrix with few rows from its small Gram matrix, accurate where a plain Gram matrix is not.

A T x n matrix :math:`M` (T tasks, n weights) has all of its left singular vectors and singular values in
the T x T matrix :math:`MM^\top`, and its polar factor, its singular-value threshold and more are all a
T x T *mixing* of the rows, :math:`P M`.  So two passes over the weights suffice.  Squaring costs half the
digits, though: with two tasks that differ by 1e-6 the small singular value is lost in float32 and only
just there in float64.  Three measures keep the result right:

1. all sums run in float64, over blocks of columns that stay in the processor's cache;
2. the rows are first *centred*: rotated by the orthonormal Helmert matrix, for two tasks
   :math:`s = (w_1 + w_2)/\sqrt2,\ d = (w_1 - w_2)/\sqrt2`, so that a small difference is a small row and
   not a cancellation;
3. the rotated rows are scaled to unit length before anything is decomposed, so that a small row counts as
   much as a large one.  With :math:`B` the rotated rows, :math:`D` their lengths and
   :math:`C = D^{-1}BB^\top D^{-1} = E \Lambda E^\top`, the matrix
   :math:`Z = \Lambda^{-1/2} E^\top D^{-1} B` has orthonormal rows and
   :math:`B = S Z` with the small :math:`S = D E \Lambda^{1/2} = U \Sigma V^\top`.  Hence the polar factor
   is :math:`U V^\top Z`.

What remains is rows that are nearly *proportional* without being nearly equal (:math:`w_2 \approx 2w_1`).
There :math:`\Lambda` itself has a small entry, and a second pass over the columns corrects
:math:`Z` by :math:`(ZZ^\top)^{-1/2}` (the idea of the one-sided Jacobi method and of CholeskyQR2).

Nothing here asks the device for a number, except that on the CPU, where asking is free, the second pass is
left out when the first one shows that it is not needed.  Under ``torch.compile`` nothing is asked anywhere:
the question would break the graph.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

BLOCK = 2**18
"""Numbers in one block of columns on the CPU: measured; smaller blocks pay more in calls than they gain in cache."""

CONDITION_FOR_ONE_PASS = 1e-9
"""Least eigenvalue of the scaled Gram matrix at which one pass still gives 7 digits (64 eps / 1e-9 = 1e-5 ** 2)."""

EPS = torch.finfo(torch.float64).eps


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 products that are float32: no TF32 on a GPU, no bfloat16 on a CPU, whatever the program has set.

    Examples
    --------
    >>> before = torch.get_float32_matmul_precision()
    >>> with exact_float32():
    ...     torch.get_float32_matmul_precision()
    'highest'
    >>> torch.get_float32_matmul_precision() == before
    True
    """
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_full_precision(function):
    """Run a function without autograd and without autocast or TF32, which would round what its products take."""

    @functools.wraps(function)
    def inner(first, *args, **kwargs):
        tensor = first
        while not isinstance(tensor, Tensor):  # a tensor, a sequence of tensors, or one of such sequences
            tensor = tensor[0]
        device = tensor.device.type
        # A compiled graph cannot change the setting; nor need it, as what it traces multiplies in float64.
        exact = contextlib.nullcontext() if torch.compiler.is_compiling() else exact_float32()
        with torch.no_grad(), torch.autocast(device, enabled=False), exact:
            return function(first, *args, **kwargs)

    return inner


def may_ask(tensor: Tensor) -> bool:
    """Whether a branch may depend on what is in a tensor: it costs no synchronisation, and breaks no graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


class Factor(NamedTuple):
    r"""Small float64 matrices that say everything about the singular values of k rows of any length.

    Attributes
    ----------
    sigma : Tensor
        ``[..., k]`` singular values, not necessarily sorted; zero where they cannot be told from zero.
    left : Tensor
        ``[..., k, k]`` left singular vectors in its columns, in the order of `sigma`.
    polar : Tensor
        ``[..., k, k]`` the mixing whose product with the rows is the minimum-norm polar factor.
    centred : bool
        Whether `left` and `polar` act on the rows after :func:`helmert` (True) or on the rows themselves.
    """

    sigma: Tensor
    left: Tensor
    polar: Tensor
    centred: bool = True


class _Basis(NamedTuple):
    """Z = basis B with orthonormal (or zero) rows, and B = unmix Z; B are the centred rows."""

    basis: Tensor
    unmix: Tensor
    reliable: Tensor  # one pass over the columns was enough
    poison: Tensor  # 0, and NaN where the rows hold an entry that is not finite


@functools.lru_cache(maxsize=64)
def helmert(k: int, device: torch.device | str = "cpu") -> Float64[Tensor, "k k"]:
    """Orthonormal Helmert matrix: its first row averages k tasks, the others are differences between them.

    Parameters
    ----------
    k : int
        Number of rows to rotate.
    device : torch.device or str
        Where to keep it.

    Returns
    -------
    Tensor
        ``[k, k]``, float64, orthonormal.

    Examples
    --------
    >>> helmert(2)
    tensor([[ 0.7071,  0.7071],
            [ 0.7071, -0.7071]], dtype=torch.float64)
    """
    matrix = torch.zeros(k, k, dtype=torch.float64)
    matrix[0] = 1 / math.sqrt(k)
    for row in range(1, k):
        length = math.sqrt(row * (row + 1))
        matrix[row, :row] = 1 / length
        matrix[row, row] = -row / length
    return matrix.to(device)


def blocks(rows: Sequence[Tensor]) -> Iterator[slice]:
    """Slices of columns; one slice for all of them where blocking does not pay (accelerators)."""
    columns = rows[0].shape[-1]
    width = columns
    if rows[0].device.type == "cpu":
        batch = math.prod(rows[0].shape[:-1])
        width = max(64, BLOCK // max(1, len(rows) * batch))
    for start in range(0, columns, max(1, width)):
        yield slice(start, min(start + width, columns))


@functools.lru_cache(maxsize=64)
def from_differences(k: int, device: torch.device) -> Float64[Tensor, "k k"]:
    """Helmert rotation of k rows, given the first row and the differences of the others from it."""
    sums = torch.eye(k, dtype=torch.float64)
    sums[:, 0] = 1
    rotation = helmert(k) @ sums
    rotation[1:, 0] = 0  # a difference leaves out what the rows have in common: rounding must not blur that
    return rotation.to(device)


def centred(rows: Sequence[Tensor], columns: slice) -> Float64[Tensor, "*batch k block"]:
    """A block of columns in float64, its rows rotated by the Helmert matrix.

    The differences are taken before the rotation: equal rows must give rows of exact zeros.
    """
    block = torch.stack([row[..., columns] for row in rows], dim=-2).double()
    if len(rows) == 1:
        return block
    block[..., 1:, :] -= block[..., :1, :]
    return from_differences(len(rows), block.device) @ block


def gram(
    rows: Sequence[Float[Tensor, "*batch n"]], basis: Float64[Tensor, "*batch k k"] | None = None
) -> Float64[Tensor, "*batch k k"]:
    """Gram matrix of the centred rows, or of ``basis @ rows``, summed in float64.

    Parameters
    ----------
    rows : sequence of Tensor
        k tensors ``[..., n]`` of one shape.
    basis : Tensor, optional
        ``[..., k, k]``, applied to the centred rows.

    Returns
    -------
    Tensor
        ``[..., k, k]``.
    """
    k = len(rows)
    result = rows[0].new_zeros((*rows[0].shape[:-1], k, k), dtype=torch.float64)
    for columns in blocks(rows):
        block = centred(rows, columns)
        if basis is not None:
            block = basis @ block
        result += block @ block.mT
    return result


def _inverse(x: Tensor) -> Tensor:
    """1/x, and 0 where x is 0."""
    return torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)


def without_poison(g: Tensor) -> tuple[Tensor, Tensor]:
    """A Gram matrix that LAPACK accepts, and 0 (or NaN where the matrix was not finite) to add to results."""
    finite = g.isfinite().all(-1).all(-1)
    return torch.where(finite[..., None, None], g, 0), torch.where(finite, 0.0, torch.nan).double()


def _first_pass(g: Float64[Tensor, "*batch k k"]) -> _Basis:
    """An orthonormal basis of the rows from their Gram matrix."""
    k = g.shape[-1]
    g, poison = without_poison(g)
    lengths = g.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    inverse = _inverse(lengths)
    values, vectors = torch.linalg.eigh(g * inverse.unsqueeze(-1) * inverse.unsqueeze(-2))
    # Below this an eigenvalue is rounding noise; what is wrongly kept above it, the second pass drops.
    root = torch.where(values > k * EPS, values, 0).sqrt()
    unmix = lengths.unsqueeze(-1) * vectors * root.unsqueeze(-2)
    basis = _inverse(root).unsqueeze(-1) * vectors.mT * inverse.unsqueeze(-2)
    empty = (lengths <= 0).sum(-1)  # rows of zeros have eigenvalues of zero: nothing is lost there
    small = (values < CONDITION_FOR_ONE_PASS).sum(-1)
    return _Basis(basis, unmix, small <= empty, poison)


def _second_pass(g: Float64[Tensor, "*batch k k"], first: _Basis) -> _Basis:
    """Correct the basis by the Gram matrix of its own, nearly orthonormal, rows."""
    g, poison = without_poison(g)
    # A row much shorter than one stood for rounding noise.  It is dropped, as those that were zero before;
    # a one on the diagonal keeps the inverse square root defined.
    mask = (g.diagonal(dim1=-2, dim2=-1) > 0.5).double()
    g = g * mask.unsqueeze(-1) * mask.unsqueeze(-2) + torch.diag_embed(1 - mask)
    values, vectors = torch.linalg.eigh(g)
    root = values.clamp_min(0.25).sqrt()
    basis = (vectors / root.unsqueeze(-2)) @ vectors.mT @ (mask.unsqueeze(-1) * first.basis)
    unmix = (first.unmix * mask.unsqueeze(-2)) @ (vectors * root.unsqueeze(-2)) @ vectors.mT
    return _Basis(basis, unmix, torch.ones_like(first.reliable), first.poison + poison)


def _factor(found: _Basis) -> Factor:
    """From B = unmix Z and Z = basis B to the singular values and the polar mixing."""
    scale = found.unmix.abs().amax((-2, -1), keepdim=True)
    left, sigma, right = torch.linalg.svd(found.unmix * _inverse(scale))
    kept = sigma > 4 * sigma.shape[-1] * EPS * sigma[..., :1]
    polar = (left * kept.unsqueeze(-2)) @ right @ found.basis
    poison = found.poison.unsqueeze(-1)
    return Factor(sigma * kept * scale.squeeze(-1) + poison, left, polar + poison.unsqueeze(-1))


def solve(g: Float64[Tensor, "*batch k k"]) -> tuple[Factor, Bool[Tensor, "*batch"]]:
    """Factor from the Gram matrix of the centred rows alone, and whether that is good to 7 digits.

    Parameters
    ----------
    g : Tensor
        ``[..., k, k]`` from :func:`gram`.

    Returns
    -------
    factor : Factor
        Right where `reliable`.
    reliable : Tensor
        ``[...]``; False where rows are nearly proportional and :func:`decompose` would look a second time.

    Examples
    --------
    >>> factor, reliable = solve(torch.diag(torch.tensor([9.0, 16.0], dtype=torch.float64)))
    >>> factor.sigma.sum().item(), bool(reliable)
    (7.0, True)
    """
    found = _first_pass(g)
    return _factor(found), found.reliable


def decompose(rows: Sequence[Float[Tensor, "*batch n"]]) -> Factor:
    """Singular values, left singular vectors and polar mixing of k rows, k small.

    Parameters
    ----------
    rows : sequence of Tensor
        k tensors ``[..., n]`` of one shape; k up to some 32.  The squares of their entries must lie inside
        float64's range, as those of everything that float32 can hold do.

    Returns
    -------
    Factor
        Of the matrix ``[..., k, n]`` with these rows, in the centred basis.

    Examples
    --------
    >>> rows = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]
    >>> decompose(rows).sigma.float()
    tensor([4., 3.])
    """
    found = _first_pass(gram(rows))
    if may_ask(rows[0]) and bool(found.reliable.all()):
        return _factor(found)
    return _factor(_second_pass(gram(rows, found.basis), found))


def decompose_all(layers: Sequence[Float64[Tensor, "k _"]]) -> Factor:
    """The same for many layers with as many rows, whose small algebra is done once; the second look is always taken.

    Parameters
    ----------
    layers : sequence of Tensor
        ``[k, n]`` float64 each, the **centred** rows.

    Returns
    -------
    Factor
        ``[L, ...]``.

    Examples
    --------
    >>> rows = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]
    >>> decompose_all([centred(rows, slice(None))]).sigma.float()
    tensor([[4., 3.]])
    """
    first = _first_pass(torch.stack([block @ block.mT for block in layers]))
    grams = []
    for block, basis in zip(layers, first.basis.unbind(0), strict=True):
        unit = basis @ block
        grams.append(unit @ unit.mT)
    return _factor(_second_pass(torch.stack(grams), first))


def mixed(
    rows: Sequence[Float[Tensor, "*batch n"]], mixing: Float64[Tensor, "*batch k k"], centre: bool = True
) -> Iterator[tuple[slice, Float64[Tensor, "*batch k block"]]]:
    """Blocks of columns of ``mixing @ rows``, computed in float64.

    Parameters
    ----------
    rows : sequence of Tensor
        k tensors ``[..., n]`` of one shape.
    mixing : Tensor
        ``[..., k, k]``.
    centre : bool
        Whether the mixing acts in the centred basis; the result is in the rows' own basis either way.

    Yields
    ------
    slice, Tensor
        Which columns, and their mixture ``[..., k, columns]``.
    """
    back = helmert(len(rows), rows[0].device).T @ mixing if centre else mixing
    for columns in blocks(rows):
        yield (
            columns,
            back
            @ (
                centred(rows, columns)
                if centre
                else torch.stack([r[..., columns] for r in rows], -2).double()
            ),
        )
