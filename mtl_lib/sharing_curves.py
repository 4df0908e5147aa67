r"""What every layer shares as training goes on: TNDR, and beside it what TNDR cannot see.

A :class:`SharingCurve` holds, at some steps of a run and for each of its layers, TNDR, the cosine between the tasks'
kernels, the ratio of the second singular value to the first, and every task's kernel norm over its start.

What would happen **without any data** is known in closed form.  The sub-gradient of a trace norm is
:math:`U V^\top`, with the same singular vectors as W; so it takes the same amount s from every singular value that is
not zero yet, in every layer: :func:`taken` and :func:`null_tndr`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from mtl_lib.config import TrainConfig
from mtl_lib.errors import DataError
from mtl_lib.regularisers import strength
from mtl_lib.schedules import learning_rate
from mtl_lib.sharing_measures import as_rows, task_cosine

DIGITS = 3
"""Decimals that a stored curve keeps."""


@dataclass(frozen=True)
class Snapshot:
    """The layers at one step, exactly.

    Parameters
    ----------
    layers : tuple of str
        Their names, in order.
    sigma : ndarray, [L, T]
        Singular values of every layer's T x n matrix of tasks, the largest first.
    norms : ndarray, [L, T]
        Frobenius norm of every task's kernel.
    cosine : ndarray, [L]
        Cosine between two tasks' kernels, the mean over all pairs; 1 with one task alone.
    """

    layers: tuple[str, ...]
    sigma: Float[ndarray, "L T"]
    norms: Float[ndarray, "L T"]
    cosine: Float[ndarray, " L"]


@torch.no_grad()
def snapshot(stacks: Mapping[str, Sequence[Tensor]]) -> Snapshot:
    """Measure all layers, by singular value decomposition in float64.

    Parameters
    ----------
    stacks : mapping of str to sequence of Tensor
        For every layer its T tasks' weights, the same T everywhere.

    Examples
    --------
    >>> found = snapshot({"fc": [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])]})
    >>> found.sigma, found.norms, found.cosine
    (array([[4., 3.]]), array([[3., 4.]]), array([0.]))
    """
    sigma, norms, cosine = [], [], []
    for weights in stacks.values():
        rows = as_rows(weights).double()
        sigma.append(torch.linalg.svdvals(rows).cpu().numpy()[: len(rows)])
        norms.append(rows.norm(dim=1).cpu().numpy())
        angles, count = task_cosine(rows).cpu().numpy(), len(rows)
        cosine.append((angles.sum() - count) / (count * (count - 1)) if count > 1 else 1.0)
    return Snapshot(tuple(stacks), np.stack(sigma), np.stack(norms), np.array(cosine))


@dataclass(frozen=True)
class SharingCurve:
    r"""The layers at several steps; the first is the start.

    Parameters
    ----------
    layers : tuple of str
        Their names, in order: column i is layer i + 1.
    steps : ndarray, [S]
        Steps done.
    tndr : ndarray, [S, L]
        Trace norm over its start.
    cosine : ndarray, [S, L]
        Cosine between tasks, signed.
    ratio : ndarray, [S, L]
        :math:`\sigma_2 / \sigma_1`; 0 for a stack of rank one.
    norms : ndarray, [S, L, T]
        Every task's kernel norm over its start.

    Examples
    --------
    >>> def at(b):
    ...     return snapshot({"fc": [torch.tensor([3.0, 0.0]), torch.tensor([0.0, b])]})
    >>> curve = SharingCurve.of([(0, at(3.0)), (10, at(1.5))])
    >>> curve.tndr[-1], curve.ratio[-1], curve.norms[-1]
    (array([0.75]), array([0.5]), array([[1. , 0.5]]))
    >>> SharingCurve.from_json(json.loads(curve.to_json())).tndr[-1]
    array([0.75])
    """

    layers: tuple[str, ...]
    steps: Int[ndarray, " S"]
    tndr: Float[ndarray, "S L"]
    cosine: Float[ndarray, "S L"]
    ratio: Float[ndarray, "S L"]
    norms: Float[ndarray, "S L T"]

    @classmethod
    def of(cls, snapshots: Sequence[tuple[int, Snapshot]]) -> "SharingCurve":
        """Return the curve through snapshots, given with their steps.

        Raises
        ------
        DataError
            If there are none, or a kernel is zero at the start.
        """
        if not snapshots:
            raise DataError("there are no snapshots to draw a curve through")
        steps, found = [step for step, _ in snapshots], [each for _, each in snapshots]
        sigma, norms = np.stack([each.sigma for each in found]), np.stack([each.norms for each in found])
        if not (norms[0] > 0).all():
            zero = found[0].layers[int(np.argmin(norms[0].min(1)))]
            raise DataError(
                f"the kernel of a task in layer {zero!r} is zero at the start: nothing to compare with"
            )
        first = sigma[..., 0]
        second = sigma[..., 1] if sigma.shape[-1] > 1 else np.zeros_like(first)
        return cls(
            layers=found[0].layers,
            steps=np.array(steps),
            tndr=sigma.sum(-1) / sigma[0].sum(-1),
            cosine=np.stack([each.cosine for each in found]),
            ratio=second / np.where(first > 0, first, 1.0),
            norms=norms / norms[0],
        )

    def to_json(self) -> str:
        """Return the curve as a small text: whole thousandths."""

        def whole(values: ndarray) -> list:
            return np.round(values * 10**DIGITS).astype(int).tolist()

        parts = {name: whole(getattr(self, name)) for name in ("tndr", "cosine", "ratio", "norms")}
        described = {"digits": DIGITS, "layers": self.layers, "steps": self.steps.tolist(), **parts}
        return json.dumps(described, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, values: Mapping) -> "SharingCurve":
        """Return the curve that :meth:`to_json` has written and ``json.loads`` read.

        Raises
        ------
        DataError
            If something is missing, or the parts have different lengths.
        """
        try:
            scale = 10.0 ** -int(values["digits"])
            parts = {
                name: scale * np.array(values[name], dtype=float)
                for name in ("tndr", "cosine", "ratio", "norms")
            }
            layers, steps = tuple(values["layers"]), np.array(values["steps"], dtype=int)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"this is no curve of sharing ({error!r}); record the run again") from None
        for name, part in parts.items():
            if part.shape[:2] != (len(steps), len(layers)) or part.ndim != 2 + (name == "norms"):
                raise DataError(
                    f"{name} does not have {len(steps)} steps of {len(layers)} layers: {part.shape}"
                )
        return cls(layers, steps, **parts)


def taken(config: TrainConfig, steps: int | None = None) -> float:
    r"""What the penalty alone takes from every singular value: the sum of learning rate times push.

    With momentum :math:`\mu` a steady push of gamma has become :math:`p_k = \mu p_{k-1} + \gamma_k` at step k, and
    :math:`s = \sum_k \eta_k p_k`.

    Parameters
    ----------
    config : TrainConfig
        Its learning rate and gamma with their schedules, and momentum.
    steps : int, optional
        Steps done; by default all.

    Examples
    --------
    >>> taken(TrainConfig(gamma=0.1, lr=0.01, schedule="constant", momentum=0.0, steps=50))
    0.05
    """
    push = total = 0.0
    for step in range(config.steps if steps is None else steps):
        push = config.momentum * push + strength(config, step)
        total += learning_rate(config, step) * push
    return round(total, 12)


def null_tndr(sigma: Float[ndarray, "L T"], s: float | int) -> Float[ndarray, " L"]:
    r"""TNDR of every layer if there were no data: :math:`\sum_i \max(0, \sigma_i - s) / \sum_i \sigma_i`.

    Parameters
    ----------
    sigma : ndarray, [L, T]
        Initial singular values of every layer's stack.  For the norm-only penalty, which takes the same amount
        from every task's own norm, give these norms instead.
    s : float
        From :func:`taken`.

    Returns
    -------
    ndarray, [L]
        For two tasks that start independently with kernels of norm n, about :math:`1 - s/n`; for two that start
        alike, with one singular value :math:`\sqrt 2 n`, exactly :math:`1 - s/(\sqrt 2 n)`.

    Examples
    --------
    >>> null_tndr(np.array([[2.0, 2.0], [8.0, 8.0], [8.0, 0.0]]), 1.0)
    array([0.5  , 0.875, 0.875])
    """
    return np.maximum(sigma - s, 0.0).sum(-1) / sigma.sum(-1)
