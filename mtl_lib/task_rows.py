"""T tensors as the T rows of a matrix, without stacking them: LAF's value, sub-gradient and proximal step.

The tasks' weights usually live in T separate networks.  Stacking them would copy every weight; here each
tensor is looked at as a flat row in the order in which it lies in memory (the trace norm does not depend on
the order of the columns, as long as all tasks agree), blocks of columns are brought together in the
processor's cache, and the sub-gradient is added to the gradients where they lie.  Two passes over the
weights: one for the Gram matrix, one for the product.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl_lib.arguments import described, floating, several
from mtl_lib.closed import decompose_two, solve_two
from mtl_lib.cpu_rows import add_mixed, applies, gram_by_differences
from mtl_lib.errors import ConfigError
from mtl_lib.gram import Factor, decompose, in_full_precision, mixed, solve
from mtl_lib.polar import SMALL_SIDE, Method, checked_method, shrinkage, singular_value_threshold


def check(name: str, tensors: Sequence[Tensor]) -> None:
    """`ConfigError` unless the T tasks' tensors of a layer fit together."""
    if not len(several(tensors, f"layer {name!r}", "tensors, one per task")):
        raise ConfigError(f"layer {name!r} has no tensors; give one per task")
    for task, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise ConfigError(
                f"layer {name!r}, task {task}: this is {described(tensor)}, and no torch.Tensor"
            )
    for attribute in ("shape", "dtype", "device"):
        found = [getattr(t, attribute) for t in tensors]
        if any(f != found[0] for f in found):
            listed = ", ".join(str(tuple(f)) if attribute == "shape" else str(f) for f in found)
            raise ConfigError(
                f"layer {name!r}: the tasks' tensors must have the same {attribute}, but these have {listed}"
            )
    floating(tensors[0], f"layer {name!r}")
    if tensors[0].ndim < 1:
        raise ConfigError(
            f"layer {name!r} holds single numbers; a trace norm needs at least one axis per task"
        )


def gradients(name: str, tensors: Sequence[Tensor]) -> list[Tensor | None]:
    """The ``.grad`` of every tensor, made where there is none; None for a tensor that needs no gradient."""
    found: list[Tensor | None] = []
    for task, tensor in enumerate(tensors):
        if tensor.requires_grad and not tensor.is_leaf:
            raise ConfigError(
                f"layer {name!r}, task {task}: this tensor is computed from others and has no .grad to add to; "
                "add penalty(stacks) to the loss instead"
            )
        if tensor.requires_grad and tensor.grad is None:
            tensor.grad = torch.zeros_like(tensor)
        found.append(tensor.grad if tensor.requires_grad else None)
    return found


def is_direct(tensors: Sequence[Tensor], method: Method) -> bool:
    """Whether the rows can be used as they are: a small number of tasks, in float32 or less, by Gram matrix."""
    tasks = len(tensors)
    side = min(tasks, tensors[0].numel())
    resolved = checked_method(method, side, tensors[0])
    return (
        resolved in ("gram", "closed") and side == tasks <= SMALL_SIDE and tensors[0].dtype != torch.float64
    )


def memory_order(tensor: Tensor) -> tuple[int, ...]:
    """The axes from the slowest to the fastest in memory: channels-last weights are dense in another order."""
    if tensor.is_contiguous():
        return tuple(range(tensor.ndim))
    return tuple(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))


def flat(tensors: Sequence[Tensor]) -> tuple[list[Tensor], bool]:
    """The tensors as flat rows, and whether these rows are the tensors' own memory."""
    first = tensors[0]
    order = memory_order(first)
    moved = [t.detach().permute(order) for t in tensors]
    if all(m.is_contiguous() for m in moved):
        return [m.view(-1) for m in moved], True
    return [t.detach().reshape(-1) for t in tensors], False


def _decompose(rows: Sequence[Tensor], method: Method) -> Factor:
    side = min(len(rows), rows[0].numel())
    return decompose_two(rows) if checked_method(method, side, rows[0]) == "closed" else decompose(rows)


def _flat_like(tensor: Tensor, like: Tensor) -> Tensor | None:
    """A gradient as a flat row in the memory order of the weight; None where its layout is another."""
    axes = sorted(range(like.ndim), key=like.stride, reverse=True)
    if like.is_contiguous():
        axes = list(range(like.ndim))
    moved = tensor.permute(axes)
    return moved.view(-1) if moved.is_contiguous() else None


FAST_CONDITION = 1e-3
"""Least eigenvalue of the scaled Gram matrix, or for two tasks least rest of it, for which float32 sums are enough."""


def _fast_enough(together: Tensor) -> Tensor:
    """Whether float32's sums leave the small algebra 5 digits: rows that are not nearly proportional."""
    lengths = together.diagonal(dim1=-2, dim2=-1).sqrt()
    scaled = together / lengths.unsqueeze(-1) / lengths.unsqueeze(-2)
    return torch.linalg.eigvalsh(scaled)[..., 0] > FAST_CONDITION


