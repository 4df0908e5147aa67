r"""The two passes over the weights on the CPU, for float32 rows that lie apart: as few operations as will do.

Both passes see the rows as the first one and the differences of the others from it, :math:`w_1` and
:math:`\delta_t = w_t - w_1`, formed block by block in buffers that are used again.  For nearly equal tasks
that is as accurate as the Helmert rotation and one product cheaper.  Where it is not accurate (nearly
opposite tasks, two tasks alike and the first one different) the functions say so, and the slower, always
accurate way of :mod:`mtl_lib.gram` is taken.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mtl_lib.gram import BLOCK, Factor, from_differences, helmert


def applies(rows: Sequence[Tensor]) -> bool:
    """Whether these rows are on the CPU, more than one, and each a vector."""
    return rows[0].device.type == "cpu" and rows[0].ndim == 1 and len(rows) > 1


def gram_by_differences(rows: Sequence[Float[Tensor, " n"]]) -> Float64[Tensor, "k k"] | None:
    """Gram matrix of the centred rows in float64; None where differences from the first row would lose digits.

    Parameters
    ----------
    rows : sequence of Tensor
        k rows on the CPU.

    Returns
    -------
    Tensor or None
        ``[k, k]``, as from :func:`mtl_lib.gram.gram`.

    Examples
    --------
    >>> gram_by_differences([torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])])
    tensor([[10.0000,  0.0000],
            [ 0.0000,  0.0000]], dtype=torch.float64)
    """
    k, n = len(rows), rows[0].numel()
    width = min(max(1, BLOCK // k), n)
    buffer = torch.empty(k, width, dtype=torch.float64)
    sums = []
    for start in range(0, n, width):
        block = buffer[:, : min(width, n - start)]
        for into, row in zip(block, rows, strict=True):
            into.copy_(row[start : start + width])
        if k == 2:  # three dot products are faster than a product of two-row matrices
            x, y = block
            torch.sub(x, y, out=y)
            cross = -torch.dot(x, y)
            sums.append(torch.stack([torch.dot(x, x), cross, cross, torch.dot(y, y)]).view(2, 2))
        else:
            block[1:] -= block[:1]
            sums.append(block @ block.T)
    g = sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)
    turn = from_differences(k, g.device)
    result = turn @ g @ turn.T
    terms = turn.square() @ g.diagonal()
    # Less than a thousandth of what was added up remains: three of sixteen digits are gone, take the other way.
    return result if bool((result.diagonal() >= 1e-3 * terms).all()) else None


def add_mixed(
    rows: Sequence[Float[Tensor, " n"]],
    factor: Factor,
    alpha: float | int,
    into: Sequence[Float[Tensor, " n"] | None],
) -> bool:
    """Add ``alpha`` times the polar factor to float32 rows in float32, where that loses nothing.

    The polar factor is written as a combination of the first row and the differences from it.  As long as no
    part is much longer than the sum of all, float32 rounds the result and no more.

    Parameters
    ----------
    rows : sequence of Tensor
        k float32 rows on the CPU.
    factor : Factor
        Of these rows, in the centred basis.
    alpha : float
        Factor of the polar factor.
    into : sequence of Tensor or None
        k float32 rows to add to.

    Returns
    -------
    bool
        False, and nothing was done, where float64 is needed.

    Examples
    --------
    >>> from mtl_lib.gram import decompose
    >>> rows, into = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])], [torch.zeros(2), torch.zeros(2)]
    >>> add_mixed(rows, decompose(rows), 1.0, into), torch.allclose(torch.stack(into), torch.eye(2))
    (True, True)
    """
    if not applies(rows) or any(t is not None and t.dtype != torch.float32 for t in (*rows, *into)):
        return False
    k, n = len(rows), rows[0].numel()
    back = helmert(k).T
    turn = from_differences(k, back.device)
    parts = back @ factor.polar @ turn
    # Lengths of w_1 and of the differences, from the Gram matrix that the factor stands for.
    undo = torch.eye(k, dtype=torch.float64)
    undo[1:, 0] = -1
    edges = undo @ back @ factor.left * factor.sigma
    lengths = edges.norm(dim=-1)
    sizes = parts.abs() * lengths
    # A part of the size 4 in a row of length at most 1 costs float32 two bits; a difference must exist in float32.
    if not bool((sizes.max() < 4) & (parts.abs().max() < 1e30) & (lengths.max() < 1e38)):
        return False
    coefficients = (alpha * parts).tolist()
    width = min(max(1, BLOCK // k), n)
    buffer = torch.empty(k - 1, width)
    for start in range(0, n, width):
        columns = slice(start, start + width)
        first = rows[0][columns]
        differences = buffer[:, : first.numel()]
        for difference, row in zip(differences, rows[1:], strict=True):
            torch.sub(row[columns], first, out=difference)
        if k == 2:
            for target, (on_first, on_difference) in zip(into, coefficients, strict=True):
                if target is not None:
                    target[columns].add_(first, alpha=on_first).add_(differences[0], alpha=on_difference)
            continue
        mixture = (alpha * parts[:, 1:]).float() @ differences
        for target, part, numbers in zip(into, mixture, coefficients, strict=True):
            if target is not None:
                target[columns].add_(first, alpha=numbers[0]).add_(part)
    return True
