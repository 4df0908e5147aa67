r"""LAF on a GPU, where the number of passes and of kernels counts, and every question to the device is a wait.

**Two tasks**, :func:`add_two`: float32 numbers, few kernels, and no wait.  All layers go through every step together, so that the small algebra is done once, in float64:

1. :math:`s = w_1 + w_2` and :math:`d = w_1 - w_2`, in float32;
2. the lengths of :math:`w_1, w_2, s, d`, summed in float64.  They hold the Gram matrix of s and d, because
   :math:`s \cdot d = \|w_1\|^2 - \|w_2\|^2`;
3. the rest :math:`r = c_0 d + c_1 s`, which is :math:`d` without its part along :math:`s`, scaled to about one,
   in float32, and then its length and :math:`r \cdot s` as they have come out;
4. the closed form of :mod:`mtl_lib.closed`, and its mixture of s and r added to the gradients.

**Accuracy.**  Nothing depends on how well r was hit: what is measured in step 3 is the r that is mixed in step 4.
So the result is the polar factor, to 1e-7, of a matrix that differs from the given one by the rounding of s, d
and r, some 1e-7 of its norm: value, spectral norm and duality gap are right to 1e-6 for any two tasks.  A
singular value below some 2e-7 of the largest *that comes from rounding* is taken for zero; differences between
nearly equal tasks are exact and kept, however small.  The direction that belongs to the smaller singular value of
nearly proportional tasks (:math:`w_2 \approx 2 w_1`) is only as good as float32 tells it.

That holds for entries between some 1e-34 and 1e37; nearer to the ends of float32 digits are lost, and below 1e-38 the
result is too short.  Entries above 1.7e38 give NaN.

**More tasks**, :func:`add_many`: the way of :mod:`mtl_lib.gram` with a float64 copy of all layers, and three
decompositions of small matrices for all layers together, for each of which the host waits.

``benchmarks/device_counts.py`` counts: for ResNet-34 three times the byte floor of reading the weights twice and the
gradients once and writing them once with two tasks, and eight times with three.  Nothing of this has been
timed on a GPU.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_lib.closed import solve_centred
from mtl_lib.constants import constant
from mtl_lib.gram import Factor, decompose_all, from_differences, helmert

ROUNDING = 2.0**-22
"""A rest so short, relative to what was subtracted to get it, may be nothing but float32's rounding."""

LARGEST = 3e38
"""Coefficients stay below the largest float32: infinity times zero would not be a number."""


def _inverse(x: Tensor) -> Tensor:
    """1/x, and 0 where x is 0."""
    return torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)


def _lengths(vectors: Sequence[Tensor], groups: int) -> Tensor:
    """``[groups, L]`` lengths in float64, read as float32."""
    return torch.stack(torch._foreach_norm(vectors, 2, dtype=torch.float64)).view(groups, -1)


def _places(rows: Sequence[Sequence[Tensor]]) -> tuple[list[slice], int]:
    """Where every layer's columns lie in one wide matrix, each beginning at a multiple of 128 bytes."""
    places, start = [], 0
    for layer in rows:
        places.append(slice(start, start + layer[0].numel()))
        start += math.ceil(layer[0].numel() / 32) * 32
    return places, start


