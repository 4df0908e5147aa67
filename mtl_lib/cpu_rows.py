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


REMAINS = {torch.float64: 1e-3, torch.float32: 0.1}
"""Least part of what was added up that may remain: three of sixteen digits may go, or one of seven."""


def gram_by_differences(
    rows: Sequence[Float[Tensor, " n"]], dtype: torch.dtype = torch.float64
) -> Float64[Tensor, "k k"] | None:
    """Gram matrix of the centred rows in float64; None where differences from the first row would lose digits.

    Parameters
    ----------
    rows : sequence of Tensor
        k rows on the CPU.
    dtype : torch.dtype
        Of the products within a block of columns; the sum over the blocks is in float64 always.

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
    buffer = torch.empty(k, width, dtype=dtype)
    sums = []
    for start in range(0, n, width):
        block = buffer[:, : min(width, n - start)]
        parts = [row[start : start + width] for row in rows]
        if k == 2 and parts[0].dtype == dtype:  # nothing to convert: the first row is used where it lies
            x, y = parts[0], torch.sub(parts[0], parts[1], out=block[1])
        else:
            for into, part in zip(block, parts, strict=True):
                into.copy_(part)
            if k > 2:
                block[1:] -= block[:1]
                sums.append(block @ block.T)
                continue
            x, y = block
            torch.sub(x, y, out=y)
        cross = -torch.dot(x, y)  # three dot products are faster than a product of two-row matrices
        sums.append(torch.stack([torch.dot(x, x), cross, cross, torch.dot(y, y)]).view(2, 2))
    g = torch.stack(sums).sum(0, dtype=torch.float64)
    turn = from_differences(k, g.device)
    result = turn @ g @ turn.T
    terms = turn.square() @ g.diagonal()
    enough = result.diagonal() >= REMAINS[dtype] * terms
    if dtype == torch.float32:  # its squares must be inside its range; float64 holds all squares of float32
        enough = enough & (terms > 1e-24) & (terms < 1e34)
    return result if bool(enough.all()) else None


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
    direct = False
    if k == 2:  # unlike tasks: as a combination of the rows themselves, if those parts are short as well
        own = back @ factor.polar @ back.T
        lengths = (back @ factor.left * factor.sigma).norm(dim=-1)
        direct = bool((own.abs() * lengths).max() < 2)
    coefficients = (alpha * (own if direct else parts)).tolist()
    width = min(max(1, BLOCK // k), n)
    buffer = torch.empty(k - 1, width)
    for start in range(0, n, width):
        columns = slice(start, start + width)
        first = rows[0][columns]
        if direct:
            for target, (on_first, on_second) in zip(into, coefficients, strict=True):
                if target is not None:
                    target[columns].add_(first, alpha=on_first).add_(rows[1][columns], alpha=on_second)
            continue
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
