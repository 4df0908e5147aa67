r"""All unfoldings of a Tucker or TT trace norm in few passes over the weights of T separate tensors.

:mod:`mtl_lib.unfolding_sides` says which unfoldings share a Gram matrix; here the weights are read.  Every
unfolding is a few *pieces*, one per task: the task's tensor with some axes as rows and the others as columns.
Mostly a piece is a view of the memory in which the weight lies, or the transpose of one; where it is not
(input channels of a contiguous kernel) it is copied once.  Its product with the mixing is added to the gradient
where that lies.  Nothing is ever stacked, except where a small Gram matrix leaves doubt about a short side: then
that one unfolding goes the way of :func:`mtl_lib.polar.value_and_polar`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_lib.gram import in_full_precision
from mtl_lib.mode_gram import COLUMN_BLOCK, Root, gram_of, root_of
from mtl_lib.polar import SMALL_SIDE, Method, value_and_polar
from mtl_lib.unfolding_sides import JOINT_ROWS, Group, plan

METHODS = ("auto", "gram", "closed")
"""The methods that this route serves; the others go unfolding by unfolding."""


SHORT_FLOOR = {torch.float32: 0.25, torch.float64: 1e-8}
"""Smallest eigenvalue over the largest at which a type's products are enough for a short side's Gram matrix.

Float32 sums over millions of columns are coarser than those of a long side; a float64 Gram matrix of condition
1e8 gives the polar factor to 1e-8.
"""


def applies(tensors: Sequence[Tensor], method: Method) -> bool:
    """Whether the joint route serves T tensors: Gram matrices, float32 or less, on a device with float64.

    With "auto" on the CPU only, where its eigendecompositions are cheap and its questions cost nothing.

    Examples
    --------
    >>> applies([torch.ones(2, 2)], "auto"), applies([torch.ones(2, 2)], "svd")
    (True, False)
    """
    first = tensors[0]
    return (
        (method in METHODS if first.device.type == "cpu" else method == "gram")
        and first.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and first.device.type != "mps"
        and first.numel() > 0
        and not torch.compiler.is_compiling()  # its questions about conditioning would break the graph
    )


class _View(NamedTuple):
    """How the axes of a task's tensor become the rows and columns of a piece."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def piece(self, tensor: Tensor) -> Tensor:
        size = math.prod(tensor.shape[a] for a in self.rows)
        return tensor.permute(*self.rows, *self.columns).reshape(size, -1)

    def add(self, into: Tensor, part: Tensor) -> None:
        moved = into.permute(*self.rows, *self.columns)
        moved.add_(part.view(moved.shape))

    def flat(self, tensor: Tensor) -> Tensor | None:
        """The piece as a view of the tensor's own memory, or None."""
        piece = self.piece(tensor)
        return piece if piece.data_ptr() == tensor.data_ptr() and piece._base is not None else None


def _view(tensor: Tensor, rows: tuple[int, ...]) -> _View:
    """The columns in the order in which they lie in memory."""
    others = [a for a in range(tensor.ndim) if a not in rows]
    return _View(rows, tuple(sorted(others, key=tensor.stride, reverse=True)))