def add_two(
    layers: Sequence[Sequence[Tensor]],
    into: Sequence[Sequence[Tensor | None]] | None,
    alpha: float | int,
) -> list[Factor]:
    """Singular values of every layer's two rows; adds `alpha` times the polar factor to `into`.

    Parameters
    ----------
    layers : sequence of sequences of Tensor
        For every layer two vectors ``[n]`` in float32 or less.
    into : sequence of sequences of Tensor or None, optional
        For every layer two tensors with as many elements, in the same order, to add to; None: nothing is added.
    alpha : float
        Factor of the polar factors.

    Returns
    -------
    list of Factor
        For every layer.

    Examples
    --------
    >>> w, g = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])], [torch.zeros(2), torch.zeros(2)]
    >>> (factor,) = add_two([w], [g], 1.0)
    >>> round(factor.sigma.sum().item(), 6), torch.allclose(torch.stack(g), torch.eye(2), atol=1e-6)
    (7.0, True)
    """
    rows = [[row.float() for row in layer] for layer in layers]
    places, width = _places(rows)
    both = torch.empty(3, width, device=rows[0][0].device)  # d, s, r
    for (first, second), columns in zip(rows, places, strict=True):
        torch.sub(first, second, out=both[0, columns])
        torch.add(first, second, out=both[1, columns])
    vectors = [layer[t] for t in (0, 1) for layer in rows]
    vectors += [both[i, columns] for i in (1, 0) for columns in places]
    first, second, sums, differences = _lengths(vectors, 4)
    finite = (first + second + sums + differences).isfinite()
    poison = torch.where(finite, 0.0, torch.nan).double()

    # r = c0 d + c1 s.  What the coefficients are as float32 is what counts from here on.
    inverse = _inverse(sums)
    along = (first - second) * inverse * (first + second) * inverse  # s.d / s.s
    scale = torch.where(differences > 0, _inverse(differences).clamp_max(1e30), 1)
    turn = torch.where(differences > 0, -along * scale, 0)
    rest = torch.stack([scale, turn], -1).nan_to_num().clamp(-LARGEST, LARGEST).float()
    for pair, columns in zip(rest.unbind(0), places, strict=True):
        torch.mv(both[:2, columns].T, pair, out=both[2, columns])
    c0, c1 = rest.double().unbind(-1)

    (found,) = _lengths([both[2, columns] for columns in places], 1)
    dots = torch.stack([torch.dot(both[2, columns], both[1, columns]) for columns in places]).double()
    # Products of s and r that float32 cannot hold must not pass for a measurement.
    smallest = constant(tuple(1e-36 * layer[0].numel() for layer in rows), sums.dtype, sums.device)
    dots = torch.where(sums > smallest, dots, 0)
    cosine = (dots * _inverse(found) * inverse).nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1)
    apart = 1 - cosine.square()
    # Dropped: a rest that is mostly along s after all, as then what is left of it is rounding.
    kept = (apart > 0.5) & (found > ROUNDING * c1.abs() * sums)
    length = torch.where(kept, found * apart.sqrt(), 0)
    lean = torch.where(kept, cosine * found * inverse, 0)  # r = lean s + length z
    ratio = (lean - c1) / c0  # d = ratio s + length / c0 z
    factor, rotation = solve_centred(sums.square() / 2, ratio, (length / c0).square() / 2)
    factor = Factor(factor.sigma + poison[:, None], factor.left, factor.polar + poison[:, None, None])
    if into is not None:
        over = _inverse(length)
        on_s = rotation[..., 0] * inverse[:, None] - rotation[..., 1] * (lean * over)[:, None]
        mixture = torch.stack([on_s, rotation[..., 1] * over[:, None]], -1)  # [L, centred row, (s, r)]
        mixture = torch.stack([mixture[:, 0] + mixture[:, 1], mixture[:, 0] - mixture[:, 1]], 1)
        mixture = (mixture * (alpha / math.sqrt(2))).clamp(-LARGEST, LARGEST) + poison[:, None, None]
        _add(mixture.float(), both[1:], places, into)
    return [Factor(*parts) for parts in zip(*(p.unbind(0) for p in factor[:3]), strict=True)]


def _add(
    mixture: Tensor, basis: Tensor, places: Sequence[slice], into: Sequence[Sequence[Tensor | None]]
) -> None:
    """Add every layer's mixture of its two basis vectors to the gradients."""
    for pairs, columns, targets in zip(mixture.unbind(0), places, into, strict=True):
        for pair, target in zip(pairs.unbind(0), targets, strict=True):
            if target is None:
                continue
            if target.dtype == torch.float32 and target.is_contiguous():
                target.view(-1).addmv_(basis[:, columns].T, pair)
            else:
                target.add_(torch.mv(basis[:, columns].T, pair).view(target.shape))


def _centred(rows: Sequence[Tensor]) -> Tensor:
    """The rows in float64, rotated by the Helmert matrix; see :func:`mtl_lib.gram.centred`."""
    block = torch.empty(len(rows), rows[0].numel(), dtype=torch.float64, device=rows[0].device)
    for place, row in zip(block, rows, strict=True):
        place.copy_(row)
    if len(rows) == 1:
        return block
    block[1:] -= block[:1]  # equal rows give rows of exact zeros
    return from_differences(len(rows), block.device) @ block


def add_many(
    layers: Sequence[Sequence[Tensor]],
    into: Sequence[Sequence[Tensor | None]] | None,
    alpha: float | int,
) -> list[Factor]:
    """As :func:`add_two`, for any number of rows up to some 32, and to 1e-7 for every direction.

    Parameters
    ----------
    layers : sequence of sequences of Tensor
        For every layer T vectors ``[n]``, T the same for all.
    into : sequence of sequences of Tensor or None, optional
        For every layer T tensors with as many elements, in the same order, to add to.
    alpha : float
        Factor of the polar factors.

    Returns
    -------
    list of Factor
        For every layer.

    Examples
    --------
    >>> w, g = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])], [torch.zeros(2), torch.zeros(2)]
    >>> (factor,) = add_many([w], [g], 1.0)
    >>> round(factor.sigma.sum().item(), 6), torch.allclose(torch.stack(g), torch.eye(2))
    (7.0, True)
    """
    blocks = [_centred(rows) for rows in layers]
    factor = decompose_all(blocks)
    if into is not None:
        back = alpha * helmert(len(layers[0]), blocks[0].device).T @ factor.polar
        for mixing, block, targets in zip(back.unbind(0), blocks, into, strict=True):
            for target, part in zip(targets, mixing @ block, strict=True):
                if target is not None:
                    target.add_(part.view(target.shape))
    return [Factor(*parts) for parts in zip(*(p.unbind(0) for p in factor[:3]), strict=True)]