def _factors(layers: Sequence[Sequence[Tensor]], method: Method, precision: str) -> list[Factor]:
    """A factor per layer; on the CPU the small algebra of all layers at once, as it is mostly overhead."""
    found: dict[int, Factor] = {}
    # Only dot products are accurate in float32; matrix products of more tasks would need blocks so short that
    # nothing is gained.
    fast = precision == "fast" and len(layers[0]) == 2
    for dtype in (torch.float32, torch.float64) if fast else (torch.float64,):
        open_layers = [i for i, rows in enumerate(layers) if i not in found and applies(rows)]
        grams = {i: gram_by_differences(layers[i], dtype) for i in open_layers}
        ready = [i for i, g in grams.items() if g is not None]
        if not ready:
            continue
        rows = layers[ready[0]]
        together = torch.stack([grams[i] for i in ready])
        closed = checked_method(method, min(len(rows), rows[0].numel()), rows[0]) == "closed"
        factor, reliable = solve_two(together) if closed else solve(together)
        if dtype == torch.float32:
            reliable = reliable & _fast_enough(together)
        for place, (i, good) in enumerate(zip(ready, reliable.tolist(), strict=True)):
            if good:
                found[i] = Factor(factor.sigma[place], factor.left[place], factor.polar[place])
    return [found[i] if i in found else _decompose(rows, method) for i, rows in enumerate(layers)]


def _add(
    tensors: Sequence[Tensor],
    rows: Sequence[Tensor],
    factor: Factor,
    alpha: float,
    into: Sequence[Tensor | None],
) -> None:
    """Add `alpha` times the polar factor to tensors shaped like the weights, in whatever layout they have."""
    own = rows[0].data_ptr() == tensors[0].data_ptr()
    order = memory_order(tensors[0]) if own else tuple(range(tensors[0].ndim))
    moved = [None if g is None else g.permute(order) for g in into]
    targets: list[Tensor | None] = []
    for gradient, row in zip(moved, rows, strict=True):
        if gradient is None or gradient.is_contiguous():
            targets.append(None if gradient is None else gradient.view(-1))
        else:  # another layout: gathered, added at the end
            targets.append(torch.zeros_like(row, dtype=torch.float32))
    if not add_mixed(rows, factor, alpha, targets):
        for columns, block in mixed(rows, alpha * factor.polar):
            for target, part in zip(targets, block, strict=True):
                if target is not None:
                    target[columns] += part
    for gradient, target in zip(moved, targets, strict=True):
        if gradient is not None and not gradient.is_contiguous():
            gradient.add_(target.view(gradient.shape))


@in_full_precision
def add_polars(
    layers: Sequence[Sequence[Tensor]],
    into: Sequence[Sequence[Tensor | None]] | None,
    alpha: float | int,
    method: Method,
    precision: str = "accurate",
) -> list[Factor]:
    """Singular values of every layer's T tensors as rows; adds `alpha` times the polar factors to `into`.

    Parameters
    ----------
    layers : sequence of sequences of Tensor
        For every layer T tensors for which :func:`is_direct` holds, T the same for all.
    into : sequence of sequences of Tensor or None, optional
        For every layer T tensors of the same shape to add to; None where nothing is to be added.
    alpha : float
        Factor of the polar factors.
    method : str, Randomized or NewtonSchulz
        As in :mod:`mtl_lib.polar`.
    precision : {"accurate", "fast"}
        "fast" sums the Gram matrix of two tasks in float32 on the CPU, where they are unlike enough for that.

    Returns
    -------
    list of Factor
        For every layer.

    Examples
    --------
    >>> w, g = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])], [torch.zeros(2), torch.zeros(2)]
    >>> (factor,) = add_polars([w], [g], 1.0, "auto")
    >>> round(factor.sigma.sum().item(), 6), torch.allclose(torch.stack(g), torch.eye(2))
    (7.0, True)
    """
    rows = [flat(tensors)[0] for tensors in layers]
    factors = _factors(rows, method, precision)
    if into is not None:
        for tensors, own, factor, targets in zip(layers, rows, factors, into, strict=True):
            _add(tensors, own, factor, alpha, targets)
    return factors


@in_full_precision
def shrink_(layers: Sequence[Sequence[Tensor]], tau: float | int, method: Method) -> None:
    """Singular-value thresholding, in place, of the matrices whose rows are the tensors of a layer.

    Parameters
    ----------
    layers : sequence of sequences of Tensor
        For every layer T tensors of one shape.
    tau : float
        How much every singular value loses.
    method : str, Randomized or NewtonSchulz
        As in :mod:`mtl_lib.polar`.

    Examples
    --------
    >>> w = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])]
    >>> shrink_([w], 1.0, "auto")
    >>> [row.round(decimals=6).abs() for row in w]
    [tensor([2., 0.]), tensor([0., 0.])]
    """
    groups: dict[int, list[Sequence[Tensor]]] = {}
    for tensors in layers:
        rows, own = flat(tensors)
        if own and is_direct(tensors, method):
            groups.setdefault(len(rows), []).append(
                rows
            )  # decomposed together, as their small algebra is overhead
            continue
        shrunk = singular_value_threshold(torch.stack([t.detach().reshape(-1) for t in tensors]), tau, method)
        for tensor, row in zip(tensors, shrunk, strict=True):
            tensor.detach().copy_(row.view(tensor.shape))
    for group in groups.values():
        for rows, factor in zip(group, _factors(group, method, "accurate"), strict=True):
            for columns, block in mixed(rows, shrinkage(factor, tau)):
                for row, part in zip(rows, block, strict=True):
                    row[columns] = part