def _add_products(
    view: _View,
    pieces: Sequence[Tensor],
    stacked: bool,
    mixing: Tensor,
    single: bool,
    alpha: float,
    into: Sequence[Tensor | None],
) -> None:
    """Add ``alpha * mixing @ rows`` to the gradients."""
    r = len(pieces[0])
    mixing = (alpha * mixing).to(torch.float32 if single else torch.float64)
    for t, gradient in enumerate(into):
        if gradient is None:
            continue
        sources = range(len(pieces)) if stacked else (t,)
        blocks = [mixing[t * r : (t + 1) * r, s * r : (s + 1) * r] if stacked else mixing for s in sources]
        target = view.flat(gradient) if single else None
        part = torch.empty_like(pieces[t]) if target is None else target
        width = part.shape[1] if single else max(512, COLUMN_BLOCK[mixing.dtype] // r)
        for start in range(0, part.shape[1], width):
            columns = slice(start, start + width)
            for block, s in zip(blocks, sources, strict=True):
                rows = pieces[s][:, columns].to(mixing.dtype)
                if target is not None:
                    target.addmm_(block, rows)
                elif s == sources[0]:
                    total = block @ rows
                else:
                    total.addmm_(block, rows)
            if target is None:
                part[:, columns] = total
        if target is None:
            view.add(gradient, part)


def _side_gram(g: Tensor, group: Group, side: tuple[int, ...], sizes: Sequence[int]) -> Tensor:
    """Partial trace: the Gram matrix over some axes of a group from the one over all."""
    axes, k = group.axes, len(group.axes)
    if side == axes:
        return g
    shape = [sizes[a] for a in axes]
    kept = [i for i, a in enumerate(axes) if a in side]
    summed = [i for i, a in enumerate(axes) if a not in side]
    rows = math.prod(shape[i] for i in kept)
    ordered = g.view(*shape, *shape).permute(*kept, *summed, *(k + i for i in kept), *(k + i for i in summed))
    rest = math.prod(shape[i] for i in summed)
    return ordered.reshape(rows, rest, rows, rest).diagonal(dim1=1, dim2=3).sum(-1)


def _embedded(mixing: Tensor, group: Group, side: tuple[int, ...], sizes: Sequence[int]) -> Tensor:
    """A mixing of some axes as one of all axes of the group: the same for every index of the others."""
    axes, k = group.axes, len(group.axes)
    if side == axes:
        return mixing
    kept = [i for i, a in enumerate(axes) if a in side]
    summed = [i for i, a in enumerate(axes) if a not in side]
    order = kept + summed
    shape = [sizes[axes[i]] for i in order]
    rest = math.prod(shape[len(kept) :])
    full = torch.kron(mixing, torch.eye(rest, dtype=mixing.dtype, device=mixing.device))
    back = [order.index(i) for i in range(k)]
    n = len(full)
    return full.view(*shape, *shape).permute(*back, *(k + i for i in back)).reshape(n, n)


def _root(g: Tensor, floor: float) -> tuple[Tensor, Tensor] | None:
    """Trace norm and polar mixing from a small Gram matrix; None if its eigenvalues are too far apart."""
    if not bool(g.isfinite().all()):
        return None
    values, vectors = torch.linalg.eigh(g)
    if not bool((values[0] > floor * values[-1]) & (values[-1] > 1e-24) & (values[-1] < 1e34)):
        return None
    roots = values.sqrt()
    return roots.sum(), (vectors / roots) @ vectors.T


class _Run:
    """One layer: the T tensors in the paper's order, where to add, and the values found so far."""

    def __init__(self, tensors, kind, weights, into, alpha, precision, joint_rows):
        self.tensors = [t.detach().float() for t in tensors]
        self.into = into if alpha else None
        self.alpha, self.weights, self.precision = alpha, weights, precision
        self.kind = kind
        self.shape = (*tensors[0].shape, len(tensors))
        self.plan = plan(self.shape, kind, joint_rows)
        self.values: dict[int, Tensor] = {}

    def weight(self, terms: Sequence[int]) -> float:
        return float(sum(self.weights[i] for i in terms))

    def joint(self, group: Group) -> None:
        """Short sides: one Gram matrix in float32 where that is enough, one product."""
        view = _view(self.tensors[0], group.axes)
        pieces = [view.piece(t) for t in self.tensors]
        for dtype, floor in SHORT_FLOOR.items():
            g = gram_of(pieces, False, dtype)
            roots = [_root(_side_gram(g, group, side, self.shape), floor) for side in group.sides]
            if all(root is not None for root in roots):
                break
        mixing = torch.zeros_like(g)
        for term, side, root in zip(group.terms, group.sides, roots, strict=True):
            if root is None:
                self.alone(term, side)
                continue
            self.values[term] = root[0]
            if self.weights[term]:
                mixing += self.weights[term] * _embedded(root[1], group, side, self.shape)
        if self.into is None or not mixing.any():
            return
        # As long as no part is much longer than the sum of all, float32 rounds the result and no more.
        longest = (mixing.abs() * g.diagonal().sqrt()).max()
        single = bool((longest < 2 * self.weight(group.terms)) & (mixing.abs().max() < 1e30))
        _add_products(view, pieces, False, mixing, single, self.alpha, self.into)

    def single(self, group: Group) -> None:
        """One long side: without the tasks as columns, or with them as rows."""
        task = len(self.shape) - 1
        stacked = task in group.axes
        if stacked and math.prod(self.shape[a] for a in group.axes) <= SMALL_SIDE:
            for term in group.terms:
                self.alone(term, group.axes)
            return
        view = _view(self.tensors[0], tuple(a for a in group.axes if a != task))
        pieces = [view.piece(t) for t in self.tensors]
        root: Root = root_of(pieces, stacked, self.precision)
        for term in group.terms:
            self.values[term] = root.value
        weight = self.weight(group.terms)
        if self.into is not None and weight:
            _add_products(view, pieces, stacked, root.mixing, root.single, self.alpha * weight, self.into)

    def alone(self, term: int, side: tuple[int, ...]) -> None:
        """An unfolding by itself, by the way that is right for every matrix."""
        whole = torch.stack(self.tensors, -1)
        others = tuple(a for a in range(whole.ndim) if a not in side)
        moved = whole.permute(*side, *others)
        rows = math.prod(self.shape[a] for a in side)
        wanted = self.into is not None and bool(self.weights[term])
        value, polar = value_and_polar(moved.reshape(rows, -1), "gram", value_only=not wanted)
        self.values[term] = value.double()
        if polar is None or self.into is None:
            return
        back = [(*side, *others).index(a) for a in range(whole.ndim)]
        folded = polar.view(moved.shape).permute(back)
        for gradient, part in zip(self.into, folded.unbind(-1), strict=True):
            if gradient is not None:
                gradient.add_(part, alpha=self.alpha * self.weights[term])


@in_full_precision
def add_terms(
    tensors: Sequence[Tensor],
    kind: str,
    weights: Sequence[float | int],
    into: Sequence[Tensor | None] | None,
    alpha: float | int,
    tasks: Tensor | None,
    precision: str = "accurate",
    joint_rows: int = JOINT_ROWS,
) -> Tensor:
    """Trace norm of every unfolding; adds `alpha` times the weighted sub-gradient of all but the tasks' one.

    Parameters
    ----------
    tensors : sequence of Tensor
        T tensors of one shape, axes in the paper's order, for which :func:`applies` holds.
    kind : {"tucker", "tt"}
        Which sum.
    weights : sequence of float
        One per unfolding.
    into : sequence of Tensor or None, optional
        T float32 tensors to add to, in any layout; None where nothing is to be added.
    alpha : float
        Factor of the sub-gradient.
    tasks : Tensor or None
        The trace norm of the task unfolding, from :func:`mtl_lib.task_rows.add_polars`, which also adds its part.
        None: that unfolding is done here, by itself.
    precision : {"accurate", "fast"}
        See :func:`mtl_lib.mode_gram.root_of`.
    joint_rows : int
        See :func:`mtl_lib.unfolding_sides.plan`.

    Returns
    -------
    Tensor
        ``[terms]``, float32, without the weights.

    Examples
    --------
    >>> x, g = [torch.eye(3), torch.eye(3)], [torch.zeros(3, 3), torch.zeros(3, 3)]
    >>> add_terms(x, "tucker", [1, 1, 0], g, 1.0, torch.tensor(6.0**0.5))
    tensor([4.2426, 4.2426, 2.4495])
    >>> torch.allclose(g[0], 2**0.5 * torch.eye(3))
    True
    """
    run = _Run(tensors, kind, weights, into, alpha, precision, joint_rows)
    for term in run.plan.tasks:
        if tasks is None:
            run.alone(term, (len(tensors[0].shape),))
        else:
            run.values[term] = tasks
    for group in run.plan.joint:
        run.joint(group)
    for group in run.plan.single:
        run.single(group)
    return torch.stack([run.values[i].float() for i in range(len(run.values))])


def task_weight(shape: Sequence[int], kind: str, weights: Sequence[float | int]) -> float | None:
    """Sum of the weights of the terms that are the task unfolding, LAF's part in the sum; None if no term is.

    Examples
    --------
    >>> task_weight((3, 4, 2), "tucker", [1.0, 2.0, 5.0])
    5.0
    """
    terms = plan(tuple(shape), kind).tasks
    return float(sum(weights[i] for i in terms)) if terms else None
