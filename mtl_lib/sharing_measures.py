r"""How much do the tasks share?  Four numbers per layer, and what each of them cannot see.

Every function takes the weights of T tasks at one layer, as a sequence of T tensors of one shape or as one
tensor with the task axis first.  All use the T x T Gram matrix of the flattened weights, in float64.
:class:`Measures` holds them for one layer, as they fall off a penalty's own computation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib.arguments import floating, layers, several
from mtl_lib.errors import ConfigError
from mtl_lib.gram import Factor, helmert
from mtl_lib.polar import trace_norm

Weights = Sequence[Tensor] | Tensor


@dataclass(frozen=True)
class Measures:
    r"""One layer's numbers for a training log, all from the pass that the penalty made anyway.

    Parameters
    ----------
    terms : Tensor
        ``[terms]``: the trace norm of every unfolding that the penalty sums, without gamma and weights.
    laf : Tensor
        A scalar: the trace norm of the tasks' unfolding, whose ratio to its start is :func:`tndr`.
    scale_free : Tensor
        A scalar: :func:`scale_free_norm`, :math:`\|W\|_* / \|W\|_F`.
    cosine : Tensor
        ``[T, T]``: :func:`task_cosine`.
    """

    terms: Tensor
    laf: Tensor
    scale_free: Tensor
    cosine: Tensor


def measures_of(terms: Tensor, weights: Weights, factor: Factor | None) -> Measures:
    """The measures of a layer, from the factor of its T x n matrix; from the weights where there is none.

    Parameters
    ----------
    terms : Tensor
        ``[terms]``, handed through.
    weights : sequence of Tensor, or Tensor
        The T tasks' weights.
    factor : Factor or None
        As from :func:`mtl_lib.gram.decompose`.

    Returns
    -------
    Measures

    Examples
    --------
    >>> from mtl_lib.gram import decompose
    >>> rows = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]
    >>> found = measures_of(torch.tensor([7.0]), rows, decompose(rows))
    >>> round(found.laf.item(), 4), round(found.scale_free.item(), 4), found.cosine.round(decimals=4).abs()
    (7.0, 1.4, tensor([[1., 0.],
            [0., 1.]]))
    """
    if factor is None:
        return Measures(terms, trace_norm(as_rows(weights)), scale_free_norm(weights), task_cosine(weights))
    laf, length = factor.sigma.sum(), factor.sigma.norm()
    half = factor.left * factor.sigma  # rows whose Gram matrix is that of the tasks
    if factor.centred:
        half = helmert(len(half), half.device).T @ half
    scale_free = torch.where(length == 0, 1, laf / torch.where(length > 0, length, 1))
    return Measures(terms, laf.float(), scale_free.float(), _cosines(half).float())


def _cosines(rows: Tensor) -> Tensor:
    """Cosines between float64 rows; ones on the diagonal, 0 beside a row of zeros."""
    lengths = rows.norm(dim=1, keepdim=True)
    unit = rows / torch.where(lengths == 0, 1, lengths)
    diagonal = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return torch.where(diagonal, 1 + 0 * lengths, (unit @ unit.T).clamp(-1, 1))


def as_rows(weights: Weights) -> Float[Tensor, "T n"]:
    """The weights of T tasks as a T x n matrix: the transpose of the paper's last-axis flattening.

    Parameters
    ----------
    weights : sequence of Tensor, or Tensor
        T tensors of one shape, or one with the task axis first.

    Returns
    -------
    Tensor
        ``[T, n]``, detached.

    Raises
    ------
    ConfigError
        If there are no tasks, their weights are no real tensors, or their shapes differ.

    Examples
    --------
    >>> as_rows([torch.zeros(4, 3), torch.ones(4, 3)]).shape
    torch.Size([2, 12])
    """
    if not len(several(weights, "weights", "tensors, one per task")):
        raise ConfigError("there are no weights: one tensor per task is needed")
    shapes = {tuple(floating(w, f"weights[{task}]").shape) for task, w in enumerate(weights)}
    if len(shapes) > 1:
        raise ConfigError(
            f"the tasks' weights have the shapes {sorted(shapes)}; they must all have the same shape"
        )
    return torch.stack([w.detach().reshape(-1) for w in weights])


def scale_free_norm(weights: Weights) -> Float[Tensor, ""]:
    r"""Trace norm over Frobenius norm, :math:`\|W\|_* / \|W\|_F`: 1 for rank one, at most :math:`\sqrt T`.

    It does not change when all tasks are scaled together, so shrinking is not mistaken for sharing.
    It counts proportional and opposite tasks as fully shared.

    Parameters
    ----------
    weights : sequence of Tensor, or Tensor
        The T tasks' weights.

    Returns
    -------
    Tensor
        A scalar; 1 for weights that are all zero.

    Examples
    --------
    >>> w = torch.tensor([1.0, 2.0])
    >>> scale_free_norm([w, 3 * w]), scale_free_norm([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])])
    (tensor(1.), tensor(1.4142))
    """
    rows = as_rows(weights)
    length = rows.double().norm()
    ratio = trace_norm(rows) / torch.where(length > 0, length, 1)
    return torch.where(length == 0, 1, ratio).to(torch.promote_types(rows.dtype, torch.float32))


def task_cosine(weights: Weights) -> Float[Tensor, "T T"]:
    """Cosine of the angle between the weights of every two tasks: signed, unlike any function of singular values.

    Parameters
    ----------
    weights : sequence of Tensor, or Tensor
        The T tasks' weights.

    Returns
    -------
    Tensor
        ``[T, T]``, float32 or float64; ones on the diagonal; 0 beside a task whose weights are all zero.

    Examples
    --------
    >>> task_cosine([torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 0.0])])
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    rows = as_rows(weights)
    return _cosines(rows.double()).to(torch.promote_types(rows.dtype, torch.float32))


def layer_norms(stacks: Mapping[str, Weights]) -> dict[str, Tensor]:
    r"""LAF trace norm of every layer, without a weight: the quantity that TNDR follows.

    Parameters
    ----------
    stacks : mapping of str to sequence of Tensor
        For every layer the T tasks' weights.

    Returns
    -------
    dict of str to Tensor
        For every layer a scalar.

    Examples
    --------
    >>> layer_norms({"conv1": [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]})
    {'conv1': tensor(7.)}
    """
    return {name: trace_norm(as_rows(weights)) for name, weights in layers(stacks).items()}


def tndr(now: Mapping[str, Tensor], initial: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""Trace norm decrease rate of every layer: its trace norm now over that at the start (the paper's Section 4).

    A smaller ratio is read as more sharing.  It cannot tell sharing from shrinking: weights that all shrink
    by a tenth, each task for itself, give 0.9.  Report :func:`scale_free_norm` beside it.

    Parameters
    ----------
    now, initial : mapping of str to Tensor
        From :func:`layer_norms`, for the same layers.

    Returns
    -------
    dict of str to Tensor
        For every layer a scalar; 1 for a layer that was and is zero.

    Raises
    ------
    ConfigError
        If the layers differ.

    Examples
    --------
    >>> tndr({"conv1": torch.tensor(6.0)}, {"conv1": torch.tensor(8.0)})
    {'conv1': tensor(0.7500)}
    """
    if set(now) != set(initial):
        different = sorted(set(now) ^ set(initial))
        raise ConfigError(f"the layers now and at the start differ: {', '.join(different)}")
    return {
        name: torch.where((value == 0) & (initial[name] == 0), 1, value / initial[name])
        for name, value in now.items()
    }
