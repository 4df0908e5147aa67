"""The terms of a tensor trace norm and its sub-gradient, each by the fastest way that is right for it.

====================================================== ==================================================
tasks, up to 32 of them, by Gram matrix                :mod:`mtl_lib.task_rows`, all layers at once
the other unfoldings of Tucker and TT, by Gram matrix  :mod:`mtl_lib.joint`, a layer at a time
any other method, float64 weights, the paper's factor  :mod:`mtl_lib.unfolded_norms`, one unfolding at a time
====================================================== ==================================================
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib import joint, task_rows
from mtl_lib.arguments import floating
from mtl_lib.gram import Factor
from mtl_lib.polar import Method
from mtl_lib.unfold import paper_order
from mtl_lib.unfolded_norms import checked_kind, weighted_terms, weights_for


class Terms(NamedTuple):
    """What one layer gave.

    Attributes
    ----------
    values : Tensor
        ``[terms]``: the trace norm of every unfolding, without weights.
    factor : Factor or None
        Of the T x n matrix of the tasks, where it came up on the way.
    """

    values: Tensor
    factor: Factor | None


def of_tensor(
    x: Float[Tensor, "..."],
    kind: str,
    weights: Sequence[float | int],
    method: Method,
    null: str,
    want_gradient: bool,
) -> tuple[Float[Tensor, " terms"], Float[Tensor, "..."] | None]:
    """Trace norms of the unfoldings of one tensor, tasks last, and the weighted sum of their polar factors.

    Examples
    --------
    >>> of_tensor(torch.ones(2, 2, 2), "tt", [1, 1], "auto", "minimum", True)[0]
    tensor([2.8284, 2.8284])
    """
    x = x.detach()
    tasks = x.unbind(-1)
    if kind == "laf" or null != "minimum" or not (len(tasks) and joint.applies(tasks, method)):
        return weighted_terms(x, kind, weights, method, null, want_gradient)
    # The tasks first in memory, so that the slices of the gradient are dense.
    gradient = torch.zeros(len(tasks), *x.shape[:-1], device=x.device) if want_gradient else None
    into = None if gradient is None else list(gradient)
    found = of_layers([tasks], kind, [weights], None if into is None else [into], 1.0, method)
    return found[0].values, None if gradient is None else gradient.movedim(0, -1)


def of_layers(
    layers: Sequence[Sequence[Tensor]],
    kind: str,
    weights: Sequence[Sequence[float | int]],
    into: Sequence[Sequence[Tensor | None]] | None,
    alpha: float | int,
    method: Method,
    precision: str = "accurate",
    factors: bool = False,
    null: str = "minimum",
) -> list[Terms]:
    """Terms of every layer; `alpha` times the weighted sub-gradient is added to `into`.

    Parameters
    ----------
    layers : sequence of sequences of Tensor
        For every layer T tensors of one shape, axes in the paper's order.
    kind : {"laf", "tucker", "tt"}
        Which sum.
    weights : sequence of sequences of float
        For every layer one weight per unfolding.
    into : sequence of sequences of Tensor or None, optional
        For every layer T tensors of the same shape to add to, in any layout.
    alpha : float
        Factor of the sub-gradient.
    method : str
        See :mod:`mtl_lib.polar`.
    precision : {"accurate", "fast"}
        See :class:`mtl_lib.trace_norm.TraceNormPenalty`.
    factors : bool
        Ask for the factor of the tasks' matrix even where no term needs it.
    null : {"minimum", "full"}
        Which sub-gradient; the values do not depend on it.

    Returns
    -------
    list of Terms

    Examples
    --------
    >>> x = [torch.ones(2, 2), torch.ones(2, 2)]
    >>> of_layers([x], "tucker", [[1, 1, 1]], None, 1.0, "auto")[0].values
    tensor([2.8284, 2.8284, 2.8284])
    """
    full = null == "full" and into is not None
    found: dict[int, Factor] = {}
    groups: dict[tuple, list[int]] = {}  # layers with as many tasks share their small algebra
    for i, tensors in enumerate(layers):
        weight = joint.task_weight((*tensors[0].shape, len(tensors)), kind, weights[i])
        direct = not full and tensors[0].numel() > 0 and task_rows.is_direct(tensors, method)
        if direct and (kind == "laf" or joint.applies(tensors, method)) and (weight is not None or factors):
            groups.setdefault((len(tensors), tensors[0].dtype, weight or 0.0), []).append(i)
    for (_, _, weight), members in groups.items():
        chosen = [layers[i] for i in members]
        targets = None if into is None or not weight else [into[i] for i in members]
        made = task_rows.add_polars(chosen, targets, alpha * weight, method, precision)
        found |= dict(zip(members, made, strict=True))
    result = []
    for i, tensors in enumerate(layers):
        factor = found.get(i)
        value = None if factor is None else factor.sigma.sum().float()
        targets = None if into is None else into[i]
        if kind == "laf" and value is not None:
            values = value[None]
        elif kind != "laf" and not full and joint.applies(tensors, method):
            values = _jointly(tensors, kind, weights[i], targets, alpha, value, precision)
        else:
            whole = torch.stack([t.detach() for t in tensors], -1)
            values, total = weighted_terms(whole, kind, weights[i], method, null, targets is not None)
            for target, part in zip(targets or (), () if total is None else total.unbind(-1), strict=True):
                if target is not None:
                    target.add_(part, alpha=alpha)
        result.append(Terms(values, factor))
    return result


def _jointly(tensors, kind, weights, targets, alpha, value, precision) -> Tensor:
    """The joint route, with float32 copies of the gradients where they are shorter than that."""
    if targets is None or all(t is None or t.dtype == torch.float32 for t in targets):
        return joint.add_terms(tensors, kind, weights, targets, alpha, value, precision)
    copies = [None if t is None else torch.zeros_like(t, dtype=torch.float32) for t in targets]
    values = joint.add_terms(tensors, kind, weights, copies, alpha, value, precision)
    for target, copy in zip(targets, copies, strict=True):
        if target is not None:
            target.add_(copy)
    return values


def of_stacks(stacks: Sequence[Sequence[Tensor]], kind, weights, into, *rest, **named) -> list[Terms]:
    """As :func:`of_layers`, for tensors in PyTorch's layout, ``[M, C, *kernel]``.

    Examples
    --------
    >>> of_stacks([[torch.ones(2, 2), torch.ones(2, 2)]], "tt", [[1, 1]], None, 1.0, "auto")[0].values
    tensor([2.8284, 2.8284])
    """

    def ordered(tensors):
        return [None if t is None else paper_order(t.detach()[None])[..., 0] for t in tensors]

    layers = [ordered(tensors) for tensors in stacks]
    targets = None if into is None else [ordered(tensors) for tensors in into]
    return of_layers(layers, kind, weights, targets, *rest, **named)


def mode_norms(
    x: Float[Tensor, "..."], kind: str = "laf", method: Method = "auto"
) -> Float[Tensor, " terms"]:
    """The terms of a tensor trace norm one by one, without weights and not differentiable: for logging.

    Parameters
    ----------
    x : Tensor
        Tasks on the last axis.
    kind : {"laf", "tucker", "tt"}
        Which sum.
    method : str, Randomized or NewtonSchulz
        See :mod:`mtl_lib.polar`.

    Returns
    -------
    Tensor
        ``[terms]``: 1 for laf, the number of axes for tucker, one less for tt.

    Raises
    ------
    ConfigError
        For an `x` that is no real tensor of at least two axes, or a kind or method that does not exist.

    Examples
    --------
    >>> mode_norms(torch.ones(2, 2, 2), "tucker")
    tensor([2.8284, 2.8284, 2.8284])
    """
    x, kind = floating(x, "x"), checked_kind(kind)
    return of_tensor(x, kind, weights_for(kind, x.ndim, None), method, "minimum", False)[0]
